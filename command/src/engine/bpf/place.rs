//! Which control group is meant: of a unit, of a container.

use super::hierarchy::Hierarchy;
use super::record;
use crate::output::readable;
use crate::process::cgroup::{self, Container};
use anyhow::{Context, Result, bail};
use log::debug;
use std::process::{Command, Stdio};

/// The group of a unit that runs.
pub(crate) fn of_unit(hierarchy: &Hierarchy, name: &str) -> Result<String> {
    let name = with_suffix(name);
    let shown = readable(name.as_bytes());
    let answer = asked(
        "systemctl",
        &["show", "--property=ControlGroup", "--value", "--", &name],
    );
    if let Some(group) = answer.filter(|group| group.starts_with('/')) {
        return hierarchy.group(&group);
    }
    // Without systemd, or where it tells nothing: by the name.
    hierarchy
        .all()
        .into_iter()
        .find(|group| group.rsplit('/').next() == Some(&name))
        .with_context(|| {
            format!(
                "{shown} does not run, so it has no control group yet; to attach at each start: \
                 `sudo reuseaddr systemd --engine bpf --install {}`",
                shell_words::quote(&name)
            )
        })
}

/// Finds the group above a container's own, and says so: nothing else lasts.
pub(crate) fn of_container(hierarchy: &Hierarchy, name: &str) -> Result<String> {
    let shown = readable(name.as_bytes());
    let process = ["podman", "docker"].iter().find_map(|engine| {
        let pid = asked(
            engine,
            &["inspect", "--format", "{{.State.Pid}}", "--", name],
        )?;
        pid.parse::<u32>().ok().filter(|&pid| pid != 0)
    });
    if let Some(pid) = process {
        return Hierarchy::of_process(pid);
    }
    hierarchy
        .all()
        .into_iter()
        .find(|group| {
            container_in(group)
                .is_some_and(|container| !name.is_empty() && container.id.starts_with(name))
        })
        .with_context(|| {
            format!(
                "there is no container {shown} that runs; `docker ps` and `podman ps` show those \
                 there are"
            )
        })
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

/// A group that has an instance and is not there now.
pub(crate) fn remembered(unit: Option<&str>, path: Option<&str>) -> Option<String> {
    let unit = unit.map(with_suffix);
    record::all()
        .into_iter()
        .map(|record| record.group)
        .find(|group| {
            path == Some(group.as_str())
                || (unit.is_some() && group.rsplit('/').next() == unit.as_deref())
        })
}

fn container_in(group: &str) -> Option<Container> {
    cgroup::read(&format!("0::{group}\n")).container
}

/// `myd` is `myd.service`, as for systemctl.
fn with_suffix(name: &str) -> String {
    let has_one = [".service", ".slice", ".scope"]
        .iter()
        .any(|suffix| name.ends_with(suffix));
    if has_one {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// Runs a program and returns its output; `None` if it is missing or fails.
fn asked(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    debug!("{program} {arguments:?}: {answer:?}");
    (output.status.success() && !answer.is_empty()).then_some(answer)
}
