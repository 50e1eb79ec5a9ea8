use crate::server::{PORT, Server};
use std::time::{Duration, Instant};
use support::{TcpState, own_network, sysctl, wait_for, wait_until};

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
        .with("LIBREUSE_WAIT", "1m")
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
