//! Which file a descriptor stands for: the program may close one at any time, and its number then
//! be another file's.

use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;

/// What tells a file from every other one that is there, and from most that came before.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// When it was made; 0 where the file system does not tell. The next file may well have the
    /// number of one that was removed: ext4 gives it out again at once.
    pub(crate) birth: u64,
    /// Its kind, such as `S_IFSOCK` (inode(7)).
    pub(crate) format: u32,
}

/// The file that a descriptor stands for; `None` if it stands for none.
// In one place, not in six.
#[inline(never)]
pub(crate) fn identify(fd: c_int) -> Option<Identity> {
    status(fd).map(|(identity, _)| identity)
}

/// The same, and how many bytes are in it.
fn status(fd: c_int) -> Option<(Identity, u64)> {
    status_with_birth(fd).or_else(|| status_without_birth(fd))
}

fn status_with_birth(fd: c_int) -> Option<(Identity, u64)> {
    let mut status = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the kernel reads an empty C string and writes one statx, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            fd,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            libc::STATX_TYPE | libc::STATX_INO | libc::STATX_BTIME | libc::STATX_SIZE,
            status.as_mut_ptr(),
        )
    };
    // SAFETY: all zeroes is a statx, and so is what the kernel writes.
    let status = unsafe { status.assume_init() };
    let seconds = status.stx_btime.tv_sec.unsigned_abs();
    let identity = Identity {
        device: u64::from(status.stx_dev_major) << 32 | u64::from(status.stx_dev_minor),
        inode: status.stx_ino,
        birth: seconds << 30 | u64::from(status.stx_btime.tv_nsec),
        format: u32::from(status.stx_mode) & libc::S_IFMT,
    };
    (result == 0).then_some((identity, status.stx_size))
}

/// For Linux before 4.11, which has no statx, and for sandboxes that refuse it.
fn status_without_birth(fd: c_int) -> Option<(Identity, u64)> {
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
    let identity = Identity {
        device: status.st_dev,
        inode: status.st_ino,
        birth: 0,
        format: status.st_mode & libc::S_IFMT,
    };
    let size = u64::try_from(status.st_size).unwrap_or(0);
    (result == 0).then_some((identity, size))
}

/// A number that no earlier file has had, of those with the same device and inode: from the file
/// handle, in which file systems put the inode's generation (`name_to_handle_at(2)`). `None` where
/// there is none.
pub(crate) fn generation(fd: c_int) -> Option<u64> {
    // For file systems that can't open by a handle, since Linux 6.5.
    const AT_HANDLE_FID: c_int = 0x200;
    handle(fd, libc::AT_EMPTY_PATH).or_else(|| handle(fd, libc::AT_EMPTY_PATH | AT_HANDLE_FID))
}

fn handle(fd: c_int, flags: c_int) -> Option<u64> {
    const MAX_HANDLE_SZ: usize = 128;
    /// `struct file_handle` (`include/linux/fs.h`).
    #[repr(C)]
    struct Handle {
        size: u32,
        kind: i32,
        bytes: [u8; MAX_HANDLE_SZ],
    }
    let mut handle = Handle {
        size: 128,
        kind: 0,
        bytes: [0; MAX_HANDLE_SZ],
    };
    let mut mount: c_int = 0;
    // SAFETY: the kernel reads an empty C string, and writes at most as many bytes as the handle
    // says that it has, and an int; all of them outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd,
            c"".as_ptr(),
            &raw mut handle,
            &raw mut mount,
            flags,
        )
    };
    if result != 0 {
        return None;
    }
    // FNV-1a; what the kernel has not written is zero.
    let kind = handle.kind.to_ne_bytes();
    Some(
        kind.iter()
            .chain(&handle.bytes)
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            }),
    )
}

impl PartialEq for Identity {
    // Apart: as the derived one, it is 100 bytes of the library at each of three places.
    #[inline(never)]
    fn eq(&self, other: &Self) -> bool {
        self.device == other.device
            && self.inode == other.inode
            && self.birth == other.birth
            && self.format == other.format
    }
}

impl Identity {
    /// Whether no file that is made from now on can have the same birth: it was long ago, by the
    /// clock that dates files. It ticks a few hundred times a second, and the coarsest file system
    /// counts two seconds.
    pub(crate) fn is_of_the_past(&self) -> bool {
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the kernel writes one timespec, which outlives the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_clock_gettime,
                libc::CLOCK_REALTIME_COARSE,
                &raw mut now,
            )
        };
        let seconds = self.birth >> 30;
        let now = u64::try_from(now.tv_sec).unwrap_or(0);
        result == 0 && self.birth != 0 && now > seconds.saturating_add(2)
    }
}

/// Whether a regular file can take so many bytes more before `RLIMIT_FSIZE`, which the kernel tells
/// of by SIGXFSZ; also true of everything else.
pub(crate) fn has_room(fd: c_int, length: usize) -> bool {
    /// What others may append meanwhile.
    const MARGIN: u64 = 65_536;
    let mut limit = [u64::MAX; 2];
    // SAFETY: nothing is set; the kernel writes two numbers, which outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_FSIZE,
            ptr::null::<c_void>(),
            limit.as_mut_ptr(),
        )
    };
    let [limit, _] = limit;
    if limit == u64::MAX {
        return true;
    }
    let Some((file, size)) = status(fd) else {
        return false;
    };
    if file.format != libc::S_IFREG {
        return true;
    }
    // Where it does not append, it may be beyond the end. On 32 bits that is not known of all
    // places. SAFETY: it changes nothing.
    let place = unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
    u64::try_from(place).is_ok_and(|place| {
        let end = size.max(place).saturating_add(MARGIN);
        u64::try_from(length).is_ok_and(|length| end.saturating_add(length) <= limit)
    })
}

/// Reads the beginning of a file, as much as there is room for; returns how much that is, 0 if it
/// can't be read.
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
