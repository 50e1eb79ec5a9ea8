//! The files of its own that a script loads: those beside it, and in the folders that it names,
//! whose names stand in it. What is installed for everybody, such as `node_modules`, is not among
//! them.

use super::script;
use crate::process::script::beginning;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How the files of the languages end that `interpreter` knows.
const ENDINGS: [&str; 21] = [
    "cjs", "cts", "exp", "inc", "js", "jsx", "lua", "mjs", "mts", "php", "pl", "pm", "py", "pyw",
    "raku", "rakumod", "rb", "t", "tcl", "ts", "tsx",
];

/// The files that stand for their folder.
const OF_THE_FOLDER: [&str; 4] = ["__init__", "__main__", "index", "init"];

/// More is not read; what a script does then is unknown.
const MOST_FILES: usize = 256;
const MOST_FOLDERS: usize = 64;
const MOST_LOOKUPS: usize = 1000;
const LONGEST: u64 = 1 << 20;

/// The files that a script may load, as far as they were found.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// Folders to look into, and whether the folder itself was named.
    folders: Vec<(PathBuf, bool)>,
    /// The files that were found and are not read yet.
    unread: Vec<PathBuf>,
    found: BTreeSet<PathBuf>,
    /// Every word of what was read.
    words: BTreeSet<String>,
    /// How many paths that were named have been looked for.
    looked_up: usize,
}

impl Modules {
    /// Adds a folder that is looked into; an empty path is the current one.
    pub(super) fn add_folder(&mut self, folder: &Path) {
        self.add(&Path::new(".").join(folder), false);
    }

    fn add(&mut self, folder: &Path, is_named: bool) {
        let folder = real(folder);
        if !folder.is_dir() {
            return;
        }
        match self.folders.iter_mut().find(|(known, _)| *known == folder) {
            Some((_, was_named)) => *was_named |= is_named,
            None => self.folders.push((folder, is_named)),
        }
    }

    fn add_file(&mut self, path: &Path) {
        let path = real(path);
        if self.found.insert(path.clone()) {
            self.unread.push(path);
        }
    }

    /// Whether a script in a file, or something that it loads, is as asked for; or can't be known.
    pub(super) fn any_of_file(
        &mut self,
        path: &Path,
        is: impl Fn(&str) -> bool,
    ) -> io::Result<bool> {
        let Some(text) = read(path)? else {
            return Ok(true);
        };
        let real = real(path);
        for path in [path, &real] {
            if let Some(folder) = path.parent() {
                self.add_folder(folder);
            }
        }
        self.found.insert(real);
        Ok(self.any(&text, is))
    }

    /// Whether a text, or something that it loads, is as asked for; or can't be known.
    pub(super) fn any(&mut self, text: &str, is: impl Fn(&str) -> bool) -> bool {
        let mut text = text.to_owned();
        loop {
            if is(&text) || self.is_too_much() {
                return true;
            }
            self.take_in(&text);
            self.look_around();
            loop {
                let Some(path) = self.unread.pop() else {
                    return self.is_too_much();
                };
                match read(&path) {
                    Ok(Some(more)) => {
                        text = more;
                        break;
                    }
                    Ok(None) => return true,
                    // The interpreter can't read it either.
                    Err(_) => {}
                }
            }
        }
    }

    fn is_too_much(&self) -> bool {
        self.found.len() > MOST_FILES
            || self.folders.len() > MOST_FOLDERS
            || self.looked_up > MOST_LOOKUPS
    }

    /// Notes the words of a text, and the paths that it names.
    fn take_in(&mut self, text: &str) {
        let is_part = |letter: char| letter.is_alphanumeric() || "_-".contains(letter);
        for word in text.split(|letter| !is_part(letter)) {
            if !word.is_empty() && !self.words.contains(word) {
                self.words.insert(word.to_owned());
            }
        }
        let is_of_path = |letter: char| is_part(letter) || "./+@".contains(letter);
        let paths: BTreeSet<&str> = text
            .split(|letter| !is_of_path(letter))
            .filter(|path| path.contains('/') && !path.starts_with("//"))
            .collect();
        let folders = self.folders.clone();
        if ["..", "parent"].iter().any(|up| text.contains(up)) {
            for (folder, _) in &folders {
                let above = folder.parent().filter(|it| it.parent().is_some());
                if let Some(above) = above {
                    self.add(above, false);
                }
            }
        }
        for path in paths {
            let below = path.trim_start_matches('/');
            if below.is_empty() {
                continue;
            }
            let places = folders.iter().map(|(folder, _)| folder.join(below));
            for place in places.chain([PathBuf::from(path)]) {
                self.looked_up += 1;
                if self.is_too_much() {
                    return;
                }
                self.add_place(&place);
            }
        }
    }

    /// Notes what a text has named, if it is there: a folder, a script, or a script without its
    /// ending.
    fn add_place(&mut self, place: &Path) {
        if !place.is_absolute() || place == Path::new("/") {
            return;
        }
        if place.is_dir() {
            self.add(place, true);
        } else if place.is_file() {
            if is_source(place) {
                self.add_file(place);
            }
        } else {
            // `./app.module` is app.module.js, and a module of TypeScript names x.ts `./x.js`.
            for ending in ENDINGS {
                let mut longer = place.as_os_str().to_owned();
                longer.push(".");
                longer.push(ending);
                let other = place.extension().map(|_| place.with_extension(ending));
                for path in [Some(longer.into()), other].into_iter().flatten() {
                    if path.is_file() {
                        self.add_file(&path);
                    }
                }
            }
        }
    }

    /// Finds the files and folders in the known folders whose names were read.
    fn look_around(&mut self) {
        let mut at = 0;
        while let Some((folder, is_package)) = self.folders.get(at).cloned() {
            at += 1;
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for path in entries.flatten().map(|entry| entry.path()) {
                let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
                let is_named = self.words.contains(name);
                if is_source(&path) {
                    let is_its = is_package && OF_THE_FOLDER.contains(&name);
                    if (is_named || is_its) && path.is_file() {
                        self.add_file(&path);
                    }
                } else if is_named && self.folders.len() <= MOST_FOLDERS && path.is_dir() {
                    self.add(&path, true);
                }
            }
        }
    }
}

/// The path without links; or as it is, if there is no other: of a file without a name, or of
/// another mount namespace, by `/proc/PID/cwd`.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn is_source(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// A script's text; none if it is no text, or too long to be looked at.
fn read(path: &Path) -> io::Result<Option<String>> {
    let bytes = beginning(path, LONGEST)?;
    let is_whole = u64::try_from(bytes.len()).is_ok_and(|length| length < LONGEST);
    Ok((is_whole && script::is_text(path)?).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_script_loads() {
        let folder = std::env::temp_dir().join(format!("modules-{}", std::process::id()));
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("app/near.py", "import pack.deep");
        write("app/pack/__init__.py", "");
        write("app/pack/deep.py", "STARTS");
        write("app/other.py", "STARTS");
        write("app/node_modules/installed/index.js", "STARTS");
        write("lib/Far.pm", "STARTS");
        write("app/index.js", "STARTS");
        write("app/a.module.js", "STARTS");
        let away = folder.join("lib").display().to_string();
        for (text, expected) in [
            ("import near", true),
            ("from .pack import deep", true),
            ("import pack", false),
            ("require('installed')", false),
            ("require('./pack/deep')", true),
            ("require('./a.module')", true),
            ("import './a.module.mjs'", true),
            ("require('./b.module')", false),
            ("use lib \"$Bin/../lib\"; use Far;", true),
            ("use Far;", false),
            ("path.join(__dirname, '..', 'lib', 'Far')", true),
            (&format!("use lib '{away}'; use Far;"), true),
            (&format!("require '{away}/Far'"), true),
            (&format!("require '{away}/Far.pm'"), true),
            ("import sys", false),
            ("", false),
        ] {
            write("app/main", text);
            let mut modules = Modules::default();
            let found = modules.any_of_file(&folder.join("app/main"), |it| it == "STARTS");
            assert_eq!(found.unwrap(), expected, "{text}");
        }
        fs::write(folder.join("app/main"), [b'x', 0]).unwrap();
        let is_unknown = Modules::default().any_of_file(&folder.join("app/main"), |_| false);
        assert!(is_unknown.unwrap());
        fs::remove_dir_all(folder).unwrap();
    }
}
