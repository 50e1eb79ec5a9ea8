//! Reads a process's status and memory map (proc(5)) also where a name or path in it is not UTF-8,
//! for which procfs fails: the kernel cuts a name after 15 bytes, in the middle of a letter or not.

use crate::sys::proc;
use procfs::ProcResult;
use procfs::prelude::FromRead;
use procfs::process::{MemoryMaps, Process, Status};
use std::io::Read;

/// The status of a process or thread, which is a number or `self`.
pub(crate) fn status(process: impl std::fmt::Display) -> Option<Status> {
    let text = proc::text(format!("/proc/{process}/status")).ok()?;
    Status::from_read(text.as_bytes()).ok()
}

/// The bit of a signal in the sets of a status: `SigBlk`, `SigIgn` and the like.
pub(crate) fn signal_bit(signal: i32) -> u64 {
    u32::try_from(signal - 1).map_or(0, |place| 1_u64.checked_shl(place).unwrap_or(0))
}

/// The memory map of a process.
pub(crate) fn maps(process: &Process) -> ProcResult<MemoryMaps> {
    let mut bytes = Vec::new();
    process.open_relative("maps")?.read_to_end(&mut bytes)?;
    MemoryMaps::from_read(String::from_utf8_lossy(&bytes).as_bytes())
}
