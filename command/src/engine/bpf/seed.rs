//! Makes the very next restart work: the ports that are listened on now, and those that have
//! connections of earlier runs, count as served, and what listens is armed.

use super::hierarchy::Hierarchy;
use super::maps::Ports;
use crate::net::namespace;
use crate::net::sock_diag::{self, TcpState, Which};
use crate::port::arm::{self, Job};
use crate::port::direction::{Direction, Directions};
use crate::process::cgroup::processes_below;
use crate::process::holders;
use crate::sys::scheduling::in_thread;
use anyhow::Result;
use log::debug;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The sockets that were found.
#[derive(Debug, Default)]
pub(crate) struct Seeded {
    /// Listeners that carry the flag now.
    pub(crate) armed: usize,
    /// Sockets that could not be armed, and why.
    pub(crate) unarmed: Vec<String>,
}

/// Looks at the processes of a group, and into their network namespaces as well as our own.
pub(crate) fn seed(
    hierarchy: &Hierarchy,
    group: &str,
    ports: &Ports,
    allowed: impl Fn(u16) -> bool + Sync,
) -> Seeded {
    let mut namespaces: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    namespaces.insert(namespace::namespace(), Vec::new());
    for pid in processes_below(&hierarchy.folder(group)) {
        if let Some(theirs) = namespace::namespace_of(&pid.to_string()) {
            namespaces.entry(theirs).or_default().push(pid);
        }
    }
    let mut seeded = Seeded::default();
    for pids in namespaces.into_values() {
        // A thread can go into another network namespace for itself.
        let found = in_thread(|| look(&pids, &allowed));
        match found {
            Ok(found) => {
                found.ports.iter().for_each(|&port| ports.serve(port));
                seeded.armed += found.seeded.armed;
                seeded.unarmed.extend(found.seeded.unarmed);
            }
            Err(error) => seeded.unarmed.push(format!("{error:#}")),
        }
    }
    seeded
}

#[derive(Debug, Default)]
struct Found {
    ports: BTreeSet<u16>,
    seeded: Seeded,
}

/// Looks into the network namespace of these processes.
fn look(pids: &[i32], allowed: &(impl Fn(u16) -> bool + Sync)) -> Result<Found> {
    if let Some(pid) = pids.first() {
        namespace::enter(u32::try_from(*pid)?)?;
    }
    let mut found = Found::default();
    let entries = sock_diag::dump(Which::All)?;
    let judge = Directions::of(&entries)?;
    // Also what somebody still holds open: it is in the way as well. What a client has is in
    // nobody's.
    let left = entries
        .iter()
        .filter(|entry| entry.state != TcpState::Listen)
        .filter(|entry| judge.direction(entry) != Direction::Outbound)
        .map(|entry| entry.local.port());
    found.ports.extend(left.filter(|&port| allowed(port)));
    let listeners: HashMap<u64, u16> = entries
        .iter()
        .filter(|entry| entry.state == TcpState::Listen && allowed(entry.local.port()))
        .map(|entry| (entry.inode, entry.local.port()))
        .collect();
    let listening: BTreeSet<u16> = pids
        .iter()
        // What may not be looked at is not armed.
        .flat_map(|&pid| holders::sockets(pid).unwrap_or_default())
        .filter_map(|(_, inode)| listeners.get(&inode).copied())
        .collect();
    found.ports.extend(&listening);
    if !listening.is_empty() {
        let listening: Vec<u16> = listening.into_iter().collect();
        let arming = arm::arm(&Job {
            ports: &listening,
            alone: None,
            linger: false,
            dry_run: false,
        })?;
        debug!("{} sockets armed", arming.sockets.len());
        let is_listener = |socket: &&arm::Armed| socket.kind == arm::SocketKind::Listener;
        found.seeded.armed = arming
            .sockets
            .iter()
            .filter(is_listener)
            .filter(|socket| socket.error.is_none())
            .count();
        let failed = arming
            .sockets
            .iter()
            .filter_map(|socket| socket.error.clone());
        found.seeded.unarmed.extend(failed);
        let refused = arming.refused.iter().map(|refused| refused.why.clone());
        found.seeded.unarmed.extend(refused);
    }
    Ok(found)
}
