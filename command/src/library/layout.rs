//! Where the libraries for 64-bit and for 32-bit programs lie, so that one LD_PRELOAD names both:
//! the dynamic linker puts the folder for its own kind in the place of `$LIB`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The library's file.
pub(crate) const NAME: &str = "libreuse.so";

/// A way to name the library in LD_PRELOAD.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct PreloadPath {
    /// The value of LD_PRELOAD.
    pub(crate) preload: PathBuf,
    /// The files of which the dynamic linker then takes one.
    pub(crate) files: Vec<PathBuf>,
}

impl PreloadPath {
    /// Whether the file depends on what the dynamic linker puts in the place of `$LIB`.
    pub(crate) fn varies(&self) -> bool {
        self.preload
            .as_os_str()
            .as_bytes()
            .ends_with(b"$LIB/libreuse.so")
    }

    /// The file for a dynamic linker that puts this in the place of `$LIB`.
    pub(crate) fn file(&self, lib: &str) -> Option<&Path> {
        let expanded = self.preload.to_str()?.replace("$LIB", lib);
        let file = |file: &&PathBuf| file.as_path() == Path::new(&expanded);
        self.files.iter().find(file).map(PathBuf::as_path)
    }

    /// The paths that an entry of LD_PRELOAD stands for, for programs of this class.
    pub(crate) fn expansions(entry: &Path, class: u8) -> impl Iterator<Item = PathBuf> {
        let folders = if class == 64 { LIB_64 } else { LIB_32 };
        let text = entry.to_string_lossy().into_owned();
        folders
            .into_iter()
            .map(move |lib| PathBuf::from(text.replace("$LIB", lib)))
    }

    /// Names the library by its path.
    pub(crate) fn plain(path: PathBuf) -> Self {
        Self {
            preload: path.clone(),
            files: vec![path],
        }
    }
}

/// Names the characters of a path that LD_PRELOAD can't carry: spaces and colons separate entries
/// and can't be escaped, and `$ORIGIN` and the like expand (ld.so(8)).
pub(super) fn invalid_in_preload(path: &Path) -> Option<String> {
    let mut bytes = path.as_os_str().as_bytes().iter();
    let byte = bytes.find(|byte| b" :$".contains(byte) || byte.is_ascii_control())?;
    Some(match byte {
        b' ' => "a space".into(),
        b':' => "a colon".into(),
        b'$' => "a dollar sign".into(),
        other => format!("the byte {other:#04x}"),
    })
}

/// The values of glibc's `$LIB` (ld.so(8)), for 64-bit and for 32-bit programs: on Debian, on Red
/// Hat and SUSE, on Arch. Debian's libc6-i386 has it as on Arch.
const LIB_64: [&str; 3] = ["lib/x86_64-linux-gnu", "lib64", "lib"];
const LIB_32: [&str; 3] = ["lib/i386-linux-gnu", "lib", "lib32"];

/// Returns the value of `$LIB` for the dynamic linker at this path, if a distribution installed
/// it: its own folder (`DL_DST_LIB` in glibc's elf/Makefile).
pub(crate) fn lib_of(interpreter: &Path) -> Option<&'static str> {
    let below = interpreter.parent()?.strip_prefix("/").ok()?;
    let below = below.strip_prefix("usr").unwrap_or(below);
    LIB_64
        .into_iter()
        .chain(LIB_32)
        .find(|lib| below == Path::new(lib))
}

/// `/usr/$LIB/libreuse.so` for the libraries of 64-bit and 32-bit programs that are where `$LIB`
/// leads.
pub(crate) fn common_preload_path(of_64_bit: &Path, of_32_bit: &Path) -> Option<PathBuf> {
    let prefix = above(of_64_bit, &LIB_64)?;
    (above(of_32_bit, &LIB_32)? == prefix).then(|| prefix.join("$LIB").join(NAME))
}

/// The folder from which one of these leads to the library's.
fn above<'a>(library: &'a Path, below: &[&str]) -> Option<&'a Path> {
    let folder = library.parent()?;
    let below = below.iter().find(|below| folder.ends_with(below))?;
    folder
        .ancestors()
        .nth(Path::new(below).components().count())
}

/// A folder that has both kinds where `$LIB` leads. It takes two, since `lib` is for 64-bit
/// programs on Arch and for 32-bit ones on Red Hat; in the wrong one the dynamic linker finds
/// nothing that it takes.
struct Tree {
    name: &'static str,
    of_64_bit: &'static [&'static str],
    of_32_bit: &'static [&'static str],
}

const TREES: [Tree; 2] = [
    Tree {
        name: "multiarch",
        of_64_bit: &["lib/x86_64-linux-gnu", "lib"],
        of_32_bit: &["lib/i386-linux-gnu", "lib32"],
    },
    Tree {
        name: "biarch",
        of_64_bit: &["lib64"],
        of_32_bit: &["lib"],
    },
];

impl Tree {
    fn files(&self, class: u8) -> impl Iterator<Item = PathBuf> {
        // musl's dynamic linkers put nothing in its place, and leave out in silence what they do
        // not find.
        const TO_THE_LETTER: &[&str] = &["$LIB"];
        let (to_the_letter, folders) = if class == 64 {
            (TO_THE_LETTER, self.of_64_bit)
        } else {
            (&[][..], self.of_32_bit)
        };
        to_the_letter
            .iter()
            .chain(folders)
            .map(|folder| Path::new(self.name).join(folder).join(NAME))
    }
}

/// Where the library for programs of this class is put below a folder, alone or beside one for
/// another class.
pub(crate) fn files(class: u8, alone: bool) -> Vec<PathBuf> {
    if alone {
        return vec![NAME.into()];
    }
    TREES.iter().flat_map(|tree| tree.files(class)).collect()
}

/// The entries of LD_PRELOAD for what [`files`] has put below the folder, the best first.
pub(crate) fn preload_paths(folder: &Path, class: u8, alone: bool) -> Vec<PreloadPath> {
    if alone {
        return vec![PreloadPath::plain(folder.join(NAME))];
    }
    let below = |file| folder.join(file);
    let by_tree = TREES.iter().map(|tree| PreloadPath {
        preload: below(Path::new(tree.name).join("$LIB").join(NAME)),
        files: tree.files(class).map(below).collect(),
    });
    let by_path = TREES
        .iter()
        .flat_map(|tree| tree.files(class))
        .last()
        .map(|file| PreloadPath::plain(below(file)));
    by_tree.chain(by_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_both_libraries_by_one_path_where_the_dynamic_linkers_do() {
        for (of_64_bit, of_32_bit, common) in [
            (
                "/usr/lib/x86_64-linux-gnu/libreuse.so",
                "/usr/lib/i386-linux-gnu/libreuse.so",
                Some("/usr/$LIB/libreuse.so"),
            ),
            (
                "/usr/lib64/libreuse.so",
                "/usr/lib/libreuse.so",
                Some("/usr/$LIB/libreuse.so"),
            ),
            (
                "/opt/lib/libreuse.so",
                "/opt/lib32/libreuse.so",
                Some("/opt/$LIB/libreuse.so"),
            ),
            (
                "/usr/lib/x86_64-linux-gnu/libreuse.so",
                "/usr/lib32/libreuse.so",
                Some("/usr/$LIB/libreuse.so"),
            ),
            ("/usr/lib64/libreuse.so", "/usr/local/lib/libreuse.so", None),
            ("/usr/bin/libreuse.so", "/usr/lib32/libreuse.so", None),
        ] {
            assert_eq!(
                common_preload_path(Path::new(of_64_bit), Path::new(of_32_bit)),
                common.map(PathBuf::from)
            );
        }
    }

    /// Each pair of dynamic linkers finds both kinds by one path, and by no earlier one a
    /// library of the other kind.
    #[test]
    fn puts_both_kinds_where_every_system_looks() {
        for (of_64_bit, of_32_bit) in [
            ("lib/x86_64-linux-gnu", "lib/i386-linux-gnu"),
            ("lib/x86_64-linux-gnu", "lib32"),
            ("lib64", "lib"),
            ("lib", "lib32"),
        ] {
            // The first tree in which a linker finds its own kind where its `$LIB` leads.
            let taken = |class: u8, lib: &str| {
                preload_paths(Path::new("/x"), class, false)
                    .into_iter()
                    .find(|preload_path| {
                        let expanded = preload_path.preload.display().to_string();
                        let expanded = PathBuf::from(expanded.replace("$LIB", lib));
                        preload_path.files.contains(&expanded)
                    })
                    .expect("a path")
                    .preload
            };
            assert!(taken(64, of_64_bit).to_string_lossy().contains("$LIB"));
            assert_eq!(
                taken(64, of_64_bit),
                taken(32, of_32_bit),
                "{of_64_bit} {of_32_bit}"
            );
        }
        // A program for musl finds it by the same path.
        for preload_path in preload_paths(Path::new("/x"), 64, false) {
            assert!(
                preload_path.files.contains(&preload_path.preload),
                "{preload_path:?}"
            );
        }
        let both = |class| files(class, false);
        assert!(both(64).iter().all(|file| !both(32).contains(file)));
    }
}
