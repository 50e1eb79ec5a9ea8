//! Where things are: the library to preload, and programs by their names.

use super::elf::{Elf, HOOKED};
use super::output::readable;
use anyhow::{Result, bail};
use log::debug;
use rustix::fs::{Access, access};
use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const NAME: &str = "libreuse.so";

/// The library, found and looked at.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) elf: Elf,
}

impl Library {
    /// Takes the given library, or looks for it beside this command, in `../lib` and where the system has libraries.
    pub(super) fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(path) = given {
            return Self::at(std::path::absolute(path)?);
        }
        let places = places();
        let Some(path) = places.iter().find(|path| path.is_file()) else {
            let places: Vec<String> = places
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            bail!(
                "{NAME} is not installed: it is none of {}. Install it beside this command or in ../lib, or say where it \
                 is with --library PATH",
                places.join(", ")
            );
        };
        debug!("the library is {}", path.display());
        Self::at(path.clone())
    }

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
                folders.extend(["lib", "lib/libreuse", "lib64"].map(|name| above.join(name)));
                folders.push(above.join("lib").join(multiarch()));
            }
        }
    }
    for folder in ["/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib"] {
        folders.push(PathBuf::from(folder));
        folders.push(Path::new(folder).join(multiarch()));
    }
    let mut places: Vec<PathBuf> = Vec::new();
    for place in folders.into_iter().map(|folder| folder.join(NAME)) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Debian's name for this kind of machine.
fn multiarch() -> String {
    format!("{}-linux-gnu", env::consts::ARCH)
}

/// Finds a program as `execvp` does: a name with a slash is a path, any other is searched for in `PATH`.
///
/// # Errors
///
/// `NotFound` if there is no such file, `PermissionDenied` if there is but it can't be executed.
pub(super) fn find_program(name: &OsStr) -> io::Result<PathBuf> {
    if name.is_empty() {
        return Err(ErrorKind::NotFound.into());
    }
    if name.as_bytes().contains(&b'/') {
        return executable(PathBuf::from(name));
    }
    // What execvp(3) searches where PATH is not set.
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let mut failure = ErrorKind::NotFound;
    for folder in env::split_paths(&path) {
        let folder = if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        };
        match executable(folder.join(name)) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => failure = error.kind(),
            Err(_) => {}
        }
    }
    Err(failure.into())
}

fn executable(path: PathBuf) -> io::Result<PathBuf> {
    let metadata = path.metadata()?;
    if metadata.is_file() && access(&path, Access::EXEC_OK).is_ok() {
        Ok(path)
    } else {
        Err(ErrorKind::PermissionDenied.into())
    }
}
