//! `LIBREUSE_WAIT`: a `bind` waits for what an earlier run left behind, and for nothing else.

use crate::server::{PORT, Server};
use std::net::TcpListener;
use std::time::{Duration, Instant};
use support::{Program, TcpState, own_network, sysctl, wait_for, wait_until};

/// The run before had no shim, so only time helps: here three seconds, which is how long such an orphan is kept.
#[test]
fn outlasts_what_a_run_without_the_shim_left_behind() {
    for (wait, expected) in [
        ("0", "EADDRINUSE"),
        ("100ms", "EADDRINUSE"),
        ("1m", "listening"),
    ] {
        own_network();
        sysctl("net.ipv4.tcp_fin_timeout", "3");
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
    // Twice the patience of one expectation.
    let mut line = None;
    while line.is_none() && start.elapsed() < Duration::from_secs(100) {
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
    // The two pipes of a process are read by two threads.
    wait_until("the report", || {
        second
            .stderr_so_far()
            .contains("bound with no option after")
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

/// What is in the way of which address, as the kernel has it: where a listener is not, what an earlier run left behind is
/// waited for although one is there.
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
