//! Where reports go: a sink for the `log` facade that cannot disturb its host.
//!
//! One line is built on the stack and written by one system call. Nothing here is a cancellation point (the system
//! calls are made without libc's functions), blocks, or lets a signal arrive that the program would not have had; and no
//! signal interrupts it. The shim keeps no descriptor: stderr is written to only while it is still the file that it was
//! at load, and a log file is opened for each line.

use crate::config::{LOG_FILE_ROOM, Settings};
use crate::endpoint::Decimal;
use crate::signals::{self, KERNEL_SIGSET};
use crate::{errno, load};
use core::ffi::{c_int, c_void};
use core::fmt::{self, Write};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use log::{LevelFilter, Log, Metadata, Record};

static SINK: Sink = Sink;
static STDERR: Stderr = Stderr {
    kind: AtomicU8::new(CLOSED),
    device: AtomicU64::new(0),
    inode: AtomicU64::new(0),
    birth: AtomicU64::new(0),
};

/// Opens the sink for what the settings want reported, and for mistakes in them.
pub(crate) fn open(settings: &Settings, mistakes: bool) {
    let mistakes = mistakes && settings.log >= LevelFilter::Warn;
    // Hooks have nothing to say at warn: then not even stderr need be looked at.
    let events = settings.log >= LevelFilter::Info;
    if mistakes || (events && settings.log_file.as_bytes().is_empty()) {
        STDERR.remember();
    }
    if events && log::set_logger(&SINK).is_ok() {
        log::set_max_level(settings.log);
    }
}

/// Tells of a mistake in the variables: on stderr, wherever the log may be, since the log file's own name may be the
/// mistake.
pub(crate) fn mistake(text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    line.finish(format_args!("libreuse: {text}"));
    signals::held(|| STDERR.write(&line));
}

struct Sink;

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        errno::kept(|| {
            let mut line = Line::new();
            line.finish(format_args!(
                "libreuse[{}]: {}",
                Decimal(pid()),
                record.args()
            ));
            let path = load::settings().map_or(&[][..], |settings| settings.log_file.as_bytes());
            // A handler that jumped out from between open and close would leave the descriptor behind, and one that
            // gave stderr another file would do so after the look at it. If they can't be held back, it stays unsaid.
            signals::held(|| {
                if path.is_empty() {
                    STDERR.write(&line);
                } else {
                    write_to_file(path, &line);
                }
            });
        });
    }

    fn flush(&self) {}
}

/// One line of a report; what does not fit is cut, and shown to be.
struct Line {
    bytes: [u8; Self::ROOM],
    length: usize,
}

impl Line {
    const ROOM: usize = 512;
    const CUT: &[u8] = b"...\n";

    fn new() -> Self {
        Self {
            bytes: [0; Self::ROOM],
            length: 0,
        }
    }

    fn finish(&mut self, text: fmt::Arguments<'_>) {
        let fits = self
            .write_fmt(text)
            .and_then(|()| self.write_char('\n'))
            .is_ok();
        if !fits {
            self.length = Self::ROOM;
            for (place, byte) in self.bytes.iter_mut().rev().zip(Self::CUT.iter().rev()) {
                *place = *byte;
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            *self.bytes.get_mut(self.length).ok_or(fmt::Error)? = byte;
            self.length = self.length.saturating_add(1);
        }
        Ok(())
    }
}

/// The program's stderr, as it was at load.
struct Stderr {
    kind: AtomicU8,
    device: AtomicU64,
    inode: AtomicU64,
    birth: AtomicU64,
}

const CLOSED: u8 = 0;
const SOCKET: u8 = 1;
const FILE: u8 = 2;

impl Stderr {
    fn remember(&self) {
        if let Some(file) = identify(libc::STDERR_FILENO) {
            self.device.store(file.device, Relaxed);
            self.inode.store(file.inode, Relaxed);
            self.birth.store(file.birth, Relaxed);
            self.kind
                .store(if file.is_socket { SOCKET } else { FILE }, Relaxed);
        }
    }

    /// Writes the line, unless the program has put another file in stderr's place.
    fn write(&self, line: &Line) {
        let kind = self.kind.load(Relaxed);
        if kind == CLOSED {
            return;
        }
        let same = |file: Identity| {
            file.device == self.device.load(Relaxed)
                && file.inode == self.inode.load(Relaxed)
                && file.birth == self.birth.load(Relaxed)
        };
        if identify(libc::STDERR_FILENO).is_some_and(same) {
            if kind == SOCKET {
                send(libc::STDERR_FILENO, line.as_bytes());
            } else if takes_bytes_now(libc::STDERR_FILENO) {
                write(libc::STDERR_FILENO, line.as_bytes());
            }
        }
    }
}

/// Which file a descriptor stands for.
struct Identity {
    device: u64,
    inode: u64,
    /// When it was made; 0 where the file system does not tell. The next file may well have the number of one that was
    /// removed: ext4 gives it out again at once.
    birth: u64,
    is_socket: bool,
}

fn identify(fd: c_int) -> Option<Identity> {
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
        is_socket: u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFSOCK,
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
        is_socket: status.st_mode & libc::S_IFMT == libc::S_IFSOCK,
    })
}

/// Writes the line to the log file, opened for this line alone: the shim keeps no descriptor that the program could
/// see, close or be given instead of its own.
fn write_to_file(template: &[u8], line: &Line) {
    let Some(path) = Path::expand(template) else {
        return;
    };
    // Nonblocking, for a FIFO without reader; no link at its end, which somebody else may have put there; and no limit
    // of 2 GiB for a 32-bit program.
    let flags = libc::O_WRONLY
        | libc::O_LARGEFILE
        | libc::O_APPEND
        | libc::O_CREAT
        | libc::O_CLOEXEC
        | libc::O_NOCTTY
        | libc::O_NOFOLLOW
        | libc::O_NONBLOCK;
    // SAFETY: the path ends with a null byte and outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.bytes.as_ptr(),
            flags,
            0o600,
        )
    };
    let Ok(fd @ 0..) = c_int::try_from(fd) else {
        return;
    };
    write(fd, line.as_bytes());
    // SAFETY: the descriptor is ours: we have just opened it.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// A log file's path, with its null byte.
struct Path {
    bytes: [u8; LOG_FILE_ROOM + 16],
    length: usize,
}

impl Path {
    /// Puts the process's own number in the place of `%p`; `None` if the path then is too long.
    fn expand(template: &[u8]) -> Option<Self> {
        let mut path = Self {
            bytes: [0; LOG_FILE_ROOM + 16],
            length: 0,
        };
        let mut bytes = template.iter();
        while let Some(&byte) = bytes.next() {
            if byte != b'%' {
                path.push(byte)?;
            } else if bytes.next() == Some(&b'p') {
                write!(path, "{}", Decimal(pid())).ok()?;
            } else {
                path.push(b'%')?;
            }
        }
        path.push(0)?;
        Some(path)
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.length)? = byte;
        self.length = self.length.saturating_add(1);
        Some(())
    }
}

impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes()
            .try_for_each(|byte| self.push(byte))
            .ok_or(fmt::Error)
    }
}

/// This process's number, asked for each time: a forked child has another one.
fn pid() -> u32 {
    // SAFETY: getpid takes nothing and cannot fail.
    unsafe { libc::getpid() }.unsigned_abs()
}

/// Whether a write to `fd` would not block: nobody may be reading the pipe, or the terminal may be stopped.
fn takes_bytes_now(fd: c_int) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: one pollfd and one timespec, both of which outlive the call; no signal mask.
    let ready = unsafe {
        libc::syscall(
            libc::SYS_ppoll,
            &raw mut poll,
            1,
            &raw const at_once,
            ptr::null::<c_void>(),
            KERNEL_SIGSET,
        )
    };
    ready == 1 && poll.revents & (libc::POLLOUT | libc::POLLERR) == libc::POLLOUT
}

/// Sends to a socket: without waiting, and without SIGPIPE.
fn send(fd: c_int, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the bytes outlive the call; no address.
    unsafe {
        libc::syscall(
            libc::SYS_sendto,
            fd,
            bytes.as_ptr(),
            bytes.len(),
            flags,
            ptr::null::<c_void>(),
            0,
        )
    };
}

/// Writes to a file. What the write may raise is taken off again: SIGPIPE from a pipe whose reader has gone, SIGXFSZ from
/// `RLIMIT_FSIZE`. SIGTTOU, for a terminal's background, is not raised in a thread that holds it back.
fn write(fd: c_int, bytes: &[u8]) {
    signals::taken_off(
        // SAFETY: the bytes outlive the call.
        || unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) },
        |result| match errno::get() {
            libc::EPIPE if result < 0 => Some(libc::SIGPIPE),
            libc::EFBIG if result < 0 => Some(libc::SIGXFSZ),
            _ => None,
        },
    );
}
