//! What TCP, MPTCP and UDP make of the options that libreuse sets and asks for.

use crate::Answers;
use crate::sockets::{at, connect, name, next_port, whether};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use support::{TcpState, tcp_states, wait_until};

/// An option of TCP (tcp(7)): an int, of which as many bytes are asked for as the kernel is to
/// write.
fn option(socket: &Socket, name: i32, bytes: libc::socklen_t) -> io::Result<i32> {
    let (mut value, mut length) = (0_i32, bytes);
    // SAFETY: the kernel writes at most `length` bytes, which is no more than an int has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[allow(clippy::disallowed_methods)] // No hook of ours is in this program.
fn forget_at_close(socket: &Socket) -> io::Result<()> {
    let value = -1_i32;
    // SAFETY: the kernel reads an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_LINGER2,
            (&raw const value).cast(),
            4,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn shown(value: io::Result<i32>) -> String {
    value.map_or_else(|error| name(&error), |value| value.to_string())
}

pub(crate) fn of_tcp(answers: &Answers) {
    let udp = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    answers.say(
        "TCP_LINGER2 set to -1 on UDP",
        whether(&forget_at_close(&udp)),
    );
    answers.say(
        "one byte of TCP_INFO on UDP",
        shown(option(&udp, libc::TCP_INFO, 1)),
    );
    for (name, protocol) in [("TCP", Protocol::TCP), ("MPTCP", Protocol::MPTCP)] {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol));
        answers.say(format!("a socket for {name}"), whether(&listener));
        if let Ok(listener) = listener {
            of(answers, name, &listener);
        }
    }
}

fn of(answers: &Answers, protocol: &str, listener: &Socket) {
    let port = next_port();
    listener.bind(&at("127.0.0.1", port)).expect("it is free");
    let set = forget_at_close(listener);
    answers.say(
        format!("TCP_LINGER2 set to -1 on {protocol}"),
        whether(&set),
    );
    listener.set_reuse_address(true).expect("the option");
    listener.listen(8).expect("it listens");
    let mut client = connect("127.0.0.1", port).expect("it listens");
    let (mut accepted, _) = listener.accept().expect("a connection");
    answers.say(
        format!("SO_REUSEADDR of an accepted connection, {protocol}"),
        u8::from(accepted.reuse_address().expect("the option")),
    );
    for (what, socket) in [("a listener", listener), ("a connection", &accepted)] {
        answers.say(
            format!("one byte of TCP_INFO on {what}, {protocol}"),
            shown(option(socket, libc::TCP_INFO, 1)),
        );
    }
    if set.is_ok() {
        answers.say(
            format!("TCP_LINGER2 of an accepted connection, {protocol}"),
            shown(option(&accepted, libc::TCP_LINGER2, 4)),
        );
    }
    accepted.write_all(b"all of it").expect("it is connected");
    drop(accepted);
    let mut read = String::new();
    let result = client.read_to_string(&mut read);
    answers.say(
        format!("what the peer reads after a close, {protocol}"),
        result.map_or_else(|error| name(&error), |_| read),
    );
    drop(client);
    if set.is_ok() {
        let closing = [TcpState::FinWait1, TcpState::FinWait2];
        wait_until("the connection to be closed", || {
            !tcp_states(port).iter().any(|state| closing.contains(state))
        });
        let left: Vec<_> = tcp_states(port)
            .into_iter()
            .filter(|state| *state != TcpState::Listen)
            .map(|state| format!("{state:?}"))
            .collect();
        let left = if left.is_empty() {
            "nothing".into()
        } else {
            left.join(", ")
        };
        answers.say(
            format!("what TCP_LINGER2 -1 leaves on the port, {protocol}"),
            left,
        );
    }
}
