//! Pins maps and programs in a bpf file system (BPF_OBJ_PIN in bpf(2)).

use super::attributes::{Attributes, Command};
use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Pins a map or program at a path.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attributes::new()
        .text(0, &path)
        .fd(8, object)
        .call(Command::Pin)
        .map(drop)
}

/// Opens a pinned map or program.
pub(crate) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Attributes::new().text(0, &path).open(Command::OpenPinned)
}
