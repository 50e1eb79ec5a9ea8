//! What is asked of sock_diag and what it answers, as netlink messages (netlink(7)).

use super::entry::{Entry, State};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use netlink_packet_sock_diag::constants::{IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseBuffer, InetResponseHeader, SocketId, StateFlags,
};
use netlink_packet_utils::nla::NlasIterator;
use netlink_packet_utils::{DecodeError, Emitable, Parseable};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use std::io;
use std::net::SocketAddr;

/// A sock_diag answer. The crate's own type for it leaves out how long `TIME_WAIT` lasts.
#[derive(Debug)]
pub(super) struct Answer {
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

impl Answer {
    pub(super) fn entry(self) -> Option<Entry> {
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

/// What is asked of sock_diag: to tell of sockets, or to destroy one.
pub(super) struct Request {
    /// `SOCK_DIAG_BY_FAMILY` or `SOCK_DESTROY`.
    kind: u16,
    /// A bit for each state. The crate's own type has no names for some.
    states: u32,
    inet: InetRequest,
}

/// From include/uapi/linux/sock_diag.h; the crate does not know it.
pub(super) const SOCK_DESTROY: u16 = 21;

/// Where `idiag_states` is in `struct inet_diag_req_v2` (include/uapi/linux/inet_diag.h).
const STATES: std::ops::Range<usize> = 4..8;

impl Request {
    pub(super) fn new(kind: u16, states: u32, family: u8, socket_id: SocketId) -> Self {
        let inet = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::empty(),
            socket_id,
        };
        Self { kind, states, inet }
    }

    /// The same question about UDP.
    pub(super) fn of_udp(mut self) -> Self {
        self.inet.protocol = IPPROTO_UDP;
        self
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

/// Asks to be told of sockets, and collects the answers.
///
/// # Errors
///
/// `NotFound` if nobody in the kernel can answer for this family or protocol (`net/core/sock_diag.c`,
/// `net/ipv4/inet_diag.c`).
pub(super) fn ask(request: Request) -> io::Result<Vec<Answer>> {
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

pub(super) fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    Ok(socket)
}

pub(super) fn bytes(request: Request, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut buffer = vec![0; message.buffer_len()];
    message.serialize(&mut buffer);
    buffer
}

/// Hands on every message of the next datagram.
pub(super) fn receive(socket: &Socket, take: impl FnMut(NetlinkPayload<Answer>)) -> io::Result<()> {
    receive_with(socket, 0, take)
}

/// Hands on every message that is there already. The kernel has dealt with a request when `send` returns, and what it
/// could not say for want of room is lost.
pub(super) fn receive_what_is_there(
    socket: &Socket,
    mut take: impl FnMut(NetlinkPayload<Answer>),
) -> io::Result<()> {
    loop {
        match receive_with(socket, libc::MSG_DONTWAIT, &mut take) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            result => result?,
        }
    }
}

fn receive_with(
    socket: &Socket,
    flags: libc::c_int,
    mut take: impl FnMut(NetlinkPayload<Answer>),
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 16);
    socket.recv(&mut buffer, flags)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_sock_diag::constants::AF_INET;
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
