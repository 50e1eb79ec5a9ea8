//! Spells our own commands in hints so that they work where they are typed: the bare name is not
//! enough where the shell, or sudo, would not find this command by it.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const NAME: &str = "reuseaddr";

/// The folders in which every sudo looks (`secure_path` in sudoers(5)). Debian's has those of
/// /usr/local as well, Red Hat's has not.
const OF_ROOT: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];

/// Makes a command line callable that begins with our name, or has it behind `sudo` and what sudo
/// starts.
pub(crate) fn command_line(line: &str) -> String {
    for (before, name) in [("", for_the_user as fn() -> _), ("sudo ", for_root)] {
        let given = line.trim_start();
        let indent = &line[..line.len() - given.len()];
        if let Some(rest) = words_after(given, before) {
            return format!("{indent}{before}{}{rest}", name());
        }
    }
    // `sudo nsenter --net --target 1 reuseaddr …`
    match line.split_once(" reuseaddr ") {
        Some((before, rest)) if before.trim_start().starts_with("sudo nsenter ") => {
            format!("{before} {} {rest}", for_root())
        }
        _ => line.to_owned(),
    }
}

/// Makes the commands callable that a sentence has in backticks and that begin with `sudo`.
pub(crate) fn sentence(text: &str) -> String {
    if !text.contains("`sudo reuseaddr ") || for_root() == NAME {
        return text.to_owned();
    }
    text.replace("`sudo reuseaddr ", &format!("`sudo {} ", for_root()))
}

/// Returns what follows our name in a line that begins with these words and our name.
fn words_after<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(before)?.strip_prefix(NAME)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

/// How the reader of our advice would type this command.
fn for_the_user() -> &'static str {
    static CALLED: OnceLock<String> = OnceLock::new();
    CALLED.get_or_init(|| {
        // uv puts the folder of what it runs in front of PATH, for that alone.
        if env::var_os("UV").is_some() {
            return called(&[]);
        }
        // Whoever started us by the bare name has looked along PATH already.
        if env::args_os().next().is_some_and(|word| word == NAME) {
            return NAME.into();
        }
        let path = env::var_os("PATH").unwrap_or_default();
        called(&env::split_paths(&path).collect::<Vec<_>>())
    })
}

/// How root calls it.
fn for_root() -> &'static str {
    static CALLED: OnceLock<String> = OnceLock::new();
    CALLED.get_or_init(|| called(&OF_ROOT.map(PathBuf::from)))
}

/// The name, if it leads to this very file by these folders, and else the whole path.
fn called(folders: &[PathBuf]) -> String {
    let Ok(own) = env::current_exe() else {
        return NAME.into();
    };
    let found = folders
        .iter()
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(NAME))
        .find(|path| path.is_file());
    if found.is_some_and(|path| is_same(&path, &own)) {
        return NAME.into();
    }
    // A path that can't be written on a line of text can't be typed either.
    own.to_str()
        .filter(|path| !path.contains(char::is_control))
        .map_or_else(|| NAME.into(), |path| shell_words::quote(path).into_owned())
}

fn is_same(one: &Path, other: &Path) -> bool {
    let file = |path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    file(one).is_some_and(|one| file(other) == Some(one))
}
