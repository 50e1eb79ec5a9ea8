//! A socket: what the kernel reports, who holds it, who opened it.

use super::direction::{Direction, Directions};
use crate::net::sock_diag::{SocketEntry, TcpState};
use crate::output::list;
use crate::process::holders::{Holder, Holders};
use crate::process::{sockets, tree, users};
use rustix::process::getuid;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A socket: what the kernel reports, who holds it, who opened it. There may be tens of thousands,
/// so in JSON it is without what does not apply to it.
#[derive(Debug, Serialize)]
pub(crate) struct Socket {
    pub(crate) state: TcpState,
    /// For a listener or a bound socket. A connection's addresses show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    /// For an IPv6 listener, whether it accepts IPv4 as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dual_stack: Option<bool>,
    pub(crate) local: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direction: Option<Direction>,
    /// Whether a closed connection left it behind: no process owns it.
    #[serde(skip_serializing_if = "is_no")]
    pub(crate) leftover: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_ms: Option<u32>,
    /// Whether it carries SO_REUSEADDR, if we may inspect its holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reuse_address: Option<bool>,
    /// Whether it carries SO_REUSEPORT, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reuse_port: Option<bool>,
    #[serde(flatten, skip_serializing_if = "Owner::is_nobody")]
    owner: Owner,
    #[serde(skip)]
    cookie: u64,
    /// Each is described once in an answer, which has them therefore.
    #[serde(skip)]
    pub(crate) holders: Vec<Holder>,
}

/// Whose socket it is, as the kernel has it.
#[derive(Clone, Copy, Debug, Serialize)]
struct Owner {
    uid: u32,
    /// 0 if no process has it open.
    inode: u64,
}

impl Owner {
    fn is_nobody(&self) -> bool {
        self.inode == 0
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so.
fn is_no(flag: &bool) -> bool {
    !flag
}

/// A UDP socket: it is in no TCP bind's way, and shown because it has the same number.
#[derive(Debug, Serialize)]
pub(crate) struct UdpSocket {
    pub(crate) local: Endpoint,
    pub(crate) peer: Option<Endpoint>,
    pub(crate) uid: u32,
    pub(crate) inode: u64,
    pub(crate) holders: Vec<Holder>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: address.ip(),
            port: address.port(),
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

impl Socket {
    /// Describes an entry of the kernel's table.
    pub(crate) fn new(entry: &SocketEntry, directions: &Directions, holders: &Holders) -> Self {
        let connected = entry.state.has_peer();
        Self {
            state: entry.state,
            family: (!connected).then_some(if entry.is_v6() { "ipv6" } else { "ipv4" }),
            dual_stack: entry
                .v6only
                .filter(|_| entry.is_v6())
                .map(|only| !only && entry.local.ip().is_unspecified()),
            local: entry.local.into(),
            peer: connected.then(|| entry.peer.into()),
            direction: connected.then(|| directions.direction(entry)),
            leftover: entry.is_leftover(),
            left_ms: entry.left_ms,
            reuse_address: None,
            reuse_port: None,
            owner: Owner {
                uid: entry.uid,
                inode: entry.inode,
            },
            cookie: entry.cookie(),
            holders: holders.of(entry.inode).to_vec(),
        }
    }

    /// Looks at the flags of a socket that has no peer, through a copy of its holder's descriptor.
    pub(crate) fn look_at_flags(&mut self) {
        if self.peer.is_some() {
            return;
        }
        let flags = self.holders.iter().find_map(|holder| {
            sockets::flags(holder.pid, holder.descriptor, self.owner.inode, self.cookie)
        });
        self.reuse_address = flags.map(|flags| flags.reuse_address);
        self.reuse_port = flags.map(|flags| flags.reuse_port);
    }

    /// Whether it belongs to a server, or may.
    pub(crate) fn is_of_a_server(&self) -> bool {
        !self.state.has_peer() || (self.leftover && self.direction != Some(Direction::Outbound))
    }

    /// Whether it may be in the way of a bind of this address.
    pub(crate) fn meets(&self, address: IpAddr) -> bool {
        let own = self.local.address.to_canonical();
        let address = address.to_canonical();
        if own.is_unspecified() {
            // All of IPv6 is all of IPv4 as well, unless that is refused.
            own.is_ipv6() == address.is_ipv6() || (own.is_ipv6() && self.dual_stack != Some(false))
        } else if address.is_unspecified() {
            address.is_ipv6() || own.is_ipv4()
        } else {
            own == address
        }
    }

    /// Its owner, if a process has it open.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.is_open().then_some(self.owner.uid)
    }

    /// Whether a process has it open.
    pub(crate) fn is_open(&self) -> bool {
        !self.owner.is_nobody()
    }

    /// Whether a program has yet to accept it.
    fn waits_to_be_accepted(&self) -> bool {
        !self.is_open() && !self.leftover
    }

    /// Whether its address is every address, of both families or of IPv4.
    pub(crate) fn is_of_everything(&self) -> bool {
        self.local.address.is_unspecified()
            && (self.local.address.is_ipv4() || self.dual_stack == Some(true))
    }

    /// Its local address, and whether that is IPv4's as well.
    pub(crate) fn place(&self) -> String {
        let and = if self.dual_stack == Some(true) {
            " and IPv4"
        } else {
            ""
        };
        format!("{}{and}", self.local)
    }

    /// Names its holders.
    pub(crate) fn held_by(&self) -> String {
        if self.leftover {
            "no process".into()
        } else if self.waits_to_be_accepted() {
            "not accepted yet".into()
        } else if self.holders.is_empty() {
            unseen(self.owner.uid)
        } else {
            tree::named(&self.holders)
        }
    }
}

impl UdpSocket {
    pub(crate) fn new(entry: &SocketEntry, holders: &Holders) -> Self {
        Self {
            local: entry.local.into(),
            peer: (entry.peer.port() != 0).then(|| entry.peer.into()),
            uid: entry.uid,
            inode: entry.inode,
            holders: holders.of(entry.inode).to_vec(),
        }
    }

    /// Names its holders.
    fn held_by(&self) -> String {
        if self.holders.is_empty() {
            unseen(self.uid)
        } else {
            tree::named(&self.holders)
        }
    }
}

/// Names the holders of UDP sockets, with their addresses; `None` if there is none.
pub(crate) fn held_by_udp(sockets: &[UdpSocket]) -> Option<String> {
    let holders: BTreeSet<String> = sockets
        .iter()
        .map(|socket| format!("{} at {}", socket.held_by(), socket.local))
        .collect();
    let holders: Vec<String> = holders.into_iter().collect();
    (!holders.is_empty()).then(|| list(&holders))
}

/// Counts sockets by state: `3 TIME_WAIT`, `1 FIN_WAIT2`.
pub(super) fn numbers_by_state<'a>(sockets: impl IntoIterator<Item = &'a Socket>) -> Vec<String> {
    let mut numbers = BTreeMap::<TcpState, usize>::new();
    for socket in sockets {
        *numbers.entry(socket.state).or_default() += 1;
    }
    numbers
        .into_iter()
        .map(|(state, number)| format!("{number} {}", state.name()))
        .collect()
}

/// A holder that can't be seen, by the socket's owner.
pub(crate) fn unseen(uid: u32) -> String {
    let user = users::name(uid).map_or_else(|| format!("user {uid}"), ToOwned::to_owned);
    if getuid().is_root() {
        format!("an unseen holder of {user}")
    } else {
        format!("a process of {user}")
    }
}
