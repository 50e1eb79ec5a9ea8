//! `bind`: what an earlier run left behind is no obstacle, and everything else still is.

use crate::server::{PORT, Server};
use support::{Folder, Program, TcpState, own_network, python, sysctl};

/// What a program prints, without the shim and with it.
fn both(text: &str) -> [String; 2] {
    [false, true].map(|shimmed| {
        own_network();
        Program::python(text).shimmed_if(shimmed).output()
    })
}

/// Python that binds and says how it went.
const TRY: &str = "
def attempt(call, *arguments):
    try:
        call(*arguments)
        print('ok')
    except OSError as error:
        print(errno.errorcode[error.errno])
REUSE = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
";

#[test]
fn leaves_a_live_listener_its_port() {
    own_network();
    let server = Server::new().shimmed();
    let _first = server.listening();
    assert_eq!(server.outcome(), "EADDRINUSE");
    assert_eq!(
        Server::at("AF_INET", "0.0.0.0", "127.0.0.1")
            .shimmed()
            .outcome(),
        "EADDRINUSE"
    );
    assert_eq!(
        Server::at("AF_INET6", "::", "::1").shimmed().outcome(),
        "EADDRINUSE"
    );
}

#[test]
fn leaves_a_live_listener_its_port_although_there_is_time_wait_too() {
    own_network();
    let server = Server::new().shimmed();
    let _client = server.leave_behind(TcpState::TimeWait);
    let _first = server.listening();
    assert_eq!(server.outcome(), "EADDRINUSE");
}

/// Binds a port and never listens.
pub(crate) const LOCK: &str = "lock = socket.socket()
try:
    lock.bind(('127.0.0.1', 5000))
    print('locked')
except OSError as error:
    print(errno.errorcode[error.errno])
sys.stdin.read()
";

/// Some programs bind a port, never listen, and take failure to mean that they already run.
#[test]
fn keeps_a_lock_that_is_bound_and_never_listens() {
    own_network();
    let _client = Server::new().shimmed().leave_behind(TcpState::TimeWait);
    let lock = Program::python(LOCK).shimmed();
    let mut first = lock.start();
    first.expect("locked");
    lock.start().expect("EADDRINUSE");
    // What makes the difference: with the option on both from the start, both would have it.
    let naive = format!(
        "{TRY}
locks = [socket.socket(), socket.socket()]
for lock in locks:
    lock.setsockopt(*REUSE, 1)
    attempt(lock.bind, ('127.0.0.1', 5001))
"
    );
    assert_eq!(Program::python(&naive).output(), "ok\nok\n");
}

/// Two copies that have both bound the port, as can happen when they start in the same instant: one
/// of them listens, and not none because each waits for the other to carry the option.
#[test]
fn lets_one_of_two_listen_that_are_bound_to_one_port() {
    let text = format!(
        "{TRY}
first, second = socket.socket(), socket.socket()
for each in first, second:
    each.setsockopt(*REUSE, 1)
    each.bind(('127.0.0.1', 5000))
for each in first, second:
    each.setsockopt(*REUSE, 0)
for each in first, second:
    attempt(each.listen)
"
    );
    assert_eq!(
        both(&text),
        ["EADDRINUSE\nEADDRINUSE\n", "EADDRINUSE\nok\n"]
    );
}

#[test]
fn puts_the_programs_own_value_back() {
    own_network();
    let _client = Server::new().shimmed().leave_behind(TcpState::TimeWait);
    let _other = Server::at("AF_INET", "127.0.0.2", "127.0.0.2")
        .shimmed()
        .listening();
    let output = Program::python(&format!(
        "{TRY}
for value in 0, 1:
    for host in '127.0.0.1', '127.0.0.2':
        bound = socket.socket()
        bound.setsockopt(*REUSE, value)
        attempt(bound.bind, (host, 5000))
        print(bound.getsockopt(*REUSE))
        bound.close()
"
    ))
    .shimmed()
    .output();
    assert_eq!(
        output.split_whitespace().collect::<Vec<_>>(),
        ["ok", "0", "EADDRINUSE", "0", "ok", "1", "EADDRINUSE", "1"]
    );
}

#[test]
fn leaves_datagrams_alone() {
    let text = format!(
        "{TRY}
for family, host in (socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'):
    first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
    attempt(first.bind, (host, 5000))
    attempt(second.bind, (host, 5000))
    attempt(second.connect, (host, 5000))
    print(first.getsockopt(*REUSE), second.getsockopt(*REUSE))
"
    );
    let expected = "ok\nEADDRINUSE\nok\n0 0\n".repeat(2);
    assert_eq!(both(&text), [expected.clone(), expected]);
    // What makes the difference: with the option, the second one would have taken the first one's
    // traffic.
    let flagged = format!(
        "{TRY}
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
for flagged in sockets:
    flagged.setsockopt(*REUSE, 1)
    attempt(flagged.bind, ('127.0.0.1', 5000))
"
    );
    assert_eq!(both(&flagged), ["ok\nok\n", "ok\nok\n"]);
}

#[test]
fn leaves_other_families_alone() {
    let text = format!(
        "{TRY}
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET:
    first, second = (socket.socket(socket.AF_UNIX, kind) for _ in range(2))
    attempt(first.bind, '\\0a name')
    attempt(second.bind, '\\0a name')
    attempt(first.listen)
    print(first.getsockopt(*REUSE), second.getsockopt(*REUSE))
    first.close()
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
attempt(raw.bind, ('127.0.0.1', 0))
attempt(raw.listen)
attempt(raw.connect, ('127.0.0.1', 0))
print(raw.getsockopt(*REUSE))
"
    );
    let [control, shimmed] = both(&text);
    assert_eq!(control, shimmed);
    assert_eq!(shimmed.matches("EADDRINUSE").count(), 3);
    assert_eq!(shimmed.matches("0 0").count(), 3);
}

/// With `ip_autobind_reuse` the kernel gives a flagged socket a port that another flagged one has.
#[test]
fn leaves_port_zero_alone() {
    let text = |flag: &str| {
        format!(
            "{TRY}
ports = []
sockets = [socket.socket() for _ in range(25)]
for bound in sockets:
    {flag}
    try:
        bound.bind(('127.0.0.1', 0))
        ports.append(bound.getsockname()[1])
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
    assert bound.getsockopt(*REUSE) == (1 if '{flag}' != 'pass' else 0)
print(len(ports), len(set(ports)))
"
        )
    };
    for autobind_reuse in ["0", "1"] {
        for shimmed in [false, true] {
            own_network();
            sysctl("net.ipv4.ip_local_port_range", "5000 5009");
            sysctl("net.ipv4.ip_autobind_reuse", autobind_reuse);
            assert_eq!(
                Program::python(&text("pass")).shimmed_if(shimmed).output(),
                "10 10\n"
            );
        }
    }
    // The control: a program that sets the option itself.
    own_network();
    sysctl("net.ipv4.ip_local_port_range", "5000 5009");
    sysctl("net.ipv4.ip_autobind_reuse", "1");
    assert_eq!(
        Program::python(&text("bound.setsockopt(*REUSE, 1)")).output(),
        "25 10\n"
    );
}

/// A listener that never bound gets a port of its own as well.
#[test]
fn leaves_listeners_without_a_port_alone() {
    for shimmed in [false, true] {
        own_network();
        sysctl("net.ipv4.ip_local_port_range", "5000 5009");
        sysctl("net.ipv4.ip_autobind_reuse", "1");
        let output = Program::python(
            "
ports = []
sockets = [socket.socket() for _ in range(15)]
for listener in sockets:
    try:
        listener.listen()
        ports.append(listener.getsockname()[1])
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
print(len(ports), len(set(ports)), sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
",
        )
        .shimmed_if(shimmed)
        .output();
        assert_eq!(output, format!("10 10 {}\n", i32::from(shimmed)));
    }
}

#[test]
fn acts_on_the_listed_ports_alone() {
    for (ports, expected) in [
        ("5000", "listening"),
        ("4000,4990-5010", "listening"),
        ("5001", "EADDRINUSE"),
        ("1-4999,5001-65535", "EADDRINUSE"),
    ] {
        own_network();
        let _client = Server::new().shimmed().leave_behind(TcpState::TimeWait);
        assert_eq!(
            Server::new()
                .shimmed()
                .with("LIBREUSE_PORTS", ports)
                .outcome(),
            expected,
            "{ports}"
        );
        // The first run is as much concerned as the second one.
        own_network();
        let _client = Server::new()
            .shimmed()
            .with("LIBREUSE_PORTS", ports)
            .leave_behind(TcpState::TimeWait);
        assert_eq!(Server::new().shimmed().outcome(), expected, "{ports}");
    }
}

#[test]
fn acts_in_the_chosen_programs_alone() {
    let file = python().canonicalize().expect("python is there");
    let file = file
        .file_name()
        .expect("it has a name")
        .to_str()
        .expect("it is ASCII")
        .to_owned();
    for (programs, expected) in [
        ("python3", "listening"),
        (file.as_str(), "listening"),
        ("nginx,pyth?n*", "listening"),
        ("nginx,python", "EADDRINUSE"),
        ("*/python3", "listening"), // Wrong, and reported: the default applies.
    ] {
        own_network();
        let _client = Server::new().shimmed().leave_behind(TcpState::TimeWait);
        assert_eq!(
            Server::new()
                .shimmed()
                .with("LIBREUSE_PROGRAMS", programs)
                .outcome(),
            expected,
            "{programs}"
        );
    }
}

/// A script is called by its own name, however its interpreter is started.
#[test]
fn acts_in_a_script_that_is_chosen() {
    const SCRIPT: &str = "
import errno, socket
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
print(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
";
    let folder = Folder::new("script");
    let python = python();
    for (line, programs, expected) in [
        (format!("#!{}", python.display()), "server.py", "1\n"),
        (format!("#!{} -I", python.display()), "server.py", "1\n"),
        ("#!/usr/bin/env python3".to_owned(), "server.py", "1\n"),
        ("#!/usr/bin/env python3".to_owned(), "client.py", "0\n"),
    ] {
        let script = folder.script("server.py", format!("{line}{SCRIPT}"));
        own_network();
        let program = Program::new(&script).shimmed();
        assert_eq!(
            program.with("LIBREUSE_PROGRAMS", programs).output(),
            expected,
            "{line} {programs}"
        );
    }
}

#[test]
fn shares_the_port_if_asked_to() {
    let serve = "
listener = socket.socket()
try:
    listener.bind(('127.0.0.1', 5000))
    listener.listen()
except OSError as error:
    sys.exit(print(errno.errorcode[error.errno]))
print('listening')
sys.stdin.read()
";
    for (value, expected) in [("off", "EADDRINUSE"), ("on", "listening")] {
        own_network();
        let _client = Server::new().shimmed().leave_behind(TcpState::TimeWait);
        let program = Program::python(serve)
            .shimmed()
            .with("LIBREUSE_REUSEPORT", value);
        let mut first = program.start();
        first.expect("listening");
        program.start().expect(expected);
    }
    // It is for the sockets that the shim acts on, and for nobody else.
    own_network();
    let program = Program::python(serve)
        .shimmed()
        .with("LIBREUSE_REUSEPORT", "on");
    let mut first = program
        .clone()
        .with("LIBREUSE_PORTS", (PORT + 1).to_string())
        .start();
    first.expect("listening");
    program.start().expect("EADDRINUSE");
}

#[test]
fn never_shares_datagrams_or_any_port() {
    let text = format!(
        "{TRY}
datagrams, stream, any = socket.socket(type=socket.SOCK_DGRAM), socket.socket(), socket.socket()
datagrams.bind(('127.0.0.1', 5000))
stream.bind(('127.0.0.1', 5000))
any.bind(('127.0.0.1', 0))
print(*(each.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for each in (datagrams, stream, any)))
"
    );
    own_network();
    let program = Program::python(&text).shimmed();
    assert_eq!(
        program.clone().with("LIBREUSE_REUSEPORT", "on").output(),
        "0 1 0\n"
    );
    assert_eq!(program.output(), "0 0 0\n");
}
