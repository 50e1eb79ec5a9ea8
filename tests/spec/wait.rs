//! `LIBREUSE_WAIT`: a `bind` waits for what an earlier run left behind, and for nothing else.

use crate::server::{PORT, Server};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{Program, TcpState, own_network, patience, sysctl, wait_for, wait_until};

/// The run before had no shim, so only time helps: a minute, or three seconds where that is how
/// long such an orphan is kept.
#[test]
fn outlasts_what_a_run_without_the_shim_left_behind() {
    for (wait, expected) in [
        ("0", "EADDRINUSE"),
        ("100ms", "EADDRINUSE"),
        ("1m", "listening"),
    ] {
        own_network();
        if expected == "listening" {
            sysctl("net.ipv4.tcp_fin_timeout", "3");
        }
        let _client = Server::new().leave_behind(TcpState::FinWait2);
        assert_eq!(
            Server::new()
                .shimmed()
                .with("LIBREUSE_WAIT", wait)
                .outcome(),
            expected,
            "{wait}"
        );
    }
}

/// The whole minute of a real `TIME_WAIT`.
#[test]
fn outlasts_time_wait() {
    own_network();
    drop(Server::new().leave_behind(TcpState::TimeWait));
    assert_eq!(Server::new().shimmed().outcome(), "EADDRINUSE");
    let start = Instant::now();
    let mut second = Server::new()
        .shimmed()
        .with("LIBREUSE_WAIT", "90s")
        .program
        .start();
    wait_for(PORT, TcpState::TimeWait, 1);
    let mut line = None;
    while line.is_none() && start.elapsed() < Duration::from_secs(70) + patience() {
        line = second.line_within(Duration::from_secs(1));
    }
    assert_eq!(line.as_deref(), Some("listening"));
}

#[test]
fn outlasts_a_listener_that_is_about_to_go() {
    own_network();
    let mut first = Server::new().shimmed().listening();
    let mut second = Server::new()
        .shimmed()
        .with("LIBREUSE_WAIT", "1m,listeners")
        .program
        .start();
    wait_until("the second one to wait", || {
        second
            .stderr_so_far()
            .contains("waiting for up to 60000 ms")
    });
    first.say("stop listening").expect("stopped");
    second.expect("listening");
    // The two pipes of a process are read by two threads. The listener may go between a try without
    // the option and one with it.
    wait_until("the report", || {
        let said = second.stderr_so_far();
        ["no option", "SO_REUSEADDR"]
            .iter()
            .any(|options| said.contains(&format!("bound with {options} after")))
    });
}

/// A program that takes the next port if it can't have its own would wait at each that is taken.
#[test]
fn is_not_for_live_listeners_unless_it_is_asked_to_be() {
    const DRIFTER: &str = "
listener, port = socket.socket(), 5000
while True:
    try:
        listener.bind(('127.0.0.1', port))
        break
    except OSError:
        port += 1
print(port)
";
    own_network();
    let listeners: Vec<_> = (PORT..PORT + 5)
        .map(|port| TcpListener::bind(("127.0.0.1", port)).expect("the network is ours"))
        .collect();
    let drifter = Program::python(DRIFTER).shimmed();
    let mut patient = drifter
        .clone()
        .with("LIBREUSE_WAIT", "10m,listeners")
        .start();
    let finished = drifter.with("LIBREUSE_WAIT", "10m").run().succeeded();
    assert_eq!(finished.stdout, "5005\n");
    assert_eq!(finished.stderr.matches("not waiting").count(), 5);
    // It has waited all the while at the first one.
    assert!(!patient.has_ended());
    drop(listeners);
    patient.expect("5000");
}

/// What is in the way of which address, as the kernel has it: where a listener is not, what an
/// earlier run left behind is waited for although one is there.
#[test]
fn tells_the_listener_that_is_in_the_way_from_others() {
    for (family, host, reached_at, listens_at, v6only, in_the_way) in [
        (
            "AF_INET",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            false,
            true,
        ),
        ("AF_INET", "127.0.0.1", "127.0.0.1", "0.0.0.0", false, true),
        ("AF_INET", "0.0.0.0", "127.0.0.1", "127.0.0.2", false, true),
        ("AF_INET", "127.0.0.1", "127.0.0.1", "::", false, true),
        ("AF_INET6", "::1", "::1", "::1", false, true),
        ("AF_INET6", "::", "::1", "::1", false, true),
        ("AF_INET6", "::1", "::1", "::", true, true),
        (
            "AF_INET6",
            "::ffff:127.0.0.1",
            "127.0.0.1",
            "127.0.0.1",
            false,
            true,
        ),
        (
            "AF_INET",
            "127.0.0.1",
            "127.0.0.1",
            "127.0.0.2",
            false,
            false,
        ),
        ("AF_INET", "127.0.0.1", "127.0.0.1", "::", true, false),
        ("AF_INET", "0.0.0.0", "127.0.0.1", "::1", false, false),
        ("AF_INET6", "::1", "::1", "127.0.0.1", false, false),
    ] {
        own_network();
        // Without the shim, so that only time helps.
        let left = (!in_the_way)
            .then(|| Server::at(family, host, reached_at).leave_behind(TcpState::FinWait2));
        let listener = Program::python(
            "
family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET
listener = socket.socket(family)
if sys.argv[2] == 'true':
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[1], 5000))
listener.listen()
print('listening')
sys.stdin.read()
",
        )
        .argument(listens_at)
        .argument(v6only.to_string());
        let mut other = listener.start();
        other.expect("listening");
        let finished = Server::at(family, host, reached_at)
            .shimmed()
            .with("LIBREUSE_WAIT", "50ms")
            .program
            .run();
        assert_eq!(finished.stdout, "EADDRINUSE\n", "{host} and {listens_at}");
        assert_eq!(
            finished.stderr.contains("not waiting"),
            in_the_way,
            "{host} and {listens_at}: {}",
            finished.stderr
        );
        drop(left);
    }
}

/// A program that binds one address after the other, each with a wait of its own, and prints how
/// each went.
const BINDS: &str = "
for host in sys.argv[1:]:
    tried = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    try:
        tried.bind((host, 5000))
        print('bound')
    except OSError as error:
        print(errno.errorcode[error.errno])
";

/// The kernel describes eight listeners in a KiB, and those of one port in many datagrams.
#[test]
fn sees_each_of_the_listeners_on_a_port() {
    own_network();
    // Of a server without the shim, so that only time helps.
    let left = Server::at("AF_INET", "127.0.2.1", "127.0.2.1").leave_behind(TcpState::FinWait2);
    let hosts: Vec<String> = (1..=200).map(|host| format!("127.0.1.{host}")).collect();
    let listeners: Vec<_> = hosts
        .iter()
        .map(|host| TcpListener::bind((host.as_str(), PORT)).expect("the network is ours"))
        .collect();
    let finished = Program::python(BINDS)
        .arguments(&hosts)
        .argument("127.0.2.1")
        .shimmed()
        .with("LIBREUSE_WAIT", "50ms")
        .run()
        .succeeded();
    assert_eq!(finished.stdout, "EADDRINUSE\n".repeat(201));
    assert_eq!(finished.stderr.matches("not waiting").count(), 200);
    let waited = "127.0.2.1:5000: in use, waiting for up to 50 ms";
    assert!(finished.stderr.contains(waited), "{}", finished.stderr);
    drop((listeners, left));
}

/// Sockets that are bound to two interfaces do not meet; one that is bound to none meets all.
#[test]
fn tells_the_listener_of_another_interface_from_others() {
    const ON_INTERFACE: &str = "
SO_BINDTODEVICE = 25
def tcp(host, interface):
    one = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    if interface and ':' not in host:
        one.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, interface.encode())
    scope = socket.if_nametoindex(interface) if interface and ':' in host else 0
    return one, (host, 5000, 0, scope) if ':' in host else (host, 5000)
host, interface = sys.argv[1:]
one, address = tcp(host, interface)
";
    const LISTENS: &str = "
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind(address)
one.listen()
print('listening')
sys.stdin.read()
";
    const BINDS: &str = "
try:
    one.bind(address)
except OSError as error:
    print(errno.errorcode[error.errno])
";
    for (host, theirs, ours, in_the_way) in [
        ("127.0.0.1", "lo", "lo", true),
        ("127.0.0.1", "", "lo", true),
        ("127.0.0.1", "lo", "", true),
        ("127.0.0.1", "left", "lo", false),
        ("fe80::77", "lo", "lo", true),
        ("fe80::77", "left", "lo", false),
    ] {
        own_network();
        for setup in [
            "link add left type veth peer name right",
            "link set left up",
            "-6 addr add fe80::77/64 dev lo nodad",
            "-6 addr add fe80::77/64 dev left nodad",
        ] {
            let ip = Program::new(support::program(&["ip"]));
            ip.arguments(setup.split(' ')).run().succeeded();
        }
        // What is waited for is of the interface that ours is of.
        let left = (!in_the_way).then(|| {
            let server = if host.contains(':') {
                let address = "('fe80::77', 5000, 0, socket.if_nametoindex('lo'))";
                Server::at("AF_INET6", "unbound", "fe80::77%lo")
                    .after("socket", &format!("listener.bind({address})"))
            } else {
                Server::new().after(
                    "socket",
                    "listener.setsockopt(socket.SOL_SOCKET, 25, b'lo')",
                )
            };
            server.leave_behind(TcpState::FinWait2)
        });
        let one = |text: &str, interface: &str| {
            Program::python(&format!("{ON_INTERFACE}{text}"))
                .argument(host)
                .argument(interface)
        };
        let mut listener = one(LISTENS, theirs).start();
        listener.expect("listening");
        let finished = one(BINDS, ours)
            .shimmed()
            .with("LIBREUSE_WAIT", "50ms")
            .run();
        assert_eq!(
            finished.stdout, "EADDRINUSE\n",
            "{host} {theirs:?} {ours:?}"
        );
        assert_eq!(
            finished.stderr.contains("not waiting"),
            in_the_way,
            "{host} {theirs:?} {ours:?}: {}",
            finished.stderr
        );
        drop(left);
    }
}

/// A program that binds IPv4 and IPv6, and listens when it has both.
#[test]
fn is_not_for_sockets_that_live_and_do_not_listen_yet() {
    const PAIR: &str = "
kept = []
for host, v6only in zip(sys.argv[1::2], sys.argv[2::2]):
    kept.append(socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET))
    if ':' in host:
        kept[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(v6only))
    try:
        kept[-1].bind((host, 5000))
        print('bound', end=' ')
    except OSError as error:
        print(errno.errorcode[error.errno], end=' ')
print()
";
    let sees_them = kernel() >= (6, 8);
    for (first, second, expected) in [
        (("::", "0"), ("0.0.0.0", "-"), "bound EADDRINUSE \n"),
        (("0.0.0.0", "-"), ("::", "0"), "bound EADDRINUSE \n"),
        (
            ("127.0.0.1", "-"),
            ("127.0.0.1", "-"),
            "bound EADDRINUSE \n",
        ),
        (("::", "1"), ("0.0.0.0", "-"), "bound bound \n"),
    ] {
        own_network();
        let finished = Program::python(PAIR)
            .arguments([first.0, first.1, second.0, second.1])
            .shimmed()
            .with("LIBREUSE_WAIT", "50ms")
            .run()
            .succeeded();
        assert_eq!(finished.stdout, expected, "{first:?} {second:?}");
        let in_the_way = expected.contains("EADDRINUSE");
        for (text, present) in [
            ("not waiting", in_the_way && sees_them),
            ("waiting for up to", in_the_way && !sees_them),
        ] {
            assert_eq!(
                finished.stderr.contains(text),
                present,
                "{first:?} {second:?}: {}",
                finished.stderr
            );
        }
    }
}

/// A socket stays in the network namespace that it was made in, wherever its threads go.
#[test]
fn asks_nothing_of_a_network_that_is_not_the_sockets() {
    const GOES_AWAY: &str = "
import ctypes, fcntl, struct
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 1
made_before = socket.socket()
if sys.argv[1] == 'goes':
    assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
listener = socket.socket()
if sys.argv[1] == 'goes':
    fcntl.ioctl(listener, SIOCSIFFLAGS, struct.pack('16sh14x', b'lo', IFF_UP))
    listener.bind(('127.0.0.1', 5000))
    listener.listen()
try:
    made_before.bind(('127.0.0.1', 5000))
except OSError as error:
    print(errno.errorcode[error.errno])
";
    for goes in ["goes", "stays"] {
        own_network();
        let left = Server::new().leave_behind(TcpState::FinWait2);
        let finished = Program::python(GOES_AWAY)
            .argument(goes)
            .shimmed()
            .with("LIBREUSE_WAIT", "50ms")
            .run();
        assert_eq!(finished.stdout, "EADDRINUSE\n", "{goes}");
        let waited = finished.stderr.contains("in use, waiting for up to 50 ms");
        assert!(waited, "{goes}: {}", finished.stderr);
        drop(left);
    }
}

/// The version of the kernel, as far as it is compared.
fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("a number");
    (next(), next())
}

/// It is for addresses in use: no other error is waited for.
#[test]
fn is_for_addresses_in_use() {
    own_network();
    let foreign = Server::at("AF_INET", "192.0.2.1", "127.0.0.1")
        .shimmed()
        .with("LIBREUSE_WAIT", "10m");
    assert_eq!(foreign.outcome(), "EADDRNOTAVAIL");
}

#[test]
fn works_without_the_option_too() {
    own_network();
    sysctl("net.ipv4.tcp_fin_timeout", "3");
    let _client = Server::new().leave_behind(TcpState::FinWait2);
    let patient = Server::new()
        .shimmed()
        .with("LIBREUSE_WAIT", "1m")
        .with("LIBREUSE_REUSEADDR", "off");
    assert_eq!(patient.outcome(), "listening");
}

/// A program whose handler leaves the end to whoever waits for `bind`, as those of Python and Ruby
/// do.
#[test]
fn ends_when_a_handler_has_run_for_a_signal_that_asks_to_end() {
    const WAITS: &str = "
import signal
def note(number, frame):
    print(signal.Signals(number).name)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), note)
listener = socket.socket()
try:
    listener.bind(('127.0.0.1', 5000))
    print('bound')
except OSError as error:
    print(errno.errorcode[error.errno])
";
    for (handled, signal, outcome) in [
        (&["SIGINT"][..], libc::SIGINT, ["EADDRINUSE", "SIGINT"]),
        (&["SIGTERM"], libc::SIGTERM, ["EADDRINUSE", "SIGTERM"]),
        (
            &["SIGHUP", "SIGUSR1"],
            libc::SIGHUP,
            ["EADDRINUSE", "SIGHUP"],
        ),
        (
            &["SIGQUIT", "SIGUSR1"],
            libc::SIGQUIT,
            ["EADDRINUSE", "SIGQUIT"],
        ),
        // Others do not shorten it.
        (&["SIGUSR1"], libc::SIGUSR1, ["SIGUSR1", "bound"]),
        (&["SIGINT", "SIGUSR1"], libc::SIGUSR1, ["SIGUSR1", "bound"]),
    ] {
        own_network();
        let state = if outcome[1] == "bound" {
            sysctl("net.ipv4.tcp_fin_timeout", "20");
            TcpState::FinWait2
        } else {
            // For a minute, which is less than the wait.
            TcpState::TimeWait
        };
        let _client = Server::new().leave_behind(state);
        let mut program = Program::python(WAITS)
            .arguments(handled)
            .shimmed()
            .with("LIBREUSE_WAIT", "10m")
            .start();
        wait_until("it to wait", || {
            program.stderr_so_far().contains("waiting for up to")
        });
        program.signal(signal);
        // Python runs the handler in the middle of the next statement.
        let mut lines = [program.line(), program.line()];
        lines.sort_unstable();
        assert_eq!(lines, outcome, "{handled:?}");
    }
}
