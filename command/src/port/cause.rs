//! Finds what keeps a port from being bound, from the sockets on it and the results of binding it.

use super::direction::Direction;
use super::socket::Socket;
use crate::net::probe::{Outcome, Probe};
use crate::net::sock_diag::{self, TcpState, Which};
use crate::net::sysctl::{self, EphemeralPorts};
use crate::process::holders::{Holder, Holders};
use rustix::io::Errno;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The cause that keeps a port from being bound.
#[derive(Debug)]
pub(crate) enum Cause<'a> {
    /// Nothing does.
    Free {
        /// Whether there are sockets all the same.
        has_sockets: bool,
    },
    /// The address is not one of this machine's.
    NoAddress,
    /// The port is below the lowest that every user may bind.
    Privileged {
        lowest: u16,
    },
    Listening(Listening<'a>),
    Bound(Bound<'a>),
    /// Whatever is there carries `SO_REUSEADDR`, and is neither listener nor bound.
    Reusable {
        sockets: Vec<&'a Socket>,
    },
    Connected(Connected<'a>),
    Leftovers(Leftovers<'a>),
    /// Something that the kernel does not report.
    Unknown,
}

/// Listeners hold the port.
#[derive(Debug)]
pub(crate) struct Listening<'a> {
    pub(crate) sockets: Vec<&'a Socket>,
    pub(crate) holders: Vec<Holder>,
    /// Whether there are leftovers as well.
    pub(crate) has_leftovers: bool,
}

impl Listening<'_> {
    /// Whether a program that sets `SO_REUSEPORT` too may share the port.
    pub(crate) fn may_be_shared(&self) -> bool {
        let mut sockets = self.sockets.iter();
        sockets.any(|socket| socket.reuse_port == Some(true))
    }

    /// Whether what they leave behind will be in nobody's way.
    pub(crate) fn carries_reuse_address(&self) -> bool {
        let mut sockets = self.sockets.iter();
        sockets.all(|socket| socket.reuse_address == Some(true))
    }
}

/// Sockets hold the port that are bound, and neither listen nor are connected.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    pub(crate) sockets: Vec<&'a Socket>,
    pub(crate) holders: Vec<Holder>,
    /// Whether they carry `SO_REUSEADDR`, so that a bind with it succeeds beside them.
    pub(crate) is_reusable: bool,
}

/// Live connections without `SO_REUSEADDR`, and no listener.
#[derive(Debug)]
pub(crate) struct Connected<'a> {
    pub(crate) first: &'a Socket,
    pub(crate) number: usize,
    pub(crate) holders: Vec<Holder>,
    pub(crate) leftovers: Vec<&'a Socket>,
    /// Whether the port is one that the kernel may have given to the first.
    pub(crate) is_ephemeral: bool,
}

/// Leftovers without `SO_REUSEADDR`, and nothing else.
#[derive(Debug)]
pub(crate) struct Leftovers<'a> {
    pub(crate) sockets: Vec<&'a Socket>,
    /// How many were outgoing connections.
    pub(crate) outgoing: usize,
    /// Whether the port is one that the kernel may have given to those.
    pub(crate) is_ephemeral: bool,
    /// The processes on this host that have not closed their ends: until they do, an orphan stays
    /// in `FIN_WAIT2`.
    pub(crate) open_ends: Vec<Holder>,
}

/// The cause in a word, for JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CauseKind {
    Free,
    Reusable,
    Leftover,
    Connected,
    Listening,
    Bound,
    Denied,
    Unknown,
}

/// Finds the cause among the sockets on the port, by the binds that failed. `ephemeral` are the
/// ports that the kernel gives to outgoing connections.
pub(crate) fn find<'a>(
    port: u16,
    sockets: &[&'a Socket],
    probes: &[Probe],
    ephemeral: &EphemeralPorts,
) -> Cause<'a> {
    let all = |outcome: fn(&Probe) -> Outcome| {
        !probes.is_empty() && probes.iter().all(|probe| outcome(probe) == Outcome::Bound)
    };
    let failed_with = |error| {
        let failed = Outcome::Failed(error);
        probes.iter().any(|probe| probe.plain == failed)
    };
    if all(|probe| probe.plain) {
        let has_sockets = !sockets.is_empty();
        return Cause::Free { has_sockets };
    }
    if failed_with(Errno::ADDRNOTAVAIL) {
        return Cause::NoAddress;
    }
    let in_the_way = in_the_way(sockets, probes);
    let (leftovers, live): (Vec<&Socket>, Vec<&Socket>) =
        in_the_way.iter().partition(|socket| socket.leftover);
    let in_state = |state| -> Vec<&Socket> {
        let live = live.iter().copied();
        live.filter(|socket| socket.state == state).collect()
    };
    let listeners = in_state(TcpState::Listen);
    let bound = in_state(TcpState::Bound);
    let connections: Vec<&Socket> = live.into_iter().filter(|it| it.peer.is_some()).collect();

    let is_reusable = all(|probe| probe.reuse);
    let is_ephemeral = || ephemeral.contains(&port);
    if !listeners.is_empty() {
        Cause::Listening(Listening {
            holders: all_holders(&listeners),
            sockets: listeners,
            has_leftovers: !leftovers.is_empty(),
        })
    } else if failed_with(Errno::ACCESS) {
        let lowest = sysctl::lowest_unprivileged();
        Cause::Privileged { lowest }
    } else if !bound.is_empty() {
        Cause::Bound(Bound {
            holders: all_holders(&bound),
            sockets: bound,
            is_reusable,
        })
    } else if is_reusable {
        let sockets = in_the_way;
        Cause::Reusable { sockets }
    } else if let Some(&first) = connections.first() {
        Cause::Connected(Connected {
            first,
            number: connections.len(),
            holders: all_holders(&connections),
            leftovers,
            is_ephemeral: first.direction == Some(Direction::Outbound) && is_ephemeral(),
        })
    } else if leftovers.is_empty() {
        Cause::Unknown
    } else {
        let outgoing = leftovers
            .iter()
            .filter(|socket| socket.direction == Some(Direction::Outbound))
            .count();
        Cause::Leftovers(Leftovers {
            open_ends: open_ends(&leftovers),
            sockets: leftovers,
            outgoing,
            is_ephemeral: outgoing > 0 && is_ephemeral(),
        })
    }
}

/// The sockets whose address could not be bound: what is bound to the other family is in nobody's
/// way there.
fn in_the_way<'a>(sockets: &[&'a Socket], probes: &[Probe]) -> Vec<&'a Socket> {
    let failed = |probe: &&Probe| probe.plain != Outcome::Bound;
    let is_in_the_way = |socket: &&Socket| {
        let mut failed = probes.iter().filter(failed);
        failed.any(|probe| socket.meets(probe.address))
    };
    sockets.iter().copied().filter(is_in_the_way).collect()
}

/// Lists every holder of these sockets once.
fn all_holders(sockets: &[&Socket]) -> Vec<Holder> {
    let holders = sockets.iter().flat_map(|socket| &socket.holders);
    let by_pid: BTreeMap<i32, &Holder> = holders.map(|holder| (holder.pid, holder)).collect();
    by_pid.into_values().cloned().collect()
}

/// The processes on this host that hold the other ends of these orphans.
fn open_ends(leftovers: &[&Socket]) -> Vec<Holder> {
    let ends: BTreeMap<SocketAddr, SocketAddr> = leftovers
        .iter()
        .filter(|socket| socket.state != TcpState::TimeWait)
        .filter_map(|socket| Some((socket.peer?.into(), socket.local.into())))
        .collect();
    if ends.is_empty() {
        return Vec::new();
    }
    let ports: BTreeSet<u16> = ends.keys().map(SocketAddr::port).collect();
    let ports: Vec<u16> = ports.into_iter().collect();
    let entries = sock_diag::dump(Which::These(&ports)).unwrap_or_default();
    let inodes = entries
        .iter()
        .filter(|entry| ends.get(&entry.local) == Some(&entry.peer))
        .map(|entry| entry.inode);
    let holders = Holders::find(inodes.clone());
    holders.of_any(inodes).into_values().cloned().collect()
}

impl Cause<'_> {
    pub(crate) fn kind(&self) -> CauseKind {
        match self {
            Self::Free { .. } => CauseKind::Free,
            Self::NoAddress | Self::Privileged { .. } => CauseKind::Denied,
            Self::Listening(_) => CauseKind::Listening,
            Self::Bound(_) => CauseKind::Bound,
            Self::Reusable { .. } => CauseKind::Reusable,
            Self::Connected(_) => CauseKind::Connected,
            Self::Leftovers(_) => CauseKind::Leftover,
            Self::Unknown => CauseKind::Unknown,
        }
    }

    /// The processes that hold what is in the way.
    pub(crate) fn holders(&self) -> &[Holder] {
        match self {
            Self::Listening(it) => &it.holders,
            Self::Bound(it) => &it.holders,
            Self::Connected(it) => &it.holders,
            _ => &[],
        }
    }

    /// When all of it has expired, if the kernel has a timer for each.
    pub(crate) fn free_in_ms(&self) -> Option<u32> {
        let sockets = match self {
            Self::Leftovers(it) => &it.sockets,
            Self::Reusable { sockets } => sockets,
            _ => return None,
        };
        let left = |socket: &&Socket| socket.left_ms.filter(|_| socket.leftover);
        let left: Option<Vec<u32>> = sockets.iter().map(left).collect();
        left?.into_iter().max()
    }
}

/// The longest time that the kernel has a timer for.
pub(crate) fn longest(leftovers: &[&Socket]) -> Option<u32> {
    leftovers.iter().filter_map(|socket| socket.left_ms).max()
}
