//! Finds the installed library.

use super::elf::{Elf, HOOKED};
use super::layout::{NAME, invalid_in_preload};
use crate::output::readable;
use anyhow::{Result, bail};
use log::trace;
use rustix::fs::{Access, access};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, fs, iter};

/// A file that was found and looked at.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) path: PathBuf,
    pub(super) elf: Elf,
}

impl Installed {
    /// Looks at a file.
    pub(super) fn at(path: PathBuf) -> Result<Self> {
        let shown = readable(path.as_os_str().as_bytes());
        if let Some(what) = invalid_in_preload(&path) {
            bail!(
                "LD_PRELOAD can't carry {shown}: there is {what} in the path. Put {NAME} somewhere \
                 else"
            );
        }
        if access(&path, Access::READ_OK).is_err() {
            bail!(
                "{shown} can't be read, so the dynamic linker would ignore it. Check the path \
                 and its permissions"
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

    /// Its version in words.
    pub(super) fn version(&self) -> String {
        match &self.elf.version {
            Some(version) => format!("is of version {version}"),
            None => "names no version".into(),
        }
    }
}

/// Reads every file of the library's name in [`places`], in their order.
pub(super) fn search() -> Vec<Result<Installed>> {
    let is_there = |path: &PathBuf| {
        let is_there = path.is_file();
        trace!(
            "{}: {}",
            path.display(),
            if is_there { "found" } else { "not there" }
        );
        is_there
    };
    let places = places().into_iter().filter(is_there);
    places.map(Installed::at).collect()
}

/// The paths to look at: beside this command, in `../lib`, and in the system's library folders.
pub(super) fn places() -> Vec<PathBuf> {
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
        // Most systems have one folder for both.
        if folder == "/lib" && fs::read_link(folder).is_ok_and(|to| to.ends_with("usr/lib")) {
            continue;
        }
        folders.push(PathBuf::from(folder));
        // lib64 and lib32 are of systems that have no folders for each machine, and each is looked
        // for at every start.
        if folder.ends_with("/lib") {
            folders.extend(multiarch().map(|name| Path::new(folder).join(name)));
        }
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
