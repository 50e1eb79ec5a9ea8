//! mmap(2), to ask whether the kernel maps a file as code.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Whether the kernel maps a file as code.
pub(crate) fn maps_as_code(file: BorrowedFd<'_>) -> bool {
    /// The least there is to map.
    const LENGTH: usize = 1;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    let descriptor = file.as_raw_fd();
    // SAFETY: the kernel chooses the place, where nothing else is, and nobody looks at what it maps
    // there.
    let place = unsafe {
        libc::mmap(
            ptr::null_mut(),
            LENGTH,
            protection,
            libc::MAP_PRIVATE,
            descriptor,
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: it was mapped just now, with this length, and no pointer into it is left.
    unsafe { libc::munmap(place, LENGTH) };
    true
}
