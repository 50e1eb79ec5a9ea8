//! Sockets of every kind, and the states that they are left in.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use support::{TcpState, tcp_states, wait_until};

/// An address to bind, with the words for it.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    address: &'static str,
    /// `IPV6_V6ONLY`.
    only_v6: Option<bool>,
    /// Where a client reaches it.
    client: &'static str,
}

const fn kind(
    name: &'static str,
    address: &'static str,
    only_v6: Option<bool>,
    client: &'static str,
) -> Kind {
    Kind {
        name,
        address,
        only_v6,
        client,
    }
}

pub(crate) const V4: Kind = kind("127.0.0.1", "127.0.0.1", None, "127.0.0.1");
pub(crate) const V6: Kind = kind("::1", "::1", None, "::1");
pub(crate) const ANOTHER: Kind = kind("127.0.0.2", "127.0.0.2", None, "127.0.0.2");
const ANY_V4: Kind = kind("0.0.0.0", "0.0.0.0", None, "127.0.0.1");
const ONLY_V6: Kind = kind(":: v6only", "::", Some(true), "::1");
const MAPPED: Kind = kind(
    "::ffff:127.0.0.1",
    "::ffff:127.0.0.1",
    Some(false),
    "127.0.0.1",
);

/// What an earlier run has bound; where its clients came from is a part of it.
pub(crate) const EARLIER: [Kind; 7] = [
    V4,
    ANY_V4,
    V6,
    ONLY_V6,
    kind(":: from ::1", "::", Some(false), "::1"),
    kind(":: from 127.0.0.1", "::", Some(false), "127.0.0.1"),
    MAPPED,
];

/// What is bound afterwards: the same, and an address that nobody has used.
pub(crate) const LATER: [Kind; 7] = [
    V4,
    ANOTHER,
    ANY_V4,
    V6,
    ONLY_V6,
    kind("::", "::", Some(false), "::1"),
    MAPPED,
];

/// The option that a socket carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flag {
    None,
    Addr,
    Port,
}

impl Flag {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Addr, Self::Port];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Addr => "addr",
            Self::Port => "port",
        }
    }
}

/// A port that no question has used before.
pub(crate) fn next_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    NEXT.fetch_add(1, Relaxed)
}

pub(crate) fn at(address: &str, port: u16) -> SockAddr {
    let address: IpAddr = address.parse().expect("an address");
    SocketAddr::new(address, port).into()
}

impl Kind {
    pub(crate) fn socket(self, flag: Flag) -> Socket {
        let domain = if self.address.contains(':') {
            Domain::IPV6
        } else {
            Domain::IPV4
        };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        if let Some(only) = self.only_v6 {
            socket.set_only_v6(only).expect("IPV6_V6ONLY");
        }
        match flag {
            Flag::None => Ok(()),
            Flag::Addr => socket.set_reuse_address(true),
            Flag::Port => socket.set_reuse_port(true),
        }
        .expect("an option");
        socket
    }

    pub(crate) fn bound(self, flag: Flag, port: u16) -> io::Result<Socket> {
        let socket = self.socket(flag);
        socket.bind(&at(self.address, port))?;
        Ok(socket)
    }

    pub(crate) fn listening(self, flag: Flag, port: u16) -> Socket {
        let socket = self.bound(flag, port).expect("the port is free");
        socket.listen(8).expect("it listens");
        socket
    }

    /// A listener, its accepted connection, and the client.
    pub(crate) fn connected(self, flag: Flag, port: u16) -> [Socket; 3] {
        let listener = self.listening(flag, port);
        let client = connect(self.client, port).expect("it listens");
        let (accepted, _) = listener.accept().expect("a connection");
        [listener, accepted, client]
    }

    /// Leaves a connection in this state, with its listener gone. What it returns keeps it there.
    pub(crate) fn leave(self, flag: Flag, port: u16, state: TcpState) -> Vec<Socket> {
        let [listener, accepted, client] = self.connected(flag, port);
        drop(listener);
        if state == TcpState::Established {
            return vec![accepted, client];
        }
        if state == TcpState::LastAck {
            client.shutdown(Shutdown::Write).expect("it is connected");
            wait_for(port, TcpState::CloseWait);
        }
        if matches!(state, TcpState::FinWait1 | TcpState::LastAck) {
            accepted.set_nonblocking(true).expect("it is ours");
            let bytes = vec![0; 65_536];
            while (&accepted).write(&bytes).is_ok() {}
        }
        drop(accepted);
        let mut kept = vec![client];
        if state == TcpState::TimeWait {
            // Only once the acknowledgement is here, which the client's FIN may overtake.
            wait_for(port, TcpState::FinWait2);
            kept.clear();
        }
        wait_for(port, state);
        kept
    }
}

pub(crate) fn connect(address: &str, port: u16) -> io::Result<Socket> {
    let to = at(address, port);
    let client = Socket::new(to.domain(), Type::STREAM, Some(Protocol::TCP))?;
    client.connect(&to)?;
    Ok(client)
}

/// Waits until a socket with this local port is in this state.
pub(crate) fn wait_for(port: u16, state: TcpState) {
    wait_until(&format!("{state:?}"), || tcp_states(port).contains(&state));
}

/// The name of an error.
pub(crate) fn name(error: &io::Error) -> String {
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::EACCES, "EACCES"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOPROTOOPT, "ENOPROTOOPT"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
        (libc::ENOTSUP, "ENOTSUP"),
        (libc::EADDRINUSE, "EADDRINUSE"),
        (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    ];
    let number = error.raw_os_error();
    names
        .into_iter()
        .find(|(known, _)| number == Some(*known))
        .map_or_else(|| error.to_string(), |(_, name)| name.to_owned())
}

/// `yes`, or the name of the error.
pub(crate) fn whether<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "yes".into(),
        Err(error) => name(error),
    }
}
