//! What `sock_diag(7)` shows, and what `SOCK_DESTROY` ends.

use crate::Answers;
use crate::sockets::{Flag, V4, name, next_port};
use libreuse_rules::diag::{self, Message, Messages, Request};
use socket2::{Domain, Protocol, Type};
use std::io::{self, Read, Write};
use support::TcpState;

/// Sends a request, and returns the sockets of the answer.
fn ask(request: &Request) -> io::Result<Vec<diag::Socket>> {
    let netlink = Domain::from(libc::AF_NETLINK);
    let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
    let mut netlink = socket2::Socket::new(netlink, Type::RAW, Some(protocol))?;
    netlink.write_all(&request.encode())?;
    let (mut found, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        let length = netlink.read(&mut buffer)?;
        for message in Messages::of(&buffer[..length]) {
            match message {
                Message::Socket(socket) => found.push(socket),
                Message::End(0) => return Ok(found),
                Message::End(error) => return Err(io::Error::from_raw_os_error(error)),
            }
        }
    }
}

/// The sockets with this local port, in these states.
pub(crate) fn dump(port: u16, states: u32) -> Vec<diag::Socket> {
    let mut found = ask(&Request::dump(diag::FAMILIES[0], states)).unwrap_or_default();
    found.retain(|socket| socket.local().port() == port);
    found
}

pub(crate) fn by_sock_diag(answers: &Answers) {
    for (state_name, state) in [
        ("TIME_WAIT", TcpState::TimeWait),
        ("FIN_WAIT2", TcpState::FinWait2),
        ("FIN_WAIT1", TcpState::FinWait1),
    ] {
        let port = next_port();
        let _kept = V4.leave(Flag::None, port, state);
        let there = dump(port, u32::MAX);
        let answer = ask(&Request::destroy(&there[0], true));
        answers.say(
            format!("SOCK_DESTROY of {state_name}"),
            answer.map_or_else(|error| name(&error), |_| "yes".into()),
        );
        let bound = V4.bound(Flag::None, port);
        answers.say(
            format!("bind after SOCK_DESTROY of {state_name}"),
            bound.map_or_else(|error| name(&error), |_| "yes".into()),
        );
    }
    let port = next_port();
    let _bound = V4.bound(Flag::None, port).expect("it is free");
    let seen = !dump(port, 1 << diag::BOUND).is_empty();
    answers.say(
        "sock_diag shows a bound socket",
        if seen { "yes" } else { "no" },
    );
}
