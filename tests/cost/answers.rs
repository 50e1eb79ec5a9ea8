//! System calls of `status PORT` and `check PROGRAM`, counted by strace, in a PID and a network
//! namespace with four processes: on a whole machine their number would be that of its processes.
//!
//! Not those that the command makes whatever it is to do, nor the links of descriptors, which
//! differ from one harness to the next, nor what the dynamic linker does that `check` starts, nor
//! how often `check` is woken for what that prints.

use crate::budget::Spent;
use crate::launcher::number_of;
use std::fs;
use support::{Folder, Program, compile_c, program, python, reuseaddr_as_it_ships, shim};

/// The port of the listener; the next one is free.
const PORT: u16 = 7000;

/// Listens, and runs what it is told.
const LISTENER: &str = "import socket, subprocess, sys; listener = socket.create_server((\"\", 7000)); \
                        subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)";

/// A program that needs no library but libc.
const SERVER: &str = "#include <sys/socket.h>\n\
                      int main(int count, char **words) {\n\
                      (void)words; return count > 1 ? bind(-1, 0, 0) : 0; }\n";

pub(crate) fn spent() -> Vec<Spent> {
    let folder = Folder::new("answers");
    // Found by its name, as it is typed; by a path it would look along PATH itself.
    folder.copy(reuseaddr_as_it_ships(), "reuseaddr");
    let server = compile_c("bare-server", SERVER, &[]).display().to_string();
    let library = folder.copy(shim(), "libreuse.so").display().to_string();
    let (free, listener) = ((PORT + 1).to_string(), PORT.to_string());
    let any = calls(&folder, &["--version"]);
    [
        ("status free", &["status", &free][..]),
        ("status listener", &["status", &listener]),
        ("check program", &["check", "--library", &library, &server]),
    ]
    .into_iter()
    .map(|(what, words)| Spent {
        what: what.into(),
        number: calls(&folder, words) - any,
    })
    .collect()
}

fn calls(folder: &Folder, words: &[&str]) -> f64 {
    let trace = folder.join("trace");
    let namespaces = [
        "--map-root-user",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
    ];
    // The shell is process 1, and waits.
    let counted = Program::new(program(&["unshare"]))
        .arguments(namespaces)
        .arguments(["sh", "-c", "\"$@\"; exit", "sh"])
        .argument(python())
        .arguments(["-I", "-c", LISTENER, "strace", "-f", "-o"])
        .argument(&trace)
        .argument("reuseaddr")
        .arguments(words)
        .with("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
        .run()
        .succeeded();
    let text = fs::read_to_string(trace).expect("strace writes it");
    assert!(text.contains("exited with"), "{counted:#?}");
    let mut linker = None;
    let lines = text.lines().filter(|line| {
        let (pid, call) = line.split_once(' ').expect("a pid first");
        let call = call.trim_start();
        if call.starts_with("execve(\"/lib") {
            linker = Some(pid);
        }
        let is_woken = call.starts_with("poll(") || call.starts_with("read(");
        linker != Some(pid) && !call.starts_with("readlinkat(") && !(linker.is_some() && is_woken)
    });
    number_of(lines)
}
