//! The calling thread's `errno`, which belongs to the program.

use core::ffi::c_int;

/// The calling thread's `errno`.
#[inline(always)]
pub(crate) fn get() -> c_int {
    // SAFETY: glibc's __errno_location takes nothing and is valid in every thread (errno(3)).
    let location = unsafe { libc::__errno_location() };
    // SAFETY: it returns the address of the calling thread's own errno, which nobody else writes
    // to.
    unsafe { location.read() }
}

/// Sets the calling thread's `errno`.
#[inline(always)]
pub(crate) fn set(value: c_int) {
    // SAFETY: as in `get`.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: as in `get`.
    unsafe { location.write(value) }
}

/// Runs something of ours, and leaves `errno` as it was.
#[inline(always)]
pub(crate) fn kept<T>(ours: impl FnOnce() -> T) -> T {
    let before = get();
    let result = ours();
    set(before);
    result
}
