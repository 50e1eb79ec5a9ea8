//! Programs at tracepoints, which see what happens on the whole machine.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_uint};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A tracepoint's program, by its number in tracefs (perf_event_open(2)), on one processor and
/// whatever runs there.
pub(crate) fn open_tracepoint(id: u64, processor: c_uint) -> io::Result<OwnedFd> {
    // struct perf_event_attr: type, size, config.
    const TRACEPOINT: u32 = 2;
    // PERF_FLAG_FD_CLOEXEC
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    let mut attributes = [0_u8; 64];
    attributes[0..4].copy_from_slice(&TRACEPOINT.to_ne_bytes());
    attributes[4..8].copy_from_slice(&64_u32.to_ne_bytes());
    attributes[8..16].copy_from_slice(&id.to_ne_bytes());
    let whoever = -1_i32;
    let no_group = -1_i32;
    // SAFETY: the kernel reads as many bytes as the structure says that it has.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            whoever,
            processor,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    let fd = c_int::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has a program run whenever an event happens (`PERF_EVENT_IOC_SET_BPF`).
pub(crate) fn set_program(event: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const SET_BPF: libc::Ioctl = 0x4004_2408_u32 as libc::Ioctl;
    const ENABLE: libc::Ioctl = 0x2400;
    // SAFETY: the argument is a number.
    let set = unsafe { libc::ioctl(event.as_raw_fd(), SET_BPF, program.as_raw_fd()) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the same.
    let enabled = unsafe { libc::ioctl(event.as_raw_fd(), ENABLE, 0) };
    if enabled != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
