//! Whether two threads share their descriptors (kcmp(2)).

use std::ffi::c_int;

/// Whether two threads have one table of descriptors; `None` if that can't be known.
pub(crate) fn share_descriptors(one: i32, other: i32) -> Option<bool> {
    /// From include/uapi/linux/kcmp.h.
    const KCMP_FILES: c_int = 2;
    // SAFETY: kcmp takes numbers alone, and changes nothing.
    match unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) } {
        0 => Some(true),
        1.. => Some(false),
        _ => None,
    }
}
