//! The system calls that the rules make, and what comes back from them.

use crate::diag::BindAddress;
use crate::endpoint::Endpoint;
use log::Log;

/// An error number, as errno(3) has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Errno(pub i32);

impl Errno {
    /// `EADDRINUSE`, of the architectures that the library is built for
    /// (`include/uapi/asm-generic/errno.h`).
    pub const IN_USE: Self = Self(98);
}

/// A socket option whose value is an int.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SocketOption {
    /// `SO_REUSEADDR` (socket(7)).
    ReuseAddress,
    /// `SO_REUSEPORT` (socket(7)).
    ReusePort,
    /// `TCP_LINGER2` (tcp(7)). With -1 the kernel sends everything and a FIN, and on its
    /// acknowledgement forgets the connection instead of keeping `TIME_WAIT`
    /// (`tcp_rcv_state_process` in `net/ipv4/tcp_input.c`). MPTCP refuses it.
    Linger2,
    /// `IPV6_V6ONLY` (ipv6(7)).
    Ipv6Only,
    /// `SO_BINDTOIFINDEX`: the interface that `SO_BINDTODEVICE` (socket(7)) has bound the socket
    /// to, from Linux 5.1 on.
    Interface,
}

impl SocketOption {
    // As the architectures that the library is built for have them
    // (`include/uapi/asm-generic/socket.h`).
    const SOL_SOCKET: i32 = 1;
    const IPPROTO_TCP: i32 = 6;
    const SO_REUSEADDR: i32 = 2;
    const SO_REUSEPORT: i32 = 15;
    const TCP_LINGER2: i32 = 8;
    const IPPROTO_IPV6: i32 = 41;
    const IPV6_V6ONLY: i32 = 26;
    const SO_BINDTOIFINDEX: i32 = 62;

    /// The option's level, for setsockopt(2).
    #[must_use]
    #[inline(always)]
    pub const fn level(self) -> i32 {
        match self {
            Self::ReuseAddress | Self::ReusePort | Self::Interface => Self::SOL_SOCKET,
            Self::Linger2 => Self::IPPROTO_TCP,
            Self::Ipv6Only => Self::IPPROTO_IPV6,
        }
    }

    /// The option's number at its level.
    #[must_use]
    #[inline(always)]
    pub const fn name(self) -> i32 {
        match self {
            Self::ReuseAddress => Self::SO_REUSEADDR,
            Self::ReusePort => Self::SO_REUSEPORT,
            Self::Linger2 => Self::TCP_LINGER2,
            Self::Ipv6Only => Self::IPV6_V6ONLY,
            Self::Interface => Self::SO_BINDTOIFINDEX,
        }
    }

    /// The option with this number at this level.
    #[must_use]
    #[inline(always)]
    pub const fn at(level: i32, name: i32) -> Option<Self> {
        match (level, name) {
            (Self::SOL_SOCKET, Self::SO_REUSEADDR) => Some(Self::ReuseAddress),
            (Self::SOL_SOCKET, Self::SO_REUSEPORT) => Some(Self::ReusePort),
            (Self::IPPROTO_TCP, Self::TCP_LINGER2) => Some(Self::Linger2),
            _ => None,
        }
    }
}

/// A TCP state, as far as the rules tell them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Neither listening nor connected.
    Close,
    /// Waiting for connections.
    Listen,
    /// SYN sent and not answered yet.
    Connecting,
    /// This side may be the one to close first.
    Connected,
    /// The peer closed first.
    PeerClosed,
}

impl State {
    /// From the number of a state, which is the first byte of `TCP_INFO`
    /// (`include/net/tcp_states.h`).
    #[must_use]
    #[inline(always)]
    pub fn from_number(number: u8) -> Self {
        match number {
            2 => Self::Connecting,
            // CLOSE_WAIT, LAST_ACK
            8 | 9 => Self::PeerClosed,
            10 => Self::Listen,
            // ESTABLISHED, SYN_RECV (accepted by TCP Fast Open), FIN_WAIT1, FIN_WAIT2, CLOSING
            1 | 3 | 4 | 5 | 11 => Self::Connected,
            _ => Self::Close,
        }
    }
}

/// A TCP or MPTCP socket, as far as its end goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connection {
    /// Its state.
    pub state: State,
    /// Whether the peer is known to have sent something after the handshake. Who has done so knows
    /// that he is connected.
    pub has_received: bool,
}

impl Connection {
    /// As much of `TCP_INFO` as is needed, in bytes (`struct tcp_info` in
    /// `include/uapi/linux/tcp.h`).
    pub const INFO: usize = 136;

    /// From the bytes of `TCP_INFO`; zeroes are where the kernel tells nothing, as before Linux
    /// 4.1.
    #[must_use]
    pub fn decode(info: &[u8; Self::INFO]) -> Self {
        let [state, _, _, _, _, options, ..] = *info;
        let received = info
            .last_chunk()
            .map_or(0, |&bytes| u64::from_ne_bytes(bytes));
        Self::new(state, options, received)
    }

    /// From the first byte of `TCP_INFO`, the sixth (`tcpi_options`) and the last eight
    /// (`tcpi_bytes_received`).
    #[must_use]
    pub fn new(state: u8, options: u8, received: u64) -> Self {
        // Bytes came in the SYN, from a program that may not know of the connection yet.
        const TCPI_OPT_SYN_DATA: u8 = 32;
        Self {
            state: State::from_number(state),
            has_received: received > 0 && options & TCPI_OPT_SYN_DATA == 0,
        }
    }
}

/// The signals that ask a program to exit (signal(7)): `SIGHUP`, `SIGINT`, `SIGQUIT` and `SIGTERM`,
/// which have these numbers on every processor.
pub const TERMINATION_SIGNALS: [i32; 4] = [1, 2, 3, 15];

/// How a sleep ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sleep {
    /// At its time.
    Over,
    /// The kernel refused, or there is to be no further waiting for another reason.
    Failed,
    /// A handler of the program's has run for one of the [`TERMINATION_SIGNALS`]. It may have left
    /// the exit to the code that waits for `bind`.
    AskedToEnd,
}

/// A TCP socket of our own, beside the program's (socket(2)). It is closed when it is dropped.
pub trait Spare {
    /// Binds it, also to an address that no interface has (bind(2), and `IP_FREEBIND` of ip(7)).
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn bind(&self, address: Endpoint) -> Result<(), Errno>;

    /// Sets `SO_REUSEADDR`.
    fn reuse_address(&self);
}

/// The call that the program makes, with its own arguments.
pub trait OriginalCall {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn make(&self) -> Result<(), Errno>;
}

/// What the kernel knows about one of the program's descriptors. Each answer costs a system call,
/// so a decision asks only for what it still needs.
pub trait Facts {
    /// The address that an IPv4 or IPv6 socket is bound to, with port 0 if it is not
    /// (getsockname(2)); `None` for anything else.
    fn local(&self) -> Option<Endpoint>;

    /// The port alone.
    fn port(&self) -> Option<u16> {
        self.local().map(|local| local.port)
    }

    /// The TCP state of a TCP or MPTCP socket: the first byte of `TCP_INFO` (getsockopt(2)), which
    /// UDP, raw and Unix sockets and other descriptors refuse, so that one call tells what it is
    /// and how it is.
    fn state(&self) -> Option<State>;

    /// The same, and whether the peer has sent something: [`Connection::INFO`] bytes of `TCP_INFO`.
    fn connection(&self) -> Option<Connection>;
}

/// What is asked of the kernel about one of the program's descriptors, beside the [`Facts`].
///
/// Each method but one is one system call at most: in the library a call of libc, in the tracer one
/// that is injected into the program. None may end the program or be seen by it.
pub trait Kernel: Facts {
    /// What tells the file behind the descriptor from every other one.
    type File: PartialEq;
    /// The signals that the program itself had blocked.
    type Mask: Default;
    /// A socket of our own.
    type Spare: Spare;
    /// What a wait keeps.
    type Wait;

    /// The number of the descriptor, for reports.
    fn descriptor(&self) -> i32;

    /// What writes the reports. Not the logger that `log` keeps for everybody: that is a pointer,
    /// and beside it lies another logger, which stands in until it is set. The loader would have to
    /// adjust seven addresses of the library for the two at each start.
    fn log(&self) -> impl Log;

    /// The value of an option (getsockopt(2)); `None` if it can't be had.
    fn option(&self, option: SocketOption) -> Option<i32>;

    /// Sets an option (setsockopt(2)); false if the kernel refused.
    fn set_option(&self, option: SocketOption, value: i32) -> bool;

    /// Sets `SO_LINGER` to `{1, 0}`: `close` resets the connection and throws away what is not sent
    /// yet (socket(7)); false if the kernel refused.
    fn reset_on_close(&self) -> bool;

    /// Which file the descriptor stands for (statx(2)): its number may become another file's at any
    /// time.
    fn file(&self) -> Option<Self::File>;

    /// Blocks signals, so that no handler runs and jumps out (sigprocmask(2)), and keeps the
    /// program's own mask in `before`; false if the kernel would not.
    fn block_signals(&self, before: &mut Self::Mask) -> bool;

    /// Puts the program's own mask in place again.
    fn restore_signals(&self, mask: &Self::Mask);

    /// The time since some fixed point, in milliseconds (`clock_gettime(2)`); `None` if it can't be
    /// had.
    fn now_ms(&self) -> Option<u64>;

    /// Whether a live socket of the same network namespace is known to have this address
    /// (`sock_diag(7)`, see [`diag`](crate::diag)); false if that is unknown. It takes more than
    /// one system call, and is asked for only when `bind` has failed.
    fn is_held(&self, wanted: &BindAddress) -> bool;

    /// Opens a TCP socket of our own for an address of this family, in the network of the program's
    /// (socket(2)); `None` if that can't be.
    fn spare(&self, address: Endpoint) -> Option<Self::Spare>;

    /// Sleeps for a tenth of a millisecond or so (`clock_nanosleep(2)`).
    fn pause(&self);

    /// How long this same `bind` has waited already, in milliseconds: where a program's handlers
    /// can't run within a wait, it ends for them and begins again.
    fn waited_ms(&self) -> u64 {
        0
    }

    /// Begins a wait: from here on no signal that asks the program to end passes unnoticed.
    fn begin_wait(&self) -> Self::Wait;

    /// Ends it.
    fn end_wait(&self, wait: Self::Wait);

    /// Whether a signal that asks the program to end has ended this wait already, see
    /// [`Sleep::AskedToEnd`].
    fn wait_has_ended(&self) -> bool {
        false
    }

    /// Sleeps until a time as [`now_ms`](Kernel::now_ms) has it (`clock_nanosleep(2)`).
    fn sleep_until(&self, wait: &Self::Wait, moment_ms: u64) -> Sleep;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_peer_has_sent() {
        const ESTABLISHED: u8 = 1;
        let info = |options: u8, received: u64| {
            let mut info = [0; Connection::INFO];
            info[0] = ESTABLISHED;
            info[5] = options;
            info[128..].copy_from_slice(&received.to_ne_bytes());
            info
        };
        // TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK and TCPI_OPT_WSCALE are usual; 32 is
        // TCPI_OPT_SYN_DATA.
        for (options, received, expected) in [
            (7, 0, false),
            (7, 1, true),
            (0, u64::MAX, true),
            (7 | 32, 4, false),
        ] {
            let connection = Connection::decode(&info(options, received));
            assert_eq!(connection.has_received, expected, "{options} {received}");
            assert_eq!(connection.state, State::Connected);
        }
    }
}
