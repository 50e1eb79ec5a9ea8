//! Where reports go: a sink for the `log` facade that cannot disturb its host.
//!
//! One line is built on the stack and written by one system call. Nothing here is a cancellation
//! point (the system calls are made without libc's functions), blocks, or lets a signal arrive that
//! the program would not have had; and no signal interrupts it. The shim keeps no descriptor:
//! stderr is written to only while it is still the file that it was at load, and a log file is
//! opened for each line, as is a terminal.

use crate::signals::{self, KERNEL_SIGSET};
use crate::{errno, file};
use core::ffi::{c_int, c_void};
use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};
use libreuse_rules::endpoint::Decimal;
use libreuse_rules::settings::{LOG_FILE_ROOM, Settings, Text};
use log::{LevelFilter, Log, Metadata, Record};

static STDERR: Stderr = Stderr {
    format: AtomicU32::new(CLOSED),
    device: AtomicU64::new(0),
    inode: AtomicU64::new(0),
    birth: AtomicU64::new(0),
    generation: AtomicU64::new(0),
};

/// The path of the log file, of which the empty one stands for stderr; null while the sink is not
/// open.
///
/// It stands in the file, zero as it is: what else is zero is then mapped with it, in the last page
/// of the file. After a file that ends with its page it would be a mapping of its own, at every
/// start.
// SAFETY: the section is for what is written, and holds nothing else.
#[unsafe(link_section = ".data")]
static LOG_FILE: AtomicPtr<Text<LOG_FILE_ROOM>> = AtomicPtr::new(ptr::null_mut());

/// Opens the sink for mistakes in the variables; false if nobody wants to hear of them.
pub(crate) fn open_for_mistakes(settings: &Settings) -> bool {
    let wanted = settings.log >= LevelFilter::Warn;
    if wanted {
        STDERR.remember();
    }
    wanted
}

/// Opens the sink for what the settings want reported.
pub(crate) fn open(settings: &'static Settings) {
    // At warn hooks have nothing to say but of waiting: without that not even stderr need be looked
    // at.
    let waiting = settings.log >= LevelFilter::Warn && settings.wait_ms > 0;
    if settings.log < LevelFilter::Info && !waiting {
        return;
    }
    if settings.log_file.as_bytes().is_empty() {
        STDERR.remember();
    }
    LOG_FILE.store(ptr::from_ref(&settings.log_file).cast_mut(), Release);
    log::set_max_level(settings.log);
}

/// Tells of a mistake in the variables: on stderr, wherever the log may be, since the log file's
/// own name may be the mistake.
#[cold]
#[inline(never)]
pub(crate) fn mistake(text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    line.finish(format_args!("libreuse: {text}"));
    signals::while_blocked(|| STDERR.write(&line));
}

/// The logger. What is below the level that `open` has set does not come here.
pub(crate) struct Sink;

impl Log for Sink {
    #[inline(always)]
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    // Nothing else of a record is read: where this is inlined, none is built.
    #[inline(always)]
    fn log(&self, record: &Record<'_>) {
        report(*record.args());
    }

    fn flush(&self) {}
}

#[cold]
#[inline(never)]
fn report(text: fmt::Arguments<'_>) {
    errno::kept(|| {
        // Another thread may see the level before the path: its report is not for stderr then.
        // SAFETY: it is null, or `open` has stored a reference there that holds for ever.
        let Some(path) = (unsafe { LOG_FILE.load(Acquire).as_ref() }) else {
            return;
        };
        let path = path.as_bytes();
        let mut line = Line::new();
        line.finish(format_args!("libreuse[{}]: {text}", Decimal(pid())));
        // A handler that jumped out from between open and close would leave the descriptor behind,
        // and one that gave stderr another file would do so after the look at it. If they can't be
        // blocked, it stays unsaid.
        signals::while_blocked(|| {
            if path.is_empty() {
                STDERR.write(&line);
            } else {
                write_to_file(path, &line);
            }
        });
    });
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

    fn push(&mut self, byte: u8) -> fmt::Result {
        *self.bytes.get_mut(self.length).ok_or(fmt::Error)? = byte;
        self.length = self.length.saturating_add(1);
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().try_for_each(|byte| self.push(byte))
    }

    /// Nothing is reported but ASCII: what would encode the rest is 150 bytes.
    fn write_char(&mut self, letter: char) -> fmt::Result {
        self.push(u8::try_from(letter).map_err(|_| fmt::Error)?)
    }
}

/// The program's stderr, as it was at load.
struct Stderr {
    format: AtomicU32,
    device: AtomicU64,
    inode: AtomicU64,
    birth: AtomicU64,
    generation: AtomicU64,
}

/// No file has this format.
const CLOSED: u32 = 0;

impl Stderr {
    fn remember(&self) {
        if let Some(file) = file::identify(libc::STDERR_FILENO) {
            // A file may be removed, and the next one get its inode. Where nothing tells the two
            // apart, nothing is written.
            let generation = generation(libc::STDERR_FILENO, &file);
            if generation == 0 && file.format == libc::S_IFREG && !file.is_of_the_past() {
                return;
            }
            self.generation.store(generation, Relaxed);
            self.device.store(file.device, Relaxed);
            self.inode.store(file.inode, Relaxed);
            self.birth.store(file.birth, Relaxed);
            self.format.store(file.format, Relaxed);
        }
    }

    /// Writes the line, unless the program has put another file in stderr's place.
    fn write(&self, line: &Line) {
        let format = self.format.load(Relaxed);
        if format == CLOSED || !self.is(libc::STDERR_FILENO) {
            return;
        }
        match format {
            libc::S_IFSOCK => send(libc::STDERR_FILENO, line.as_bytes()),
            libc::S_IFCHR if self.write_without_waiting(line) => {}
            _ if takes_bytes_now(libc::STDERR_FILENO) => {
                write(libc::STDERR_FILENO, line.as_bytes());
            }
            _ => {}
        }
    }

    fn is(&self, fd: c_int) -> bool {
        let remembered = file::Identity {
            device: self.device.load(Relaxed),
            inode: self.inode.load(Relaxed),
            birth: self.birth.load(Relaxed),
            format: self.format.load(Relaxed),
        };
        file::identify(fd).is_some_and(|file| {
            file == remembered && generation(fd, &file) == self.generation.load(Relaxed)
        })
    }

    /// Writes to a terminal, which may have room for a part of the line alone and would then wait
    /// for its reader. So the terminal is opened once more, for this line, and not to wait; false
    /// if that can't be.
    fn write_without_waiting(&self, line: &Line) -> bool {
        let flags = libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
        let Some(fd) = open_file(c"/proc/self/fd/2".to_bytes_with_nul(), flags) else {
            return false;
        };
        if self.is(fd) {
            write(fd, line.as_bytes());
        }
        close_file(fd);
        true
    }
}

/// What tells a regular file from an earlier one with its inode; 0 where nothing does.
fn generation(fd: c_int, file: &file::Identity) -> u64 {
    if file.format == libc::S_IFREG {
        file::generation(fd).unwrap_or(0)
    } else {
        0
    }
}

/// Writes the line to the log file, opened for this line alone: the shim keeps no descriptor that
/// the program could see, close or be given instead of its own.
fn write_to_file(template: &[u8], line: &Line) {
    let Some(path) = Path::expand(template) else {
        return;
    };
    // Nonblocking, for a FIFO without reader; no link at its end, which somebody else may have put
    // there; and no limit of 2 GiB for a 32-bit program.
    let flags = libc::O_WRONLY
        | libc::O_LARGEFILE
        | libc::O_APPEND
        | libc::O_CREAT
        | libc::O_CLOEXEC
        | libc::O_NOCTTY
        | libc::O_NOFOLLOW
        | libc::O_NONBLOCK;
    let Some(fd) = open_file(&path.bytes, flags) else {
        return;
    };
    write(fd, line.as_bytes());
    close_file(fd);
}

/// Opens a file, whose path ends with a null byte.
fn open_file(path: &[u8], flags: c_int) -> Option<c_int> {
    #[allow(clippy::manual_contains)] // It would bring 200 bytes that search word by word.
    if !path.iter().any(|&byte| byte == 0) {
        return None;
    }
    // SAFETY: the path ends with a null byte, as has just been seen, and outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            0o600,
        )
    };
    c_int::try_from(fd).ok().filter(|&fd| fd >= 0)
}

fn close_file(fd: c_int) {
    // SAFETY: the descriptor is ours: `open_file` has opened it.
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
                Decimal(pid())
                    .digits()
                    .try_for_each(|digit| path.push(digit))?;
            } else {
                path.push(b'%')?;
            }
        }
        path.push(0)?;
        Some(path)
    }

    // In one place, not in four.
    #[inline(never)]
    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.length)? = byte;
        self.length = self.length.saturating_add(1);
        Some(())
    }
}

/// This process's number, asked for each time: a forked child has another one.
fn pid() -> u32 {
    // SAFETY: it takes nothing and cannot fail.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    u32::try_from(pid).unwrap_or(0)
}

/// Whether a write to `fd` would not block: nobody may be reading the pipe, or the terminal may be
/// stopped.
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

/// Writes to a file that can take it. What the write may raise all the same is taken off again:
/// SIGPIPE from a pipe whose reader goes at that moment, SIGXFSZ where others fill the file up.
/// SIGTTOU, for a terminal's background, is not raised in a thread that blocks it.
fn write(fd: c_int, bytes: &[u8]) {
    if !file::has_room(fd, bytes.len()) {
        return;
    }
    signals::consume_raised(
        // SAFETY: the bytes outlive the call.
        || unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) },
        |result| match errno::get() {
            libc::EPIPE if result < 0 => Some(libc::SIGPIPE),
            libc::EFBIG if result < 0 => Some(libc::SIGXFSZ),
            _ => None,
        },
    );
}
