//! Waits until something listens on ports.

use super::direction::Directions;
use super::socket::Socket;
use crate::net::sock_diag::{self, SocketEntry, TcpState, Which};
use crate::process::holders::Holders;
use crate::process::pidfd;
use crate::sys::signals;
use anyhow::Result;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const SHORTEST: Duration = Duration::from_millis(10);
/// The kernel has no event for a new listener.
const LONGEST: Duration = Duration::from_millis(100);

/// Waits until something listens on all of these ports, or the time is up; returns those on which
/// nothing does. `show` is called with them after each look.
pub(crate) fn wait_for_listeners(
    ports: &[u16],
    address: Option<IpAddr>,
    deadline: Option<Instant>,
    mut show: impl FnMut(&[u16]),
) -> Result<Vec<u16>> {
    signals::terminate_as_process_1();
    let mut pause = SHORTEST;
    loop {
        let listeners = listeners(ports, address)?;
        let silent: Vec<u16> = ports
            .iter()
            .copied()
            .filter(|port| !listeners.iter().any(|entry| entry.local.port() == *port))
            .collect();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if silent.is_empty() || left == Some(Duration::ZERO) {
            return Ok(silent);
        }
        show(&silent);
        pidfd::sleep([], left.map_or(pause, |left| left.min(pause)));
        pause = (pause * 2).min(LONGEST);
    }
}

/// Names the listeners of each of these ports.
pub(crate) fn listeners_named(
    ports: &[u16],
    address: Option<IpAddr>,
) -> Result<Vec<(u16, String)>> {
    let listeners = listeners(ports, address)?;
    let holders = Holders::find(listeners.iter().map(|entry| entry.inode));
    let directions = Directions::new(&listeners, Vec::new());
    let mut named: Vec<(u16, String)> = listeners
        .iter()
        .map(|entry| {
            let socket = Socket::new(entry, &directions, &holders);
            (entry.local.port(), socket.held_by())
        })
        .collect();
    named.dedup();
    Ok(named)
}

/// The listeners on these ports that take connections to the address.
fn listeners(ports: &[u16], address: Option<IpAddr>) -> Result<Vec<SocketEntry>> {
    let mut entries = sock_diag::dump(Which::These(ports))?;
    entries.retain(|entry| {
        entry.state == TcpState::Listen
            && address.is_none_or(|address| sock_diag::covers(entry, address))
    });
    Ok(entries)
}
