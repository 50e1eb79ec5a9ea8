//! Infers who opened a connection, which the kernel does not report.

use crate::net::sock_diag::{self, SocketEntry, TcpState};
use crate::net::sysctl::{self, EphemeralPorts};
use anyhow::Result;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

/// Which side opened a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// The peer, so this side is a server's.
    Inbound,
    /// This side, so the port is a client's.
    Outbound,
    /// It can't be inferred.
    Unknown,
}

/// Infers who opened a connection, which the kernel does not report.
pub(crate) struct Directions {
    listeners: HashMap<u16, Vec<SocketEntry>>,
    pub(crate) ephemeral: EphemeralPorts,
    /// Local addresses with several connections from one peer.
    shared: HashSet<(SocketAddr, IpAddr)>,
}

impl Directions {
    /// Looks at the listeners if there is a connection whose direction is in question.
    pub(crate) fn of(entries: &[SocketEntry]) -> Result<Self> {
        Ok(if entries.iter().any(|entry| entry.state.has_peer()) {
            Self::new(entries, sock_diag::listeners()?)
        } else {
            Self::new(&[], Vec::new())
        })
    }

    pub(crate) fn new(entries: &[SocketEntry], listeners: Vec<SocketEntry>) -> Self {
        let mut by_port = HashMap::<u16, Vec<SocketEntry>>::new();
        for listener in listeners {
            by_port
                .entry(listener.local.port())
                .or_default()
                .push(listener);
        }
        let ephemeral = EphemeralPorts::new(sysctl::ephemeral_ports);
        let mut once = HashSet::new();
        let shared = entries
            .iter()
            // Only of these the direction may be unknown.
            .filter(|entry| ephemeral.contains(&entry.local.port()))
            .map(|entry| (entry.local, entry.peer.ip()))
            .filter(|&pair| !once.insert(pair))
            .collect();
        Self {
            listeners: by_port,
            ephemeral,
            shared,
        }
    }

    pub(crate) fn direction(&self, entry: &SocketEntry) -> Direction {
        if self.listens(entry.local) {
            return Direction::Inbound;
        }
        let (local, peer) = (entry.local, entry.peer);
        // Both ends are on this machine.
        if (peer.ip().to_canonical().is_loopback() || peer.ip() == local.ip()) && self.listens(peer)
        {
            return Direction::Outbound;
        }
        if entry.state == TcpState::SynSent {
            return Direction::Outbound;
        }
        match (
            self.ephemeral.contains(&local.port()),
            self.ephemeral.contains(&peer.port()),
        ) {
            // The port is not ephemeral, so a program has chosen it.
            (false, _) => Direction::Inbound,
            (true, false) => Direction::Outbound,
            // Two connections from one port of ours to one peer: clients get a port each.
            (true, true) if self.shared.contains(&(local, peer.ip())) => Direction::Inbound,
            (true, true) => Direction::Unknown,
        }
    }

    fn listens(&self, address: SocketAddr) -> bool {
        self.listeners.get(&address.port()).is_some_and(|all| {
            all.iter()
                .any(|listener| sock_diag::covers(listener, address.ip()))
        })
    }
}
