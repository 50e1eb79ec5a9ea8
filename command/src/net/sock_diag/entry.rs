//! Decodes a socket's entry in sock_diag(7).

use libreuse_rules::diag::{Request, Socket};
use serde::Serialize;
use std::net::SocketAddr;

/// A TCP state, as sock_diag has it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum TcpState {
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

impl TcpState {
    /// From include/net/tcp_states.h.
    pub(super) fn from_number(number: u8) -> Option<Self> {
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
            // A closed socket is in the table only if it is bound, since Linux 6.8 and if
            // TCP_BOUND_INACTIVE is asked for.
            7 | 13 => Self::Bound,
            _ => return None,
        })
    }

    /// The state's usual name.
    pub(crate) fn name(self) -> &'static str {
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

    /// Whether a socket in this state has a peer: it neither listens nor is only bound.
    pub(crate) fn has_peer(self) -> bool {
        !matches!(self, Self::Listen | Self::Bound)
    }

    /// Whether a socket in this state that no process owns is what a closed connection left behind.
    /// A connection that waits to be accepted has no owner either, but is established, or was
    /// closed by its peer.
    fn may_be_leftover(self) -> bool {
        matches!(
            self,
            Self::FinWait1 | Self::FinWait2 | Self::Closing | Self::LastAck | Self::TimeWait
        )
    }
}

/// A socket.
#[derive(Clone, Debug)]
pub(crate) struct SocketEntry {
    pub(crate) state: TcpState,
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    /// For an IPv6 listener, whether it refuses IPv4.
    pub(crate) v6only: Option<bool>,
    /// How long until it expires, if the kernel has a timer for it.
    pub(crate) left_ms: Option<u32>,
    pub(crate) uid: u32,
    /// 0 when no process owns it.
    pub(crate) inode: u64,
    socket: Socket,
}

impl SocketEntry {
    /// `None` if it is in a state that nobody knows.
    pub(super) fn of(socket: &Socket) -> Option<Self> {
        const TIME_WAIT_TIMER: u8 = 3;
        Some(Self {
            state: TcpState::from_number(socket.state)?,
            local: socket.local(),
            peer: socket.peer(),
            v6only: socket.v6only,
            left_ms: (socket.timer == TIME_WAIT_TIMER).then_some(socket.expires_ms),
            uid: socket.uid,
            inode: socket.inode.into(),
            socket: *socket,
        })
    }

    /// An IPv4 socket at port 80, as the kernel describes one.
    #[cfg(test)]
    pub(crate) fn example(state: u8, peer: u16, cookie: u64) -> Self {
        use libreuse_rules::diag::{Message, Messages};
        const LENGTH: u32 = 88;
        const SOCK_DIAG_BY_FAMILY: u16 = 20;
        let mut message = LENGTH.to_ne_bytes().to_vec();
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.resize(16, 0);
        message.extend([2, state, 0, 0, 0, 80]);
        message.extend(peer.to_be_bytes());
        message.resize(60, 0);
        message.extend(cookie.to_ne_bytes());
        message.resize(88, 0);
        match Messages::of(&message).next() {
            Some(Message::Socket(socket)) => Self::of(&socket).expect("a known state"),
            other => panic!("{other:?}"),
        }
    }

    /// The request that the kernel destroy it.
    pub(super) fn destruction(&self, acknowledged: bool) -> Request {
        Request::destroy(&self.socket, acknowledged)
    }

    pub(crate) fn is_v6(&self) -> bool {
        self.socket.is_v6()
    }

    /// The number that no other socket ever has, and no later one with the same addresses
    /// (`SO_COOKIE`).
    pub(crate) fn cookie(&self) -> u64 {
        u64::from_ne_bytes(self.socket.cookie())
    }

    /// The interface that it is bound to, or 0. Addresses of a link alone mean nothing without it.
    pub(crate) fn interface(&self) -> u32 {
        self.socket.interface()
    }

    /// Whether it is what a closed connection left behind.
    pub(crate) fn is_leftover(&self) -> bool {
        self.inode == 0 && self.state.may_be_leftover()
    }
}
