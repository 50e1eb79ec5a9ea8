//! Frees ports: terminates their holders, clears their leftovers, and looks again.

use super::bindable::{Bind, Bindable, busy};
use super::evict::{self, Eviction, Filter};
use super::explain::free as explain;
use super::free_plan::{self, MayAsk, Plan, Us};
use super::port_list::PortSet;
use super::respawn;
use super::terminate::{Force, Terminator};
use super::wait::what_holds;
use crate::net::sock_diag::{self, Which};
use crate::net::sysctl;
use crate::output;
use crate::output::progress::Progress;
use crate::process::tree;
use anyhow::Result;
use rustix::process::Signal;
use std::time::Duration;

/// Why ports are not free after all.
#[derive(Debug)]
pub(crate) enum Failure {
    /// They are still busy, although everything was done that may be.
    Busy(String),
    /// We may not bind them, so that can't be found out.
    Denied(String),
}

/// Terminates the holders of the plan, clears their leftovers from these ports, and looks again.
pub(crate) fn free(
    plan: &Plan,
    terminator: Option<Terminator>,
    ports: &PortSet,
    force: Force,
) -> Result<Result<(), Failure>> {
    if let Some(terminator) = terminator {
        if let Some(why) = terminate(plan, terminator, ports, force)? {
            return Ok(Err(Failure::Busy(why)));
        }
    }
    let eviction = evict::evict(&ports.tcp, Filter::default(), false)?;
    if let Some(failure) = still_busy(ports, &eviction)? {
        return Ok(Err(
            match respawn::check_once(ports, &plan.requests, &Us::look())? {
                Some(respawn) => Failure::Busy(explain::respawned(&respawn, ports)),
                None => failure,
            },
        ));
    }
    if !plan.requests.is_empty() {
        if let Some(respawn) = respawn::watch(ports, &plan.requests)? {
            return Ok(Err(Failure::Busy(explain::respawned(&respawn, ports))));
        }
    }
    Ok(Ok(()))
}

/// Frees the ports for a program that is to be started: of our own processes alone, and without a
/// question. What can't be done is reported, and the program is started all the same.
pub(crate) fn for_program(ports: &[u16]) -> Result<()> {
    let busy = busy(&PortSet::of_tcp(ports));
    if busy.is_empty() {
        return Ok(());
    }
    let plan = free_plan::plan(&busy, MayAsk::OwnProcesses)?;
    for refusal in &plan.refusals {
        output::warn(&explain::refusal(refusal, &busy.spelled()));
    }
    if !plan.refusals.is_empty() {
        return Ok(());
    }
    for request in &plan.requests {
        output::info(&format!("reuseaddr: {} is asked to exit", request.named()));
    }
    let force = Force {
        signal: Signal::TERM,
        grace: Duration::from_secs(5),
        kill: false,
    };
    if let Some(why) = terminate(&plan, Terminator::new(&plan.requests)?, &busy, force)? {
        output::warn(&why);
        return Ok(());
    }
    let eviction = evict::evict(&busy.tcp, Filter::default(), false)?;
    if let Some(Failure::Busy(why)) = still_busy(&busy, &eviction)? {
        output::warn(&why);
    }
    Ok(())
}

/// Terminates the processes of the plan; returns why that failed.
fn terminate(
    plan: &Plan,
    terminator: Terminator,
    ports: &PortSet,
    force: Force,
) -> Result<Option<String>> {
    let mut progress = Progress::begin();
    for manager in plan
        .requests
        .iter()
        .filter_map(|request| request.stopped_by())
    {
        let show = || progress.show(|| format!("Waiting for {} to stop", manager.target()));
        if let Err(error) = manager.stop(show) {
            return Ok(Some(format!("{error:#}")));
        }
    }
    let termination = terminator.run(ports, force, &plan.requests, |alive| {
        let holders: Vec<_> = alive.iter().map(|holding| holding.holder.clone()).collect();
        progress.show(|| format!("Waiting for {} to exit", tree::named(&holders)));
    })?;
    drop(progress);
    Ok(explain::failure(&termination, ports, &force))
}

/// Why a plain bind fails after all, if it does.
fn still_busy(ports: &PortSet, eviction: &Eviction) -> Result<Option<Failure>> {
    let busy = busy(ports);
    if busy.is_empty() {
        return Ok(None);
    }
    if !eviction.left.is_empty() {
        return Ok(Some(Failure::Busy(evict::explain(
            eviction,
            &busy.spelled(),
        ))));
    }
    if let Some(why) = denied(&busy)? {
        return Ok(Some(Failure::Denied(why)));
    }
    Ok(Some(Failure::Busy(format!(
        "a plain bind still fails: {}. `free` leaves connections alone\n    reuseaddr status {}",
        what_holds(&busy.tcp)?,
        busy.spelled()
    ))))
}

/// Why we can't try whether ports are free on which nothing is, if that is so.
pub(crate) fn denied(busy: &PortSet) -> Result<Option<String>> {
    let is_denied = |&port: &u16| Bind::default().of(port) == Bindable::Denied;
    if !busy.udp.is_empty()
        || !busy.tcp.iter().all(is_denied)
        || !sock_diag::dump(Which::These(&busy.tcp))?.is_empty()
    {
        return Ok(None);
    }
    Ok(Some(format!(
        "no socket is on port {}, but you may not bind it: ports below {} take root or \
         CAP_NET_BIND_SERVICE",
        busy.spelled(),
        sysctl::lowest_unprivileged()
    )))
}
