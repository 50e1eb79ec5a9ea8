//! The library as it is installed: found, looked at, and named so that LD_PRELOAD can carry it.

use super::elf::{Elf, HOOKED};
use crate::output::{self, list, readable};
use anyhow::{Result, bail};
use rustix::fs::{Access, access};
use std::env;
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) const NAME: &str = "libreuse.so";

/// The library as it is installed for one kind of program, found and looked at.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) path: PathBuf,
    pub(crate) elf: Elf,
}

/// The library for each kind of program that it is installed for.
#[derive(Debug)]
pub(crate) struct Libraries {
    /// The one for this command's own kind, if there is one.
    pub(crate) first: Library,
    others: Vec<Library>,
    /// Why files of that name were left aside.
    complaints: Vec<String>,
}

/// What glibc's dynamic linkers put in the place of `$LIB`, for 64-bit and for 32-bit programs: on Debian, on Red Hat
/// and SUSE, on Arch. Debian's libc6-i386 has it as on Arch.
const LIB_WIDE: [&str; 3] = ["lib/x86_64-linux-gnu", "lib64", "lib"];
const LIB_NARROW: [&str; 3] = ["lib/i386-linux-gnu", "lib", "lib32"];

impl Libraries {
    /// Takes the given library alone, or looks for it beside this command, in `../lib` and where the system has libraries.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Ok(Self {
                first: Library::at(std::path::absolute(path)?)?,
                others: Vec::new(),
                complaints: Vec::new(),
            });
        }
        let places = places();
        let mut found: Vec<Library> = Vec::new();
        let mut complaints = Vec::new();
        for path in places.iter().filter(|path| path.is_file()) {
            match Library::at(path.clone()) {
                Ok(library) if found.iter().any(|other| other.elf.fits(&library.elf)) => {}
                Ok(library) => {
                    // What lies before it was meant to be taken. Elsewhere others may have a library of this name too.
                    if found.is_empty() {
                        for complaint in &complaints {
                            output::warn(&format!("{complaint}. {} is taken", path.display()));
                        }
                    }
                    found.push(library);
                }
                Err(error) => complaints.push(format!("{error:#}")),
            }
        }
        if found.is_empty() && complaints.is_empty() {
            let places: Vec<String> = places
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!(
                "{NAME} is not installed: it is none of {}. Install it beside this command or in ../lib, or say where it \
                 is with --library PATH",
                places.join(", ")
            );
        }
        found.sort_by_key(|library| u32::from(library.elf.class) != usize::BITS);
        let mut found = found.into_iter();
        let Some(first) = found.next() else {
            bail!("{}", complaints.join("\n"));
        };
        Ok(Self {
            first,
            others: found.collect(),
            complaints,
        })
    }

    fn all(&self) -> impl Iterator<Item = &Library> {
        iter::once(&self.first).chain(&self.others)
    }

    /// The one that the dynamic linker takes into a program of this kind.
    pub(crate) fn fitting(&self, program: &Elf) -> Option<&Library> {
        self.all().find(|library| library.elf.fits(program))
    }

    /// The width and machine of the programs that it is there for.
    pub(crate) fn kinds(&self) -> Vec<(u8, String)> {
        self.all()
            .map(|library| (library.elf.class, library.elf.machine.clone()))
            .collect()
    }

    /// What there is, in words: `64-bit x86-64 (/usr/lib/libreuse.so)`; and what was left aside.
    pub(crate) fn described(&self) -> String {
        let kinds: Vec<String> = self
            .all()
            .map(|library| format!("{} ({})", library.elf.kind(), library.path.display()))
            .collect();
        let aside = self
            .complaints
            .iter()
            .map(|complaint| format!("; {complaint}"));
        list(&kinds) + &aside.collect::<String>()
    }

    /// How LD_PRELOAD may name one of them, the best way first: by a path in which each dynamic linker finds the one for
    /// its own kind, since the program may start others of another kind; and by its own.
    pub(crate) fn spellings(&self, library: &Library) -> Vec<PathBuf> {
        let common = self
            .all()
            .filter(|other| other.elf.class != library.elf.class)
            .find_map(|other| common_spelling(library, other));
        common
            .into_iter()
            .chain(iter::once(library.path.clone()))
            .collect()
    }
}

/// `/usr/$LIB/libreuse.so` for the libraries of 64-bit and 32-bit programs that are where `$LIB` leads.
fn common_spelling(one: &Library, other: &Library) -> Option<PathBuf> {
    let (wide, narrow) = if one.elf.class == 64 {
        (one, other)
    } else {
        (other, one)
    };
    let prefix = above(&wide.path, &LIB_WIDE)?;
    (above(&narrow.path, &LIB_NARROW)? == prefix).then(|| prefix.join("$LIB").join(NAME))
}

/// The folder from which one of these leads to the library's.
fn above<'a>(library: &'a Path, below: &[&str]) -> Option<&'a Path> {
    let folder = library.parent()?;
    let below = below.iter().find(|below| folder.ends_with(below))?;
    folder
        .ancestors()
        .nth(Path::new(below).components().count())
}

impl Library {
    fn at(path: PathBuf) -> Result<Self> {
        let bytes = path.as_os_str().as_bytes();
        let shown = readable(bytes);
        // ld.so(8): entries are separated by spaces or colons, nothing escapes either, and $ORIGIN and the like expand.
        if let Some(&byte) = bytes
            .iter()
            .find(|byte| b" :$".contains(byte) || byte.is_ascii_control())
        {
            let what = match byte {
                b' ' => "a space".into(),
                b':' => "a colon".into(),
                b'$' => "a dollar sign".into(),
                other => format!("the byte {other:#04x}"),
            };
            bail!(
                "LD_PRELOAD can't carry {shown}: there is {what} in the path. Put {NAME} somewhere else"
            );
        }
        if access(&path, Access::READ_OK).is_err() {
            bail!(
                "{shown} can't be read, so the dynamic linker would leave it out. Check the path and its permissions"
            );
        }
        match Elf::read(&path)? {
            Some(elf) if HOOKED.iter().all(|name| elf.exports.contains(name)) => {
                Ok(Self { path, elf })
            }
            _ => bail!(
                "{shown} is not {NAME}: it does not interpose {}",
                HOOKED.join(", ")
            ),
        }
    }
}

fn places() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(command) = env::current_exe() {
        if let Some(folder) = command.parent() {
            folders.push(folder.to_owned());
            if let Some(above) = folder.parent() {
                folders
                    .extend(["lib", "lib/libreuse", "lib64", "lib32"].map(|name| above.join(name)));
                folders.extend(multiarch().map(|name| above.join("lib").join(name)));
            }
        }
    }
    for folder in [
        "/usr/local/lib",
        "/usr/lib",
        "/usr/lib64",
        "/usr/lib32",
        "/lib",
    ] {
        folders.push(PathBuf::from(folder));
        folders.extend(multiarch().map(|name| Path::new(folder).join(name)));
    }
    let mut places: Vec<PathBuf> = Vec::new();
    for place in folders.into_iter().map(|folder| folder.join(NAME)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Debian's names for this kind of machine, and for the 32-bit programs that it may run.
fn multiarch() -> impl Iterator<Item = String> {
    let own = format!("{}-linux-gnu", env::consts::ARCH);
    let narrow = (env::consts::ARCH == "x86_64").then(|| "i386-linux-gnu".to_owned());
    iter::once(own).chain(narrow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn library(class: u8, path: &str) -> Library {
        Library {
            path: path.into(),
            elf: Elf {
                class,
                machine: if class == 64 { "x86-64" } else { "i386" }.into(),
                interpreter: None,
                go: false,
                imports: BTreeSet::new(),
                exports: BTreeSet::new(),
            },
        }
    }

    #[test]
    fn spells_both_libraries_by_one_path_where_the_dynamic_linkers_do() {
        for (wide, narrow, common) in [
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
            let libraries = Libraries {
                first: library(64, wide),
                others: vec![library(32, narrow)],
                complaints: Vec::new(),
            };
            for build in libraries.all() {
                let expected: Vec<_> = common
                    .map(PathBuf::from)
                    .into_iter()
                    .chain([build.path.clone()])
                    .collect();
                assert_eq!(libraries.spellings(build), expected);
            }
        }
    }
}
