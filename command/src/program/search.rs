//! Finds programs (PATH), and their names.

use rustix::fs::{Access, access};
use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Finds a program as `execvp` does: a name with a slash is a path, any other is searched for in
/// `PATH`.
///
/// # Errors
///
/// `NotFound` if there is no such file, `PermissionDenied` if there is but it can't be executed.
pub(crate) fn find_program(name: &OsStr) -> io::Result<PathBuf> {
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

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default()
        .into_owned()
}
