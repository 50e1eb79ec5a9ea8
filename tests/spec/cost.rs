//! What a call costs, in system calls.

use std::collections::BTreeMap;
use std::fs;
use support::{Folder, Program, own_network, program};

/// Prints its marks by a system call that fails, so that the trace shows which calls lie between
/// them.
const CALLS: &str = "
listener = socket.socket()
def mark():
    try:
        os.lseek(-1, 0, 0)
    except OSError:
        pass
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
    own_network();
    let folder = Folder::new(&format!("strace-{shimmed}-{linger}"));
    let trace = folder.join("trace");
    let python = Program::python(CALLS);
    let mut tracer = Program::new(program(&["strace"]))
        .argument("-f")
        .argument("-o")
        .argument(&trace);
    if shimmed {
        let mut preload = std::ffi::OsString::from("LD_PRELOAD=");
        preload.push(support::shim());
        tracer = tracer
            .argument("-E")
            .argument(preload)
            .argument("-E")
            .argument(format!("LIBREUSE_LINGER={linger}"));
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
    ["bind", "listen", "setsockopt", "socket", "connect", "close"]
        .into_iter()
        .zip(found)
        .collect()
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
