//! The engine `wait`: when it starts the program, and what it reports until then.

use crate::{BUSY, PORT, crash, nobody, run, run_with, waiting_to_be_accepted};
use std::net::TcpStream;
use support::{
    Folder, Program, TcpState, compile_c, own_network, set_capabilities, sysctl, wait_for,
    wait_until,
};

/// While somebody listens nothing can be done but wait; what it leaves behind is ended, or else
/// waited for.
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
        said.contains("waiting for port 5000 (") && said.contains("listens), for 125 s at the most")
    });
    let client = TcpStream::connect(("127.0.0.1", PORT)).expect("it listens");
    wait_for(PORT, TcpState::Established, 1);
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
    // As long as it was told to, or longer on a busy machine.
    let (_, rest) = finished
        .stderr
        .split_once("still in use after ")
        .expect("it says so");
    let (waited, rest) = rest.split_once(" s: ").expect("a time");
    let waited: f64 = waited.parse().expect("a number");
    assert!(waited >= 0.2, "{finished:#?}");
    assert!(rest.starts_with("port 5000 ("), "{finished:#?}");
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

/// A port that its starter may not bind: the kernel's table says what a bind may not try.
#[test]
fn serves_low_ports_of_a_program_with_capabilities() {
    const LOW: u16 = 80;
    let folder = Folder::for_other_users("wait-low-port");
    let victim = compile_c("wait-capable", include_str!("../spec/victim.c"), &[]);
    let victim = folder.copy(victim, "victim");
    set_capabilities(&victim, "cap_net_bind_service=ep");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let alone = nobody(&folder).argument(&victim).argument(LOW.to_string());
    let run = nobody(&folder)
        .argument(command)
        .arguments(["run", "--ports", "80"])
        .argument(&victim)
        .argument(LOW.to_string());

    // What it left is in the way of the program, and not of `run`, which clears it.
    own_network();
    sysctl("net.ipv4.tcp_rfc1337", "0");
    let mut first = alone.start();
    first.expect("listening");
    crash(first, LOW);
    assert_eq!(alone.start().line(), BUSY);
    assert_eq!(run.start().line(), "listening");

    // And while it is there, `run` waits for its end.
    own_network();
    let mut first = alone.start();
    first.expect("listening");
    let mut second = run.start();
    wait_until("it to say what it waits for", || {
        second.stderr_so_far().contains("waiting for port 80 (")
    });
    first.kill();
    second.expect("listening");
}
