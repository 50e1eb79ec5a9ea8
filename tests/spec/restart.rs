//! A second run of a program, over whatever the first one left behind.

use crate::server::{PORT, Server};
use std::net::TcpStream;
use std::time::Instant;
use support::{
    Program, Running, TcpState, compile_c, count, own_network, sysctl, tcp_states, wait_for,
};

/// Runs the server twice, and says how it went the second time: without the shim, and with it.
fn second_run(server: &Server, leftover: TcpState) -> [String; 2] {
    [false, true].map(|shimmed| {
        own_network();
        let server = server.clone().shimmed_if(shimmed);
        let _client = server.leave_behind(leftover);
        server.outcome()
    })
}

/// What the tests below are about.
const CURED: [&str; 2] = ["EADDRINUSE", "listening"];

#[test]
fn works_over_time_wait() {
    assert_eq!(second_run(&Server::new(), TcpState::TimeWait), CURED);
}

#[test]
fn works_over_fin_wait_2() {
    assert_eq!(second_run(&Server::new(), TcpState::FinWait2), CURED);
}

#[test]
fn works_over_fin_wait_1() {
    assert_eq!(second_run(&Server::new(), TcpState::FinWait1), CURED);
}

#[test]
fn works_over_last_ack() {
    assert_eq!(second_run(&Server::new(), TcpState::LastAck), CURED);
}

#[test]
fn works_over_a_connection_that_is_still_open() {
    assert_eq!(second_run(&Server::new(), TcpState::Established), CURED);
}

#[test]
fn works_on_every_kind_of_address() {
    for (family, host, reached_at) in [
        ("AF_INET", "0.0.0.0", "127.0.0.1"),
        ("AF_INET", "127.0.0.2", "127.0.0.2"),
        ("AF_INET6", "::1", "::1"),
        ("AF_INET6", "::", "::1"),
        ("AF_INET6", "::", "127.0.0.1"),
        ("AF_INET6", "::ffff:127.0.0.1", "127.0.0.1"),
    ] {
        let server = Server::at(family, host, reached_at);
        assert_eq!(
            second_run(&server, TcpState::TimeWait),
            CURED,
            "{host} from {reached_at}"
        );
    }
}

#[test]
fn works_on_ipv6_alone() {
    let server = Server::at("AF_INET6", "::", "::1").after(
        "socket",
        "listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)",
    );
    assert_eq!(second_run(&server, TcpState::TimeWait), CURED);
}

#[test]
fn works_for_mptcp() {
    const IPPROTO_MPTCP: &str = "262";
    assert_eq!(
        second_run(
            &Server::new().with_protocol(IPPROTO_MPTCP),
            TcpState::TimeWait
        ),
        CURED
    );
}

#[test]
fn works_although_the_program_clears_the_option() {
    let clear =
        |what: &str| format!("{what}.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)");
    for point in ["socket", "bind", "listen"] {
        let server = Server::new().after(point, &clear("listener"));
        assert_eq!(
            second_run(&server, TcpState::TimeWait),
            CURED,
            "cleared after {point}"
        );
    }
    let server = Server::new().after("accept", &clear("accepted[-1]"));
    assert_eq!(
        second_run(&server, TcpState::TimeWait),
        CURED,
        "cleared after accept"
    );
}

#[test]
fn works_for_a_listener_that_was_never_bound() {
    // The kernel chooses its port, one of one here, and the second run asks for that one.
    for (shimmed, expected) in [(false, "EADDRINUSE"), (true, "listening")] {
        own_network();
        sysctl("net.ipv4.ip_local_port_range", "5000 5000");
        let first = Server::at("AF_INET", "unbound", "127.0.0.1")
            .after(
                "listen",
                "open('/proc/sys/net/ipv4/ip_local_port_range', 'w').write('32768 60999')",
            )
            .shimmed_if(shimmed);
        let _client = first.leave_behind(TcpState::FinWait2);
        assert_eq!(Server::new().shimmed_if(shimmed).outcome(), expected);
    }
}

#[test]
fn needs_the_shim_in_both_runs() {
    for (first, second) in [(true, false), (false, true)] {
        own_network();
        let _client = Server::new()
            .shimmed_if(first)
            .leave_behind(TcpState::TimeWait);
        assert_eq!(Server::new().shimmed_if(second).outcome(), "EADDRINUSE");
    }
}

/// `LIBREUSE_REUSEADDR=off` in either run is the same as not having the shim there.
#[test]
fn can_be_switched_off() {
    for (first, second) in [("on", "off"), ("off", "on")] {
        own_network();
        let server = |value| Server::new().shimmed().with("LIBREUSE_REUSEADDR", value);
        let _client = server(first).leave_behind(TcpState::TimeWait);
        assert_eq!(server(second).outcome(), "EADDRINUSE");
    }
}

/// The cure needs one try: no waiting, and no other port.
#[test]
fn works_a_hundred_times_out_of_a_hundred() {
    const CONNECTIONS: usize = 100;
    let victim = compile_c("hundred", include_str!("victim.c"), &[]);
    own_network();
    let mut milliseconds = Vec::new();
    for _ in 0..100 {
        let start = Instant::now();
        let mut server = Program::new(&victim)
            .argument(PORT.to_string())
            .shimmed()
            .start();
        server.expect("listening");
        milliseconds.push(start.elapsed().as_millis());
        crash_while_serving(server, CONNECTIONS);
    }
    milliseconds.sort_unstable();
    println!(
        "start to bound: {} ms in the middle, {} ms at the most",
        milliseconds[50], milliseconds[99]
    );

    own_network();
    let mut server = Program::new(&victim).argument(PORT.to_string()).start();
    server.expect("listening");
    crash_while_serving(server, CONNECTIONS);
    let mut second = Program::new(&victim).argument(PORT.to_string()).start();
    second.expect("bind: Address already in use");
    assert_eq!(
        count(PORT, TcpState::TimeWait),
        CONNECTIONS,
        "{:?}",
        tcp_states(PORT)
    );
}

/// Kills the server when it has accepted so many connections, whose clients then close as well.
fn crash_while_serving(mut server: Running, connections: usize) {
    let clients: Vec<_> = (0..connections)
        .map(|_| TcpStream::connect(("127.0.0.1", PORT)).expect("the server listens"))
        .collect();
    server.expect(&format!("{connections} connections"));
    server.kill();
    wait_for(PORT, TcpState::FinWait2, connections);
    drop(clients);
    wait_for(PORT, TcpState::FinWait2, 0);
}
