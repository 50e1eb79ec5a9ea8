//! Arms sockets of other programs: sets `SO_REUSEADDR` through copies of their descriptors
//! (pidfd_getfd(2)), and looks again for what has come meanwhile.

use super::socket;
use crate::net::namespace;
use crate::net::sock_diag::{self, SocketEntry, TcpState, Which};
use crate::output;
use crate::output::progress::Progress;
use crate::process::holders::Holders;
use crate::process::info;
use crate::process::sockets::{ProcessSocket, each_socket, why_not};
use crate::sys::sockopt;
use anyhow::{Context, Result};
use procfs::process::Process;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::process::getuid;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use std::{io, thread};

/// The answer of `arm`, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Arming {
    pub(crate) network_namespace: String,
    pub(crate) dry_run: bool,
    pub(crate) ports: Vec<u16>,
    pub(crate) sockets: Vec<Armed>,
    /// Processes that we may not inspect.
    pub(crate) refused: Vec<Refused>,
    /// How many connections no descriptor leads to.
    pub(crate) missed: usize,
    /// The number of leftovers, by state.
    pub(crate) leftovers: BTreeMap<&'static str, usize>,
    pub(crate) leftovers_left_ms: Option<u32>,
}

/// A socket, and what was done to it.
#[derive(Debug, Serialize)]
pub(crate) struct Armed {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) kind: SocketKind,
    pub(crate) local: String,
    pub(crate) peer: Option<String>,
    /// Whether it carried SO_REUSEADDR before.
    pub(crate) had_reuse_address: bool,
    /// The options that were set, or would be.
    pub(crate) set: Vec<&'static str>,
    /// Why an option could not be set.
    pub(crate) error: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SocketKind {
    Listener,
    Connection,
    /// Bound, and no more: with the flag somebody else could bind beside it, which it may be there
    /// to prevent.
    Bound,
}

#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    /// `None` if no process could be found.
    pub(crate) pid: Option<i32>,
    pub(crate) why: String,
}

/// The sockets to arm, and how.
pub(crate) struct Job<'a> {
    pub(crate) ports: &'a [u16],
    /// The process alone, if those who share its ports can't be found.
    pub(crate) alone: Option<u32>,
    pub(crate) linger: bool,
    pub(crate) dry_run: bool,
}

/// How long a program may take to accept what waits when its listener is armed.
const ACCEPTING: Duration = Duration::from_millis(500);

const PAUSE: Duration = Duration::from_millis(10);

impl Arming {
    /// Whether there was nothing to arm.
    pub(crate) fn is_empty(&self) -> bool {
        self.sockets
            .iter()
            .all(|socket| socket.kind == SocketKind::Bound)
    }
}

/// Arms the sockets on the ports, and those that appear meanwhile.
pub(crate) fn arm(job: &Job<'_>) -> Result<Arming> {
    let mut arming = Arming {
        network_namespace: namespace::namespace(),
        dry_run: job.dry_run,
        ports: job.ports.to_vec(),
        sockets: Vec::new(),
        refused: Vec::new(),
        missed: 0,
        leftovers: BTreeMap::new(),
        leftovers_left_ms: None,
    };
    let mut progress = Progress::begin();
    let mut seen = HashSet::new();
    arm_all(job, &mut seen, &mut arming, &mut progress)?;
    if job.alone.is_none() {
        let mut missed = missed(job.ports, &seen)?;
        let deadline = Instant::now() + ACCEPTING;
        while !job.dry_run
            && arming.refused.is_empty()
            && !missed.is_empty()
            && Instant::now() < deadline
        {
            thread::sleep(PAUSE);
            arm_all(job, &mut seen, &mut arming, &mut progress)?;
            let still = self::missed(job.ports, &seen)?;
            missed.retain(|identity| still.contains(identity));
        }
        arming.missed = missed.len();
        let entries = sock_diag::dump(Which::These(job.ports))?;
        for entry in entries.iter().filter(|entry| entry.is_leftover()) {
            *arming.leftovers.entry(entry.state.name()).or_insert(0) += 1;
            arming.leftovers_left_ms = arming.leftovers_left_ms.max(entry.left_ms);
        }
        arming.refused.extend(out_of_sight(&entries));
    }
    Ok(arming)
}

/// The connections that were there when the listeners had been armed, and are not armed themselves:
/// those that wait to be accepted, which no descriptor leads to, and those that were accepted
/// meanwhile.
fn missed(ports: &[u16], seen: &HashSet<u64>) -> Result<HashSet<u64>> {
    Ok(sock_diag::dump(Which::These(ports))?
        .iter()
        .filter(|entry| matches!(entry.state, TcpState::Established | TcpState::CloseWait))
        .filter(|entry| !seen.contains(&entry.inode))
        .map(sock_diag::SocketEntry::cookie)
        .collect())
}

/// Arms the sockets of these processes that were not seen yet.
fn arm_all(
    job: &Job<'_>,
    seen: &mut HashSet<u64>,
    arming: &mut Arming,
    progress: &mut Progress,
) -> Result<()> {
    let again = !seen.is_empty();
    let processes = match job.alone {
        Some(pid) => vec![info::process(pid)?],
        None => on_ports(job.ports)?,
    };
    for process in processes {
        let pid = process.pid();
        let name = process.stat().map_or_else(
            |_| "?".into(),
            |stat| output::readable(stat.comm.as_bytes()),
        );
        let looked = each_socket(&process, seen, |socket| {
            if job.ports.binary_search(&socket.local.port()).is_err() {
                return;
            }
            // What was accepted since has inherited the flag.
            if !(again && socket.reuses_address()) {
                arming.sockets.push(arm_one(job, socket, &name, pid));
            }
        });
        progress.show(|| format!("{} sockets", arming.sockets.len()));
        if let Err(error) = looked {
            let why = why_not(error, pid);
            arming.refused.push(Refused {
                pid: Some(pid),
                why,
            });
        }
    }
    Ok(())
}

/// Sets the options on one socket.
fn arm_one(job: &Job<'_>, socket: &ProcessSocket, name: &str, pid: i32) -> Armed {
    let mut armed = Armed {
        pid,
        name: name.to_owned(),
        kind: match socket.peer {
            _ if socket.listening => SocketKind::Listener,
            Some(_) => SocketKind::Connection,
            None => SocketKind::Bound,
        },
        local: socket.local.to_string(),
        peer: socket.peer.map(|peer| peer.to_string()),
        had_reuse_address: socket.reuses_address(),
        set: Vec::new(),
        error: None,
    };
    if armed.kind == SocketKind::Bound {
        return armed;
    }
    let reuse_address = || set_socket_reuseaddr(&socket.fd, true).map_err(io::Error::from);
    let no_time_wait = || sockopt::set_no_time_wait(socket.fd.as_fd());
    let mut wanted: Vec<(&'static str, &dyn Fn() -> io::Result<()>)> = Vec::new();
    if !armed.had_reuse_address {
        wanted.push(("SO_REUSEADDR", &reuse_address));
    }
    if job.linger {
        wanted.push(("TCP_LINGER2=-1", &no_time_wait));
    }
    for (option, set) in wanted {
        let result = if job.dry_run { Ok(()) } else { set() };
        match result {
            Ok(()) => armed.set.push(option),
            Err(error) => armed.error = Some(format!("{option}: {error}")),
        }
    }
    armed
}

/// Finds every process that holds a socket on these ports.
fn on_ports(ports: &[u16]) -> Result<Vec<Process>> {
    let entries =
        sock_diag::dump(Which::These(ports)).context("the holders of the ports can't be found")?;
    let inodes = entries.iter().map(|entry| entry.inode);
    let holders = Holders::find(inodes.clone());
    // One that has ended meanwhile needs nothing.
    Ok(holders
        .of_any(inodes)
        .into_keys()
        .filter_map(|pid| Process::new(pid).ok())
        .collect())
}

/// Reports a holder that we may not inspect.
fn out_of_sight(entries: &[SocketEntry]) -> Option<Refused> {
    let holders = Holders::find(entries.iter().map(|entry| entry.inode));
    let hidden = entries
        .iter()
        .find(|entry| entry.inode != 0 && holders.of(entry.inode).is_empty())?;
    let why = if getuid().is_root() {
        "even root does not see here who holds the port: the process is in another PID namespace, \
         or CAP_SYS_PTRACE is missing"
            .into()
    } else {
        format!(
            "the port is held by {}, whose descriptors you may not inspect; root may, with \
             CAP_SYS_PTRACE",
            socket::unseen(hidden.uid)
        )
    };
    Some(Refused { pid: None, why })
}
