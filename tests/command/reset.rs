//! `evict` without privileges: from the side of the peer, where that is on this host.

use crate::{
    ORPHAN, SERVER, assert_says, code, command_for_others, crash_after_serving,
    fill_with_time_wait, json, named, nobody, reuseaddr, run_as_nobody, serve_once, server,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use support::{
    Folder, Program, Running, TcpState, count, own_network, program, settle, sysctl, tcp_states,
    wait_for, wait_until,
};

/// The command where everybody reaches it, and a network in which a reset ends `TIME_WAIT`, as
/// Linux has it.
fn prepared(name: &str) -> (Folder, PathBuf) {
    let (folder, command) = command_for_others(name);
    own_network();
    sysctl("net.ipv4.tcp_rfc1337", "0");
    (folder, command)
}

/// A server that accepts a connection and closes it first. It says from which port its peer came,
/// waits for a line, and lives on with its listener or without.
const LEAVE: &str = "
import subprocess
address, to, keep = sys.argv[1], sys.argv[2], sys.argv[3]
scope = int(sys.argv[4]) if len(sys.argv) > 4 else 0
family = lambda text: socket.AF_INET6 if ':' in text else socket.AF_INET
place = lambda text, port: (text, port, 0, scope) if ':' in text else (text, port)
listener = socket.socket(family(address))
listener.bind(place(address, 5000))
listener.listen()
client = socket.socket(family(to))
source = os.environ.get('SOURCE')
if source: client.bind((source.rpartition(':')[0], int(source.rpartition(':')[2])))
client.connect(place(to, 5000))
accepted, _ = listener.accept()
port = client.getsockname()[1]
accepted.close()
client.recv(1)
if keep not in ('peer', 'silent'): client.close()
if keep != 'listener': listener.close()
print(port)
sys.stdin.readline()
# Gone without a word, as when its machine has crashed.
client.setsockopt(socket.IPPROTO_TCP, 19, 1)
client.close()
print('gone')
sys.stdin.read()
";

/// Runs [`LEAVE`], and returns it with its peer's port.
fn leave(address: &str, to: &str, keep: &str) -> (Running, u16) {
    let mut running = Program::python(LEAVE)
        .arguments([address, to, keep])
        .start();
    let port = running.line().parse().expect("a port");
    let state = if ["peer", "silent"].contains(&keep) {
        TcpState::FinWait2
    } else {
        TcpState::TimeWait
    };
    wait_for(5000, state, 1);
    if keep == "silent" {
        running.say("").expect("gone");
    }
    (running, port)
}

fn evict(command: &PathBuf, arguments: &[&str]) -> (Value, support::Finished) {
    let program = |json: &[&str]| {
        nobody()
            .argument("--no-new-privs")
            .argument(command)
            .argument("evict")
            .arguments(json)
            .arguments(arguments)
            .argument("5000")
    };
    let before = tcp_states(5000);
    let dry = json(&program(&["--json", "--dry-run"]));
    assert_eq!(tcp_states(5000), before, "a dry run did something");
    let answer = json(&program(&["--json"]));
    assert_eq!(dry["ports"][0]["found"], answer["ports"][0]["found"]);
    (answer, program(&[]).run())
}

fn address(arguments: &[&str]) {
    Program::new(program(&["ip"])).arguments(arguments).output();
}

#[test]
fn takes_no_right_where_the_peer_is_on_this_host() {
    let (_folder, command) = prepared("reset");
    address(&["address", "add", "10.9.9.1/32", "dev", "lo"]);
    address(&["address", "add", "fd00::77/128", "dev", "lo"]);
    for (bound, to, timestamps) in [
        ("127.0.0.1", "127.0.0.1", "1"),
        ("127.0.0.1", "127.0.0.1", "0"),
        ("0.0.0.0", "127.0.0.2", "1"),
        ("0.0.0.0", "10.9.9.1", "1"),
        ("::1", "::1", "1"),
        ("::1", "::1", "0"),
        ("::", "fd00::77", "1"),
        // An IPv6 socket that serves IPv4.
        ("::", "127.0.0.1", "1"),
        ("::", "10.9.9.1", "1"),
    ] {
        sysctl("net.ipv4.tcp_timestamps", timestamps);
        let (running, port) = leave(bound, to, "");
        running.kill();
        let case = format!("{bound} {to} {timestamps}");
        // What nobody may do by the kernel's help, he may from the peer's side.
        sysctl("net.ipv4.tcp_rfc1337", "1");
        let (answer, finished) = evict(&command, &[]);
        assert_eq!(
            answer["obstacles"],
            json!({"rfc1337": 1}),
            "{case}: {answer}"
        );
        assert_eq!(code(&finished), 2, "{case}: {finished:#?}");
        assert_says(&finished.stderr, "net.ipv4.tcp_rfc1337 is set");
        assert_eq!(tcp_states(5000), [TcpState::TimeWait], "{case}");

        sysctl("net.ipv4.tcp_rfc1337", "0");
        let (answer, finished) = evict(&command, &[]);
        assert_eq!(answer["refusal"], "not-allowed", "{case}: {answer}");
        assert_eq!(answer["ports"][0]["evicted"], 1, "{case}: {answer}");
        assert_eq!(answer["ports"][0]["free"], true, "{case}: {answer}");
        assert_eq!(code(&finished), 0, "{case}: {finished:#?}");
        assert_eq!(tcp_states(5000), [], "{case}");
        assert_eq!(tcp_states(port), [], "{case}: something of ours is left");
    }
}

#[test]
fn ends_time_wait_between_addresses_of_a_link() {
    let (_folder, command) = prepared("reset-link");
    address(&["address", "add", "fe80::77/64", "dev", "lo"]);
    let mut running = Program::python(LEAVE)
        .arguments(["::", "fe80::77", "", "1"])
        .start();
    running.line();
    wait_for(5000, TcpState::TimeWait, 1);
    let (answer, _) = evict(&command, &[]);
    assert_eq!(answer["ports"][0]["evicted"], 1, "{answer}");
    assert_eq!(tcp_states(5000), []);
}

#[test]
fn speaks_to_no_listener_unless_told_to() {
    let (_folder, command) = prepared("reset-listener");
    let mut running = Program::python(SERVER).argument("5000").start();
    running.expect("listening");
    serve_once(&mut running, 5000);
    let (answer, finished) = evict(&command, &[]);
    assert_eq!(answer["obstacles"], json!({"listener": 1}), "{answer}");
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "--past-listeners");
    assert_eq!(count(5000, TcpState::TimeWait), 1);

    let (answer, finished) = evict(&command, &["--past-listeners"]);
    assert_eq!(answer["ports"][0]["evicted"], 1, "{answer}");
    assert_eq!(code(&finished), 0, "{finished:#?}");
    // The empty connection, and only now.
    running.expect("served");
    wait_until("the empty connection to end", || {
        tcp_states(5000) == [TcpState::Listen]
    });
    assert!(
        running
            .line_within(std::time::Duration::from_millis(100))
            .is_none()
    );
    running.kill();
    // One that listens elsewhere hears nothing and is in nobody's way.
    let (left, _) = leave("127.0.0.1", "127.0.0.1", "");
    let mut other = Program::python(SERVER)
        .arguments(["5000", "127.0.0.2"])
        .start();
    other.expect("listening");
    let (answer, _) = evict(&command, &[]);
    assert_eq!(answer["ports"][0]["evicted"], 1, "{answer}");
    left.kill();
}

#[test]
fn counts_what_has_its_peer_elsewhere_and_says_what_helps() {
    let (_folder, command) = prepared("reset-remote");
    address(&["address", "add", "10.9.9.2/32", "dev", "lo"]);
    leave("0.0.0.0", "10.9.9.2", "").0.kill();
    // The peer's address is another host's now; bound or not, nothing is sent from it.
    address(&["address", "del", "10.9.9.2/32", "dev", "lo"]);
    let (answer, finished) = evict(&command, &[]);
    assert_eq!(answer["obstacles"], json!({"remote": 1}), "{answer}");
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "1 is left: 1 has its peer on another host",
    );
    assert_says(&finished.stderr, "sudo reuseaddr evict 5000");
    assert_says(&finished.stderr, "reuseaddr run --wait");

    sysctl("net.ipv4.ip_nonlocal_bind", "1");
    let mut near = Program::python(LEAVE)
        .with("SOURCE", "127.0.0.1:40000")
        .arguments(["127.0.0.3", "127.0.0.3", ""])
        .start();
    near.line();
    wait_for(5000, TcpState::TimeWait, 2);
    let (answer, finished) = evict(&command, &[]);
    assert_eq!(answer["ports"][0]["evicted"], 1, "{answer}");
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_eq!(count(5000, TcpState::TimeWait), 1);

    let finished = reuseaddr(["evict", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
}

#[test]
fn ends_fin_wait2_where_the_peer_is_gone_and_only_there() {
    let (_folder, command) = prepared("reset-fin-wait2");
    // In this state it listens to a reset, whatever that setting says.
    for rfc1337 in ["0", "1"] {
        sysctl("net.ipv4.tcp_rfc1337", rfc1337);
        let (running, _) = leave("127.0.0.1", "127.0.0.1", "silent");
        let (answer, finished) = evict(&command, &[]);
        assert_eq!(
            answer["ports"][0]["found"],
            json!({"FIN_WAIT2": 1}),
            "{answer}"
        );
        assert_eq!(answer["ports"][0]["evicted"], 1, "{rfc1337}: {answer}");
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert_eq!(tcp_states(5000), []);
        running.kill();
    }
    let (running, port) = leave("127.0.0.1", "127.0.0.1", "peer");
    let (answer, finished) = evict(&command, &[]);
    assert_eq!(answer["obstacles"], json!({"peer-in-use": 1}), "{answer}");
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "the peer has not closed its end");
    assert_eq!(
        tcp_states(port),
        [TcpState::CloseWait],
        "the peer was disturbed"
    );
    running.kill();
}

#[test]
fn is_not_kept_from_it_by_other_connections_of_the_peers_port() {
    let (_folder, command) = prepared("reset-shared");
    let (running, port) = leave("127.0.0.1", "127.0.0.1", "");
    // Another client has been handed the same port since, for a connection to elsewhere.
    let mut other = Program::python(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', 6000))
listener.listen()
client = socket.socket()
client.setsockopt(socket.IPPROTO_IP, 24, 1)
client.setsockopt(socket.IPPROTO_IP, 51, struct.pack('HH', int(sys.argv[1]), int(sys.argv[1])))
client.connect(('127.0.0.1', 6000))
accepted, (_, port) = listener.accept()
print(port)
sys.stdin.readline()
accepted.sendall(b'alive')
print(client.recv(9).decode())
",
    )
    .argument(port.to_string())
    .start();
    other.expect(&port.to_string());
    let (answer, _) = evict(&command, &[]);
    assert_eq!(answer["ports"][0]["evicted"], 1, "{answer}");
    other.say("").expect("alive");
    running.kill();
}

#[test]
fn says_that_the_peers_port_is_roots() {
    let (_folder, command) = prepared("reset-privileged");
    let mut running = Program::python(LEAVE)
        .with("SOURCE", "127.0.0.1:900")
        .arguments(["127.0.0.1", "127.0.0.1", ""])
        .start();
    running.line();
    wait_for(5000, TcpState::TimeWait, 1);
    let (answer, finished) = evict(&command, &[]);
    assert_eq!(
        answer["obstacles"],
        json!({"peer-privileged": 1}),
        "{answer}"
    );
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "a peer whose port only root may bind");
}

/// By its threads too, of which each has a network of its own.
#[test]
fn looks_into_the_network_of_a_process() {
    let (_folder, command) = prepared("reset-network");
    let mut running = Program::python(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
for number in range(2000):
    client = socket.create_connection(('127.0.0.1', 5000), source_address=('127.0.0.1', 10000 + number))
    accepted, _ = listener.accept()
    accepted.close()
    client.recv(1)
    client.close()
listener.close()
print('ready')
sys.stdin.read()
",
    )
    .start();
    running.expect("ready");
    settle(5000);
    let pid = running.pid().to_string();
    own_network();
    let answer = json(
        &Program::new(program(&["setpriv"]))
            .arguments(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"])
            .argument(&command)
            .arguments(["evict", "--json", "--pid", &pid, "5000"]),
    );
    assert_eq!(answer["refusal"], "not-allowed", "{answer}");
    let evicted = answer["ports"][0]["evicted"].as_u64().expect("a number");
    assert!(evicted > 1900, "{answer}");
    assert_eq!(answer["ports"][0]["free"], true, "{answer}");
}

/// Where its user may start no thread it does all of it by itself.
#[test]
fn works_without_threads() {
    let (_folder, command) = prepared("reset-threads");
    fill_with_time_wait(5000, 2000);
    let finished = nobody()
        .argument(program(&["prlimit"]))
        .argument("--nproc=1")
        .argument(&command)
        .arguments(["evict", "5000"])
        .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_eq!(tcp_states(5000), []);
}

/// The promise: whose server has crashed without the library starts it again at once, as whoever he
/// is.
#[test]
fn makes_the_first_restart_succeed_as_nobody() {
    let (folder, command) = prepared("reset-run");
    let library = folder.copy(support::shim(), "libreuse.so");
    crash_after_serving(&server(5000), 5000);
    run_as_nobody(&command, &library, &[]).expect("EADDRINUSE");
    let mut running = run_as_nobody(&command, &library, &["--evict"]);
    running.expect("listening");
    assert_eq!(running.stderr_so_far(), "");
}

#[test]
fn is_what_status_advises_where_it_helps() {
    let (_folder, command) = prepared("reset-advice");
    let advised = || {
        let answer = json(
            &nobody()
                .argument(&command)
                .arguments(["status", "--json", "5000"]),
        );
        let advice = answer["ports"][0]["verdict"]["advice"]
            .as_array()
            .expect("advice")
            .clone();
        advice
            .iter()
            .map(|one| named(one["command"].as_str().expect("a command")))
            .collect::<Vec<_>>()
    };
    leave("127.0.0.1", "127.0.0.1", "").0.kill();
    assert_eq!(
        advised(),
        [
            "reuseaddr run --evict --ports 5000 PROGRAM",
            "reuseaddr evict 5000"
        ]
    );
    // The control: where it does not help, root is needed or time.
    sysctl("net.ipv4.tcp_rfc1337", "1");
    let advice = advised();
    let [wait, evict] = advice.as_slice() else {
        panic!("{advice:?}");
    };
    let seconds: u32 = wait
        .strip_prefix("reuseaddr run --wait ")
        .and_then(|wait| wait.strip_suffix("s PROGRAM")?.parse().ok())
        .expect(wait);
    // TIME_WAIT takes 60, some of which have passed.
    assert!((10..=65).contains(&seconds), "{wait}");
    assert_eq!(evict, "sudo reuseaddr evict 5000");
    let of_root = reuseaddr(["status", "5000"]).run().stdout;
    assert!(!of_root.contains("sudo"), "{of_root}");
}

/// An orphan in `FIN_WAIT2` goes when its peer closes: whoever keeps that end open is named, and
/// root can have it cleared in the one command that starts the program.
#[test]
fn names_the_peer_that_keeps_an_orphan() {
    own_network();
    for closes in [false, true] {
        let mut running = Program::python(ORPHAN)
            .arguments(closes.then_some("closes"))
            .start();
        running.expect("left");
        let state = if closes {
            TcpState::TimeWait
        } else {
            TcpState::FinWait2
        };
        wait_for(5000, state, 1);
        let shown = reuseaddr(["status", "5000"]).run();
        let open = format!(
            "On this host python3 (pid {}) still keeps an end open.",
            running.pid()
        );
        if closes {
            assert!(!shown.stdout.contains("keeps an end"), "{shown:#?}");
        } else {
            assert_says(&shown.stdout, &open);
        }
        assert_says(&shown.stdout, "reuseaddr run --evict --ports 5000 PROGRAM");
        assert!(!shown.stdout.contains("sudo"), "as root: {shown:#?}");
        running.kill();
        own_network();
    }
}

/// A connection that this side has opened and closed first: its server has the peer's port, and
/// keeps it.
#[test]
fn leaves_a_servers_port_alone() {
    let (_folder, command) = prepared("reset-outbound");
    let mut running = Program::python(
        "
listener = socket.create_server(('127.0.0.1', 6000))
client = socket.create_connection(('127.0.0.1', 6000), source_address=('127.0.0.1', 5000))
accepted, _ = listener.accept()
client.close()
accepted.recv(1)
accepted.close()
print('closed')
sys.stdin.readline()
listener.setblocking(False)
try:
    listener.accept()
    print('somebody came')
except BlockingIOError:
    print('nobody came')
listener.close()
print('gone')
sys.stdin.read()
",
    )
    .start();
    running.expect("closed");
    wait_for(5000, TcpState::TimeWait, 1);
    let (answer, finished) = evict(&command, &[]);
    assert_eq!(answer["obstacles"], json!({"peer-in-use": 1}), "{answer}");
    assert_eq!(code(&finished), 2, "{finished:#?}");
    running.say("").expect("nobody came").expect("gone");
    let (answer, _) = evict(&command, &[]);
    assert_eq!(answer["ports"][0]["evicted"], 1, "{answer}");
}

/// Who begins to listen in the middle of it sees an empty connection from each thread at the most,
/// and not thousands.
#[test]
fn stops_where_a_listener_appears_meanwhile() {
    let (_folder, command) = prepared("reset-meanwhile");
    sysctl("net.ipv4.tcp_max_tw_buckets", "262144");
    let finished = Program::python(
        "
import select, subprocess
def listen():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(('127.0.0.1', 5000))
    listener.listen(128)
    return listener
def left(): return int(open('/proc/thread-self/net/sockstat').read().split('tw ')[1].split()[0])
rfc1337 = lambda value: open('/proc/sys/net/ipv4/tcp_rfc1337', 'w').write(value)
rfc1337('1')
listener = listen()
for number in range(2000):
    client = socket.create_connection(('127.0.0.1', 5000), source_address=('127.0.0.1', 10000 + number))
    listener.accept()[0].close()
    client.recv(1)
    client.close()
listener.close()
rfc1337('0')
evict = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
while left() > 1900 and evict.poll() is None: pass
listener = listen()
there, seen = left(), 0
listener.setblocking(False)
while evict.poll() is None or select.select([listener], [], [], 0.2)[0]:
    try: listener.accept()[0].close(); seen += 1
    except BlockingIOError: pass
print(there > 0, left() > there - 50, seen <= 4 * os.cpu_count(), evict.returncode, seen, there, left())
",
    )
    .argument(program(&["setpriv"]))
    .arguments(["--reuid", "65534", "--clear-groups"])
    // A tracer has each of its calls of `connect` take 5 ms more: it takes longer than this
    // process may have to wait for a processor.
    .argument(program(&["strace"]))
    .arguments(["--follow-forks", "--output", "/dev/null"])
    .argument("--inject=connect:delay_enter=5000")
    .argument(&command)
    .arguments(["evict", "5000"])
    .run();
    assert!(
        finished.stdout.starts_with("True True True 1 "),
        "{finished:#?}"
    );
    assert_says(&finished.stderr, "--past-listeners");
}
