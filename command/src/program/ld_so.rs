//! The dynamic linker's own answer: whether it takes the library into a program, and what else it
//! loads.

use super::finding::{Note, Problem, Reach};
use super::report::Report;
use crate::library::elf::Elf;
use crate::library::instructions;
use crate::library::layout::PreloadPath;
use crate::output::readable;
use crate::program::search::file_name;
use log::debug;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Lets the dynamic linker load everything and start nothing, as ldd does: whether it takes the
/// library is its own answer, and so is what else it loads.
pub(super) fn dry_run(
    path: &Path,
    elf: &Elf,
    interpreter: &Path,
    preload_paths: &[PreloadPath],
    report: &mut Report,
) {
    let mut files = vec![(path.to_owned(), Calls::of(elf))];
    // The file says itself which linker is to be run; only root's is.
    if interpreter
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0)
    {
        let mut why = None;
        for preload_path in preload_paths {
            // A system-wide entry may be a name that the dynamic linker searches for.
            let is_ours = |file: &PathBuf| {
                preload_path.files.contains(file) || is_searched_for(preload_path, file)
            };
            match list_loaded(interpreter, path, &preload_path.preload) {
                Ok((loaded, _)) if loaded.iter().any(is_ours) => {
                    report.preload = Some(preload_path.preload.clone());
                    report.library = loaded.iter().find(|file| is_ours(file)).cloned();
                    let others = loaded
                        .into_iter()
                        .filter(|file| !is_ours(file) && !is_libc(file));
                    files.extend(others.filter_map(|file| {
                        let calls = Calls::of(&Elf::read(&file).ok()??);
                        Some((file, calls))
                    }));
                    break;
                }
                Ok((_, complaint)) => {
                    why = Some(Problem::LeftOut { complaint });
                }
                Err(error) => {
                    why = Some(Problem::LinkerFails {
                        linker: interpreter.to_owned(),
                        error: error.to_string(),
                    });
                }
            }
        }
        if let Some(why) = why.filter(|_| report.preload.is_none()) {
            report.add(why);
        }
    } else if let Some(by_path) = preload_paths.last() {
        report.preload = Some(by_path.preload.clone());
    }
    report.reach = reach(&files);
    for (file, calls) in &files {
        for name in &calls.hooked {
            report
                .imports
                .entry(name)
                .or_default()
                .push(file.display().to_string());
        }
    }
    describe_imports(report);
}

/// The functions that a file imports.
struct Calls {
    hooked: BTreeSet<&'static str>,
    loads: bool,
    starts: bool,
}

impl Calls {
    fn of(elf: &Elf) -> Self {
        Self {
            hooked: elf.imports.clone(),
            loads: elf.loads,
            starts: elf.starts,
        }
    }
}

/// Libraries that call `bind` for themselves, whatever program loads them: for netlink, D-Bus, X11,
/// the name service, self-tests.
const INCIDENTAL: [&str; 17] = [
    "libICE.",
    "libX11.",
    "libasound.",
    "libavahi-",
    "libcap-ng.",
    "libcrypto.",
    "libcurl",
    "libdbus-1.",
    "libgio-2.0.",
    "libkrb5",
    "libldap",
    "libnl-",
    "libnss",
    "libpulse",
    "libselinux.",
    "libsystemd.",
    "libxcb.",
];

/// Decides how the program reaches `bind`. Its own file is the first, and those of the libraries
/// that it loads at start follow.
fn reach(files: &[(PathBuf, Calls)]) -> Reach {
    let incidental = |file: &PathBuf| {
        let name = file_name(file);
        INCIDENTAL.iter().any(|begin| name.starts_with(begin))
    };
    let callers: Vec<&PathBuf> = files
        .iter()
        .filter(|(_, calls)| calls.hooked.contains("bind"))
        .map(|(file, _)| file)
        .collect();
    if callers.iter().any(|file| !incidental(file)) {
        Reach::Calls
    } else if let Some(file) = callers.first() {
        Reach::ByLibrary(file_name(file))
    } else if files.iter().any(|(_, calls)| calls.loads) {
        let is_program = |(file, _): &&(PathBuf, Calls)| instructions::serves_by_itself(file);
        if files.first().as_ref().is_some_and(is_program) {
            Reach::ByItself
        } else {
            Reach::ByLoading
        }
    } else if files.iter().any(|(_, calls)| calls.starts) {
        Reach::ByStarting
    } else {
        Reach::InNoWay
    }
}

fn is_searched_for(preload_path: &PreloadPath, file: &Path) -> bool {
    preload_path.preload.is_relative() && file.file_name() == preload_path.preload.file_name()
}

/// The files that the dynamic linker would load with this LD_PRELOAD, and what it complains of.
fn list_loaded(
    interpreter: &Path,
    program: &Path,
    preload: &Path,
) -> io::Result<(Vec<PathBuf>, String)> {
    let listing = Command::new(interpreter)
        .arg("--list")
        // The file itself, since $ORIGIN is its folder and not that of a link to it.
        .arg(
            program
                .canonicalize()
                .unwrap_or_else(|_| program.to_owned()),
        )
        .env("LD_PRELOAD", preload)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    let loaded = loaded(&listing.stdout);
    debug!(
        "{} --list with {}: {loaded:?}",
        interpreter.display(),
        preload.display()
    );
    Ok((loaded, readable(listing.stderr.trim_ascii())))
}

fn describe_imports(report: &mut Report) {
    if !report.imports.contains_key("bind") {
        report.add(Note::NoBind(report.reach.clone()));
        return;
    }
    let names = report.imports.keys().map(|name| (*name).to_owned());
    let calls = Note::Calls(names.collect());
    report.add(calls);
    report.add(if report.imports.contains_key("setsockopt") {
        Note::MaySetOption
    } else {
        Note::NeverSetsOption
    });
}

/// The files in the output of `ld.so --list`: `name => path (address)` or `path (address)`.
fn loaded(listing: &[u8]) -> Vec<PathBuf> {
    listing
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let line = line.trim_ascii();
            let end = line.windows(4).rposition(|window| window == b" (0x")?;
            let line = line.get(..end)?;
            let path = match line.windows(4).position(|window| window == b" => ") {
                Some(arrow) => line.get(arrow + 4..)?,
                None => line,
            };
            path.starts_with(b"/")
                .then(|| PathBuf::from(OsStr::from_bytes(path)))
        })
        .collect()
}

/// Whether a file is a part of libc, which calls these functions for itself, past us.
fn is_libc(file: &Path) -> bool {
    let name = file_name(file);
    [
        "libc.so",
        "libc-",
        "ld-linux",
        "ld-musl",
        "libpthread",
        "libresolv",
        "libnss",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_dynamic_linker_lists() {
        let listing = b"\tlinux-vdso.so.1 (0x00007ffd)\n\t/opt/a b/libreuse.so (0x00007f)\n\
                        \tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\tlibx.so => not \
                        found\n\t/lib64/ld-linux-x86-64.so.2 (0x1)\n";
        let paths: Vec<String> = loaded(listing)
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "/opt/a b/libreuse.so",
                "/lib/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }
}
