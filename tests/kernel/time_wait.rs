//! `TIME_WAIT` itself: how long it lasts, what ends it, and who is given its port.

use crate::Answers;
use crate::destroy::dump;
use crate::sockets::{ANOTHER, Flag, V4, V6, at, connect, next_port, wait_for, whether};
use std::time::{Duration, Instant};
use support::{TcpState, sysctl, tcp_states, wait_until_by};

pub(crate) fn by_itself(answers: &Answers) {
    let port = next_port();
    V4.leave(Flag::None, port, TcpState::TimeWait);
    let left = dump(port, u32::MAX)[0].expires_ms;
    // It is asked a moment later.
    let seconds = left.div_ceil(5_000) * 5;
    answers.say("TIME_WAIT lasts", format!("{seconds} s"));

    for (family, kind, address) in [("IPv4", V4, "127.0.0.1"), ("IPv6", V6, "::1")] {
        for protection in ["0", "1"] {
            sysctl("net.ipv4.tcp_rfc1337", protection);
            let port = next_port();
            let [listener, accepted, client] = kind.connected(Flag::None, port);
            let own = client.local_addr().expect("it is connected");
            drop((listener, accepted));
            wait_for(port, TcpState::FinWait2);
            drop(client);
            wait_for(port, TcpState::TimeWait);
            let peer = kind.socket(Flag::None);
            peer.set_nonblocking(true).expect("it is ours");
            peer.bind(&own).expect("its port is free");
            // That it is under way, or refused, is the kernel's answer to the SYN.
            let _ = peer.connect(&at(address, port));
            let is_gone = wait_until_by(Instant::now() + Duration::from_secs(2), || {
                tcp_states(port).is_empty()
            });
            answers.say(
                format!(
                    "TIME_WAIT when its peer connects again, tcp_rfc1337 {protection}, {family}"
                ),
                if is_gone { "goes" } else { "stays" },
            );
        }
    }
}

/// Whether connect chooses a port again that somebody bound by number while a connection was on it.
pub(crate) fn of_a_port_that_was_bound_by_number(answers: &Answers) {
    let port = next_port();
    let servers = [port + 20_001, port + 20_002];
    let _listeners = servers.map(|server| V4.listening(Flag::Addr, server));
    sysctl("net.ipv4.ip_local_port_range", &format!("{port} {port}"));
    let _first = connect("127.0.0.1", servers[0]).expect("it listens");
    drop(ANOTHER.bound(Flag::None, port).expect("nobody has it"));
    let second = connect("127.0.0.1", servers[1]);
    answers.say(
        "connect chooses a port that was bound by number",
        whether(&second),
    );
}
