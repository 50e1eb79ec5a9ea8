//! `evict`: what was left behind goes at once, and nothing else does.

use crate::{
    assert_says, code, command_for_others, crash_after_serving, fill_with_time_wait, json, nobody,
    reuseaddr, run, server,
};
use std::time::Instant;
use support::{
    Finished, Program, TcpState, count, own_network, program, sysctl, wait_for, wait_until,
};

#[test]
fn forces_time_wait_out_as_root() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    server(5000).start().expect("EADDRINUSE");
    let finished = reuseaddr(["evict", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "Port 5000: 1 TIME_WAIT evicted, and nothing of it is left. A plain bind succeeds now.",
    );
    server(5000).start().expect("listening");
}

#[test]
fn needs_the_capability_and_nothing_more_where_no_reset_helps() {
    let (_folder, command) = command_for_others("evict");
    // With net.ipv4.tcp_rfc1337, as every network of a test has it.
    own_network();
    crash_after_serving(&server(5000), 5000);

    let without: Finished = nobody()
        .argument(&command)
        .arguments(["evict", "5000"])
        .run();
    assert_eq!(code(&without), 2, "{without:#?}");
    assert_says(&without.stderr, "net.ipv4.tcp_rfc1337 is set");
    assert_says(&without.stderr, "takes root, or CAP_NET_ADMIN");
    assert_says(&without.stderr, "sudo reuseaddr evict 5000");
    assert_says(&without.stderr, "reuseaddr run --wait");
    assert_eq!(count(5000, TcpState::TimeWait), 1);
    let narrowed = nobody()
        .argument(&command)
        .arguments(["evict", "--peer", "127.0.0.1", "5000,5001"])
        .run();
    assert_says(
        &narrowed.stderr,
        "sudo reuseaddr evict --peer 127.0.0.1 5000-5001",
    );
    let answer = json(
        &nobody()
            .argument(&command)
            .arguments(["evict", "--json", "5000"]),
    );
    assert_eq!(answer["refusal"], "not-allowed", "{answer}");
    assert_eq!(answer["ports"][0]["left"]["TIME_WAIT"], 1, "{answer}");

    let with = nobody()
        .arguments([
            "--inh-caps",
            "-all,+net_admin",
            "--ambient-caps",
            "-all,+net_admin",
            "--bounding-set",
            "-all,+net_admin",
        ])
        .argument(&command)
        .arguments(["evict", "5000"])
        .run();
    assert_eq!(code(&with), 0, "{with:#?}");
    assert_eq!(count(5000, TcpState::TimeWait), 0);
}

#[test]
fn works_in_the_network_of_an_unprivileged_user() {
    let (_folder, command) = command_for_others("evict-userns");
    let text = "import socket
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
client = socket.create_connection(('127.0.0.1', 5000))
listener.accept()[0].close()
client.recv(1)
client.close()
listener.close()
# Until it is TIME_WAIT and nothing else, in columns of proc(5).
import time
for look in range(1000):
    rows = open('/proc/net/tcp').readlines()[1:]
    if [row.split()[3] for row in rows] == ['06']: break
    time.sleep(0.05)";
    let inside = format!(
        "ip link set lo up && echo 1 >/proc/sys/net/ipv4/tcp_rfc1337 && /usr/bin/python3 -I -c \
         \"{text}\" && {command} status 5000; {command} evict 5000",
        command = command.display()
    );
    let finished = nobody()
        .arguments(["unshare", "-Urn", "/bin/sh", "-c", &inside])
        .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "1 TIME_WAIT evicted, and nothing of it is left",
    );

    // In the network of root it has that capability only over its own namespace.
    own_network();
    crash_after_serving(&server(5000), 5000);
    let finished = nobody()
        .arguments(["unshare", "-Ur"])
        .argument(&command)
        .arguments(["evict", "5000"])
        .run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "in the user namespace that owns this network",
    );
    assert_eq!(count(5000, TcpState::TimeWait), 1);
}

/// Leaves behind one orphan of each kind on port 5000, while a listener, an accepted connection
/// that is half closed, and one that nobody has accepted yet stay alive.
const ALL_KINDS: &str = "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
def pair():
    client = socket.create_connection(('127.0.0.1', 5000))
    return client, listener.accept()[0]
client, accepted = pair(); accepted.close(); client.recv(1); client.close() # TIME_WAIT
waits, accepted = pair(); accepted.close()                          # FIN_WAIT2
stuck, accepted = pair()
accepted.setblocking(False)
try:
    while True: accepted.send(bytes(65536))
except BlockingIOError: pass
accepted.close()                                                    # FIN_WAIT1: the peer takes no more
alive, owned = pair(); owned.shutdown(socket.SHUT_WR)               # FIN_WAIT2, but a process has it open
unaccepted = socket.create_connection(('127.0.0.1', 5000))
print('ready')
sys.stdin.readline()
alive.sendall(b'still here'); print(owned.recv(99).decode())
unaccepted.sendall(b'hello'); print(listener.accept()[0].recv(99).decode())
sys.stdin.read()
";

#[test]
fn spares_what_is_alive() {
    own_network();
    let mut program = Program::python(ALL_KINDS).start();
    program.expect("ready");
    for (state, number) in [
        (TcpState::TimeWait, 1),
        (TcpState::FinWait2, 2),
        (TcpState::FinWait1, 1),
        (TcpState::Established, 1),
    ] {
        wait_for(5000, state, number);
    }

    let dry = json(&reuseaddr(["evict", "--json", "--dry-run", "5000"]));
    assert_eq!(
        dry["ports"][0]["found"],
        serde_json::json!({"TIME_WAIT": 1, "FIN_WAIT2": 1}),
        "{dry}"
    );
    assert_eq!(dry["ports"][0]["evicted"], 0, "{dry}");
    assert_eq!(count(5000, TcpState::TimeWait), 1);

    let other = json(&reuseaddr([
        "evict",
        "--json",
        "--peer",
        "127.0.0.9",
        "5000",
    ]));
    assert_eq!(other["ports"][0]["found"], serde_json::json!({}), "{other}");

    let answer = json(&reuseaddr([
        "evict",
        "--json",
        "--peer",
        "127.0.0.1",
        "5000",
    ]));
    let port = &answer["ports"][0];
    assert_eq!(port["evicted"], 2, "{answer}");
    assert_eq!(
        port["spared"],
        serde_json::json!({"LISTEN": 1, "ESTABLISHED": 1, "FIN_WAIT1": 1, "FIN_WAIT2": 1}),
        "{answer}"
    );
    assert_eq!(
        (
            count(5000, TcpState::FinWait1),
            count(5000, TcpState::FinWait2)
        ),
        (1, 1)
    );

    let finished = reuseaddr(["evict", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stderr, "1 FIN_WAIT1 is left");
    assert_says(&finished.stderr, "reuseaddr evict --all-states 5000");

    let finished = reuseaddr(["evict", "--all-states", "5000"]).run();
    assert_says(&finished.stderr, "what the peers have not got yet is lost");
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_eq!(
        (
            count(5000, TcpState::FinWait1),
            count(5000, TcpState::FinWait2)
        ),
        (0, 1)
    );
    program.say("").expect("still here").expect("hello");
}

/// Just after a crash a connection may be an orphan whose peer has not answered yet.
#[test]
fn ends_what_is_still_on_its_way_to_time_wait() {
    own_network();
    let mut program = Program::python(
        "
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
listener.bind(('127.0.0.1', 5000))
listener.listen()
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
client.connect(('127.0.0.1', 5000))
accepted, _ = listener.accept()
accepted.setblocking(False)
try:
    while True: accepted.send(bytes(65536))
except BlockingIOError: pass
accepted.close()
listener.close()
print('ready')
sys.stdin.readline()
while client.recv(1 << 20): pass
client.close()
sys.stdin.read()
",
    )
    .start();
    program.expect("ready");
    wait_for(5000, TcpState::FinWait1, 1);
    // It waits for a fraction of a second: by a clock that goes slowly, for as long as a busy
    // machine takes.
    let clock = support::program(&["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"]);
    let mut evict = reuseaddr(["--verbose", "evict", "5000"])
        .with("LD_PRELOAD", clock)
        .with("FAKETIME", "+0 x0.02")
        .start();
    wait_until("evict to wait", || {
        evict.has_ended() || evict.stderr_so_far().contains("waiting for orphans")
    });
    program.say("");
    let finished = evict.finish();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "evicted, and nothing of it is left. A plain bind succeeds now.",
    );
}

#[test]
fn evicts_20_000_and_counts_them() {
    let (_folder, command) = command_for_others("evict-many");
    own_network();
    let arguments = ["evict", "--json", "5000"];
    for (who, program) in [
        ("root", reuseaddr(arguments)),
        ("nobody", nobody().argument(command).arguments(arguments)),
    ] {
        sysctl("net.ipv4.tcp_rfc1337", "1");
        fill_with_time_wait(5000, 20_000);
        sysctl("net.ipv4.tcp_rfc1337", "0");
        let start = Instant::now();
        let answer = json(&program);
        eprintln!("20 000 evicted by {who} in {:?}", start.elapsed());
        assert_eq!(answer["ports"][0]["evicted"], 20_000, "{answer}");
        assert_eq!(count(5000, TcpState::TimeWait), 0);
    }
}

#[test]
fn says_that_there_is_nothing() {
    own_network();
    let finished = reuseaddr(["evict", "5000", "6000-6100"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "There is nothing to evict on any of these ports.",
    );
}

#[test]
fn clears_the_port_for_run() {
    own_network();
    sysctl("net.ipv4.tcp_fin_timeout", "60");
    crash_after_serving(&server(5000), 5000);
    let start = |options: &[&str]| {
        run()
            .arguments(options)
            .arguments(["/usr/bin/python3", "-I", "-u", "-c"])
            .argument(format!("import errno, socket, sys\n{}", crate::SERVER))
            .argument("5000")
            .start()
    };
    start(&[]).expect("EADDRINUSE");
    start(&["--evict", "--ports", "5000"]).expect("listening");

    let finished = run().arguments(["--evict", "true"]).run();
    assert_eq!(code(&finished), 125, "{finished:#?}");
    assert_says(&finished.stderr, "--evict needs to know the ports");
}

/// A tracer has each of its calls of `connect` take 5 ms more, so that it takes longer than a
/// second.
#[test]
fn says_on_a_terminal_how_far_it_is() {
    let (_folder, command) = command_for_others("evict-slowly");
    let left = 500;
    let evict = |terminal: bool| {
        own_network();
        sysctl("net.ipv4.tcp_rfc1337", "0");
        fill_with_time_wait(5000, left);
        let slowly = format!(
            "{} --follow-forks --output /dev/null --inject=connect:delay_enter=5000 {} evict 5000",
            program(&["strace"]).display(),
            command.display()
        );
        let finished = if terminal {
            let words = ["--quiet", "--return", "--command", &slowly, "/dev/null"];
            nobody()
                .argument(program(&["script"]))
                .arguments(words)
                .run()
        } else {
            nobody().arguments(["sh", "-c", &slowly]).run()
        };
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert_says(&finished.stdout, &format!("{left} TIME_WAIT evicted"));
        finished
    };
    let said = evict(true).stdout;
    let line = said
        .find(&format!(" of {left} are reset from their peers' side"))
        .expect(&said);
    // It is taken away again before the answer.
    let gone = said.rfind("\r\u{1b}[K").expect("the line is cleared");
    let answer = said.find("TIME_WAIT evicted").expect("the answer");
    assert!(line < gone && gone < answer, "{said:?}");
    assert_eq!(evict(false).stderr, "");
}

/// Connections that are alive go only as root, with a peer, and when that was said twice.
#[test]
fn resets_live_connections_when_it_is_said_twice() {
    own_network();
    let mut talk = Program::python(
        "
listener = socket.create_server(('127.0.0.1', 5000))
client = socket.create_connection(('127.0.0.1', 5000), source_address=('127.0.0.2', 0))
accepted = [listener.accept()[0]]
other = socket.create_connection(('127.0.0.1', 5000), source_address=('127.0.0.3', 0))
accepted.append(listener.accept()[0])
print('connected')
sys.stdin.readline()
try: print(client.recv(1))
except OSError as error: print(errno.errorcode[error.errno])
accepted[1].sendall(b'alive')
print(other.recv(9).decode())
sys.stdin.read()
",
    )
    .start();
    talk.expect("connected");
    let alive = || support::count(5000, support::TcpState::Established);
    let evict = |words: &[&str]| reuseaddr(["evict", "5000"]).arguments(words).run();
    for (words, expected) in [
        (&["--established"][..], "--established needs --peer ADDRESS"),
        (
            &["--established", "--peer", "127.0.0.2"],
            "--yes is needed twice",
        ),
        (
            &["--established", "--peer", "127.0.0.2", "--yes"],
            "--yes is needed twice",
        ),
    ] {
        let refused = evict(words);
        assert_eq!(code(&refused), 2, "{refused:#?}");
        assert_says(&refused.stderr, expected);
    }
    let without = evict(&["--peer", "127.0.0.2", "--yes"]);
    assert_says(&without.stdout, "there is nothing to evict");
    let dry = evict(&["--established", "--peer", "127.0.0.2", "--dry-run"]);
    assert_eq!(code(&dry), 0, "{dry:#?}");
    assert_says(&dry.stdout, "1 ESTABLISHED would be evicted");
    assert_eq!(alive(), 2);

    let finished = evict(&["--established", "--peer", "127.0.0.2", "-yy"]);
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stderr,
        &format!(
            "1 connection with 127.0.0.2 is alive on port 5000, held by python3 (pid {})",
            talk.pid()
        ),
    );
    assert_eq!(alive(), 1);
    talk.say("").expect("ECONNRESET").expect("alive");
}
