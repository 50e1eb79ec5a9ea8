//! A socket with all that is known of it: what the kernel tells, who holds it, who opened it.

use super::direction::{Direction, Judge};
use crate::kernel::holders::{Holder, Holders};
use crate::kernel::sock_diag::{Entry, State};
use crate::output;
use rustix::process::getuid;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A socket with all that is known of it.
#[derive(Debug, Serialize)]
pub(crate) struct Socket {
    pub(crate) state: State,
    family: &'static str,
    /// Of an IPv6 listener: whether it takes IPv4 as well.
    pub(crate) dual_stack: Option<bool>,
    pub(crate) local: Endpoint,
    pub(crate) peer: Option<Endpoint>,
    pub(crate) direction: Option<Direction>,
    /// Whether a closed connection left it behind: no process owns it.
    pub(crate) leftover: bool,
    pub(crate) left_ms: Option<u32>,
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

impl Socket {
    /// What is known of an entry of the kernel's table.
    pub(crate) fn new(entry: &Entry, judge: &Judge, holders: &Holders) -> Self {
        let connected = !matches!(entry.state, State::Listen | State::Bound);
        Self {
            state: entry.state,
            family: if entry.is_v6() { "ipv6" } else { "ipv4" },
            dual_stack: entry
                .v6only
                .filter(|_| entry.is_v6())
                .map(|only| !only && entry.local.ip().is_unspecified()),
            local: entry.local.into(),
            peer: connected.then(|| entry.peer.into()),
            direction: connected.then(|| judge.direction(entry)),
            leftover: entry.is_leftover(),
            left_ms: entry.left_ms,
            uid: entry.uid,
            inode: entry.inode,
            holders: holders.of(entry.inode).to_vec(),
        }
    }

    /// Whether it belongs to a server, or may.
    pub(crate) fn is_of_a_server(&self) -> bool {
        matches!(self.state, State::Listen | State::Bound)
            || (self.leftover && self.direction != Some(Direction::Outbound))
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

    /// Whether a program has yet to accept it.
    pub(crate) fn waits_to_be_accepted(&self) -> bool {
        self.inode == 0 && !self.leftover
    }

    /// Who holds it, in words.
    pub(crate) fn held_by(&self) -> String {
        if self.leftover {
            return "no process".into();
        }
        if self.waits_to_be_accepted() {
            return "not accepted yet".into();
        }
        if self.holders.is_empty() {
            let somewhere = if getuid().is_root() {
                ", in another PID namespace or out of reach without CAP_SYS_PTRACE"
            } else {
                ""
            };
            return format!("a process of uid {}{somewhere}", self.uid);
        }
        let mut by_name = BTreeMap::<&str, Vec<String>>::new();
        for holder in &self.holders {
            by_name
                .entry(&holder.name)
                .or_default()
                .push(holder.pid.to_string());
        }
        let names: Vec<String> = by_name
            .into_iter()
            .map(|(name, pids)| {
                let word = if pids.len() == 1 { "pid" } else { "pids" };
                format!("{name} ({word} {})", pids.join(", "))
            })
            .collect();
        output::list(&names)
    }
}
