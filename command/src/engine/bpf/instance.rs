//! An instance: the ports of one control group, and the six programs that are attached to it.
//!
//! What is attached goes with its group, needs no descriptor and no pin (`BPF_PROG_ATTACH` with
//! `BPF_F_ALLOW_MULTI`; a pinned bpf_link outlives the group as a stub). The ports of an instance
//! that lasts are pinned, so that they are known to the next group of the same name, as a service
//! has at each start.

use super::hierarchy::{self, Hierarchy};
use super::maps::Ports;
use super::pins;
use super::programs::Hook;
use super::sys::{self, MapInfo, Program, ProgramInfo};
use anyhow::{Context, Result, anyhow, bail};
use log::debug;
use rustix::process::geteuid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How long an instance is to be remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Life {
    /// Until it is detached.
    Lasting,
    /// As long as its group.
    Passing,
}

/// An instance whose programs are attached.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) ports: Ports,
    /// Whether something had to be attached; false if all was there.
    pub(crate) changed: bool,
}

/// Creates a map and drops it: everything begins with one, and only some may (bpf(2)).
///
/// # Errors
///
/// What is missing.
pub(crate) fn may_create_maps() -> Result<()> {
    // There maps count as locked memory, of which even root has 64 KiB, and the answer would be
    // EPERM.
    const COUNTED_OTHERWISE: (u32, u32) = (5, 11);
    if release() < COUNTED_OTHERWISE {
        return Err(too_old("there they may set no option at all then"));
    }
    Ports::create().map(drop).map_err(|error| refused(&error))
}

/// Queries what is attached at the root, which only some may.
///
/// # Errors
///
/// What is missing.
pub(crate) fn may_query(hierarchy: &Hierarchy) -> Result<()> {
    attached("/", hierarchy.open("/")?.as_fd()).map(drop)
}

/// Attaches the programs to a group. What was attached in part is completed; what an older version
/// attached is replaced, over the same ports.
pub(crate) fn attach(
    hierarchy: &Hierarchy,
    group: &str,
    life: Life,
    allowed: impl Fn(u16) -> bool,
) -> Result<Instance> {
    nobody_keeps_us_out(hierarchy, group)?;
    let remembered = match life {
        Life::Lasting => pins::ports(group)?,
        Life::Passing => None,
    };
    let is_new = remembered.is_none();
    let attached = attach_over(remembered, hierarchy, group, life, allowed);
    if attached.is_err() && is_new {
        pins::remove(group)?;
    }
    attached
}

/// Attaches the programs over the map that was pinned, if there is one.
fn attach_over(
    remembered: Option<Ports>,
    hierarchy: &Hierarchy,
    group: &str,
    life: Life,
    allowed: impl Fn(u16) -> bool,
) -> Result<Instance> {
    let folder = hierarchy.open(group)?;
    let bound = pins::bound()?;
    let there = attached(group, folder.as_fd())?;
    let ports = match remembered.or_else(|| ports_of(&there)) {
        Some(ports) => ports,
        None => Ports::create().map_err(|error| refused(&error))?,
    };
    if life == Life::Lasting {
        pins::pin_ports(group, &ports)?;
    }
    ports.allow(allowed);
    let mut programs = Vec::new();
    for hook in Hook::ALL {
        let code = hook.code(&ports, &bound)?;
        let program = load(hook, &code)?;
        let info = ProgramInfo::of(program.as_fd()).map_err(|error| refused(&error))?;
        programs.push((hook, program, info));
    }
    let mut done: Vec<(Hook, BorrowedFd<'_>)> = Vec::new();
    let id = ports.id()?;
    let mut changed = false;
    for (hook, program, info) in &programs {
        let old: Vec<&AttachedProgram> = there.iter().filter(|old| old.hook == *hook).collect();
        let is_it = |old: &&AttachedProgram| old.info.tag == info.tag && old.uses(id);
        if old.iter().any(is_it) {
            continue;
        }
        let result = sys::attach(
            folder.as_fd(),
            program.as_fd(),
            hook.attach_type(),
            old.first().map(|old| old.program.as_fd()),
        );
        if let Err(error) = result {
            for (hook, program) in done {
                // The group is as it was, or is gone.
                let _ = sys::detach(folder.as_fd(), program, hook.attach_type());
            }
            return Err(not_attached(&error, group));
        }
        changed = true;
        if old.is_empty() {
            done.push((*hook, program.as_fd()));
        }
        debug!("{} attached at {group}", hook.name());
    }
    Ok(Instance { ports, changed })
}

/// Detaches our programs from a group, and returns how many there were.
pub(crate) fn detach(hierarchy: &Hierarchy, group: &str) -> Result<usize> {
    let folder = hierarchy.open(group)?;
    let there = attached(group, folder.as_fd())?;
    // What acts goes first, and what forgets last.
    for old in there.iter().rev() {
        sys::detach(folder.as_fd(), old.program.as_fd(), old.hook.attach_type())
            .or_else(|error| match error.raw_os_error() {
                // Somebody else was faster.
                Some(libc::ENOENT) => Ok(()),
                _ => Err(error),
            })
            .with_context(|| format!("{} can't be detached from {group}", old.hook.name()))?;
    }
    if let (Some(ports), Some(bound)) = (ports_of(&there), pins::bound_if_there()) {
        bound.forget(ports.id()?)?;
    }
    Ok(there.len())
}

/// One of our programs that is attached to a group.
#[derive(Debug)]
pub(crate) struct AttachedProgram {
    pub(crate) hook: Hook,
    pub(crate) program: OwnedFd,
    pub(crate) info: ProgramInfo,
}

impl AttachedProgram {
    fn uses(&self, map: u32) -> bool {
        // The one that forgets knows no ports.
        self.hook == Hook::Release || self.info.maps.contains(&map)
    }
}

/// Our programs at a group, in the order of attaching.
pub(crate) fn attached(group: &str, folder: BorrowedFd<'_>) -> Result<Vec<AttachedProgram>> {
    let mut found = Vec::new();
    for hook in Hook::ALL {
        let there = match sys::query(folder, hook.attach_type()) {
            Ok(there) => there,
            // A kernel that does not know the place has nothing there.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => continue,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Err(refused(&error)),
            Err(error) => return Err(not_attached(&error, group)),
        };
        for id in there.programs {
            // One that has gone meanwhile is not there.
            let Ok(program) = sys::program_by_id(id) else {
                continue;
            };
            let info = ProgramInfo::of(program.as_fd()).map_err(|error| refused(&error))?;
            if info.name == hook.name() {
                found.push(AttachedProgram {
                    hook,
                    program,
                    info,
                });
            }
        }
    }
    Ok(found)
}

/// The ports that the programs of a group know.
pub(crate) fn ports_of(attached: &[AttachedProgram]) -> Option<Ports> {
    attached
        .iter()
        .flat_map(|attached| &attached.info.maps)
        .filter_map(|&map| sys::map_by_id(map).ok())
        .find(|map| MapInfo::of(map.as_fd()).is_ok_and(|info| info.name == "reuse_ports"))
        .and_then(|map| Ports::open(map).ok())
}

/// Loads one of the programs.
fn load(hook: Hook, code: &[super::asm::Instruction]) -> Result<OwnedFd> {
    let program = Program {
        name: hook.name(),
        kind: hook.kind(),
        attach_type: hook.attach_type(),
        code,
    };
    sys::load(&program).map_err(|why| match why.error.raw_os_error() {
        Some(libc::EINVAL | libc::EACCES) => {
            debug!("{}: {} ({})", hook.name(), why.error, why.verifier);
            too_old(&format!(
                "it refuses {}: {}",
                hook.name(),
                if why.verifier.is_empty() {
                    why.error.to_string()
                } else {
                    why.verifier
                }
            ))
        }
        _ => refused(&why.error),
    })
}

/// The kernel's version: 6.1 of `6.1.0-50-amd64`.
pub(super) fn release() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}

/// The message where the kernel can't do it.
pub(super) fn too_old(why: &str) -> anyhow::Error {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    anyhow!(
        "Linux {release} does not let a program set SO_REUSEADDR at bind; 6.1 or later does ({why})"
    )
}

/// What to type where a container does not let us.
pub(super) const ON_THE_HOST: &str =
    "On the container's host, `sudo reuseaddr bpf attach --container NAME` prints the command";

/// The message where something can't be created, which takes root, and a place to write to.
pub(super) fn not_made(error: io::Error, what: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => anyhow!(
            "can't create {what}: the place is mounted read-only, as in containers. {ON_THE_HOST}"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!(error).context(format!("can't create {what}; this takes root"))
        }
        _ => anyhow!(error).context(format!("can't create {what}")),
    }
}

/// The message where the kernel refuses us.
pub(super) fn refused(error: &io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if geteuid().is_root() => anyhow!(
            "root may not use bpf(2) here: CAP_BPF and CAP_NET_ADMIN are missing, or a seccomp \
             filter forbids it, as in containers. {ON_THE_HOST}"
        ),
        Some(libc::EPERM | libc::EACCES) => {
            anyhow!("this takes root (CAP_BPF and CAP_NET_ADMIN): try sudo")
        }
        Some(libc::ENOSYS) => {
            anyhow!("this kernel has no bpf(2): it was built without CONFIG_BPF_SYSCALL")
        }
        Some(libc::ENOMEM) => anyhow!("there is not enough memory for eBPF's maps and programs"),
        _ => anyhow!("bpf(2) failed: {error}"),
    }
}

fn not_attached(error: &io::Error, group: &str) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV) => hierarchy::gone(group),
        Some(libc::E2BIG) => {
            anyhow!("{group} has as many programs attached as the kernel allows (64)")
        }
        Some(libc::EPERM) => {
            anyhow!(
                "somebody has attached a program at {group} that keeps others out (`bpftool cgroup \
                 tree` shows it)"
            )
        }
        _ => refused(error).context(format!("nothing was attached at {group}")),
    }
}

/// Fails where a program is attached without `BPF_F_ALLOW_MULTI`, and names it: the kernel's answer
/// would be EPERM alone.
fn nobody_keeps_us_out(hierarchy: &Hierarchy, group: &str) -> Result<()> {
    const OVERRIDE: u32 = 1;
    const MULTI: u32 = 2;
    for above in Hierarchy::upwards(group) {
        // What we can't open, we can't name.
        let Ok(folder) = hierarchy.open(above) else {
            continue;
        };
        for hook in Hook::ALL {
            let Ok(there) = sys::query(folder.as_fd(), hook.attach_type()) else {
                continue;
            };
            let Some(&id) = there.programs.first() else {
                continue;
            };
            let may_be_beside =
                there.flags & MULTI != 0 || (there.flags & OVERRIDE != 0 && above != group);
            if !may_be_beside {
                let name = sys::program_by_id(id)
                    .and_then(|program| ProgramInfo::of(program.as_fd()))
                    .map(|info| format!(" \"{}\"", info.name))
                    .unwrap_or_default();
                bail!(
                    "program {id}{name} at {above} was attached as the only one, and keeps others \
                     out (Cilium before 1.14 does so)"
                );
            }
        }
    }
    Ok(())
}
