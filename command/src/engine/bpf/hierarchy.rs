//! Finds the cgroup v2 hierarchy (cgroups(7)), and the cgroup of a process.

use crate::output::readable;
use crate::process::cgroup;
use crate::sys::proc;
use anyhow::{Context, Result, anyhow, bail};
use procfs::process::MountInfo;
use rustix::fs::{Mode, OFlags, open};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The mount point of the hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    root: PathBuf,
}

impl Hierarchy {
    /// Finds the hierarchy in `/proc/self/mountinfo`.
    pub(crate) fn find() -> Result<Self> {
        let mounts = fs::read("/proc/self/mountinfo")
            .context("our mounts can't be read (/proc/self/mountinfo)")?;
        let mut roots: Vec<(bool, PathBuf)> = String::from_utf8_lossy(&mounts)
            .lines()
            .filter_map(|line| MountInfo::from_line(line).ok())
            .filter(|mount| mount.fs_type == "cgroup2")
            .map(|mount| (mount.root != "/", mount.mount_point))
            .collect();
        // A mount of the whole hierarchy comes first.
        roots.sort();
        match roots.into_iter().next() {
            Some((false, root)) => Ok(Self { root }),
            Some((true, root)) => bail!(
                "only part of the cgroup hierarchy is visible at {}: run this on the host, not in \
                 a container",
                root.display()
            ),
            None => bail!(
                "no cgroup2 file system is mounted, and BPF programs are attached to its groups: \
                 `mount -t cgroup2 none DIRECTORY` mounts it where the kernel has it"
            ),
        }
    }

    /// Returns the cgroup of a process, for example `/system.slice/web.service`.
    pub(crate) fn of_process(pid: u32) -> Result<String> {
        Self::of(&pid.to_string())
    }

    /// Returns our own cgroup. By `/proc/self`: if `/proc` is of another PID namespace, our pid is
    /// another process there.
    pub(crate) fn own() -> Result<String> {
        Self::of("self")
    }

    fn of(process: &str) -> Result<String> {
        let path = format!("/proc/{process}/cgroup");
        let text = proc::text(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                anyhow!("there is no process {process}; `pgrep -a NAME` finds one by its name")
            }
            _ => anyhow!(error).context(format!("{path} can't be read")),
        })?;
        let group = text
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .with_context(|| format!("process {process} is in no group of cgroup v2 ({path})"))?;
        if group.starts_with("/..") {
            bail!("the cgroup of process {process} is outside our cgroup namespace: {group}");
        }
        Ok(group.trim_end_matches(" (deleted)").to_owned())
    }

    /// Returns our own cgroup. In a unit with `Delegate=yes` it is the unit's: systemd starts its
    /// ExecStartPre= in a child cgroup `.control`.
    pub(crate) fn own_unit() -> Result<String> {
        let group = Self::own()?;
        Ok(group
            .strip_suffix("/.control")
            .map_or_else(|| group.clone(), str::to_owned))
    }

    /// Resolves a typed cgroup: `/docker`, `docker`, or the path of its directory, which may begin
    /// here (`./docker`) or be a symbolic link.
    pub(crate) fn group(&self, typed: &Path) -> Result<String> {
        if typed.as_os_str().is_empty() {
            // As of a variable that is not set: not the whole machine.
            bail!("the name of the control group is empty; expected one such as /docker, or /");
        }
        let begins_here = matches!(
            typed.components().next(),
            Some(Component::CurDir | Component::ParentDir)
        );
        let within = self.root.join(self.below_root(typed));
        let found = [(!begins_here).then_some(within.as_path()), Some(typed)]
            .into_iter()
            .flatten()
            .filter_map(|place| fs::canonicalize(place).ok())
            .filter(|place| place.join("cgroup.procs").exists())
            .find_map(|place| Some(place.strip_prefix(&self.root).ok()?.to_owned()));
        let Some(found) = found else {
            bail!(
                "there is no control group {} below {}; `systemd-cgls` shows them",
                shown(typed),
                self.root.display()
            );
        };
        let name = found.to_str().map(|name| format!("/{name}"));
        name.with_context(|| not_utf8(&shown(&found)))
    }

    /// What a typed cgroup would be called, whether it is there or not.
    pub(crate) fn name(&self, typed: &Path) -> String {
        let parts: PathBuf = self.below_root(typed).components().collect();
        format!("/{}", parts.display())
    }

    /// A typed path without the mount point before it.
    fn below_root<'a>(&self, typed: &'a Path) -> &'a Path {
        let below = typed.strip_prefix(&self.root).unwrap_or(typed);
        below.strip_prefix("/").unwrap_or(below)
    }

    /// The directory of a cgroup.
    pub(crate) fn folder(&self, group: &str) -> PathBuf {
        self.root.join(group.trim_start_matches('/'))
    }

    /// Opens the directory of a cgroup.
    pub(crate) fn open(&self, group: &str) -> Result<OwnedFd> {
        let folder = self.folder(group);
        open(
            &folder,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| match io::Error::from(error) {
            error if error.kind() == io::ErrorKind::NotFound => not_there(group),
            error => anyhow!(error).context(format!("the control group {group} can't be opened")),
        })
    }

    /// A cgroup and its ancestors, the nearest first.
    pub(crate) fn upwards(group: &str) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(group), |group| {
            let (above, _) = group.rsplit_once('/')?;
            match above {
                "" if *group == "/" => None,
                "" => Some("/"),
                above => Some(above),
            }
        })
    }

    /// Lists all cgroups, parents before children. One that is removed meanwhile may still be
    /// listed.
    pub(crate) fn all(&self) -> Vec<String> {
        let mut found: Vec<String> = cgroup::folders_below(&self.root)
            .iter()
            .filter_map(|folder| folder.strip_prefix(&self.root).ok())
            .map(|below| format!("/{}", below.display()))
            .collect();
        found.sort();
        found
    }
}

fn shown(path: &Path) -> String {
    readable(path.as_os_str().as_bytes())
}

fn not_utf8(group: &str) -> String {
    format!("the name of the control group {group} is not UTF-8: attach at one above it")
}

/// The error for the cgroup of a process that can't be found by the name that we have for it.
pub(super) fn not_there(group: &str) -> anyhow::Error {
    if group.contains(char::REPLACEMENT_CHARACTER) {
        anyhow!(not_utf8(group))
    } else {
        gone(group)
    }
}

/// The error for a cgroup that has just been removed.
pub(super) fn gone(group: &str) -> anyhow::Error {
    anyhow!("the control group {group} is gone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_up_to_the_root() {
        for (group, expected) in [
            ("/", vec!["/"]),
            ("/a", vec!["/a", "/"]),
            ("/a/b.service", vec!["/a/b.service", "/a", "/"]),
        ] {
            assert_eq!(Hierarchy::upwards(group).collect::<Vec<_>>(), expected);
        }
    }
}
