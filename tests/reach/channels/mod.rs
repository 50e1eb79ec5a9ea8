//! What each channel gives to whoever installs by it: a command with which a program gets its port
//! back after a crash.
//!
//! Each is installed by its own client, from what `scripts/build/release` has made and out of reach
//! of any network, used, and removed again.

mod cargo;
mod contents;
mod forge;
mod image;
mod kustomize;
mod npm;
mod python;
mod systems;
mod table;

use crate::restart::LEGACY;
use crate::systems::{System, dist, release, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use support::{Program, own_network, port_after_crash};

/// What came of a channel: a row of the table in docs/install.md.
#[derive(Clone, Debug)]
struct Row {
    channel: &'static str,
    /// What is typed, once it is published.
    typed: &'static str,
    /// Of what is fetched.
    bytes: u64,
    /// What its client took to install it, out of files of this machine.
    took: Duration,
}

/// How long something takes.
fn timed(what: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    what();
    begun.elapsed()
}

/// Whether the table is to be written, and not compared: times are those of users then.
fn is_recording() -> bool {
    std::env::var_os("LIBREUSE_TEST_WRITE").is_some()
}

/// The row of a channel, which is tried once, whoever asks first.
type Tried = OnceLock<Row>;

/// A file of the release, by how its name begins and ends.
fn file(begin: &str, end: &str) -> PathBuf {
    let mut found = std::fs::read_dir(dist())
        .expect("the release")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.is_file() && name.starts_with(begin) && name.ends_with(end)
        });
    let path = found
        .next()
        .unwrap_or_else(|| panic!("there is no {begin}…{end} in {}", dist().display()));
    assert_eq!(found.next(), None, "{begin}…{end}");
    path
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path)
        .expect("a file of the release")
        .len()
}

/// As the files of the release are dated.
fn date_of_the_release() -> String {
    let library = release("x86_64").join("lib/libreuse.so");
    let archive = format!("{}.tar.gz", release("x86_64").display());
    let name = library.strip_prefix(dist()).expect("in there");
    succeed(
        Command::new("python3")
            .args([
                "-c",
                "import sys, tarfile; \
                 print(tarfile.open(sys.argv[1]).getmember(sys.argv[2]).mtime)",
            ])
            .arg(archive)
            .arg(name),
    )
    .trim()
    .to_owned()
}

/// Runs a shell's commands in a network that leads nowhere.
fn alone(commands: &Program) {
    own_network();
    commands.run().succeeded();
}

/// A shell that runs this in a folder, with a home of its own.
fn shell(folder: &Path, commands: &str) -> Program {
    Program::new("/bin/sh")
        .arguments(["-ec", commands])
        .with("HOME", folder)
        .with("TMPDIR", folder)
        .inside(folder)
}

/// The command that was installed does what it is for, with its control; it becomes the program;
/// and it has its manual.
fn it_works(command: &Program) {
    let legacy = Program::new(System::Here.compile("legacy", LEGACY, &[]));
    assert_eq!(port_after_crash(&legacy), "port 49201", "the control");
    let served = command.clone().argument("run").command(&legacy);
    assert_eq!(port_after_crash(&served), "port 49200", "{command:?}");
    it_becomes_the_program(command);
    let version = command.clone().argument("--version").output();
    assert_eq!(
        version,
        concat!("reuseaddr ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

/// `run` promises that: signals and exit codes are the program's own.
fn it_becomes_the_program(command: &Program) {
    let run = |script: &str| {
        command
            .clone()
            .arguments(["run", "sh", "-c", script])
            .start()
    };
    let mut running = run("echo $$; exec sleep 1000");
    let pid = running.line();
    assert_eq!(pid, running.pid().to_string(), "{command:?}");
    let ended = running.signal(libc::SIGTERM);
    support::wait_until("the end", || ended.has_ended());
    assert_eq!(ended.ended_by(), Some(libc::SIGTERM), "{command:?}");
    let finished = run("exit 7").finish();
    assert_eq!(finished.status.code(), Some(7), "{finished:#?}");
}
