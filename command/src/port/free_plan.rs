//! Plans how ports are freed: who has to exit, and who asks them to: a signal, or the manager that
//! would start them again.
//!
//! Listeners and bound sockets count, and the processes that hold them. A client's connection does
//! not.

use super::port_list::PortSet;
use crate::net::sock_diag::{self, SocketEntry, Which};
use crate::process::cgroup::{self, Membership};
use crate::process::holders::{Holder, Holders};
use crate::process::info::ProcessInfo;
use crate::process::manager::{Manager, Managers};
use crate::process::tree;
use anyhow::Result;
use rustix::process::{geteuid, getpid};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A process with what it holds on the ports.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) holder: Holder,
    pub(crate) ports: BTreeSet<Port>,
    pub(crate) inodes: Vec<u64>,
}

/// A port of TCP or UDP.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Port {
    pub(crate) is_udp: bool,
    pub(crate) number: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.is_udp { "/udp" } else { "" };
        write!(f, "{}{protocol}", self.number)
    }
}

/// Processes that exit together.
#[derive(Debug)]
pub(crate) struct ExitRequest {
    /// The eldest first.
    pub(crate) holdings: Vec<Holding>,
    pub(crate) method: Method,
}

/// How processes are asked to exit.
#[derive(Debug)]
pub(crate) enum Method {
    /// A signal.
    Signal,
    /// A signal, although this may start them again.
    SignalDespite(Manager),
    /// The manager that would start them again.
    Manager(Manager),
}

impl ExitRequest {
    /// `python3 (pid 12 and 4 children)`.
    pub(crate) fn named(&self) -> String {
        tree::named(&self.holders())
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        self.holdings
            .iter()
            .map(|holding| holding.holder.clone())
            .collect()
    }

    pub(crate) fn ports(&self) -> BTreeSet<Port> {
        self.holdings
            .iter()
            .flat_map(|holding| &holding.ports)
            .copied()
            .collect()
    }

    /// The manager that stops them.
    pub(crate) fn stopped_by(&self) -> Option<&Manager> {
        match &self.method {
            Method::Manager(manager) => Some(manager),
            Method::Signal | Method::SignalDespite(_) => None,
        }
    }

    /// The manager that starts them again, or would.
    pub(crate) fn manager(&self) -> Option<&Manager> {
        match &self.method {
            Method::Manager(manager) | Method::SignalDespite(manager) => Some(manager),
            Method::Signal => None,
        }
    }
}

/// The processes to ask, and those that may not be asked.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) requests: Vec<ExitRequest>,
    /// Those that may not be asked, and why.
    pub(crate) refusals: Vec<Refusal>,
}

/// Why a process is not asked to exit.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The port's holder can't be seen; the user that it belongs to.
    Unseen { port: Port, uid: u32 },
    /// Process 1.
    Init(Holding),
    /// A manager holds it for a socket unit; the user whose manager that is, if not the system's.
    SocketUnit(Holding, Option<String>),
    /// This command.
    Ourselves(Holding),
    /// An ancestor of this command.
    Ancestor(Holding),
    /// It is in a container, or holds the port for one.
    Container(Holding, Manager),
    /// It belongs to another user.
    OtherUser(Holding),
    /// Only its manager can stop it for good, and that is left to the user.
    Managed(Vec<Holding>, Manager),
}

/// Which processes may be asked to exit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MayAsk {
    /// Every process that we may signal, and managers.
    Everybody,
    /// Our user's processes that have no manager.
    OwnProcesses,
}

/// A port whose holder can't be seen, and the user that it belongs to.
type Unseen = (Port, u32);

/// The processes that hold listeners and bound sockets on ports, and the ports and users of those
/// that can't be seen.
pub(crate) fn holdings(ports: &PortSet) -> Result<(Vec<Holding>, Vec<Unseen>)> {
    let (mut entries, udp) = sock_diag::dump_with_udp(Which::These(&ports.tcp), &ports.udp)?;
    entries.retain(|entry| !entry.state.has_peer());
    let of_tcp = entries.len();
    // One that is connected is a client's.
    entries.extend(udp.into_iter().filter(|entry| entry.peer.port() == 0));
    let holders = Holders::find(entries.iter().map(|entry| entry.inode));
    let mut by_pid = BTreeMap::<i32, Holding>::new();
    let mut unseen = Vec::new();
    for (
        position,
        SocketEntry {
            local, inode, uid, ..
        },
    ) in entries.iter().enumerate()
    {
        let port = Port {
            number: local.port(),
            is_udp: position >= of_tcp,
        };
        if holders.of(*inode).is_empty() {
            unseen.push((port, *uid));
        }
        for holder in holders.of(*inode) {
            let holding = by_pid.entry(holder.pid).or_insert_with(|| Holding {
                holder: holder.clone(),
                ports: BTreeSet::new(),
                inodes: Vec::new(),
            });
            holding.ports.insert(port);
            holding.inodes.push(*inode);
        }
    }
    unseen.dedup();
    Ok((by_pid.into_values().collect(), unseen))
}

/// Plans which processes have to exit for the ports to be free.
pub(crate) fn plan(ports: &PortSet, may_ask: MayAsk) -> Result<Plan> {
    let (holdings, unseen) = holdings(ports)?;
    let us = Us::look();
    let mut managers = Managers::default();
    let mut plan = Plan {
        requests: Vec::new(),
        refusals: unseen
            .into_iter()
            .map(|(port, uid)| Refusal::Unseen { port, uid })
            .collect(),
    };
    let all: Vec<Holder> = holdings
        .iter()
        .map(|holding| holding.holder.clone())
        .collect();
    let mut by_manager = Vec::<(Manager, Vec<Holding>)>::new();
    let mut unmanaged = Vec::new();
    for holding in holdings {
        if let Some(refusal) = us.refuses(&holding) {
            plan.refusals.push(refusal);
            continue;
        }
        let ports: Vec<u16> = holding.ports.iter().map(|port| port.number).collect();
        let manager = managers
            .of(&holding.holder, &ports, &all)
            .filter(|manager| !us.is_managed_by(manager, &holding.holder));
        match manager {
            Some(manager) if manager.is_engine() => {
                plan.refusals.push(Refusal::Container(holding, manager));
            }
            _ if may_not_signal(&holding, may_ask) => {
                plan.refusals.push(Refusal::OtherUser(holding));
            }
            Some(manager) => match by_manager.iter_mut().find(|(known, _)| *known == manager) {
                Some((_, theirs)) => theirs.push(holding),
                None => by_manager.push((manager, vec![holding])),
            },
            None => unmanaged.push(holding),
        }
    }
    for (manager, holdings) in by_manager {
        if !manager.is_certain() {
            plan.requests.extend(families(holdings, || {
                Method::SignalDespite(manager.clone())
            }));
        } else if may_ask == MayAsk::OwnProcesses || !manager.stops_it_alone() {
            plan.refusals.push(Refusal::Managed(holdings, manager));
        } else {
            plan.requests.push(ExitRequest {
                holdings,
                method: Method::Manager(manager),
            });
        }
    }
    plan.requests.extend(families(unmanaged, || Method::Signal));
    Ok(plan)
}

/// Groups the processes that descend from one another, the eldest first.
fn families(holdings: Vec<Holding>, method: impl Fn() -> Method) -> Vec<ExitRequest> {
    let pids: BTreeSet<i32> = holdings.iter().map(|holding| holding.holder.pid).collect();
    let mut families = BTreeMap::<i32, Vec<Holding>>::new();
    for holding in holdings {
        let above = &holding.holder.info.ancestors;
        let eldest = above
            .iter()
            .rev()
            .map(|parent| parent.pid)
            .find(|pid| pids.contains(pid))
            .unwrap_or(holding.holder.pid);
        families.entry(eldest).or_default().push(holding);
    }
    families
        .into_iter()
        .map(|(eldest, mut holdings)| {
            holdings.sort_by_key(|holding| (holding.holder.pid != eldest, holding.holder.pid));
            ExitRequest {
                holdings,
                method: method(),
            }
        })
        .collect()
}

/// This command's own process, ancestors and control group: they are never terminated.
pub(crate) struct Us {
    pid: i32,
    ancestors: Vec<i32>,
    place: Membership,
}

impl Us {
    pub(crate) fn look() -> Self {
        let pid = getpid().as_raw_nonzero().get();
        let ancestors = ProcessInfo::of_pid(pid).ancestors;
        Self {
            pid,
            ancestors: ancestors.iter().map(|parent| parent.pid).collect(),
            place: cgroup::of_process("self"),
        }
    }

    /// Whether a process is one of those that this command descends from.
    pub(crate) fn descend_from(&self, pid: i32) -> bool {
        self.ancestors.contains(&pid)
    }

    /// Why this process is never asked to exit.
    fn refuses(&self, holding: &Holding) -> Option<Refusal> {
        let Holding { holder, .. } = holding;
        let who = &holder.info;
        let is_systemd = &*holder.name == "systemd";
        if holder.pid == 1 {
            return Some(if is_systemd {
                Refusal::SocketUnit(holding.clone(), None)
            } else {
                Refusal::Init(holding.clone())
            });
        }
        if holder.pid == self.pid {
            return Some(Refusal::Ourselves(holding.clone()));
        }
        if self.descend_from(holder.pid) {
            return Some(Refusal::Ancestor(holding.clone()));
        }
        // A user's own manager holds ports for socket units as well.
        let is_of_user = who.ancestors.first().is_some_and(|parent| parent.pid == 1);
        (is_systemd && is_of_user).then(|| Refusal::SocketUnit(holding.clone(), Some(who.user())))
    }

    /// Whether this manager manages us too: stopping what it manages would stop this command.
    fn is_managed_by(&self, manager: &Manager, holder: &Holder) -> bool {
        match manager {
            Manager::Unit(unit) => {
                self.place.unit.as_ref() == Some(&unit.name)
                    && self.place.of_user == holder.info.user_unit
            }
            // A loop or a watcher that has started us waits for us; a supervisor has other programs
            // too.
            Manager::Watcher(_) | Manager::Loop(_) => {
                manager.pid().is_some_and(|pid| self.descend_from(pid))
            }
            _ => Managers::supervisor_of(self.pid).is_some_and(|ours| ours == *manager),
        }
    }
}

/// Whether we may not signal it: another user's is root's, and root asks first.
fn may_not_signal(holding: &Holding, may_ask: MayAsk) -> bool {
    let own = geteuid();
    let is_ours = holding.holder.info.uid == Some(own.as_raw());
    !is_ours && (!own.is_root() || may_ask == MayAsk::OwnProcesses)
}
