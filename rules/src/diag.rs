//! Encodes the requests of `sock_diag(7)`, and decodes the replies.
//!
//! One codec for the shim, the tracer and the command. It does no I/O.

use crate::endpoint::{Endpoint, put};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The size of a request, in bytes.
pub const REQUEST: usize = HEADER + 56;

/// The size of [`of_both_families`], in bytes.
pub const TCPDIAG_REQUEST: usize = HEADER + 60;

/// The address families of TCP and UDP sockets: `AF_INET` and `AF_INET6`.
pub const FAMILIES: [u8; 2] = [AF_INET, AF_INET6];

/// The state of a TCP socket that is bound and neither listens nor is connected
/// (`TCP_BOUND_INACTIVE`). Linux reports such sockets from 6.8 on, if a request names this state.
pub const BOUND: u8 = 13;

/// The state of a TCP listener.
pub const LISTEN: u8 = 10;

/// A netlink message's header (`struct nlmsghdr` in `include/uapi/linux/netlink.h`).
const HEADER: usize = 16;

/// `struct inet_diag_msg`, without its attributes (`include/uapi/linux/inet_diag.h`).
const SOCKET: usize = 72;

/// `struct inet_diag_sockid`: ports, addresses, interface and cookie.
const ID: usize = 48;

/// The type of a request for the TCP sockets of both families, and of its replies. Linux 3.3
/// replaced it by `SOCK_DIAG_BY_FAMILY`, which takes two requests for both.
const TCPDIAG_GETSOCK: u16 = 18;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const INET_DIAG_SKV6ONLY: u16 = 11;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// `TCP_CLOSE`, the state with which the kernel reports bound sockets.
const CLOSE: u8 = 7;

/// A message to the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    kind: u16,
    flags: u16,
    family: u8,
    protocol: u8,
    states: u32,
    id: [u8; ID],
}

impl Request {
    /// Requests all TCP sockets of a family that are in one of these states (a bit mask).
    #[must_use]
    pub fn dump(family: u8, states: u32) -> Self {
        Self {
            kind: SOCK_DIAG_BY_FAMILY,
            flags: NLM_F_REQUEST | NLM_F_DUMP,
            family,
            protocol: TCP,
            states,
            id: [0; ID],
        }
    }

    /// Limits the request to one local port.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        let [first, second, ..] = &mut self.id;
        (*first, *second) = (high, low);
        self
    }

    /// Changes the request to UDP.
    #[must_use]
    pub fn of_udp(self) -> Self {
        self.of_protocol(UDP)
    }

    /// Changes the request to another protocol.
    #[must_use]
    pub fn of_protocol(mut self, protocol: u8) -> Self {
        self.protocol = protocol;
        self
    }

    /// Requests to destroy a TCP socket (`SOCK_DESTROY`). The kernel replies if that fails; with
    /// `acknowledged` (`NLM_F_ACK`), also if it succeeds.
    #[must_use]
    pub fn destroy(socket: &Socket, acknowledged: bool) -> Self {
        Self {
            kind: SOCK_DESTROY,
            flags: if acknowledged {
                NLM_F_REQUEST | NLM_F_ACK
            } else {
                NLM_F_REQUEST
            },
            family: socket.family,
            protocol: TCP,
            states: u32::MAX,
            id: socket.id,
        }
    }

    /// Encodes the request: a netlink header and a `struct inet_diag_req_v2`.
    #[must_use]
    #[inline(never)]
    pub fn encode(&self) -> [u8; REQUEST] {
        let mut message = message(self.kind, self.flags);
        put(&mut message, 16, [self.family, self.protocol]);
        put(&mut message, 20, self.states.to_ne_bytes());
        put(&mut message, 24, self.id);
        message
    }
}

/// Encodes a request for all TCP sockets that are in one of these states (a bit mask), on one local
/// port, or with 0 on every port: a netlink header and the older `struct inet_diag_req`. It takes
/// half the time of two requests, one for each family, since the kernel walks all of its tables for
/// each request.
#[must_use]
#[inline(always)]
pub fn of_both_families(port: u16, states: u32) -> [u8; TCPDIAG_REQUEST] {
    let mut message = message(TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP);
    put(&mut message, 20, port.to_be_bytes());
    put(&mut message, 68, states.to_ne_bytes());
    message
}

/// Begins a message of `SIZE` bytes, with its header.
fn message<const SIZE: usize>(kind: u16, flags: u16) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    let length = u32::try_from(SIZE).unwrap_or(0);
    put(&mut bytes, 0, length.to_ne_bytes());
    put(&mut bytes, 4, kind.to_ne_bytes());
    put(&mut bytes, 6, flags.to_ne_bytes());
    bytes
}

/// A message from the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// A socket.
    Socket(Socket),
    /// The end of a reply (`NLMSG_DONE` or `NLMSG_ERROR`), with 0, or the error number (errno(3))
    /// if the request failed.
    End(i32),
}

/// Iterates over the complete messages of a datagram.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
}

impl<'a> Messages<'a> {
    /// The messages in `bytes`.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The unread bytes: none, or an incomplete message.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        loop {
            let (length, kind) = header(self.bytes)?;
            if length < HEADER {
                // Netlink sends no such message.
                self.bytes = &[];
                return None;
            }
            let body = self.bytes.get(HEADER..length)?;
            // Each message begins at a multiple of four.
            self.bytes = self
                .bytes
                .get(length.saturating_add(3) & !3..)
                .unwrap_or_default();
            match kind {
                NLMSG_ERROR | NLMSG_DONE => {
                    let code = body.first_chunk::<4>();
                    let code = code.map_or(0, |code| i32::from_ne_bytes(*code));
                    return Some(Message::End(code.saturating_neg()));
                }
                SOCK_DIAG_BY_FAMILY | TCPDIAG_GETSOCK => {
                    if let Some(socket) = Socket::decode(body) {
                        return Some(Message::Socket(socket));
                    }
                }
                _ => {}
            }
        }
    }
}

fn header(messages: &[u8]) -> Option<(usize, u16)> {
    let (length, rest) = messages.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    Some((length, u16::from_ne_bytes(*kind)))
}

/// A socket, as the kernel describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Socket {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Its state (`include/net/tcp_states.h`).
    pub state: u8,
    /// Which timer runs: 3 is that of `TIME_WAIT`.
    pub timer: u8,
    /// When that timer expires, in milliseconds from now.
    pub expires_ms: u32,
    /// The user id of its owner.
    pub uid: u32,
    /// Its inode; 0 when no process owns it.
    pub inode: u32,
    /// `IPV6_V6ONLY` of an IPv6 socket that is listening or bound. Reported from Linux 4.3 on.
    pub v6only: Option<bool>,
    id: [u8; ID],
}

impl Socket {
    #[inline(never)]
    fn decode(body: &[u8]) -> Option<Self> {
        let (fields, attributes) = body.split_first_chunk::<SOCKET>()?;
        let [family, state, timer, _, rest @ ..] = fields;
        let (id, rest) = rest.split_first_chunk::<ID>()?;
        let number = |start: usize| {
            let bytes = rest.get(start..)?.first_chunk::<4>()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        Some(Self {
            family: *family,
            state: *state,
            timer: *timer,
            expires_ms: number(0)?,
            uid: number(12)?,
            inode: number(16)?,
            v6only: attribute(attributes, INET_DIAG_SKV6ONLY).map(|value| value != 0),
            id: *id,
        })
    }

    /// The local address and port.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        let [high, low, ..] = self.id;
        self.address(4, u16::from_be_bytes([high, low]))
    }

    /// The peer's address and port.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        let [_, _, high, low, ..] = self.id;
        self.address(20, u16::from_be_bytes([high, low]))
    }

    #[inline(never)]
    fn address(&self, start: usize, port: u16) -> SocketAddr {
        let bytes = self.id.get(start..).unwrap_or_default();
        let ip = match (
            self.family,
            bytes.first_chunk::<4>(),
            bytes.first_chunk::<16>(),
        ) {
            (AF_INET, Some(bytes), _) => IpAddr::from(*bytes),
            (_, _, Some(bytes)) => IpAddr::from(*bytes),
            _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(ip, port)
    }

    /// Whether it is an IPv6 socket.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.family == AF_INET6
    }

    /// The index of the interface that it is bound to (`SO_BINDTODEVICE`), or 0.
    #[must_use]
    pub fn interface(&self) -> u32 {
        let bytes = self.id.get(36..40).and_then(<[u8]>::first_chunk::<4>);
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// The socket cookie, which distinguishes it from a later socket with the same addresses.
    #[must_use]
    pub fn cookie(&self) -> [u8; 8] {
        self.id.last_chunk::<8>().copied().unwrap_or_default()
    }
}

/// The value of an attribute of one byte.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<u8> {
    loop {
        let (length, rest) = attributes.split_first_chunk::<2>()?;
        let (kind, value) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        if u16::from_ne_bytes(*kind) == wanted && length > 4 {
            return value.first().copied();
        }
        // An attribute is no shorter than its own header.
        attributes = attributes.get(length.max(4).saturating_add(3) & !3..)?;
    }
}

/// The address that a `bind` wants.
#[derive(Clone, Copy, Debug)]
pub struct BindAddress {
    /// The address and port.
    pub address: Endpoint,
    /// Whether the socket is known to accept IPv4 as well: its `IPV6_V6ONLY` is 0.
    pub dual_stack: bool,
    /// The interface that the socket is bound to, 0 if to none; `None` if that is not known.
    pub interface: Option<u32>,
    /// Whether to request listeners alone, which takes a tenth of the time.
    pub listeners_only: bool,
}

impl BindAddress {
    /// Encodes the request for the sockets that [`is_held_by`](Self::is_held_by) accepts.
    #[must_use]
    #[inline(never)]
    pub fn request(&self) -> [u8; TCPDIAG_REQUEST] {
        let bound = if self.listeners_only { 0 } else { 1 << BOUND };
        of_both_families(self.address.port, 1 << LISTEN | bound)
    }

    /// Whether this is a live socket that certainly conflicts: a listener, or a bound socket that
    /// may listen later.
    #[must_use]
    pub fn is_held_by(&self, socket: &Socket) -> bool {
        let theirs = Endpoint::from(socket.local());
        // A link-local IPv6 address is of the interface in its scope id. Sockets of two interfaces
        // do not conflict; one that is bound to no interface conflicts with all.
        let ours = self.address.link().or(self.interface);
        let interfaces_meet = match (ours, socket.interface()) {
            (Some(0), _) | (_, 0) => true,
            (Some(ours), theirs) => ours == theirs,
            (None, _) => false,
        };
        matches!(socket.state, LISTEN | BOUND | CLOSE)
            && interfaces_meet
            // A guard, ours or another copy's, is not a conflict.
            && !theirs.is_reserved()
            && self.address.surely_conflicts_with(
                self.dual_stack,
                theirs,
                socket.v6only == Some(false),
            )
    }
}

#[cfg(test)]
mod tests;
