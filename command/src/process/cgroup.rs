//! Reads the path of a control group (/proc/PID/cgroup): the unit that systemd runs it as, and the
//! container that it is in (cgroups(7); the runtimes name their groups after the container).

use crate::sys::proc;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// A container.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Container {
    /// Its engine, by the group's name: `docker`, `podman`, `containerd`, `cri-o`, `lxc`,
    /// `machine`, `kubernetes`.
    pub(crate) runtime: &'static str,
    /// Its whole id, or its name.
    pub(crate) id: String,
}

impl Container {
    /// `docker 3f4e1c9a2b7d`: as much of the id as the runtimes' own tools show.
    pub(crate) fn short(&self) -> String {
        format!("{} {}", self.runtime, self.short_id())
    }

    pub(crate) fn short_id(&self) -> &str {
        if is_id(&self.id) {
            self.id.get(..12).unwrap_or(&self.id)
        } else {
            &self.id
        }
    }
}

/// The unit and the container that a process is in.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Membership {
    pub(crate) unit: Option<String>,
    /// Whether the unit is of a user's own manager.
    pub(crate) of_user: bool,
    pub(crate) container: Option<Container>,
    /// The path in systemd's tree, where each part is a unit.
    pub(crate) path: String,
}

/// Reads the membership of a process, which is a number or `self`.
pub(crate) fn of_process(process: impl Display) -> Membership {
    proc::text(format!("/proc/{process}/cgroup"))
        .map(|text| read(&text))
        .unwrap_or_default()
}

/// Reads `/proc/PID/cgroup`.
pub(crate) fn read(text: &str) -> Membership {
    // Version 2's single tree, or else the one that systemd has in version 1. A container may be in
    // another one alone.
    let paths: Vec<&str> = text
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .collect();
    let of_systemd = text
        .lines()
        .filter(|line| line.starts_with("0::") || line.contains(":name=systemd:"))
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .max_by_key(|path| path.len());
    let container = paths.iter().find_map(|path| container(path));
    let unit = of_systemd
        .filter(|_| container.is_none())
        .and_then(|path| {
            path.split('/')
                .rev()
                // A user's manager is itself a unit, whose processes are services of its own.
                .find(|part| part.ends_with(".service") && !part.starts_with("user@"))
        })
        // The escapes stay: they are part of the unit's name.
        .map(str::to_owned);
    Membership {
        of_user: unit.is_some()
            && of_systemd.is_some_and(|path| path.split('/').any(|part| part.starts_with("user@"))),
        unit,
        container,
        path: of_systemd.unwrap_or_default().to_owned(),
    }
}

/// Lists the processes of a control group and of those below it, by its folder (cgroups(7)).
pub(crate) fn processes_below(folder: &Path) -> BTreeSet<i32> {
    folders_below(folder)
        .iter()
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect()
}

/// Lists a folder and all below it.
pub(crate) fn folders_below(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![top.to_owned()];
    while let Some(folder) = next.pop() {
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        next.extend(
            below
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
        found.push(folder);
    }
    found
}

fn container(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').collect();
    for (position, part) in parts.iter().enumerate().rev() {
        let bare = part.strip_suffix(".scope").unwrap_or(part);
        let before = position.checked_sub(1).and_then(|before| parts.get(before));
        for (prefix, runtime) in [
            ("docker-", "docker"),
            ("libpod-", "podman"),
            ("cri-containerd-", "containerd"),
            ("crio-", "cri-o"),
        ] {
            if let Some(id) = bare.strip_prefix(prefix).filter(|id| is_id(id)) {
                return Some(Container {
                    runtime,
                    id: id.into(),
                });
            }
        }
        let named = |runtime, id: &str| {
            let id = id.to_owned();
            Some(Container { runtime, id })
        };
        if let Some(name) = bare.strip_prefix("lxc.payload.") {
            return named("lxc", name);
        }
        match before {
            Some(&"lxc") => return named("lxc", bare),
            Some(&"docker") if is_id(bare) => return named("docker", bare),
            _ => {}
        }
        if let Some(name) = bare
            .strip_prefix("machine-")
            .filter(|_| bare.len() < part.len())
        {
            return named("machine", &unescaped(name));
        }
        if is_id(bare) && path.contains("kubepods") {
            return named("kubernetes", bare);
        }
    }
    None
}

pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A name without what systemd escapes in it: `\x2d` is a dash.
fn unescaped(name: &str) -> String {
    name.replace("\\x2d", "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f4e1c9a2b7d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";

    #[test]
    fn finds_unit_and_container() {
        let in_container = |runtime| Membership {
            container: Some(Container {
                runtime,
                id: ID.into(),
            }),
            ..Membership::default()
        };
        let unit = |name: &str, of_user| Membership {
            unit: Some(name.into()),
            of_user,
            ..Membership::default()
        };
        for (text, expected) in [
            ("0::/\n", Membership::default()),
            ("", Membership::default()),
            (
                "0::/system.slice/myapp.service\n",
                unit("myapp.service", false),
            ),
            (
                "0::/system.slice/my\\x2dapp.service/worker\n",
                unit("my\\x2dapp.service", false),
            ),
            (
                "0::/system.slice/system-app.slice/app@2.service\n",
                unit("app@2.service", false),
            ),
            (
                "0::/user.slice/user-1000.slice/session-3.scope\n",
                Membership::default(),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/dev.service\n",
                unit("dev.service", true),
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n",
                Membership::default(),
            ),
            (
                "12:pids:/system.slice/old.service\n\
                 1:name=systemd:/system.slice/old.service\n\
                 0::/\n",
                unit("old.service", false),
            ),
            (
                &format!("0::/system.slice/docker-{ID}.scope\n"),
                in_container("docker"),
            ),
            (
                &format!("4:memory:/docker/{ID}\n0::/\n"),
                in_container("docker"),
            ),
            (
                &format!(
                    "0::/user.slice/user-1000.slice/user@1000.service/user.slice/\
                     libpod-{ID}.scope/container\n"
                ),
                in_container("podman"),
            ),
            (
                &format!("0::/kubepods.slice/x.slice/cri-containerd-{ID}.scope\n"),
                in_container("containerd"),
            ),
            (
                &format!("0::/kubepods/burstable/podab12/{ID}\n"),
                in_container("kubernetes"),
            ),
        ] {
            let found = read(text);
            let path = found.path.clone();
            assert_eq!(found, Membership { path, ..expected }, "{text}");
        }
        let sliced = "4:memory:/x\n0::/app.slice/a.scope/worker\n";
        assert_eq!(read(sliced).path, "/app.slice/a.scope/worker");
        let machine = read("0::/machine.slice/machine-web\\x2d1.scope/payload\n");
        assert_eq!(machine.container.unwrap().short(), "machine web-1");
        assert_eq!(
            read("0::/lxc.payload.web/init.scope\n")
                .container
                .unwrap()
                .short(),
            "lxc web"
        );
        assert_eq!(
            in_container("docker").container.unwrap().short(),
            "docker 3f4e1c9a2b7d"
        );
    }
}
