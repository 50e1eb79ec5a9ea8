//! Reads the text files of a process or thread (proc(5)).

use procfs::ProcResult;
use procfs::prelude::FromRead;
use procfs::process::{MemoryMaps, Process, Status};
use std::fs;
use std::io::Read;

/// A file of a process or thread, with U+FFFD for what is not UTF-8: the paths in it may not be,
/// nor its name, which the kernel cuts after 15 bytes, in the middle of a letter or not.
pub(crate) fn text(process: impl std::fmt::Display, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{process}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The status file of a process, or of `self`. [`Process::status`] reads none with such a name.
pub(crate) fn status(process: impl std::fmt::Display) -> Option<Status> {
    Status::from_read(text(process, "status")?.as_bytes()).ok()
}

/// Its memory map. [`Process::maps`] reads none with such a path.
pub(crate) fn maps(process: &Process) -> ProcResult<MemoryMaps> {
    let mut bytes = Vec::new();
    process.open_relative("maps")?.read_to_end(&mut bytes)?;
    MemoryMaps::from_read(String::from_utf8_lossy(&bytes).as_bytes())
}
