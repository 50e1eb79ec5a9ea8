//! Which file a descriptor stands for: the program may close one at any time, and its number then be another file's.

use core::ffi::{CStr, c_int};
use core::mem::MaybeUninit;

/// What tells a file from every other one.
#[derive(Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// When it was made; 0 where the file system does not tell. The next file may well have the number of one that was
    /// removed: ext4 gives it out again at once.
    pub(crate) birth: u64,
    /// Its kind, such as `S_IFSOCK` (inode(7)).
    pub(crate) format: u32,
}

/// The file that a descriptor stands for; `None` if it stands for none.
pub(crate) fn identify(fd: c_int) -> Option<Identity> {
    identify_with_birth(fd).or_else(|| identify_without_birth(fd))
}

fn identify_with_birth(fd: c_int) -> Option<Identity> {
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the kernel reads an empty C string and writes one statx, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_TYPE | libc::STATX_INO | libc::STATX_BTIME,
            status.as_mut_ptr(),
        )
    };
    // SAFETY: all zeroes is a statx, and so is what the kernel writes.
    let status = unsafe { status.assume_init() };
    let seconds = status.stx_btime.tv_sec.unsigned_abs();
    (result == 0).then_some(Identity {
        device: u64::from(status.stx_dev_major) << 32 | u64::from(status.stx_dev_minor),
        inode: status.stx_ino,
        birth: seconds << 30 | u64::from(status.stx_btime.tv_nsec),
        format: u32::from(status.stx_mode) & libc::S_IFMT,
    })
}

/// For Linux before 4.11, which has no statx, and for sandboxes that refuse it.
fn identify_without_birth(fd: c_int) -> Option<Identity> {
    #[cfg(target_pointer_width = "64")]
    const FSTAT: libc::c_long = libc::SYS_fstat;
    // The one that fills libc::stat64.
    #[cfg(target_pointer_width = "32")]
    const FSTAT: libc::c_long = libc::SYS_fstat64;

    let mut status = MaybeUninit::<libc::stat64>::zeroed();
    // Not libc's function: glibc before 2.33 has none of that name.
    // SAFETY: the kernel writes one stat64, which outlives the call.
    let result = unsafe { libc::syscall(FSTAT, fd, status.as_mut_ptr()) };
    // SAFETY: all zeroes is a stat64, and so is what the kernel writes.
    let status = unsafe { status.assume_init() };
    (result == 0).then_some(Identity {
        device: status.st_dev,
        inode: status.st_ino,
        birth: 0,
        format: status.st_mode & libc::S_IFMT,
    })
}

/// Reads the beginning of a file, as much as there is room for; returns how much that is, 0 if it can't be read.
pub(crate) fn read_begin(path: &CStr, room: &mut [u8]) -> usize {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: the path is a C string and outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
    if fd < 0 {
        return 0;
    }
    // SAFETY: the kernel writes at most as many bytes as there is room for.
    let length = unsafe { libc::syscall(libc::SYS_read, fd, room.as_mut_ptr(), room.len()) };
    // SAFETY: the descriptor is ours, as has just been seen.
    unsafe { libc::syscall(libc::SYS_close, fd) };
    usize::try_from(length).unwrap_or(0)
}
