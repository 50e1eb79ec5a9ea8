//! The kernel's table of TCP sockets (sock_diag(7)): read by everyone, and shortened by those with `CAP_NET_ADMIN`.

use anyhow::{Context, Result, bail};
use log::debug;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseBuffer, InetResponseHeader, SocketId, StateFlags,
};
use netlink_packet_utils::nla::NlasIterator;
use netlink_packet_utils::{DecodeError, Emitable, Parseable};
use netlink_sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use serde::Serialize;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// A TCP state, as sock_diag has it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum State {
    Listen,
    /// Bound, and neither listening nor connected.
    Bound,
    Established,
    SynSent,
    SynRecv,
    CloseWait,
    #[serde(rename = "FIN_WAIT1")]
    FinWait1,
    #[serde(rename = "FIN_WAIT2")]
    FinWait2,
    Closing,
    LastAck,
    TimeWait,
}

impl State {
    /// From include/net/tcp_states.h.
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            // A closed socket is in the table only if it is bound, since Linux 6.8 and if TCP_BOUND_INACTIVE is asked for.
            7 | 13 => Self::Bound,
            _ => return None,
        })
    }

    /// As the field writes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Listen => "LISTEN",
            Self::Bound => "BOUND",
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::CloseWait => "CLOSE_WAIT",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
        }
    }

    /// Whether a socket in this state that no process owns is what a closed connection left behind. A connection that
    /// waits to be accepted has no owner either, but is established, or was closed by its peer.
    pub(super) fn is_of_the_dead(self) -> bool {
        matches!(
            self,
            Self::FinWait1 | Self::FinWait2 | Self::Closing | Self::LastAck | Self::TimeWait
        )
    }
}

/// A socket.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// Of an IPv6 listener: whether it refuses IPv4.
    pub(super) v6only: Option<bool>,
    /// How long until it is gone by itself, if a timer says so.
    pub(super) left_ms: Option<u32>,
    pub(super) uid: u32,
    /// 0 when no process owns it.
    pub(super) inode: u64,
    family: u8,
    id: SocketId,
}

impl Entry {
    pub(super) fn is_v6(&self) -> bool {
        self.family == AF_INET6
    }

    /// What tells it from every other socket, also from a later one with the same addresses.
    pub(super) fn identity(&self) -> (SocketAddr, SocketAddr, [u8; 8]) {
        (self.local, self.peer, self.id.cookie)
    }

    /// Whether it is what a closed connection left behind.
    pub(super) fn is_leftover(&self) -> bool {
        self.inode == 0 && self.state.is_of_the_dead()
    }
}

/// A sock_diag answer. The crate's own type for it leaves out how long `TIME_WAIT` lasts.
#[derive(Debug)]
struct Answer {
    header: InetResponseHeader,
    expires_ms: u32,
    v6only: Option<bool>,
}

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let message = InetResponseBuffer::new_checked(payload)?;
        let mut v6only = None;
        for attribute in NlasIterator::new(message.payload()) {
            // An attribute that the crate can't read is not the one we want.
            if let Ok(Nla::SkV6Only(value)) = Nla::parse(&attribute?) {
                v6only = Some(value);
            }
        }
        Ok(Self {
            header: InetResponseHeader::parse(&message)?,
            expires_ms: message.expires(),
            v6only,
        })
    }
}

impl NetlinkSerializable for Answer {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        0
    }

    fn serialize(&self, _: &mut [u8]) {}
}

/// What is asked of sock_diag: to tell of sockets, or to destroy one.
struct Request {
    /// `SOCK_DIAG_BY_FAMILY` or `SOCK_DESTROY`.
    kind: u16,
    /// A bit for each state. The crate's own type has no names for some.
    states: u32,
    inet: InetRequest,
}

/// From include/uapi/linux/sock_diag.h; the crate does not know it.
const SOCK_DESTROY: u16 = 21;

/// Where `idiag_states` is in `struct inet_diag_req_v2` (include/uapi/linux/inet_diag.h).
const STATES: std::ops::Range<usize> = 4..8;

impl Request {
    fn new(kind: u16, states: u32, family: u8, socket_id: SocketId) -> Self {
        let inet = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::empty(),
            socket_id,
        };
        Self { kind, states, inet }
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.inet.buffer_len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        self.inet.emit(buffer);
        if let Some(states) = buffer.get_mut(STATES) {
            states.copy_from_slice(&self.states.to_ne_bytes());
        }
    }
}

impl From<Request> for NetlinkPayload<Request> {
    fn from(request: Request) -> Self {
        Self::InnerMessage(request)
    }
}

impl Answer {
    fn entry(self) -> Option<Entry> {
        let header = self.header;
        let id = header.socket_id;
        let state = State::from_number(header.state)?;
        let timed = matches!(
            header.timer,
            Some(netlink_packet_sock_diag::inet::Timer::TimeWait)
        );
        Some(Entry {
            state,
            local: SocketAddr::new(id.source_address, id.source_port),
            peer: SocketAddr::new(id.destination_address, id.destination_port),
            v6only: self.v6only,
            left_ms: timed.then_some(self.expires_ms),
            uid: header.uid,
            inode: header.inode.into(),
            family: header.family,
            id,
        })
    }
}

/// Which local ports to read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    All,
    /// In order.
    These(&'a [u16]),
}

/// All TCP sockets with these local ports in our network namespace, in the order of port, state and addresses.
///
/// In every state, also those that the crate has no name for.
pub(super) fn dump(which: Which<'_>) -> Result<Vec<Entry>> {
    read(which, u32::MAX)
}

/// All listeners in our network namespace.
pub(super) fn listeners() -> Result<Vec<Entry>> {
    read(Which::All, StateFlags::LISTEN.bits())
}

fn read(which: Which<'_>, states: u32) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (family, mut id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        if let Which::These([port]) = which {
            id.source_port = *port;
        }
        let answers = match ask(Request::new(SOCK_DIAG_BY_FAMILY, states, family, id)) {
            // Without IPv6 there is nothing to read.
            Err(error) if family == AF_INET6 && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "the kernel's table of TCP sockets can't be read: Linux was built without CONFIG_INET_DIAG, or its \
                 module could not be loaded; try `sudo modprobe tcp_diag`"
            ),
            result => result.context("the kernel's table of TCP sockets can't be read")?,
        };
        entries.extend(answers.into_iter().filter_map(Answer::entry));
    }
    if let Which::These(ports) = which {
        entries.retain(|entry| ports.binary_search(&entry.local.port()).is_ok());
    }
    // A table that changes while it is read may give an entry twice.
    let mut seen = HashSet::new();
    entries.retain(|entry| seen.insert(entry.identity()));
    entries.sort_by_key(|entry| (entry.local.port(), entry.state, entry.local, entry.peer));
    debug!("sock_diag tells of {} sockets", entries.len());
    Ok(entries)
}

/// Asks to be told of sockets, and collects the answers.
///
/// # Errors
///
/// `NotFound` if nobody in the kernel can answer for this family or protocol (`net/core/sock_diag.c`,
/// `net/ipv4/inet_diag.c`).
fn ask(request: Request) -> io::Result<Vec<Answer>> {
    let socket = open()?;
    socket.send(&bytes(request, NLM_F_REQUEST | NLM_F_DUMP), 0)?;
    let mut answers = Vec::new();
    let mut end = None;
    while end.is_none() {
        receive(&socket, |payload| match payload {
            NetlinkPayload::InnerMessage(answer) => answers.push(answer),
            // Refused from the start, it is answered by an error. What fails later says so where it ends.
            NetlinkPayload::Error(error) => end = Some(error.raw_code()),
            NetlinkPayload::Done(done) => end = Some(done.code),
            _ => {}
        })?;
    }
    match end {
        Some(code) if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        _ => Ok(answers),
    }
}

/// Why the kernel left a socket alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// `CAP_NET_ADMIN` is missing in the user namespace that owns the network namespace.
    NotAllowed,
    /// The kernel can't, or can't for this state.
    NotSupported,
    /// Some other error.
    Other(i32),
}

/// Asks the kernel to destroy these sockets; returns why it refused, if it did. A socket that is already gone counts
/// as destroyed.
pub(super) fn destroy<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Option<Refusal>> {
    // As many answers as the socket's buffer surely holds.
    const AT_ONCE: usize = 64;
    let socket = open().context("no netlink socket")?;
    let mut refusal = None;
    let mut entries = entries.into_iter().peekable();
    while entries.peek().is_some() {
        let mut requests = Vec::new();
        let mut sent = 0;
        for entry in entries.by_ref().take(AT_ONCE) {
            requests.extend(bytes(
                Request::new(SOCK_DESTROY, u32::MAX, entry.family, entry.id.clone()),
                NLM_F_REQUEST | NLM_F_ACK,
            ));
            sent += 1;
        }
        socket
            .send(&requests, 0)
            .context("the request to destroy sockets can't be sent")?;
        while sent > 0 {
            let mut answered = 0;
            receive(&socket, |payload| {
                answered += 1;
                let code = match payload {
                    NetlinkPayload::Error(error) => -error.raw_code(),
                    _ => 0,
                };
                let refused = match code {
                    0 | libc::ENOENT => return,
                    libc::EPERM | libc::EACCES => Refusal::NotAllowed,
                    libc::EOPNOTSUPP | libc::EINVAL => Refusal::NotSupported,
                    other => Refusal::Other(other),
                };
                refusal.get_or_insert(refused);
            })
            .context("the kernel's answer can't be read")?;
            if answered > sent {
                bail!("the kernel answered more often than it was asked");
            }
            sent -= answered;
        }
        if refusal == Some(Refusal::NotAllowed) {
            break;
        }
    }
    Ok(refusal)
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

fn bytes(request: Request, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    buffer
}

/// Hands on every message of the next datagram.
fn receive(socket: &Socket, mut take: impl FnMut(NetlinkPayload<Answer>)) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    socket.recv(&mut buffer, 0)?;
    let mut rest = buffer.as_slice();
    while !rest.is_empty() {
        let message = NetlinkMessage::<Answer>::deserialize(rest).map_err(io::Error::other)?;
        // Messages begin at multiples of four (netlink(7)).
        let length = usize::try_from(message.header.length)
            .unwrap_or(usize::MAX)
            .next_multiple_of(4);
        take(message.payload);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// Whether two addresses of one host meet: one of them is a wildcard, or both are the same.
pub(super) fn covers(listener: &Entry, address: IpAddr) -> bool {
    let bound = listener.local.ip();
    if bound.is_unspecified() {
        return listener.is_v6() == address.is_ipv6()
            || (listener.is_v6() && listener.v6only == Some(false));
    }
    bound.to_canonical() == address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// What comes of the question, which is to come to an end.
    fn answer(request: Request) -> io::Result<Vec<Answer>> {
        let (give, take) = mpsc::channel();
        thread::spawn(move || give.send(ask(request)));
        take.recv_timeout(Duration::from_secs(30))
            .expect("an answer")
    }

    #[test]
    fn tells_a_refusal_from_an_empty_table() {
        let request =
            |family| Request::new(SOCK_DIAG_BY_FAMILY, u32::MAX, family, SocketId::new_v4());
        answer(request(AF_INET)).expect("a table");

        let no_family = answer(request(u8::MAX)).expect_err("a refusal");
        assert_eq!(no_family.raw_os_error(), Some(libc::EINVAL));

        let mut of_no_protocol = request(AF_INET);
        of_no_protocol.inet.protocol = u8::MAX;
        let no_protocol = answer(of_no_protocol).expect_err("a refusal");
        assert_eq!(no_protocol.raw_os_error(), Some(libc::ENOENT));
    }
}
