//! Logs in the words and to the places of the library: on the program's stderr as long as
//! that is the one it was started with, or in a file. Nothing here waits.

use crate::library::variables::log_file;
use libreuse_rules::settings::Settings;
use log::{LevelFilter, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, stat};
use rustix::io::{dup, write};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

static SINK: OnceLock<Sink> = OnceLock::new();

thread_local! {
    /// The process that this thread logs for.
    static PROCESS: Cell<i32> = const { Cell::new(0) };
    /// Whether its log is off: a signal has undone what it did, and it will be repeated.
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// A line is as long as the library's at the most.
const LONGEST: usize = 512;
const CUT: &[u8] = b"...\n";

struct Sink {
    /// The program's stderr, if there is anything to say there.
    stderr: Option<Stderr>,
    file: Vec<u8>,
}

/// The program's stderr. Whoever reads from it may wait until nobody has it open any more, as
/// `$(...)` of a shell does with a pipe: so it is not kept open if it can be opened again.
enum Stderr {
    /// A pipe or a terminal, opened for each line as the file that the program has.
    Opened { device: u64, inode: u64 },
    /// A socket, which can't be opened, or a file on a disk, whose position is to be the program's.
    Kept(OwnedFd),
}

impl Stderr {
    fn find() -> Option<Self> {
        let stat = fstat(std::io::stderr()).ok()?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo | FileType::CharacterDevice => Some(Self::Opened {
                device: stat.st_dev,
                inode: stat.st_ino,
            }),
            _ => dup(std::io::stderr()).ok().map(Self::Kept),
        }
    }
}

/// Logs from now on as the library does with these settings, and drops the command's own messages.
pub(super) fn open_for(settings: &Settings) {
    let speaks = settings.log >= LevelFilter::Info
        || (settings.log >= LevelFilter::Warn && settings.wait_ms > 0);
    let file = settings.log_file.as_bytes().to_vec();
    let stderr = (speaks && file.is_empty()).then(Stderr::find).flatten();
    let _ = SINK.set(Sink { stderr, file });
    log::set_max_level(if speaks {
        settings.log
    } else {
        LevelFilter::Off
    });
}

/// The descriptor that is kept for reports.
pub(super) fn descriptor() -> Option<BorrowedFd<'static>> {
    match SINK.get()?.stderr.as_ref()? {
        Stderr::Kept(stderr) => Some(stderr.as_fd()),
        Stderr::Opened { .. } => None,
    }
}

/// Has this thread log for this process from now on.
pub(super) fn speak_for(process: i32) {
    PROCESS.set(process);
    SILENT.set(false);
}

/// Turns the log of this thread off or on.
pub(super) fn silence(silent: bool) {
    SILENT.set(silent);
}

/// Reports, if this is a tracer; false if it is not.
pub(crate) fn report(record: &Record<'_>) -> bool {
    let Some(sink) = SINK.get() else {
        return false;
    };
    // The command's own messages are for its caller.
    if !SILENT.get() && record.target().starts_with("libreuse_rules") {
        let process = PROCESS.get();
        let mut line = format!("libreuse[{process}]: {}\n", record.args()).into_bytes();
        if line.len() > LONGEST {
            line.truncate(LONGEST - CUT.len());
            line.extend(CUT);
        }
        if let Some(stderr) = &sink.stderr {
            to_stderr(stderr, process, &line);
        } else if !sink.file.is_empty() {
            to_file(&sink.file, process, &line);
        }
    }
    true
}

/// Writes the line, unless the program has put another file in stderr's place, or the write would
/// have to wait.
fn to_stderr(stderr: &Stderr, process: i32, line: &[u8]) {
    let path = format!("/proc/{process}/fd/2");
    let Ok(theirs) = stat(&path) else {
        return;
    };
    let opened;
    let (ours, (device, inode)) = match stderr {
        Stderr::Kept(ours) => {
            let Ok(stat) = fstat(ours) else {
                return;
            };
            (ours, (stat.st_dev, stat.st_ino))
        }
        Stderr::Opened { device, inode } => {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
            let Ok(file) = open(&path, flags, Mode::empty()) else {
                return;
            };
            opened = file;
            (&opened, (*device, *inode))
        }
    };
    let mut files = [PollFd::new(ours, PollFlags::OUT)];
    let takes_bytes = poll(&mut files, Some(&Timespec::default())).is_ok()
        && files
            .iter()
            .all(|file| file.revents() & (PollFlags::OUT | PollFlags::ERR) == PollFlags::OUT);
    if (theirs.st_dev, theirs.st_ino) == (device, inode) && takes_bytes {
        // There is nowhere left to report a failure.
        let _ = write(ours, line);
    }
}

/// Writes the line to the log file, opened for this line alone and as the library opens it.
fn to_file(template: &[u8], process: i32, line: &[u8]) {
    let path = log_file(template, process.unsigned_abs());
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK;
    if let Ok(file) = open(&path, flags, Mode::from_raw_mode(0o600)) {
        let _ = write(&file, line);
    }
}
