//! Which control group is meant: of a unit, of a container.

use super::hierarchy::Hierarchy;
use super::record;
use crate::output::readable;
use crate::process::cgroup::{self, Container};
use crate::process::run::output_of;
use crate::process::unit::{self, NamedUnit};
use anyhow::{Result, bail};
use std::env;
use std::path::Path;

/// The unit that somebody named, a service, a slice or a scope, of the system or of a user's
/// manager.
pub(crate) fn unit(typed: &str) -> Result<NamedUnit> {
    let full = unit::with_processes(typed)?;
    if unit::is_template(&full) {
        bail!(
            "{full} is a template, which does not run itself: name an instance of it. To attach at \
             each start of every one: `sudo reuseaddr systemd --engine bpf --install {}`",
            shell_words::quote(&full)
        );
    }
    Ok(NamedUnit::ask(full))
}

/// The group of a unit that runs.
pub(crate) fn of_unit(hierarchy: &Hierarchy, unit: &NamedUnit) -> Result<String> {
    if let Some(group) = &unit.group {
        return hierarchy.group(Path::new(group));
    }
    // Without systemd, or where it is a user's: by the name.
    let name = &unit.name;
    let found: Vec<String> = hierarchy
        .all()
        .into_iter()
        .filter(|group| is_of_unit(group, name))
        .collect();
    match found.as_slice() {
        [group] => Ok(group.clone()),
        [] => bail!(no_group(unit)),
        [first, ..] => bail!(
            "there are {} units {name}: name the control group of one, as in --cgroup {}",
            found.len(),
            shell_words::quote(first)
        ),
    }
}

/// Why a unit has no control group, and what helps.
fn no_group(unit: &NamedUnit) -> String {
    let name = &unit.name;
    let no_group = format!("{name} does not run, so it has no control group yet");
    if unit.exists == Some(false) {
        return format!(
            "systemd knows no unit {name}, and no user's manager runs one; `systemctl list-units` \
             shows those there are"
        );
    }
    match unit::kind(name) {
        Some("service") => format!(
            "{no_group}; to attach at each start: `sudo reuseaddr systemd --engine bpf --install \
             {}`",
            shell_words::quote(name)
        ),
        Some("slice") => format!(
            "{no_group}: `sudo systemctl start {}` makes it",
            shell_words::quote(name)
        ),
        _ => no_group,
    }
}

/// How a service is served at its later starts as well; `None` for what lasts by itself.
pub(crate) fn for_later_starts(unit: &NamedUnit, group: &str) -> Option<String> {
    if unit::kind(&unit.name) != Some("service") {
        return None;
    }
    let manager = Hierarchy::upwards(group)
        .skip(1)
        .filter_map(|above| above.rsplit('/').next())
        .find(|name| name.starts_with("user@"));
    let cure = match manager {
        Some(manager) => format!(
            "To attach to all that its user's manager starts:\n    \
             sudo reuseaddr bpf attach --unit {manager}"
        ),
        None if unit.is_transient => format!(
            "It has no file; to attach at each start, add to systemd-run:\n    \
             -p 'ExecStartPre=-+{} bpf attach --self'",
            env::current_exe().ok()?.display()
        ),
        None => format!(
            "To attach at each start:\n    \
             sudo reuseaddr systemd --engine bpf --install {}",
            shell_words::quote(&unit.name)
        ),
    };
    Some(format!(
        "A service has another control group at each start, so this lasts until it stops. {cure}"
    ))
}

/// Finds the group above a container's own, and says so: nothing else lasts.
pub(crate) fn of_container(hierarchy: &Hierarchy, name: &str) -> Result<String> {
    if name.is_empty() {
        bail!("the name of the container is empty");
    }
    let shown = readable(name.as_bytes());
    let process = ["podman", "docker"].iter().find_map(|engine| {
        let pid = output_of(
            engine,
            &["inspect", "--format", "{{.State.Pid}}", "--", name],
        )?;
        pid.parse::<u32>().ok().filter(|&pid| pid != 0)
    });
    if let Some(pid) = process {
        return Hierarchy::of_process(pid);
    }
    let mut found: Vec<(String, String)> = hierarchy
        .all()
        .into_iter()
        .filter_map(|group| Some((container_in(&group)?.id, group)))
        .filter(|(id, _)| id.starts_with(name))
        .collect();
    // What is below a container's own group has its id as well.
    found.sort();
    found.dedup_by(|(id, _), (first, _)| id == first);
    match found.as_slice() {
        [(_, group)] => Ok(group.clone()),
        [] => bail!("no running container {shown}; `docker ps` and `podman ps` list them"),
        _ => bail!(
            "there are {} containers whose ID begins with {shown}; give more of the ID",
            found.len()
        ),
    }
}

/// A container's own group goes with it: the runtime makes another at the next start.
pub(crate) fn refuse_a_containers_own(group: &str) -> Result<()> {
    if container_in(group).is_none() {
        return Ok(());
    }
    let parent = Hierarchy::upwards(group)
        .find(|above| container_in(above).is_none())
        .unwrap_or("/");
    bail!(
        "this is the container's own cgroup, which goes with it: attach at its parent {parent}, \
         which serves every container there\n    sudo reuseaddr bpf attach --cgroup {}",
        shell_words::quote(parent)
    )
}

/// The group of a unit that has an instance and does not run now.
pub(crate) fn remembered(unit: &NamedUnit) -> Option<String> {
    let mut groups = record::all().into_iter().map(|record| record.group);
    groups.find(|group| is_of_unit(group, &unit.name))
}

fn is_of_unit(group: &str, name: &str) -> bool {
    group.rsplit('/').next() == Some(name)
}

fn container_in(group: &str) -> Option<Container> {
    cgroup::read(&format!("0::{group}\n")).container
}
