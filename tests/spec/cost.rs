//! What a call costs, in system calls.

use std::collections::BTreeMap;
use std::fs;
use support::{Folder, Program, own_network, program};

/// Makes a mark in the trace by a system call that fails: which calls lie between two is seen then.
const MARK: &str = "
def mark():
    try:
        os.lseek(-1, 0, 0)
    except OSError:
        pass
";

const CALLS: &str = "
listener = socket.socket()
mark()
listener.bind(('127.0.0.1', 5000))
mark()
listener.listen()
mark()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
mark()
client = socket.socket()
mark()
client.connect(('127.0.0.1', 5000))
mark()
os.close(client.detach())
mark()
";

/// The system calls of each step, by name.
fn steps(shimmed: bool, linger: &str) -> BTreeMap<&'static str, Vec<String>> {
    let linger = shimmed.then(|| format!("LIBREUSE_LINGER={linger}"));
    let found = between_marks(CALLS, linger.as_deref());
    ["bind", "listen", "setsockopt", "socket", "connect", "close"]
        .into_iter()
        .zip(found)
        .collect()
}

/// The names of the system calls that a program makes after each mark, with the library if it is
/// given a variable.
fn between_marks(text: &str, variable: Option<&str>) -> Vec<Vec<String>> {
    own_network();
    let folder = Folder::new(&format!("strace-{}", variable.unwrap_or_default()));
    let trace = folder.join("trace");
    let python = Program::python(&format!("{MARK}{text}"));
    let mut tracer = Program::new(program(&["strace"]))
        .argument("-f")
        .argument("-o")
        .argument(&trace);
    if let Some(variable) = variable {
        let mut preload = std::ffi::OsString::from("LD_PRELOAD=");
        preload.push(support::shim());
        tracer = tracer
            .argument("-E")
            .argument(preload)
            .argument("-E")
            .argument(variable);
    }
    tracer.command(&python).run().succeeded();
    let text = fs::read_to_string(&trace).expect("strace wrote its trace");
    let calls = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, call)| call.trim_start());
    let mut found: Vec<Vec<String>> = Vec::new();
    for call in calls {
        if call.starts_with("lseek(-1,") {
            found.push(Vec::new());
        } else if let Some(step) = found.last_mut() {
            step.extend(call.split_once('(').map(|(name, _)| name.to_owned()));
        }
    }
    found
}

/// A bind that fails asks the kernel, opens no file and writes nothing, as docs/containers.md has
/// it, unless it is to wait.
#[test]
fn is_neither_a_file_nor_a_word_for_a_bind_that_fails() {
    const BUSY: &str = "
listener = socket.create_server(('127.0.0.1', 5000))
second = socket.socket()
mark()
try:
    second.bind(('127.0.0.1', 5000))
except OSError:
    mark()
";
    for (variable, waits) in [
        ("LIBREUSE_WAIT=0", false),
        ("LIBREUSE_WAIT=200ms,listeners", true),
    ] {
        let steps = between_marks(BUSY, Some(variable));
        assert_eq!(steps.len(), 2, "the bind fails: {steps:?}");
        let has = |name: &str| steps[0].iter().any(|call| call.starts_with(name));
        assert!(has("bind") && has("socket") && !has("open"), "{steps:?}");
        assert_eq!(has("write"), waits, "{steps:?}");
    }
}

#[test]
fn is_nothing_for_what_is_called_most() {
    let control = steps(false, "off");
    let shimmed = steps(true, "off");
    for step in ["bind", "setsockopt", "socket", "connect", "close"] {
        assert_eq!(shimmed[step], control[step], "{step}");
        assert_eq!(shimmed[step], [step]);
    }
    assert_eq!(control["listen"], ["listen"]);
    assert_eq!(
        shimmed["listen"],
        [
            "getsockopt",
            "getsockopt",
            "getsockname",
            "rt_sigprocmask",
            "setsockopt",
            "listen",
            "rt_sigprocmask"
        ]
    );
}

#[test]
fn is_two_more_calls_for_a_graceful_close() {
    let shimmed = steps(true, "graceful");
    assert_eq!(shimmed["close"], ["getsockopt", "setsockopt", "close"]);
    assert_eq!(shimmed["bind"], ["bind"]);
}
