//! What the shim writes, and where the program never finds it: its own files, its limits, its
//! signals, its time.

use crate::host::{Libc, changes_nothing_in};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io, os};
use support::matrix::LINGERS;
use support::{Folder, Program, own_network, succeed};

#[test]
fn writes_into_no_file_that_took_the_place_of_stderr() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["data"]);
}

#[test]
fn writes_into_no_file_where_stderr_was_closed_from_the_start() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["closed"]);
}

#[test]
fn writes_into_no_file_that_has_the_inode_number_of_stderr() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["inode"]);
}

/// Within a tick of the clock that dates files, and on a file system that keeps no time of birth.
#[test]
fn writes_into_no_file_that_has_the_inode_number_and_the_birth_of_stderr() {
    for inode_size in ["128", "256"] {
        let folder = Folder::new("ext4");
        let image = folder.join("image");
        let mkfs = "truncate -s 32M $1 && mkfs.ext4 -q -F -I $2 $1 2>&1";
        succeed(
            Command::new("sh")
                .args(["-c", mkfs, "-"])
                .args([image.as_os_str(), inode_size.as_ref()]),
        );
        own_mounts();
        // Where the program makes its files.
        let mounted = Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, Path::new("/var/tmp")])
            .output()
            .expect("mount runs");
        if !mounted.status.success() {
            eprintln!("skipped: no loop device: {mounted:?}");
            return;
        }
        for _ in 0..3 {
            changes_nothing_in(Libc::BOTH, "stderr.c", &["inode at once"]);
        }
    }
}

#[test]
fn raises_no_sigpipe_on_a_pipe_without_reader() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["pipe without reader"]);
}

#[test]
fn raises_no_sigpipe_when_the_reader_goes() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["pipe whose reader goes"]);
}

#[test]
fn does_not_block_on_a_pipe_that_nobody_reads() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["pipe that nobody reads"]);
}

#[test]
fn raises_no_sigpipe_on_a_socket_without_reader() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["socket without reader"]);
}

#[test]
fn does_not_block_on_a_socket_that_nobody_reads() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["socket that nobody reads"]);
}

#[test]
fn does_not_block_on_a_terminal_that_nobody_reads() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["terminal that nobody reads"]);
}

#[test]
fn is_not_stopped_by_a_terminal_in_the_background() {
    changes_nothing_in(Libc::BOTH, "stderr.c", &["terminal in the background"]);
}

#[test]
fn keeps_no_descriptor() {
    changes_nothing_in(Libc::BOTH, "limits.c", &["descriptors"]);
}

#[test]
fn needs_no_descriptor() {
    changes_nothing_in(Libc::BOTH, "limits.c", &["three descriptors"]);
}

#[test]
fn raises_no_sigxfsz() {
    changes_nothing_in(Libc::BOTH, "limits.c", &["no file size"]);
}

/// Runs a program that logs to this path, in every linger mode, and asserts that nothing changes.
fn logging_to(libcs: impl IntoIterator<Item = Libc>, path: &Path) {
    own_network();
    for libc in libcs {
        let program = libc.host("every_hook.c");
        let expected = program.run();
        for linger in LINGERS {
            let finished = program
                .clone()
                .shimmed()
                .with("LIBREUSE_LINGER", linger)
                .with("LIBREUSE_LOG", "trace")
                .with("LIBREUSE_LOG_FILE", path)
                .run();
            assert_eq!(
                (&finished.stdout, finished.status, &finished.stderr),
                (&expected.stdout, expected.status, &expected.stderr),
                "with {libc:?} and linger {linger}"
            );
        }
    }
}

/// Mounts a file system of one page, for the calling thread and its children alone.
fn mount_one_page(folder: &Path) {
    own_mounts();
    mount(c"none", folder, c"tmpfs", 0, c"size=4096");
}

/// Gives the calling thread and its children mounts of their own.
fn own_mounts() {
    // SAFETY: unshare takes flags alone; a mount namespace is the calling thread's own
    // (unshare(2)).
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(unshared, 0, "{}", io::Error::last_os_error());
    mount(
        c"none",
        Path::new("/"),
        c"",
        libc::MS_REC | libc::MS_PRIVATE,
        c"",
    );
}

fn mount(source: &CStr, target: &Path, kind: &CStr, flags: libc::c_ulong, options: &CStr) {
    let target = c_string(target);
    // SAFETY: C strings all, which outlive the call.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(result, 0, "{target:?}: {}", io::Error::last_os_error());
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no null byte")
}

#[test]
fn bears_a_full_disk() {
    let folder = Folder::new("full");
    mount_one_page(folder.path());
    let log = folder.join("log");
    logging_to(Libc::BOTH, &log);
    let size = fs::metadata(&log).expect("the log file").len();
    assert_eq!(size, 4096, "one page was there and is used up");
}

#[test]
fn bears_a_log_file_that_cannot_be_written() {
    let folder = Folder::new("unwritable");
    mount_one_page(folder.path());
    let log = folder.join("log");
    fs::write(&log, "there before\n").expect("a file");
    mount(
        c"none",
        folder.path(),
        c"",
        libc::MS_REMOUNT | libc::MS_RDONLY,
        c"",
    );
    logging_to(Libc::BOTH, &log);
    assert_eq!(
        fs::read_to_string(&log).expect("the file"),
        "there before\n"
    );
    logging_to(Libc::BOTH, &folder.join("new"));
    logging_to(Libc::BOTH, &folder.join("missing/log"));
    logging_to(Libc::BOTH, folder.path());
}

#[test]
fn bears_a_fifo() {
    let folder = Folder::new("fifo");
    let fifo = folder.join("fifo");
    let path = c_string(&fifo);
    // SAFETY: a C string that outlives the call.
    let made = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(made, 0, "{}", io::Error::last_os_error());
    logging_to(Libc::BOTH, &fifo);
    // A reader that never reads: the FIFO fills up.
    let reader = fs::File::options()
        .read(true)
        .write(true)
        .open(&fifo)
        .expect("the FIFO");
    logging_to(Libc::BOTH, &fifo);
    drop(reader);
}

#[test]
fn follows_no_link_to_a_log_file() {
    let folder = Folder::new("link");
    let target = folder.join("target");
    fs::write(&target, "somebody's file\n").expect("a file");
    os::unix::fs::symlink(&target, folder.join("log")).expect("a symlink");
    os::unix::fs::symlink(folder.join("new"), folder.join("dangling")).expect("a symlink");
    logging_to(Libc::BOTH, &folder.join("log"));
    logging_to(Libc::BOTH, &folder.join("dangling"));
    let text = fs::read_to_string(&target).expect("the file");
    assert_eq!(text, "somebody's file\n");
    assert!(!folder.join("new").exists());
}

#[test]
fn makes_a_deleted_log_file_again() {
    let folder = Folder::new("deleted");
    let log = folder.join("log");
    own_network();
    let mut program = Program::python(
        "
print('ready')
sys.stdin.readline()
os.close(os.open('/dev/null', os.O_RDONLY))
print('closed')
sys.stdin.readline()
",
    )
    .shimmed()
    .with("LIBREUSE_LINGER", "graceful")
    .with("LIBREUSE_LOG", "trace")
    .with("LIBREUSE_LOG_FILE", &log)
    .start();
    program.expect("ready");
    fs::remove_file(&log).expect("the log file");
    program.say("go on").expect("closed");
    let text = fs::read_to_string(&log).expect("a log file again");
    assert!(text.contains("]: close descriptor"), "{text}");
    program.say("end");
    program.finish().succeeded();
}

/// Where the log goes is nothing to the program, even where it can't be reported.
#[test]
fn passes_wrong_settings_by_in_silence_when_stderr_is_closed() {
    own_network();
    for libc in Libc::BOTH {
        let program = libc.host("stderr.c").argument("closed");
        let wrong = program
            .clone()
            .shimmed()
            .with("LIBREUSE_PORTS", "none")
            .with("LIBREUSE_COLOUR", "red");
        let finished = wrong.run();
        assert_eq!(finished.stdout, program.output(), "{libc:?}");
    }
}
