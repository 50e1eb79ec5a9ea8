//! Installs the embedded libraries into an existing folder: one where the dynamic linker looks for
//! every program, or a named one.

use super::embedded::{self, Embedded};
use super::installed::Installed;
use super::layout::{NAME, lib_of};
use crate::sys::replace::replace;
use anyhow::{Context, Result, bail};
use std::env::consts::ARCH;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const FOR_ALL_TO_READ: u32 = 0o644;
/// With the set-user-ID bit: without it the dynamic linker preloads no library into programs with
/// more privileges than their caller (ld.so(8), LD_PRELOAD). On a library it has no other meaning.
const FOR_SECURE_PROGRAMS: u32 = 0o4644;

/// Installs the library for this command's own kind of program into a folder, and returns the file.
pub(crate) fn into_folder(folder: &Path) -> Result<PathBuf> {
    let library = embedded::all()
        .find(|(_, elf)| elf.class == 64)
        .map(|(library, _)| library)
        .context("this command carries no library for 64-bit programs")?;
    let file = folder.join(NAME);
    write(&file, library.bytes, FOR_ALL_TO_READ)?;
    Ok(file)
}

/// Installs the libraries where this machine's dynamic linkers look, with the set-user-ID bit if
/// asked for, and returns the files.
pub(crate) fn for_all_programs(secure: bool) -> Result<Vec<PathBuf>> {
    let mode = if secure {
        FOR_SECURE_PROGRAMS
    } else {
        FOR_ALL_TO_READ
    };
    let mut files = Vec::new();
    for (file, library) in searched() {
        if is_there(&file, library)? {
            let had = fs::metadata(&file)?.permissions().mode() & 0o7777;
            // A bit that was asked for before stays.
            if secure || had & 0o4000 == 0 {
                fs::set_permissions(&file, Permissions::from_mode(mode))
                    .with_context(|| format!("{} can't be changed", file.display()))?;
            }
        } else {
            write(&file, library.bytes, mode)?;
        }
        files.push(file);
    }
    if files.is_empty() {
        bail!(
            "the dynamic linkers of this machine are not where any distribution has them; name a \
             folder: `reuseaddr install FOLDER`"
        );
    }
    Ok(files)
}

/// Removes them from there, and returns those that were there.
pub(crate) fn remove_from_all_programs() -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for (file, _) in searched() {
        if file.exists() {
            Installed::at(file.clone())?;
            fs::remove_file(&file)
                .with_context(|| format!("{} can't be removed", file.display()))?;
            removed.push(file);
        }
    }
    Ok(removed)
}

/// The embedded libraries that fit this machine's dynamic linkers, each with the default path of
/// its linker.
fn searched() -> Vec<(PathBuf, Embedded)> {
    embedded::all()
        .filter_map(|(library, elf)| Some((folder_for(elf.class)?.join(NAME), library)))
        .collect()
}

/// The folder below /usr in which the dynamic linker for programs of this class looks: glibc's
/// looks in the one that it is in itself, and musl's in /usr/lib.
fn folder_for(class: u8) -> Option<PathBuf> {
    let [glibc, musl] = match (ARCH, class) {
        ("x86_64", 64) => ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"],
        ("x86_64", 32) => ["/lib/ld-linux.so.2", "/lib/ld-musl-i386.so.1"],
        ("aarch64", 64) => ["/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"],
        _ => return None,
    };
    if let Ok(linker) = fs::canonicalize(glibc) {
        return Some(Path::new("/usr").join(lib_of(&linker)?));
    }
    Path::new(musl).exists().then(|| PathBuf::from("/usr/lib"))
}

/// Whether this very library is there already. One of another version is for its own installer to
/// update.
fn is_there(file: &Path, library: Embedded) -> Result<bool> {
    match fs::read(file) {
        Ok(found) if found == library.bytes => Ok(true),
        Ok(_) => bail!(
            "{} is there and {}, and this command is of version {}: update or remove it by what \
             installed it",
            file.display(),
            Installed::at(file.to_owned())?.version(),
            env!("CARGO_PKG_VERSION")
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("{} can't be read", file.display())),
    }
}

fn write(file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    replace(file, bytes, mode).with_context(|| format!("{} can't be written", file.display()))
}
