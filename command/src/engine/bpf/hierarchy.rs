//! Finds the cgroup v2 hierarchy (cgroups(7)), and the cgroup of a process.

use anyhow::{Context, Result, anyhow, bail};
use procfs::process::Process;
use rustix::fs::{Mode, OFlags, open};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The mount point of the hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    root: PathBuf,
}

impl Hierarchy {
    /// Finds the hierarchy in `/proc/self/mountinfo`.
    pub(crate) fn find() -> Result<Self> {
        let mounts = Process::myself()
            .and_then(|process| process.mountinfo())
            .context("our mounts can't be read (/proc/self/mountinfo)")?;
        let mut roots: Vec<(bool, PathBuf)> = mounts
            .into_iter()
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
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
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

    /// Resolves a typed cgroup: `/docker`, `docker`, or its path below the mount point.
    pub(crate) fn group(&self, typed: &str) -> Result<String> {
        let below = Path::new(typed)
            .strip_prefix(&self.root)
            .unwrap_or(Path::new(typed));
        if typed.is_empty() {
            // As of a variable that is not set: not the whole machine.
            bail!("the name of the control group is empty; expected one such as /docker, or /");
        }
        let relative = below.strip_prefix("/").unwrap_or(below);
        // Without `.` and `//`: a group is recorded by this name.
        let group: PathBuf = Path::new("/").join(relative).components().collect();
        let is_plain = group
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
        let name = group.to_str().context("it is not UTF-8")?.to_owned();
        if !is_plain || !self.folder(&name).join("cgroup.procs").exists() {
            bail!(
                "there is no control group {name} below {}; `systemd-cgls` shows them",
                self.root.display()
            );
        }
        Ok(name)
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
            error if error.kind() == io::ErrorKind::NotFound => gone(group),
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
        let mut found = Vec::new();
        let mut next = vec![String::from("/")];
        while let Some(group) = next.pop() {
            let below = fs::read_dir(self.folder(&group)).into_iter().flatten();
            for entry in below.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    next.push(format!("{}/{name}", group.trim_end_matches('/')));
                }
            }
            found.push(group);
        }
        found.sort();
        found
    }

    /// Lists the processes of a cgroup and of its descendants.
    pub(crate) fn processes(&self, group: &str) -> Vec<i32> {
        let prefix = format!("{}/", group.trim_end_matches('/'));
        self.all()
            .iter()
            .filter(|other| *other == group || other.starts_with(&prefix))
            .filter_map(|group| fs::read_to_string(self.folder(group).join("cgroup.procs")).ok())
            .flat_map(|text| {
                text.lines()
                    .filter_map(|line| line.parse().ok())
                    .collect::<Vec<i32>>()
            })
            .collect()
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
