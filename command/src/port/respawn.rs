//! Checks, after ports were freed, whether something has restarted the process that held them.

use super::free_plan::{ExitRequest, Holding, Us, holdings};
use super::hint::as_root;
use super::port_list::PortSet;
use super::wait::has_listener_or_bound;
use crate::net::sock_diag;
use crate::process::holders::Holder;
use crate::process::info::{self, Ancestor};
use crate::process::manager::{Manager, Managers};
use crate::process::names;
use crate::process::pidfd::{self, Handle};
use anyhow::Result;
use rustix::process::geteuid;
use std::time::{Duration, Instant};

/// The processes that hold the ports again, and what has restarted them.
#[derive(Debug)]
pub(crate) struct Respawn {
    pub(crate) holders: Vec<Holder>,
    pub(crate) by: Option<Starter>,
}

/// The manager or process that has restarted a holder.
#[derive(Debug)]
pub(crate) enum Starter {
    Manager(Manager),
    /// An ancestor of both the earlier holder and the new one.
    Process {
        pid: i32,
        name: String,
    },
}

/// How long a supervisor may take: runit and s6 pause for a second.
const SUPERVISOR: Duration = Duration::from_secs(3);
/// How long a supervisor may take that polls its programs: circus does so every five seconds.
const POLLING: Duration = Duration::from_secs(6);
/// How long a parent may take that is not a known supervisor.
const PARENT: Duration = Duration::from_millis(1500);
/// How long to watch when no process is known that could restart the holder.
const NOBODY: Duration = Duration::from_millis(250);
const OFTEN: Duration = Duration::from_millis(25);

/// Watches the ports for as long as a supervisor needs to restart the holders.
pub(crate) fn watch(ports: &PortSet, requests: &[ExitRequest]) -> Result<Option<Respawn>> {
    let us = Us::look();
    let suspects: Vec<(Option<Handle>, Duration)> = requests
        .iter()
        .map(|request| suspect(request, &us))
        .collect();
    let begin = Instant::now();
    loop {
        if let Some(respawn) = check_once(ports, requests, &us)? {
            return Ok(Some(respawn));
        }
        let waited = begin.elapsed();
        // A parent that has exited too restarts nothing.
        let handles = suspects.iter().filter_map(|(handle, _)| handle.as_ref());
        let mut ended = pidfd::sleep(handles, Duration::ZERO).into_iter();
        let mut longest = NOBODY;
        for (handle, time) in &suspects {
            if handle.is_none() || ended.next() == Some(false) {
                longest = longest.max(*time);
            }
        }
        if waited >= longest {
            return Ok(None);
        }
        pidfd::sleep([], OFTEN.min(longest.saturating_sub(waited)));
    }
}

/// Finds the processes that hold the ports again, after every holder has exited.
pub(crate) fn check_once(
    ports: &PortSet,
    requests: &[ExitRequest],
    us: &Us,
) -> Result<Option<Respawn>> {
    if requests.is_empty() || !has_server(ports)? {
        return Ok(None);
    }
    let (again, _) = holdings(ports)?;
    Ok(Some(respawn(&again, requests, us)))
}

/// Whether a socket listens or is bound on one of the ports, as a server's; for UDP, whether one
/// has no peer.
fn has_server(ports: &PortSet) -> Result<bool> {
    let udp = sock_diag::udp(&ports.udp);
    let has_udp = udp.iter().any(|entry| entry.peer.port() == 0);
    Ok(has_udp || has_listener_or_bound(&ports.tcp)?)
}

/// Returns the process that may restart the holder, and how long that may take.
fn suspect(request: &ExitRequest, us: &Us) -> (Option<Handle>, Duration) {
    let handle = |pid| Handle::open(pid).ok();
    if let Some(manager) = request.manager() {
        let time = match manager {
            Manager::Watcher(parent) if !parent.on_change => POLLING,
            _ => SUPERVISOR,
        };
        return (manager.pid().and_then(handle), time);
    }
    let parent = request
        .holdings
        .first()
        .and_then(|holding| holding.holder.info.ancestors.first());
    // A shell at its prompt restarts nothing; a loop that was typed into it does so at once.
    let is_prompt = |pid| names::arguments(pid).len() <= 1;
    match parent {
        Some(parent) if names::SHELLS.contains(&parent.name.as_str()) && is_prompt(parent.pid) => {
            (None, NOBODY)
        }
        Some(parent) if !us.descend_from(parent.pid) && parent.name != "systemd" => {
            (handle(parent.pid), PARENT)
        }
        _ => (None, NOBODY),
    }
}

/// Returns the processes that hold the ports again, and what has restarted them, if known.
pub(super) fn respawn(again: &[Holding], requests: &[ExitRequest], us: &Us) -> Respawn {
    let holders: Vec<Holder> = again.iter().map(|holding| holding.holder.clone()).collect();
    let by = holders.first().and_then(|holder| {
        let ports: Vec<u16> = again
            .iter()
            .flat_map(|it| it.ports.iter().map(|port| port.number))
            .collect();
        let manager = Managers::default().of(holder, &ports, &holders);
        manager.map(Starter::Manager).or_else(|| {
            let before = requests.iter().flat_map(|request| &request.holdings);
            let common = holder.info.ancestors.iter().find(|parent| {
                let is_same =
                    |other: &Ancestor| (other.pid, other.start) == (parent.pid, parent.start);
                parent.pid != 1
                    && !us.descend_from(parent.pid)
                    && before
                        .clone()
                        .any(|holding| holding.holder.info.ancestors.iter().any(is_same))
            })?;
            Some(Starter::Process {
                pid: common.pid,
                name: common.name.clone(),
            })
        })
    });
    Respawn { holders, by }
}

impl Starter {
    /// The command that stops it from restarting the holder.
    pub(crate) fn stop_command(&self) -> String {
        match self {
            Self::Manager(manager) => manager.stop_command(),
            Self::Process { pid, .. } => {
                let kill = format!("kill {pid}");
                if info::uid(*pid) == Some(geteuid().as_raw()) {
                    kill
                } else {
                    as_root(&kill)
                }
            }
        }
    }

    pub(crate) fn words(&self) -> String {
        match self {
            Self::Manager(manager) => manager.words(),
            Self::Process { pid, name } => format!("{name} (pid {pid})"),
        }
    }
}
