//! Looks again after ports were freed: whether somebody has started their holder again.

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

/// The processes that hold the ports again, and what has started them.
#[derive(Debug)]
pub(crate) struct Respawn {
    pub(crate) holders: Vec<Holder>,
    pub(crate) by: Option<Starter>,
}

/// What has started a holder again.
#[derive(Debug)]
pub(crate) enum Starter {
    Manager(Manager),
    /// A process that had started the one before, too.
    Process {
        pid: i32,
        name: String,
    },
}

/// How long a supervisor may take: runit and s6 pause for a second.
const SUPERVISOR: Duration = Duration::from_secs(3);
/// How long a supervisor may take that looks at its programs from time to time: circus does at each
/// fifth second.
const POLLING: Duration = Duration::from_secs(6);
/// How long a parent may take that is no known supervisor.
const PARENT: Duration = Duration::from_millis(1500);
/// How long to look where nobody is known who could do it.
const NOBODY: Duration = Duration::from_millis(250);
/// Shells that people type at.
const SHELLS: [&str; 6] = ["bash", "zsh", "fish", "sh", "dash", "ksh"];
const OFTEN: Duration = Duration::from_millis(25);

/// Watches the ports for as long as a supervisor needs to start the holders again.
pub(crate) fn look_again(ports: &PortSet, requests: &[ExitRequest]) -> Result<Option<Respawn>> {
    let us = Us::look();
    let suspects: Vec<(Option<Handle>, Duration)> = requests
        .iter()
        .map(|request| suspect(request, &us))
        .collect();
    let begin = Instant::now();
    loop {
        if let Some(respawn) = at_once(ports, requests, &us)? {
            return Ok(Some(respawn));
        }
        let waited = begin.elapsed();
        // A parent that has exited too starts nothing.
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
pub(crate) fn at_once(
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

/// Whether somebody holds one of the ports as a server does.
fn has_server(ports: &PortSet) -> Result<bool> {
    let udp = sock_diag::udp(&ports.udp);
    let has_udp = udp.iter().any(|entry| entry.peer.port() == 0);
    Ok(has_udp || has_listener_or_bound(&ports.tcp)?)
}

/// The process that may start these again, and how long that may take.
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
    // A person at a shell starts nothing by himself; a loop that he has typed does so at once.
    let is_prompt = |pid| names::arguments(pid).len() <= 1;
    match parent {
        Some(parent) if SHELLS.contains(&parent.name.as_str()) && is_prompt(parent.pid) => {
            (None, NOBODY)
        }
        Some(parent) if !us.descend_from(parent.pid) && parent.name != "systemd" => {
            (handle(parent.pid), PARENT)
        }
        _ => (None, NOBODY),
    }
}

/// The processes that hold the ports again, with whatever has started them, if known.
pub(super) fn respawn(again: &[Holding], requests: &[ExitRequest], us: &Us) -> Respawn {
    let holders: Vec<Holder> = again.iter().map(|holding| holding.holder.clone()).collect();
    let by = holders.first().and_then(|holder| {
        let ports: Vec<u16> = again
            .iter()
            .flat_map(|it| it.ports.iter().map(|port| port.number))
            .collect();
        let manager = Managers::look().of(holder, &ports, &holders);
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
    /// The command that stops it from doing so.
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
