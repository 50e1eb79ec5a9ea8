//! The memory of a map (mmap(2)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU32;

/// The memory of a map, as 32-bit numbers that others change too.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<AtomicU32>,
    length: usize,
}

impl Shared {
    /// Maps so many bytes, from this one on; both are multiples of a page.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        offset: u32,
        length: usize,
        writable: bool,
    ) -> io::Result<Self> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: the kernel chooses a place where nothing is.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                libc::off_t::from(i32::try_from(offset).unwrap_or(i32::MAX)),
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// The numbers.
    pub(crate) fn words(&self) -> &[AtomicU32] {
        // SAFETY: as many bytes are mapped, on a page's boundary, until this is dropped; whoever
        // else writes them does so in whole words. What is mapped to be read alone is only loaded
        // from: a store would end the process, and do no other harm.
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr(), self.length / size_of::<AtomicU32>())
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
