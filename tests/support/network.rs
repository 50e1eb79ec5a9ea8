//! A network of the test's own, and the kernel's table of its TCP sockets.

use crate::compilers::succeed;
use crate::process::{Program, patience, wait_until, wait_until_by};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;
use std::{fs, io};

/// Gives the calling thread, and every process it starts, a network namespace with nothing in it
/// but loopback. It goes when the last of them has ended.
pub fn own_network() {
    // SAFETY: unshare takes flags alone; a network namespace is the calling thread's own
    // (unshare(2)).
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(
        result,
        0,
        "no network namespace ({}): run the tests as root or under `unshare -Ur`",
        io::Error::last_os_error()
    );
    succeed(Command::new("ip").args(["link", "set", "lo", "up"]));
    // A TIME_WAIT stays for its time. By default a reset ends it (RFC 1337), and the kernel itself
    // sends one where the FIN of the second to close overtakes its acknowledgement of the first
    // one's, on another processor: 6 to 12 times in 20 000 connections over loopback.
    sysctl("net.ipv4.tcp_rfc1337", "1");
}

/// Whether the kernel shows sockets that are bound and do not listen (Linux 6.8); where not, a line
/// says so.
pub fn shows_bound_sockets() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut numbers = release
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let shows = [numbers.next(), numbers.next()] >= [Some(6), Some(8)];
    if !shows {
        eprintln!("skipped: Linux {} shows no bound sockets", release.trim());
    }
    shows
}

/// Writes a sysctl of the calling thread's network namespace, `net.ipv4.ip_local_port_range` for
/// one.
pub fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// A TCP state, numbered as in the kernel's `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

/// The TCP sockets with this local port in the calling thread's network namespace, by state.
pub fn tcp_states(local_port: u16) -> Vec<TcpState> {
    let mut found: Vec<_> = tcp_sockets()
        .into_iter()
        .filter(|&(local, ..)| local == local_port)
        .map(|(.., state)| state)
        .collect();
    found.sort_unstable();
    found
}

/// The local port, the peer's, and the state of every TCP socket there.
fn tcp_sockets() -> Vec<(u16, u16, TcpState)> {
    use TcpState::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, NewSynRecv,
        SynRecv, SynSent, TimeWait,
    };
    let states = [
        Established,
        SynSent,
        SynRecv,
        FinWait1,
        FinWait2,
        TimeWait,
        Close,
        CloseWait,
        LastAck,
        Listen,
        Closing,
        NewSynRecv,
    ];
    let port = |place: &str| {
        let (_, port) = place.rsplit_once(':').expect("an address and a port");
        u16::from_str_radix(port, 16).expect("a port")
    };
    let mut found = Vec::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        // Without IPv6 there is no second table.
        let Ok(text) = fs::read_to_string(table) else {
            continue;
        };
        for row in text.lines().skip(1) {
            let columns: Vec<_> = row.split_whitespace().collect();
            let number = usize::from_str_radix(columns[3], 16).expect("a state");
            found.push((port(columns[1]), port(columns[2]), states[number - 1]));
        }
    }
    found
}

/// How many sockets with this local port are in this state.
pub fn count(local_port: u16, state: TcpState) -> usize {
    tcp_states(local_port)
        .into_iter()
        .filter(|&found| found == state)
        .count()
}

/// Waits until so many sockets with this local port are in this state, and the other ends have
/// heard of it: an acknowledgement over loopback takes milliseconds on a busy machine.
pub fn wait_for(local_port: u16, state: TcpState, number: usize) {
    let there = wait_until_by(Instant::now() + patience(), || {
        let sockets = tcp_sockets();
        let found = sockets
            .iter()
            .filter(|&&(local, _, found)| local == local_port && found == state)
            .count();
        let is_leaving = |&(_, peer, state): &(u16, u16, TcpState)| {
            peer == local_port && matches!(state, TcpState::LastAck | TcpState::Closing)
        };
        found == number && !sockets.iter().any(is_leaving)
    });
    let tally = tcp_states(local_port)
        .into_iter()
        .fold(BTreeMap::new(), |mut tally, state| {
            *tally.entry(state).or_insert(0) += 1;
            tally
        });
    assert!(
        there,
        "waited in vain for {number} {state:?} on port {local_port}: {tally:?}"
    );
}

/// Waits until no connection with this local port is on its way to another state: what is left of
/// those that were closed is `TIME_WAIT`, and listeners stay.
pub fn settle(local_port: u16) {
    wait_until("the connections to end", || {
        tcp_states(local_port)
            .into_iter()
            .all(|state| matches!(state, TcpState::Listen | TcpState::TimeWait))
    });
}

/// Is a client of a server of `hello`, which closes first.
pub fn greet(port: u16) {
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", port))
        .and_then(|mut server| server.read_to_string(&mut text))
        .expect("the server serves");
    assert_eq!(text, "hello\n");
}

/// The same for a client that speaks first: `graceful` is for servers that have heard their
/// clients.
pub fn greet_after_a_word(port: u16) {
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", port))
        .and_then(|mut server| {
            server.write_all(b"hello?\n")?;
            server.read_to_string(&mut text)
        })
        .expect("the server serves");
    assert_eq!(text, "hello\n");
}

/// Has a server of port 49200 serve a client in a network of its own, and kills it.
pub fn leave_time_wait(program: &Program) {
    own_network();
    let mut first = program.start();
    first.expect("port 49200");
    greet(49200);
    wait_for(49200, TcpState::TimeWait, 1);
    first.kill();
}

/// What the next run of such a server prints of its port.
pub fn port_after_crash(program: &Program) -> String {
    leave_time_wait(program);
    let mut second = program.start();
    let line = second.line();
    second.kill();
    line
}
