//! `LIBREUSE_LOG`: what is reported, and where.

use crate::server::{PORT, Server};
use std::fs;
use support::{Finished, Folder, Program, TcpState, own_network, shim};

/// Runs the server over `TIME_WAIT` with this level, and ends it by closing its input.
fn restarted(level: &str) -> Finished {
    own_network();
    let _client = Server::new().shimmed().leave_behind(TcpState::TimeWait);
    let server = Server::new().shimmed().with("LIBREUSE_LOG", level);
    let running = server.listening();
    running.finish().succeeded()
}

#[test]
fn tells_what_was_done_and_why() {
    let finished = restarted("info");
    let lines: Vec<_> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = format!("]: bind 127.0.0.1:{PORT}: was in use, bound with SO_REUSEADDR");
    assert!(
        lines[0].starts_with("libreuse[") && lines[0].ends_with(&expected),
        "{lines:?}"
    );
}

#[test]
fn tells_more_the_more_it_is_asked_for() {
    let lines = ["off", "error", "warn", "info", "debug", "trace"]
        .map(|level| restarted(level).stderr.lines().count());
    assert_eq!(lines[..4], [0, 0, 0, 1]);
    assert!(lines[4] == 3 && lines[5] >= lines[4], "{lines:?}");
    let debug = restarted("debug").stderr;
    assert!(
        debug.contains(&format!(
            "listen 127.0.0.1:{PORT}: set SO_REUSEADDR so that what it leaves behind"
        )),
        "{debug}"
    );
}

/// A bind that hangs is told of by default; that the library is loaded is not, even to those who
/// want to know what it did.
#[test]
fn tells_of_waiting_by_default_and_of_loading_only_when_asked_to() {
    own_network();
    let _client = Server::new().leave_behind(TcpState::FinWait2);
    let waiting = Server::new().shimmed().with("LIBREUSE_WAIT", "20ms");
    let finished = waiting.program.run();
    let lines: Vec<_> = finished.stderr.lines().collect();
    assert!(
        matches!(lines[..], [begun, ended] if begun.contains("waiting for up to 20 ms")
            && ended.contains("still in use after")),
        "{lines:?}"
    );
    let silent = waiting.clone().with("LIBREUSE_LOG", "error").program.run();
    assert_eq!(silent.stderr, "");

    let loaded = |level: &str| {
        let program = Program::new("/bin/true").shimmed();
        program.with("LIBREUSE_LOG", level).run().stderr
    };
    assert_eq!(loaded("info"), "");
    assert!(loaded("debug").contains("loaded: reuseaddr on"));
}

#[test]
fn says_what_to_do_when_the_address_stays_in_use() {
    own_network();
    let server = Server::new().shimmed();
    let _first = server.listening();
    let finished = Server::new()
        .shimmed()
        .with("LIBREUSE_LOG", "info")
        .program
        .run();
    assert_eq!(finished.stdout, "EADDRINUSE\n");
    for expected in [
        "in use, with SO_REUSEADDR too",
        "live listener",
        "LIBREUSE_WAIT=60s",
        "ip_local_reserved_ports",
        "reuseaddr status",
    ] {
        assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    }
}

/// MPTCP has no `TCP_LINGER2`, and gets the rest.
#[test]
fn tells_what_the_kernel_refused_and_what_it_took() {
    own_network();
    let text = "
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
listener.bind(('127.0.0.1', 5000))
listener.listen()
";
    let program = Program::python(text)
        .shimmed()
        .with("LIBREUSE_LINGER", "graceful")
        .with("LIBREUSE_LOG", "trace");
    let stderr = program.run().succeeded().stderr;
    for expected in [
        "listen 127.0.0.1:5000: set SO_REUSEADDR so that",
        "listen 127.0.0.1:5000: the kernel refused TCP_LINGER2=-1",
    ] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert!(
        !stderr.contains("listen 127.0.0.1:5000: left alone"),
        "{stderr}"
    );
}

#[test]
fn gives_the_reason_for_leaving_a_call_alone() {
    let text = "
for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
    first, second = socket.socket(type=kind), socket.socket(type=kind)
    first.bind(('127.0.0.1', 5000))
    second.connect_ex(('127.0.0.1', 5001))
    try:
        socket.socket(type=kind).bind(('127.0.0.1', 5000))
    except OSError:
        pass
";
    own_network();
    let program = Program::python(text)
        .shimmed()
        .with("LIBREUSE_LOG", "trace");
    let stderr = program.run().succeeded().stderr;
    assert!(
        stderr.contains("bind 0.0.0.0:0: left alone, not a TCP socket"),
        "{stderr}"
    );
    let stderr = program
        .with("LIBREUSE_PORTS", "5001")
        .run()
        .succeeded()
        .stderr;
    assert!(
        stderr.contains("bind 0.0.0.0:0: left alone, its port is not in LIBREUSE_PORTS"),
        "{stderr}"
    );
    assert!(
        stderr.contains("connect 0.0.0.0:0: left alone, not bound to a port"),
        "{stderr}"
    );
}

#[test]
fn writes_to_the_file_that_is_named() {
    let folder = Folder::new("log");
    let text = "
def serve(port):
    listener = socket.socket()
    listener.bind(('127.0.0.1', port))
    listener.listen()
serve(5000)
if os.fork() == 0:
    serve(5001)
    os._exit(0)
os.wait()
print(os.getpid())
";
    own_network();
    let program = Program::python(text)
        .shimmed()
        .with("LIBREUSE_LOG", "debug");
    let shared = program
        .clone()
        .with("LIBREUSE_LOG_FILE", folder.join("100%%.log"))
        .run()
        .succeeded();
    assert_eq!(shared.stderr, "");
    let log = fs::read_to_string(folder.join("100%.log")).expect("the log is there");
    assert!(
        log.contains("listen 127.0.0.1:5000: set") && log.contains("listen 127.0.0.1:5001: set"),
        "{log}"
    );

    let own = program
        .with("LIBREUSE_LOG_FILE", folder.join("pid.%p"))
        .run()
        .succeeded();
    let log = fs::read_to_string(folder.join(format!("pid.{}", own.stdout.trim())))
        .expect("the log is there");
    assert!(
        log.contains("5000: set") && !log.contains("5001: set"),
        "{log}"
    );
    let logs = fs::read_dir(folder.path())
        .expect("the folder is there")
        .count();
    assert_eq!(logs, 3, "one of both processes, and one each");
}

/// What is on descriptor 2 by now may be the program's data.
#[test]
fn writes_to_the_stderr_that_it_was_given_alone() {
    let folder = Folder::new("stderr");
    let text = "
os.close(2)
assert os.open(sys.argv[1], os.O_RDWR | os.O_CREAT) == 2
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
";
    own_network();
    let data = folder.join("data");
    let program = Program::python(text)
        .argument(&data)
        .shimmed()
        .with("LIBREUSE_LOG", "trace");
    let stderr = program.run().succeeded().stderr;
    assert!(
        stderr.contains("loaded") && !stderr.contains("listen"),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(&data).expect("the data is there"), "");
}

/// Linux before 4.11 has no statx, and speaks of the files that it knows all the same.
#[test]
fn speaks_on_kernels_without_statx() {
    if cfg!(not(target_arch = "x86_64")) {
        println!("skipped: 332 is statx on x86_64 alone");
        return;
    }
    let text = "
import ctypes
libc = ctypes.CDLL(None)
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, FAIL_WITH_ENOSYS, STATX = 0x7fff0000, 0x00050000 + errno.ENOSYS, 332
filter = b''.join(struct.pack('HBBI', *instruction) for instruction in (
    (LOAD, 0, 0, 0), (JUMP_IF_EQUAL, 0, 1, STATX), (RETURN, 0, 0, FAIL_WITH_ENOSYS), (RETURN, 0, 0, ALLOW)))
text = ctypes.create_string_buffer(filter)
program = struct.pack('HxxxxxxQ', 4, ctypes.addressof(text))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execve('/bin/true', ['true'], {'LD_PRELOAD': sys.argv[1], 'LIBREUSE_LINGER': 'maybe', 'LIBREUSE_LOG': 'debug'})
";
    let finished = Program::python(text).argument(shim()).run().succeeded();
    let lines: Vec<_> = finished.stderr.lines().collect();
    assert!(
        matches!(lines[..], [mistake, loaded] if mistake.contains("LIBREUSE_LINGER=maybe") && loaded.contains("loaded")),
        "{lines:?}"
    );
}
