//! Connections whose descriptor several processes hold: `graceful` loses no byte, whoever closes
//! first.

use crate::host::Libc;
use support::matrix::{Log, Setting};
use support::{Program, TcpState, count, own_network, settle, wait_for};

/// Without the shim and with `graceful` the client gets everything and a clean end. Two controls:
/// without the shim a `TIME_WAIT` stays, so the shim was at work, and `zero` cuts the transfer, so
/// this test would see a loss.
fn loses_no_byte(libcs: impl IntoIterator<Item = Libc>, how: &str) {
    for libc in libcs {
        loses_no_byte_in(&libc.host("shared_connection.c").argument(how));
    }
}

fn loses_no_byte_in(program: &Program) {
    const ALL: &str = "client: 3000000 bytes, 0 wrong, error 0\n";

    own_network();
    assert_eq!(program.output(), ALL);
    wait_for(6000, TcpState::TimeWait, 1);

    for log in [Log::Off, Log::Stderr, Log::File] {
        own_network();
        let graceful = Setting::new("graceful", log).applied_to(program.clone().shimmed());
        assert_eq!(graceful.output(), ALL);
        settle(6000);
        assert_eq!(count(6000, TcpState::TimeWait), 0);
    }

    own_network();
    let zero = Setting::new("zero", Log::Off).applied_to(program.clone().shimmed());
    let cut = zero.output();
    assert!(cut.contains("error 104"), "{cut}");
}

#[test]
fn loses_no_byte_that_a_forked_worker_sends() {
    loses_no_byte(Libc::BOTH, "forked");
}

#[test]
fn loses_no_byte_when_the_worker_closes_first() {
    loses_no_byte(Libc::BOTH, "forked, worker first");
}

#[test]
fn loses_no_byte_when_the_worker_just_exits() {
    loses_no_byte(Libc::BOTH, "forked, exits");
}

#[test]
fn loses_no_byte_of_a_passed_connection() {
    loses_no_byte(Libc::BOTH, "passed");
}

#[test]
fn loses_no_byte_of_a_passed_connection_when_the_worker_closes_first() {
    loses_no_byte(Libc::BOTH, "passed, worker first");
}

#[test]
fn loses_no_byte_under_socket_activation() {
    loses_no_byte(Libc::BOTH, "activated");
}
