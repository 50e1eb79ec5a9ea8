//! Has a program served that `run` is about to become: in a control group of its own, below ours.

use super::hierarchy::Hierarchy;
use super::instance::{self, Life};
use super::own::{self, OwnGroup};
use super::record::{Record, Turn};
use super::{seed, selftest};
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
    instance::may()?;
    let turn = Turn::take()?;
    turn.prune(&hierarchy)?;
    selftest::pass(&hierarchy)?;
    let pid = std::process::id();
    let above = above_ours(&Hierarchy::of_process(pid)?);
    let group = OwnGroup::make(&hierarchy, &above, own::RUN, pid)?;
    let allowed = |port: u16| settings.ports.contains(port);
    let ports = (!settings.ports.all()).then(|| spelled(&listed(&settings.ports)));
    for why in serve(&hierarchy, &turn, group.name(), allowed, ports)? {
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
    instance::may()?;
    let turn = Turn::take()?;
    turn.prune(&hierarchy)?;
    selftest::pass(&hierarchy)?;
    let theirs = Hierarchy::of_process(pid)?;
    let shared = Hierarchy::of_process(std::process::id())?;
    // Where the runtime goes by cgroup v1, it makes no group in version 2, and nobody else has one
    // for the container.
    let has_its_own = theirs != "/" && theirs != shared;
    let made = if has_its_own {
        None
    } else {
        Some(OwnGroup::make(&hierarchy, &theirs, own::RUN, pid)?)
    };
    let name = made
        .as_ref()
        .map_or(theirs.as_str(), OwnGroup::name)
        .to_owned();
    for why in serve(&hierarchy, &turn, &name, |_| true, None)? {
        debug!("{why}");
    }
    if let Some(group) = made {
        group.take_in(pid)?;
        group.keep();
    }
    Ok(name)
}

/// Attaches the programs to a group for as long as it is there, and seeds their ports. Returns what
/// could not be armed.
fn serve(
    hierarchy: &Hierarchy,
    turn: &Turn,
    group: &str,
    allowed: impl Fn(u16) -> bool + Copy + Sync,
    ports: Option<String>,
) -> Result<Vec<String>> {
    let instance = instance::attach(hierarchy, group, Life::Passing, allowed)?;
    let seeded = seed::seed(hierarchy, group, &instance.ports, allowed);
    turn.write(&Record::new(group, Life::Passing, ports))?;
    debug!("attached at {group}");
    Ok(seeded.unarmed)
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

/// What of the settings can't be had from programs in the kernel.
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
            found.push(format!("the engine bpf knows no {option}: it is programs in the kernel, which see ports alone"));
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
    instance::may()?;
    let _turn = Turn::take()?;
    selftest::pass(&hierarchy)
}

/// Whether this machine looks as if the engine worked here; only `run` and `bpf attach` test it.
pub(crate) fn is_likely() -> bool {
    instance::release() >= (6, 1) && Hierarchy::find().is_ok()
}
