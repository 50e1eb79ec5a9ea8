//! Tests a program with the shim beside one without it, and beside a second copy of itself.

use crate::bind::LOCK;
use crate::server::{PORT, Server};
use std::fs;
use support::{Engine, Program, TcpState, compile_c, engine, own_network, shows_bound_sockets};

/// A program that sets `SO_REUSEADDR` itself, and binds to `host` without listening yet.
fn about_to_listen(host: &str) -> Program {
    Program::python(
        "
host = sys.argv[1]
bound = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
bound.bind((host, 5000))
print('bound')
sys.stdin.readline()
try:
    bound.listen()
    print('listening')
except OSError as error:
    print(errno.errorcode[error.errno])
sys.stdin.readline()
",
    )
    .argument(host)
}

/// Without the check both would bind, and the first one's `listen` would fail.
#[test]
fn leaves_the_port_to_a_program_that_bound_it_first() {
    if !shows_bound_sockets() {
        return;
    }
    for (first, family, second) in [
        ("127.0.0.1", "AF_INET", "127.0.0.1"),
        ("0.0.0.0", "AF_INET", "127.0.0.1"),
        ("127.0.0.1", "AF_INET", "0.0.0.0"),
        ("127.0.0.1", "AF_INET6", "::"),
        ("::", "AF_INET", "127.0.0.1"),
        ("::1", "AF_INET6", "::1"),
        ("::1", "AF_INET6", "::"),
        ("::", "AF_INET6", "::1"),
    ] {
        for leftovers in [false, true] {
            own_network();
            let reached_at = if family == "AF_INET6" {
                "::1"
            } else {
                "127.0.0.1"
            };
            let server = Server::at(family, second, reached_at).shimmed();
            let _left = leftovers.then(|| server.leave_behind(TcpState::TimeWait));
            let mut other = about_to_listen(first).start();
            other.expect("bound");
            assert_eq!(server.outcome(), "EADDRINUSE", "{first} {second}");
            other.say("").expect("listening");
        }
    }
    // Sockets at other addresses do not conflict.
    own_network();
    let server = Server::new().shimmed();
    let _left = server.leave_behind(TcpState::TimeWait);
    let mut other = about_to_listen("127.0.0.2").start();
    other.expect("bound");
    let mut other_family = about_to_listen("::1").start();
    other_family.expect("bound");
    assert_eq!(server.outcome(), "listening");
    for mut other in [other, other_family] {
        other.say("").expect("listening");
    }
}

/// A wildcard address is found without `sock_diag(7)`: a second socket of ours conflicts with it
/// too.
#[test]
fn refuses_what_a_wildcard_address_holds_at_once() {
    own_network();
    let _left = Server::new().shimmed().leave_behind(TcpState::TimeWait);
    let mut lock = Program::python(
        "
bound = socket.socket()
bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
bound.bind(('0.0.0.0', 5000))
bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
print('bound')
sys.stdin.readline()
",
    )
    .start();
    lock.expect("bound");
    assert_eq!(Server::new().shimmed().outcome(), "EADDRINUSE");
}

/// In how many rounds none, one and both of two copies got the port, and how often a `listen`
/// failed. A busy machine does not come to all the rounds.
fn counted(pairs: &Program) -> [u32; 4] {
    let output = pairs.output();
    let mut numbers = output
        .split([' ', ',', '\n'])
        .filter(|word| !word.is_empty())
        .map(|word| word.parse().expect("a number"));
    let counted = [(); 4].map(|()| numbers.next().unwrap_or_default());
    assert!(counted[..3].iter().sum::<u32>() > 0, "{output}");
    counted
}

/// Two copies of a program, whose lock is a `bind` alone, start at the same moment.
#[test]
fn gives_a_lock_to_one_of_two_copies_that_start_in_step() {
    let pairs = Program::new(compile_c("pairs", include_str!("pairs.c"), &["-pthread"]));
    own_network();
    // A leftover that does not expire, however long the rounds take.
    let _left = Server::new().shimmed().leave_behind(TcpState::Established);
    let pairs = pairs.argument("2000");
    // Without the shim neither gets the port.
    assert!(matches!(counted(&pairs), [_, 0, 0, _]));
    let [none, one, both, _] = counted(&pairs.shimmed());
    let each_time = engine() == Engine::Bpf || none == 0;
    assert!(each_time && one > 0 && both == 0, "{none} {one} {both}");
}

/// The `bind` of the other copy fails, as it does without the shim, and not its `listen`.
#[test]
fn refuses_the_second_of_two_copies_that_start_in_step_its_bind() {
    if !shows_bound_sockets() {
        return;
    }
    let pairs = Program::new(compile_c("pairs", include_str!("pairs.c"), &["-pthread"]));
    for leftovers in [true, false] {
        own_network();
        let server = Server::new().shimmed();
        let _left = leftovers.then(|| server.leave_behind(TcpState::Established));
        let copies = pairs.clone().arguments(["1000", "listen"]);
        match counted(&copies) {
            [_, 0, 0, 0] if leftovers => {}
            [0, _, 0, 0] if !leftovers => {}
            other => panic!("{other:?}"),
        }
        let [none, one, both, failures] = counted(&copies.shimmed());
        let is_right = match engine() {
            // The tracer detaches a quarter of a second after a copy's `listen`, even between a
            // `bind` and its `listen`. From then on neither gets the port.
            Engine::Trace if leftovers => both == 0,
            Engine::Bpf => both == 0 && failures == 0,
            _ => none == 0 && both == 0 && failures == 0,
        };
        assert!(is_right, "{none} {one} {both}, {failures}");
    }
}

/// Older kernels (6.18 is not one) compare no addresses on a port whose first socket had the option
/// (`tb->fastreuse`).
#[test]
fn gives_a_lock_to_one_copy_on_a_port_that_a_client_bound_with_the_option() {
    own_network();
    let client = "
server = socket.create_server(('127.0.0.1', 6000))
client = socket.socket()
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
client.bind(('127.0.0.1', 5000))
client.connect(('127.0.0.1', 6000))
accepted, _ = server.accept()
client.close()
accepted.recv(1)
accepted.close()
";
    Program::python(client).run().succeeded();
    support::wait_for(PORT, TcpState::TimeWait, 1);
    let lock = Program::python(LOCK);
    lock.start().expect("EADDRINUSE");
    let lock = lock.shimmed();
    let mut first = lock.start();
    first.expect("locked");
    for _ in 0..3 {
        lock.start().expect("EADDRINUSE");
    }
}

/// A socket of ours guards the second try. If it can't be opened, the try is made all the same.
#[test]
fn binds_without_a_guard_where_no_descriptor_is_free() {
    own_network();
    let server = Server::new().shimmed();
    let _left = server.leave_behind(TcpState::TimeWait);
    let crowded = server.after(
        "socket",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (listener.fileno() + 1,) * 2)",
    );
    let mut running = crowded.program.start();
    running.expect("listening");
}

/// Nothing of ours is left on the port or in the program.
#[test]
fn takes_its_guard_away_again() {
    own_network();
    let _left = Server::new().shimmed().leave_behind(TcpState::TimeWait);
    let output = Program::python(
        "
before = os.listdir('/proc/self/fd')
bound = socket.socket()
number = bound.fileno()
bound.bind(('127.0.0.1', 5000))
print(len(os.listdir('/proc/self/fd')) - len(before))
guard = socket.socket()
guard.bind(('127.76.73.66', 5000))
",
    )
    .shimmed()
    .output();
    assert_eq!(output, "1\n");
    let tables = fs::read_to_string("/proc/thread-self/net/tcp").expect("the table");
    assert!(!tables.contains("42494C7F"), "{tables}");
}
