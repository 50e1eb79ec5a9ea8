//! Terminates processes: by a signal that asks them to exit and time to do it, and only if that was
//! asked for, by SIGKILL.

use super::free_plan::{ExitRequest, Holding, Us, holdings};
use super::port_list::PortSet;
use super::respawn::{Respawn, respawn};
use crate::process::holders::Holder;
use crate::process::manager::Manager;
use crate::process::pidfd::{self, Handle};
use crate::process::signal;
use anyhow::Result;
use log::debug;
use rustix::io::Errno;
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How much force may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Force {
    /// The signal that asks them to exit.
    pub(crate) signal: Signal,
    /// How long they may take.
    pub(crate) grace: Duration,
    /// Whether they are killed after that.
    pub(crate) kill: bool,
}

impl Force {
    /// `SIGTERM`.
    pub(crate) fn signal_name(&self) -> String {
        signal::name(self.signal)
    }
}

/// The outcome.
#[derive(Debug)]
pub(crate) enum Termination {
    /// No process holds a listener or a bound socket there any more.
    Done,
    /// These have not exited.
    Stubborn(Vec<Holder>),
    /// A process that was not asked holds the port now.
    Taken(Respawn),
    /// Why a process could not be signalled.
    Refused(String),
}

/// How long the kernel may take to end a killed process.
const DYING: Duration = Duration::from_secs(5);
const OFTEN: Duration = Duration::from_millis(100);
const SHORTEST: Duration = Duration::from_millis(2);

/// A process to terminate.
struct TargetProcess {
    handle: Handle,
    /// When it started: later its number may be another process's.
    start: Option<u64>,
    asked: bool,
    /// It is the manager itself, which holds sockets for what it manages: it gets no signal at all.
    spared: bool,
}

/// The processes to terminate. They are found before the user is asked: what was shown, and nothing
/// else, is terminated.
pub(crate) struct Terminator {
    targets: BTreeMap<i32, TargetProcess>,
}

impl Terminator {
    /// Opens a pidfd for each process that is to get a signal. One that has exited is left out.
    pub(crate) fn new(requests: &[ExitRequest]) -> Result<Self, Errno> {
        let mut terminator = Self {
            targets: BTreeMap::new(),
        };
        for request in requests {
            for holding in &request.holdings {
                match terminator.add(holding, request.stopped_by()) {
                    Err(Errno::SRCH) | Ok(()) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(terminator)
    }

    /// Opens a pidfd for a process. One that its manager has asked to exit gets no signal but
    /// SIGKILL.
    fn add(&mut self, holding: &Holding, stopped_by: Option<&Manager>) -> Result<(), Errno> {
        let pid = holding.holder.pid;
        let handle = Handle::open_holder(&holding.holder, &holding.inodes)?;
        let target = TargetProcess {
            handle,
            start: holding.holder.info.start,
            asked: stopped_by.is_some(),
            spared: stopped_by.is_some_and(|manager| manager.pid() == Some(pid)),
        };
        self.targets.insert(pid, target);
        Ok(())
    }

    /// Asks them to exit. Children of one of them are left to it at first, and asked if it exits
    /// without them.
    pub(crate) fn run(
        mut self,
        ports: &PortSet,
        force: Force,
        requests: &[ExitRequest],
        mut show: impl FnMut(&[Holding]),
    ) -> Result<Termination> {
        // From the first signal on, however long it took to find them.
        let mut deadline: Option<Instant> = None;
        let mut killed = false;
        let mut pause = SHORTEST;
        loop {
            let (alive, _) = holdings(ports)?;
            let strangers = self.adopt(&alive);
            if !strangers.is_empty() {
                return Ok(Termination::Taken(respawn(
                    &strangers,
                    requests,
                    &Us::look(),
                )));
            }
            if alive.is_empty() {
                return Ok(Termination::Done);
            }
            show(&alive);
            let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if late && (killed || !force.kill) {
                let stubborn = alive.into_iter().map(|holding| holding.holder);
                return Ok(Termination::Stubborn(stubborn.collect()));
            }
            let pids: BTreeSet<i32> = alive.iter().map(|holding| holding.holder.pid).collect();
            if let Some(why) = self.signal_each(&alive, &pids, force.signal, late) {
                return Ok(Termination::Refused(why));
            }
            if late {
                killed = true;
                deadline = Some(Instant::now() + DYING);
            }
            let left = deadline
                .get_or_insert_with(|| Instant::now() + force.grace)
                .saturating_duration_since(Instant::now());
            self.sleep(&pids, pause.min(left));
            pause = (pause * 2).min(OFTEN);
        }
    }

    /// Sends SIGKILL to all if it is late, and otherwise the signal to the eldest that was not
    /// asked yet. Returns why one can't be signalled.
    fn signal_each(
        &mut self,
        alive: &[Holding],
        pids: &BTreeSet<i32>,
        signal: Signal,
        late: bool,
    ) -> Option<String> {
        for Holding { holder, .. } in alive {
            let Some(target) = self.targets.get_mut(&holder.pid).filter(|it| !it.spared) else {
                continue;
            };
            let mut above = holder.info.ancestors.iter();
            let is_eldest = !above.any(|parent| pids.contains(&parent.pid));
            if !late && (target.asked || !is_eldest) {
                continue;
            }
            let signal = if late { Signal::KILL } else { signal };
            target.asked = true;
            debug!("signal {} to process {}", signal.as_raw(), holder.pid);
            let sent = target.handle.signal(signal).and_then(|()| {
                // One that is stopped acts on it only when it is resumed.
                target.handle.signal(Signal::CONT)
            });
            if let Some(error) = sent.err().filter(|&error| error != Errno::SRCH) {
                return Some(format!(
                    "{} (pid {}) can't be signalled: {error}",
                    holder.name, holder.pid
                ));
            }
        }
        None
    }

    /// Adopts the children that the targets have made since, and returns the other processes that
    /// hold the port.
    fn adopt(&mut self, alive: &[Holding]) -> Vec<Holding> {
        let mut strangers = Vec::new();
        for holding in alive {
            let Holder { pid, info, .. } = &holding.holder;
            if self.is_target(*pid, info.start) {
                continue;
            }
            let mut above = info.ancestors.iter();
            let is_child = above.any(|parent| self.is_target(parent.pid, Some(parent.start)));
            match is_child.then(|| self.add(holding, None)) {
                Some(Ok(()) | Err(Errno::SRCH)) => {}
                _ => strangers.push(holding.clone()),
            }
        }
        strangers
    }

    /// Whether this is a target, and not a later process with its number.
    fn is_target(&self, pid: i32, start: Option<u64>) -> bool {
        let target = self.targets.get(&pid);
        target.is_some_and(|target| target.start == start)
    }

    /// Sleeps, or until one of them has ended.
    fn sleep(&mut self, pids: &BTreeSet<i32>, time: Duration) {
        let watched = self.targets.iter().filter(|(pid, _)| pids.contains(pid));
        pidfd::sleep(watched.map(|(_, target)| &target.handle), time);
    }
}
