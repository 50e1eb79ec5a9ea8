use crate::{PORT, run, run_with, waiting_to_be_accepted};
use std::net::TcpStream;
use support::{Program, TcpState, compile_c, own_network, wait_for, wait_until};

/// While somebody listens nothing can be done but wait; what it leaves behind is ended, or else waited for.
#[test]
fn starts_the_program_when_the_port_is_free() {
    let victim = Program::new(compile_c("waiting", include_str!("../spec/victim.c"), &[]))
        .argument(PORT.to_string());
    own_network();
    let mut first = victim.start();
    first.expect("listening");
    let second = run_with(["--engine", "wait", "--ports", "5000"], &victim);
    let mut second = second.start();
    wait_until("it to say what it waits for", || {
        let said = second.stderr_so_far();
        said.contains("waiting for port 5000, for 125 s at the most: 1 LISTEN")
    });
    let client = TcpStream::connect(("127.0.0.1", PORT)).expect("it listens");
    wait_until("it to accept", || waiting_to_be_accepted(PORT) == 0);
    first.kill();
    second.expect("listening");
    drop(client);
    wait_until("it to say that it is free", || {
        second.stderr_so_far().contains("port 5000 is free after")
    });
    wait_for(PORT, TcpState::Listen, 1);
}

#[test]
fn starts_it_all_the_same_when_the_time_is_up() {
    own_network();
    let victim = Program::new(compile_c("hopeless", include_str!("../spec/victim.c"), &[]))
        .argument(PORT.to_string());
    let mut first = victim.start();
    first.expect("listening");
    let finished = run_with(
        ["--engine", "wait", "--ports", "5000", "--wait", "200ms"],
        &victim,
    )
    .run();
    assert_eq!(finished.stdout, "bind: Address already in use\n");
    assert!(
        finished.stderr.contains("still in use after 0 s"),
        "{finished:#?}"
    );
}

#[test]
fn needs_to_know_the_ports() {
    let finished = run().arguments(["--engine", "wait", "true"]).run();
    assert_eq!(finished.status.code(), Some(125));
    assert!(
        finished
            .stderr
            .contains("--engine wait needs to know the ports")
    );
}
