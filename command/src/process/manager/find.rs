//! Finds the manager of a process: among its parents, and by its control group.

use super::container::{self, ContainerEngine};
use super::unit::Unit;
use super::{ByPid, Manager, supervisor};
use crate::process::cgroup;
use crate::process::holders::Holder;
use crate::process::{info, names};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Finds the managers of several processes, and asks each unit's and engine's only once.
#[derive(Debug, Default)]
pub(crate) struct Managers {
    /// The container that we are in ourselves, once it was asked for.
    ours: OnceCell<Option<cgroup::Container>>,
    units: BTreeMap<(String, Option<u32>), Unit>,
}

/// A process that may be a manager, or be managed.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) pid: i32,
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) session: i32,
}

impl Member {
    pub(super) fn new(pid: i32) -> Option<Self> {
        let stat = info::stat(pid)?;
        Some(Self {
            pid,
            name: crate::output::readable(stat.comm.as_bytes()),
            arguments: names::arguments(pid),
            session: stat.session,
        })
    }

    /// Describes a holder, whose state was read already.
    fn of_holder(holder: &Holder) -> Self {
        Self {
            pid: holder.pid,
            name: holder.name.to_string(),
            arguments: holder.info.command_line.clone(),
            session: holder.info.session,
        }
    }

    /// Describes an ancestor.
    fn of_ancestor(ancestor: &info::Ancestor) -> Self {
        Self {
            pid: ancestor.pid,
            name: ancestor.name.clone(),
            arguments: names::arguments(ancestor.pid),
            session: ancestor.session,
        }
    }

    /// Whether it is a program of this name: by the name that it shows, of its file or of its
    /// script.
    pub(super) fn is(&self, wanted: &str) -> bool {
        // npm writes a title over its arguments: `npm run start`.
        let title = self
            .arguments
            .first()
            .and_then(|first| first.split(' ').next());
        title == Some(wanted)
            || names::is_called(&self.arguments, None, &self.name, wanted)
            || [".js", ".cjs", ".mjs"].iter().any(|ending| {
                names::is_called(
                    &self.arguments,
                    None,
                    &self.name,
                    &format!("{wanted}{ending}"),
                )
            })
    }
}

impl Managers {
    /// The supervisor of a process, whatever unit or container it is in.
    pub(crate) fn supervisor_of(pid: i32) -> Option<Manager> {
        let ancestors = info::ProcessInfo::of_pid(pid).ancestors;
        let pids = std::iter::once(pid).chain(ancestors.iter().map(|parent| parent.pid));
        supervisor::of(&pids.map_while(Member::new).collect::<Vec<_>>(), &[])
    }

    /// The managers of all who hold sockets: each socket's port, and its holders.
    pub(crate) fn of_all<'a>(sockets: impl IntoIterator<Item = (u16, &'a [Holder])>) -> ByPid {
        let mut managers = Self::default();
        let mut seen = BTreeSet::new();
        let mut found = ByPid::new();
        for (port, holders) in sockets {
            for holder in holders.iter().filter(|holder| seen.insert(holder.pid)) {
                let manager = managers.of(holder, &[port], holders);
                found.extend(manager.map(|manager| (holder.pid, manager)));
            }
        }
        found
    }

    /// The manager of a process that holds these ports, with the others that hold them.
    pub(crate) fn of(
        &mut self,
        holder: &Holder,
        ports: &[u16],
        others: &[Holder],
    ) -> Option<Manager> {
        if let Some(engine) = ContainerEngine::publishing(holder) {
            return Some(engine.container_on(holder, ports));
        }
        // What stops our own container would stop us.
        let container = holder.info.container.as_ref();
        if let Some(container) = container.filter(|it| self.ours() != Some(*it)) {
            return Some(container::of(container, holder.info.uid));
        }
        let chain = chain(holder);
        if let Some(manager) = supervisor::of(&chain, others) {
            return Some(manager);
        }
        let unit = self.unit(holder)?;
        unit.runs(&chain, others).then_some(Manager::Unit(unit))
    }

    fn ours(&self) -> Option<&cgroup::Container> {
        let of_us = || cgroup::of_process("self").container;
        self.ours.get_or_init(of_us).as_ref()
    }

    /// The unit that a process is in, whether it is the unit's own program or one of many.
    pub(crate) fn unit(&mut self, holder: &Holder) -> Option<Unit> {
        let who: &Arc<info::ProcessInfo> = &holder.info;
        let name = who.unit.clone()?;
        let user = who.uid.filter(|_| who.user_unit);
        let unit = self
            .units
            .entry((name.clone(), user))
            .or_insert_with(|| Unit::find(name, user));
        Some(unit.clone())
    }
}

/// The process and those above it, the nearest first.
fn chain(holder: &Holder) -> Vec<Member> {
    let parents = holder.info.ancestors.iter().map(Member::of_ancestor);
    std::iter::once(Member::of_holder(holder))
        .chain(parents)
        .collect()
}
