//! Names for maps and programs, in a file system of type bpf.

use super::attributes::{Attributes, Command};
use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Gives a map or program a name in a file system of type bpf.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attributes::new()
        .text(0, &path)
        .fd(8, object)
        .call(Command::Pin)
        .map(drop)
}

/// Opens what has such a name.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attributes::new().text(0, &path).open(Command::OpenPinned)
}
