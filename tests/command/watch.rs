//! `watch`: programs that can't bind, as the kernel reports them.
//!
//! It sees the whole machine, and so the other tests as well: each test here has a port of its own.

use crate::systemd::boot;
use crate::{
    Group, assert_says, code, command_for_others, crash_after_serving, nobody, reuseaddr, server,
};
use serde_json::Value;
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use support::{
    Folder, Program, Running, TcpState, count, own_network, program, repeats_in, wait_until,
};

/// A port that no other test of this machine has, as far as that can be had.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() % 1000).expect("it is small");
    20_000 + process * 10 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `reuseaddr watch` of a port, which has begun.
fn watch(port: u16, options: &[&str]) -> Running {
    let watch = reuseaddr(["watch", "--color", "never"])
        .arguments(options)
        .argument(port.to_string());
    let running = watch.start();
    wait_until("watching", || {
        running.stderr_so_far().contains("Watching for programs")
    });
    running
}

/// Everything that it has printed until a line has this in it.
fn until(watch: &mut Running, last: &str) -> String {
    let mut text = String::new();
    while !text.contains(last) {
        text += &watch.line();
        text.push('\n');
    }
    text
}

/// Binds what its arguments name, each address with a socket of its own, and prints how that went.
const BINDS: &str = "
kind, port, *hosts = sys.argv[1:]
kept = []
for host in hosts:
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    kept.append(socket.socket(family, getattr(socket, kind)))
    try:
        kept[-1].bind((host, int(port)))
        print('bound')
    except OSError as error:
        print(errno.errorcode[error.errno])
print('done')
sys.stdin.read()
";

fn binds(kind: &str, port: u16, hosts: &[&str]) -> Program {
    Program::python(BINDS)
        .argument(kind)
        .argument(port.to_string())
        .arguments(hosts)
}

#[test]
fn shows_who_cannot_bind_and_what_is_in_the_way() {
    own_network();
    let port = port();
    let mut watch = watch(port, &[]);
    let live = TcpListener::bind(("127.0.0.1", port)).expect("the network is ours");
    // What succeeds is nobody's business, and comes first.
    let mut fine = binds("SOCK_STREAM", port, &["127.0.0.2"]).start();
    fine.expect("bound");
    let mut failing = binds("SOCK_STREAM", port, &["127.0.0.1"]).start();
    failing.expect("EADDRINUSE");
    let text = until(&mut watch, "reuseaddr free");
    let title = format!("(pid {}): can't bind 127.0.0.1:{port}", failing.pid());
    assert_says(&text, &title);
    assert_says(&text, "-c ");
    assert_says(&text, &format!("Port {port} is busy."));
    assert_says(&text, "listens on it at 127.0.0.1");
    // It was asked for the program's network, which is not the one that `watch` began in.
    assert!(!text.contains(&format!("pid {}", fine.pid())), "{text}");
    drop(live);
}

#[test]
fn shows_a_listen_that_fails_and_udp() {
    own_network();
    let port = port();
    let mut watch = watch(port, &[]);
    let mut both = Program::python(
        "
both = [socket.socket() for _ in range(2)]
for one in both:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(('127.0.0.1', int(sys.argv[1])))
both[0].listen()
try:
    both[1].listen()
except OSError as error:
    print(errno.errorcode[error.errno])
sys.stdin.read()
",
    )
    .argument(port.to_string())
    .start();
    both.expect("EADDRINUSE");
    let text = until(&mut watch, "is busy");
    assert_says(&text, &format!("can't listen on 127.0.0.1:{port}"));

    let udp = UdpSocket::bind(("127.0.0.1", port)).expect("UDP's ports are others");
    let mut failing = binds("SOCK_DGRAM", port, &["127.0.0.1"]).start();
    failing.expect("EADDRINUSE");
    let text = until(&mut watch, "is held by");
    assert_says(&text, &format!("can't bind UDP 127.0.0.1:{port}"));
    assert_says(&text, &format!("UDP port {port} is held by"));
    drop(udp);
}

/// A program that libreuse serves fails and succeeds: it is served, and nothing is to be reported.
#[test]
fn is_silent_about_what_succeeds_at_the_second_try() {
    own_network();
    let port = port();
    // Served, so that what it leaves behind can be bound over.
    crash_after_serving(&server(port).shimmed(), port);
    assert_eq!(count(port, TcpState::TimeWait), 1);
    let mut watch = watch(port, &[]);
    let mut served = server(port).shimmed().start();
    served.expect("listening");
    // Without the library the same is reported, and is all that is: what comes first is printed
    // first.
    drop(served);
    let mut failing = server(port).start();
    failing.expect("EADDRINUSE");
    let first = watch.line();
    assert_says(&first, &format!("(pid {})", failing.pid()));
    let rest = until(&mut watch, "reuseaddr run");
    assert_says(&rest, "is free with SO_REUSEADDR");
}

#[test]
fn reports_what_happens_again_and_again_in_one_line_with_a_count() {
    own_network();
    let port = port();
    let mut watch = watch(port, &[]);
    let live = TcpListener::bind(("127.0.0.1", port)).expect("the network is ours");
    let mut failing = binds("SOCK_STREAM", port, &["127.0.0.1"; 40]).start();
    for _ in 0..40 {
        failing.expect("EADDRINUSE");
    }
    // In one line or, if the program takes longer than a second for it, in a few.
    let (mut text, mut again, mut lines) = (String::new(), 0, 0);
    while again < 39 {
        let shown = watch.line();
        lines += usize::from(shown.contains("can't bind"));
        again += repeats_in(&shown);
        text += &shown;
        text.push('\n');
    }
    assert_eq!(again, 39, "{text}");
    assert!((2..10).contains(&lines), "{text}");
    assert_eq!(text.matches("is busy").count(), 1, "{text}");
    drop(live);
}

/// What `--json` prints of a program that can't bind, in a container, since somebody listens.
pub(crate) fn event() -> Value {
    let port = port();
    let mut watch = reuseaddr(["watch", "--json"])
        .argument(port.to_string())
        .arguments(["-v"])
        .start();
    wait_until("watching", || watch.stderr_so_far().contains("watching"));
    let live = TcpListener::bind(("127.0.0.1", port)).expect("the network is ours");
    let mut failing = binds("SOCK_STREAM", port, &["127.0.0.1"]).start();
    failing.expect("EADDRINUSE");
    let event: Value = serde_json::from_str(&watch.line()).expect("an object on a line");
    assert_eq!(event["pid"], failing.pid());
    assert_eq!(event["port"], port);
    drop(live);
    event
}

#[test]
fn prints_an_object_of_json_per_line() {
    own_network();
    let event = event();
    assert_eq!(
        (&event["call"], &event["protocol"]),
        (&"bind".into(), &"tcp".into())
    );
    assert_eq!(event["address"], "127.0.0.1");
    assert_eq!(event["times"], 1);
    assert_eq!(event["verdict"]["kind"], "listening");
    assert_eq!(event["unit"], Value::Null);
}

/// Leftovers of a run without libreuse, and a program that tries until it succeeds, as a supervisor
/// would.
#[test]
fn clears_what_keeps_a_unit_from_its_port_when_asked_to() {
    const TRIES: &str = "
sys.stdin.readline()
while True:
    try:
        socket.socket().bind(('127.0.0.1', int(sys.argv[1])))
        break
    except OSError:
        time.sleep(0.05)
print('bound')
sys.stdin.read()
";
    own_network();
    let port = port();
    crash_after_serving(&server(port), port);
    assert_eq!(count(port, TcpState::TimeWait), 1);
    let mut other = Program::python(&format!("import time\n{TRIES}"))
        .argument(port.to_string())
        .start();
    let mut mine = Program::python(&format!("import time\n{TRIES}"))
        .argument(port.to_string())
        .start();
    let unit = format!("reuse-{port}.service");
    let _group = Group::with(mine.pid(), &unit);
    let mut watch = watch(port, &["--evict", "--unit", &unit]);
    // Not one that was asked for: it stays as it is.
    other.say("");
    assert_eq!(other.line_within(std::time::Duration::from_secs(1)), None);
    assert_eq!(count(port, TcpState::TimeWait), 1);
    mine.say("");
    let text = until(&mut watch, "cleared");
    assert_says(&text, &format!("{unit}: "));
    assert_says(
        &text,
        &format!("(pid {}): can't bind 127.0.0.1:{port}", mine.pid()),
    );
    assert_says(&text, "TIME_WAIT");
    assert_says(&text, "1 leftover was cleared");
    assert!(!text.contains(&format!("(pid {})", other.pid())), "{text}");
    wait_until("the leftover to go", || {
        count(port, TcpState::TimeWait) == 0
    });
    // One of both gets the port: they are free to.
    other.kill();
    mine.expect("bound");
}

/// What is in a scope or slice is found by it, and an instance by its template.
#[test]
fn knows_units_of_every_kind() {
    own_network();
    let port = port();
    let live = TcpListener::bind(("127.0.0.1", port)).expect("the network is ours");
    for (wanted, unit) in [
        (format!("reuse-{port}.scope"), format!("reuse-{port}.scope")),
        (format!("reuse-{port}.slice"), format!("reuse-{port}.slice")),
        (
            format!("reuse-{port}@"),
            format!("reuse-{port}@a.b.service"),
        ),
        (format!("reuse.{port}"), format!("reuse.{port}.service")),
    ] {
        let mut watch = watch(port, &["--unit", &wanted]);
        let fails = || {
            let mut failing = binds("SOCK_STREAM", port, &["127.0.0.1"]);
            failing = Program::new(program(&["sh"]))
                .arguments(["-c", "read line && exec \"$@\"", "sh"])
                .command(&failing);
            failing.start()
        };
        let (mut other, mut mine) = (fails(), fails());
        let _group = Group::with(mine.pid(), &unit);
        other.say("").expect("EADDRINUSE");
        mine.say("").expect("EADDRINUSE");
        let first = watch.line();
        assert_says(&first, &format!("(pid {}): can't bind", mine.pid()));
    }
    drop(live);
}

#[test]
fn ends_when_nobody_reads_it_any_more() {
    own_network();
    let port = port();
    let watch = format!(
        "{} watch {port} | head -n 1",
        support::reuseaddr().display()
    );
    let mut shell = Program::new(program(&["sh"]))
        .arguments(["-c", &watch])
        .start();
    wait_until("watching", || {
        shell.stderr_so_far().contains("Watching for programs")
    });
    let live = TcpListener::bind(("127.0.0.1", port)).expect("the network is ours");
    binds("SOCK_STREAM", port, &["127.0.0.1"])
        .start()
        .expect("EADDRINUSE");
    assert_says(&shell.line(), &format!("can't bind 127.0.0.1:{port}"));
    wait_until("the end", || shell.has_ended());
    drop(live);
}

#[test]
fn says_what_it_takes() {
    let (_folder, command) = command_for_others("watch");
    let finished = nobody().argument(&command).argument("watch").run();
    assert_eq!(
        (code(&finished), finished.stdout.as_str()),
        (2, ""),
        "{finished:#?}"
    );
    assert_says(&finished.stderr, "`sudo reuseaddr watch`");
    for (arguments, why) in [
        (&["watch", "--evict"][..], "--evict needs --unit UNIT"),
        (
            &["watch", "80,53/udp"],
            "53/udp: watch takes a port for TCP and UDP alike: `reuseaddr watch 53`",
        ),
        (
            &["watch", "--unit", "a/b"],
            "\"a/b\" can't be the name of a unit",
        ),
        (
            &["watch", "--unit", "my.socket"],
            "my.socket is a socket unit and has no processes",
        ),
        (&["watch", "70000"], "70000"),
    ] {
        let finished = reuseaddr(arguments).run();
        assert_eq!(
            (code(&finished), finished.stdout.as_str()),
            (2, ""),
            "{finished:#?}"
        );
        assert_says(&finished.stderr, why);
    }
    let finished = Program::new(program(&["unshare"]))
        .arguments(["--pid", "--fork"])
        .argument(support::reuseaddr())
        .argument("watch")
        .run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "process namespace");
}

/// In a machine that systemd has booted, a service meets what an earlier run left behind. Only
/// `--evict` lets it start, long before `TIME_WAIT` would be over.
#[test]
fn shows_and_cures_a_service_that_cannot_start() {
    const SCRIPT: &str = r#"
ip link set lo up
python3 - <<'EOF'
import socket
listener = socket.socket()
listener.bind(('127.0.0.1', PORT))
listener.listen()
client = socket.create_connection(('127.0.0.1', PORT))
accepted, _ = listener.accept()
accepted.close()
client.recv(1)
client.close()
EOF
cat > /opt/test/plain.py <<'EOF'
import socket, time
listener = socket.socket()
listener.bind(('127.0.0.1', PORT))
listener.listen()
time.sleep(1000)
EOF
cat > /run/systemd/system/watched.service <<'EOF'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/env python3 /opt/test/plain.py
Restart=on-failure
RestartSec=200ms
EOF
systemctl daemon-reload
systemctl start watched.service
for try in $(seq 200); do
    ss -Hltn "sport = :PORT" | grep -q LISTEN && { echo listening; break; }
    sleep 0.1
done
"#;
    let port = port();
    let script = SCRIPT.replace("PORT", &port.to_string());
    let folder = Folder::new("watch-systemd");
    let mut watch = watch(port, &["--unit", "watched", "--evict"]);
    let output = boot(&folder, &script);
    assert_eq!(output.lines().next(), Some("listening"), "{output}");
    let text = until(&mut watch, "cleared");
    assert_says(&text, "watched.service: ");
    assert_says(&text, &format!("can't bind 127.0.0.1:{port}"));
    assert_says(&text, "TIME_WAIT");
}
