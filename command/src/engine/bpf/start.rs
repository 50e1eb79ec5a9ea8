//! Attaches the programs for what `run` is about to become, in a control group of its own below
//! ours; for a container; and for `bpf attach`.

use super::hierarchy::Hierarchy;
use super::instance::{self, Instance, Life};
use super::own::{self, OwnGroup};
use super::record::{self, Record, Turn};
use super::seed::{self, Seeded};
use super::selftest;
use crate::output;
use crate::port::port_list::{listed, spelled};
use anyhow::Result;
use libreuse_rules::settings::{Linger, Settings};
use log::debug;
use rustix::process::geteuid;

/// Attaches the programs to a new group, and moves this process into it. The group stays as long as
/// somebody is in it, and the next start removes it.
///
/// # Errors
///
/// Why it can't be done; then this process is where it was, and nothing is left.
pub(crate) fn begin(settings: &Settings) -> Result<()> {
    let hierarchy = Hierarchy::find()?;
    let turn = ready(&hierarchy)?;
    or_nothing(&hierarchy, &turn, begin_ours(&hierarchy, &turn, settings))
}

fn begin_ours(hierarchy: &Hierarchy, turn: &Turn, settings: &Settings) -> Result<()> {
    let pid = std::process::id();
    let above = above_ours(&Hierarchy::own()?);
    let group = OwnGroup::make(hierarchy, &above, own::RUN, pid)?;
    let allowed = |port: u16| settings.ports.contains(port);
    let ports = (!settings.ports.all()).then(|| spelled(&listed(&settings.ports)));
    let (_, seeded) = serve(hierarchy, turn, group.name(), Life::Passing, allowed, ports)?;
    for why in seeded.unarmed {
        output::warn(&why);
    }
    group.take_in(pid)?;
    group.keep();
    Ok(())
}

/// Attaches the programs for a container that is about to start, whose first process this is.
/// Returns the group.
///
/// # Errors
///
/// Why it can't be done; the container starts as it would have.
pub(crate) fn begin_container(pid: u32) -> Result<String> {
    let hierarchy = Hierarchy::find()?;
    let turn = ready(&hierarchy)?;
    or_nothing(&hierarchy, &turn, begin_theirs(&hierarchy, &turn, pid))
}

fn begin_theirs(hierarchy: &Hierarchy, turn: &Turn, pid: u32) -> Result<String> {
    let theirs = Hierarchy::of_process(pid)?;
    let shared = Hierarchy::own()?;
    // Where the runtime goes by cgroup v1, it makes no group in version 2, and nobody else has one
    // for the container.
    let has_its_own = theirs != "/" && theirs != shared;
    let made = if has_its_own {
        None
    } else {
        Some(OwnGroup::make(hierarchy, &theirs, own::RUN, pid)?)
    };
    let name = made
        .as_ref()
        .map_or(theirs.as_str(), OwnGroup::name)
        .to_owned();
    let (_, seeded) = serve(hierarchy, turn, &name, Life::Passing, |_| true, None)?;
    for why in seeded.unarmed {
        debug!("{why}");
    }
    if let Some(group) = made {
        group.take_in(pid)?;
        group.keep();
    }
    Ok(name)
}

/// Attaches the programs to a group for whoever typed its name, until it is detached.
///
/// # Errors
///
/// Why it can't be done; then nothing is left.
pub(crate) fn attach(
    hierarchy: &Hierarchy,
    group: &str,
    allowed: impl Fn(u16) -> bool + Copy + Sync,
    ports: Option<String>,
) -> Result<(Instance, Seeded)> {
    let turn = ready(hierarchy)?;
    let life = record::life_at(group);
    let served = serve(hierarchy, &turn, group, life, allowed, ports);
    or_nothing(hierarchy, &turn, served)
}

/// Takes the lock, where the kernel passes its test.
fn ready(hierarchy: &Hierarchy) -> Result<Turn> {
    instance::may_create_maps()?;
    let turn = Turn::take()?;
    turn.prune(hierarchy)?;
    or_nothing(hierarchy, &turn, selftest::pass(hierarchy))?;
    Ok(turn)
}

/// Removes what a failure has left.
fn or_nothing<T>(hierarchy: &Hierarchy, turn: &Turn, result: Result<T>) -> Result<T> {
    result.inspect_err(|_| {
        if let Err(error) = turn.remove_unused(hierarchy) {
            debug!("{error:#}");
        }
    })
}

/// Attaches the programs to a group, and seeds their ports.
fn serve(
    hierarchy: &Hierarchy,
    turn: &Turn,
    group: &str,
    life: Life,
    allowed: impl Fn(u16) -> bool + Copy + Sync,
    ports: Option<String>,
) -> Result<(Instance, Seeded)> {
    let instance = instance::attach(hierarchy, group, life, allowed)?;
    turn.write(&Record::new(group, life, ports))?;
    let seeded = seed::seed(hierarchy, group, &instance.ports, allowed);
    debug!("attached at {group}");
    Ok((instance, seeded))
}

/// A program that was started so may start itself again: its groups lie beside one another, and do
/// not grow a tail.
fn above_ours(group: &str) -> String {
    match group.rsplit_once('/') {
        Some((above, name)) if name.starts_with(own::RUN) => match above {
            "" => "/".into(),
            above => above.into(),
        },
        _ => group.to_owned(),
    }
}

/// Lists the settings that BPF programs do not support.
pub(crate) fn unsupported(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    for (is_set, option) in [
        (settings.linger != Linger::Off, "--linger"),
        (settings.wait_ms > 0, "--wait"),
        (settings.reuse_port, "--reuseport"),
        (!settings.programs.all(), "--programs"),
        (settings.log > Settings::DEFAULT.log, "--log"),
        (!settings.reuse_address, "--reuseaddr off"),
    ] {
        if is_set {
            found.push(format!(
                "the engine bpf has no {option}: its BPF programs see ports alone"
            ));
        }
    }
    found
}

/// Has the kernel tested; for others than root, sees whether there is anything to test.
///
/// # Errors
///
/// Why it does not work here.
pub(crate) fn try_here() -> Result<()> {
    let hierarchy = Hierarchy::find()?;
    if !geteuid().is_root() {
        return Ok(());
    }
    ready(&hierarchy).map(drop)
}

/// Whether this machine looks as if the engine worked here; only `run` and `bpf attach` test it.
pub(crate) fn is_likely() -> bool {
    instance::release() >= (6, 1) && Hierarchy::find().is_ok()
}
