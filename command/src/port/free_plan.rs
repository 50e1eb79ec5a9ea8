//! Who has to end for ports to be free, and how each is asked: by a signal, or by the manager that would start it again.
//!
//! Listeners and bound sockets count, and whoever has them open. A client's connection does not.

use crate::net::sock_diag::{self, Entry, State, Which};
use crate::output::list;
use crate::process::cgroup::{self, Place};
use crate::process::holders::{Holder, Holders};
use crate::process::info::{self, Who};
use crate::process::manager::Unit;
use crate::process::tree;
use anyhow::Result;
use procfs::process::Process;
use rustix::process::{geteuid, getpid};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A process with what it holds on the ports.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) holder: Holder,
    pub(crate) ports: BTreeSet<u16>,
    pub(crate) inodes: Vec<u64>,
}

/// Processes that end together.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The eldest first.
    pub(crate) holdings: Vec<Holding>,
    /// The unit that is stopped; else they get a signal.
    pub(crate) unit: Option<Unit>,
}

impl Ask {
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

    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.holdings
            .iter()
            .flat_map(|holding| &holding.ports)
            .copied()
            .collect()
    }
}

/// Who has to end.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) asks: Vec<Ask>,
    /// Why somebody is not ended, and what frees the port.
    pub(crate) refusals: Vec<String>,
}

/// Whom it may end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whom {
    /// Whoever we may, and units.
    Everybody,
    /// Our user's processes that no manager looks after.
    Own,
}

/// A port whose holder is not to be seen, and the user that it belongs to.
type Unseen = (u16, u32);

/// Every process that has a listener or a bound socket on the ports, and the ports whose holders are not to be seen.
pub(crate) fn holdings(ports: &[u16]) -> Result<(Vec<Holding>, Vec<Unseen>)> {
    let mut entries = sock_diag::dump(Which::These(ports))?;
    entries.retain(|entry| matches!(entry.state, State::Listen | State::Bound));
    let holders = Holders::find(entries.iter().map(|entry| entry.inode));
    let mut by_pid = BTreeMap::<i32, Holding>::new();
    let mut unseen = Vec::new();
    for Entry {
        local, inode, uid, ..
    } in &entries
    {
        if holders.of(*inode).is_empty() {
            unseen.push((local.port(), *uid));
        }
        for holder in holders.of(*inode) {
            let holding = by_pid.entry(holder.pid).or_insert_with(|| Holding {
                holder: holder.clone(),
                ports: BTreeSet::new(),
                inodes: Vec::new(),
            });
            holding.ports.insert(local.port());
            holding.inodes.push(*inode);
        }
    }
    unseen.dedup();
    Ok((by_pid.into_values().collect(), unseen))
}

/// Finds out who has to end for the ports to be free. `asked` is what was asked of `free`.
pub(crate) fn plan(ports: &[u16], whom: Whom, asked: &str) -> Result<Plan> {
    let (holdings, unseen) = holdings(ports)?;
    let us = Us::look();
    let mut plan = Plan::default();
    for (port, uid) in unseen {
        plan.refusals.push(if geteuid().is_root() {
            format!(
                "port {port} is held by a process of user {} in another PID namespace, perhaps a container",
                user(uid)
            )
        } else {
            format!(
                "port {port} is held by a process of user {}, which you may not look at\n    sudo reuseaddr free {asked}",
                user(uid)
            )
        });
    }
    let mut units = Vec::<(Unit, Option<i32>)>::new();
    let mut by_unit = BTreeMap::<String, Vec<Holding>>::new();
    let mut on_their_own = Vec::new();
    for holding in holdings {
        if let Some(why) = us.refuses(&holding, whom, asked) {
            plan.refusals.push(why);
            continue;
        }
        match us.unit_of(&holding.holder) {
            Some(unit) => {
                if !units.iter().any(|(known, _)| *known == unit) {
                    let main = unit.main_process();
                    units.push((unit.clone(), main));
                }
                by_unit.entry(unit.how_to_stop()).or_default().push(holding);
            }
            None => on_their_own.push(holding),
        }
    }
    for (unit, main) in units {
        let holdings = by_unit.remove(&unit.how_to_stop()).unwrap_or_default();
        // cron, say, has its jobs in its own unit, each in a session of its own.
        if !holdings.iter().any(|holding| is_of(holding, main)) {
            on_their_own.extend(holdings);
        } else if whom == Whom::Own {
            plan.refusals.push(format!(
                "{} belongs to {}, which its manager looks after\n    {}",
                named(&holdings),
                unit.name,
                unit.how_to_stop()
            ));
        } else {
            plan.asks.push(Ask {
                holdings,
                unit: Some(unit),
            });
        }
    }
    plan.asks.extend(families(on_their_own));
    Ok(plan)
}

/// Whether the holder is a unit's own program, and not one of many that it has started.
fn is_of(holding: &Holding, main: Option<i32>) -> bool {
    let session = |pid| Some(Process::new(pid).ok()?.stat().ok()?.session);
    main.is_none_or(|main| {
        main == holding.holder.pid || session(main) == session(holding.holder.pid)
    })
}

/// Those who descend from one another together, the eldest first.
fn families(holdings: Vec<Holding>) -> Vec<Ask> {
    let pids: BTreeSet<i32> = holdings.iter().map(|holding| holding.holder.pid).collect();
    let mut families = BTreeMap::<i32, Vec<Holding>>::new();
    for holding in holdings {
        let above = &holding.holder.who.ancestors;
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
            Ask {
                holdings,
                unit: None,
            }
        })
        .collect()
}

fn named(holdings: &[Holding]) -> String {
    let holders: Vec<Holder> = holdings
        .iter()
        .map(|holding| holding.holder.clone())
        .collect();
    tree::named(&holders)
}

fn user(uid: u32) -> String {
    info::user(uid).map_or_else(|| uid.to_string(), ToOwned::to_owned)
}

/// What is ours, and so is not ended or not counted as somebody else's.
struct Us {
    pid: i32,
    ancestors: Vec<i32>,
    place: Place,
}

impl Us {
    fn look() -> Self {
        let pid = getpid().as_raw_nonzero().get();
        let ancestors = Who::is(pid).ancestors;
        Self {
            pid,
            ancestors: ancestors.iter().map(|parent| parent.pid).collect(),
            place: fs::read_to_string("/proc/self/cgroup")
                .map(|text| cgroup::read(&text))
                .unwrap_or_default(),
        }
    }

    /// Why this process is not ended, whoever asks.
    fn refuses(&self, holding: &Holding, whom: Whom, asked: &str) -> Option<String> {
        let Holding { holder, ports, .. } = holding;
        let words: Vec<String> = ports.iter().map(ToString::to_string).collect();
        let has = format!(
            "{} (pid {}) has port {}",
            holder.name,
            holder.pid,
            list(&words)
        );
        let who = &holder.who;
        if holder.pid == 1 {
            return Some(if holder.name == "systemd" {
                format!(
                    "{has} for a socket unit, which starts a service for whoever connects: stop that unit\n    \
                     systemctl list-sockets"
                )
            } else {
                format!("{has}, and process 1 is never ended: with it goes all that runs here")
            });
        }
        if holder.pid == self.pid {
            return Some(format!(
                "this command itself was started with port {}",
                list(&words)
            ));
        }
        if self.ancestors.contains(&holder.pid) {
            return Some(format!(
                "{has}, and has started this command: it is not ended"
            ));
        }
        // A user's own manager holds ports for socket units as well.
        if holder.name == "systemd" && who.ancestors.first().is_some_and(|parent| parent.pid == 1) {
            return Some(format!(
                "{has} for a socket unit of {}: stop that unit\n    systemctl --user list-sockets",
                who.user()
            ));
        }
        // These listen for containers in the place of the kernel, and are no servers themselves.
        if ["docker-proxy", "rootlessport", "conmon"].contains(&holder.name.as_str()) {
            return Some(format!(
                "{has} for a container that publishes it: stop that container\n    \
                 docker ps --filter publish={}",
                words.first().map_or("", String::as_str)
            ));
        }
        if let Some(container) = &who.container {
            if self.place.container.as_ref() != Some(container) {
                let stop = match container.runtime {
                    runtime @ ("docker" | "podman") => {
                        format!("\n    {runtime} stop {}", container.short_id())
                    }
                    "machine" => format!("\n    machinectl poweroff {}", container.short_id()),
                    _ => String::new(),
                };
                return Some(format!(
                    "{has}, and is in a container, {}, which whoever runs it has to stop{stop}",
                    container.short()
                ));
            }
        }
        let own = geteuid();
        let is_ours = who.uid == Some(own.as_raw());
        if !is_ours && (!own.is_root() || whom == Whom::Own) {
            let sudo = if own.is_root() {
                String::new()
            } else {
                format!("\n    sudo reuseaddr free {asked}")
            };
            return Some(format!("{has}, and belongs to user {}{sudo}", who.user()));
        }
        None
    }

    /// The unit of a process, unless we are in it ourselves.
    fn unit_of(&self, holder: &Holder) -> Option<Unit> {
        let who = &holder.who;
        let name = who.unit.clone()?;
        let ours = self.place.unit.as_ref() == Some(&name) && self.place.of_user == who.user_unit;
        (!ours).then(|| Unit::new(name, who.uid.filter(|_| who.user_unit)))
    }
}
