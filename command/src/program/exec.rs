//! Becoming a program.

use crate::sys::exec;
use log::debug;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Becomes the program, found at this path. Returns only if that fails.
pub(crate) fn become_it(
    path: &Path,
    arguments: &[OsString],
    environment: &[OsString],
) -> io::Error {
    match try_to(path, arguments, environment) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_to(path: &Path, arguments: &[OsString], environment: &[OsString]) -> io::Result<Infallible> {
    let path_bytes = CString::new(path.as_os_str().as_bytes())?;
    let mut arguments: Vec<CString> = arguments
        .iter()
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<_, _>>()?;
    let environment: Vec<CString> = environment
        .iter()
        .map(|entry| CString::new(entry.as_bytes()))
        .collect::<Result<_, _>>()?;
    debug!("exec {}", path.display());
    let error = exec::exec(&path_bytes, &arguments, &environment);
    if error.raw_os_error() != Some(libc::ENOEXEC) {
        return Err(error);
    }
    // A script without a first line that says so: /bin/sh runs it, as execvp(3) and every shell
    // have it.
    if let Some(name) = arguments.first_mut() {
        *name = path_bytes;
    }
    arguments.insert(0, c"/bin/sh".into());
    Err(exec::exec(c"/bin/sh", &arguments, &environment))
}
