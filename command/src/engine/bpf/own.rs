//! Creates control groups of our own: for the test of the kernel, and for what `run` starts.

use super::hierarchy::{self, Hierarchy};
use super::instance::not_made;
use crate::process::holders::sees_all;
use anyhow::{Context, Result};
use log::debug;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// How the names begin, before the number of the process that it is for. The same number may be
/// there in other process namespaces, as 1 is in all: in all but the machine's own the namespace's
/// number follows.
pub(crate) const TEST: &str = "libreuse-test-";
pub(crate) const RUN: &str = "libreuse-run-";

/// A group for a process, with its number in the name. Dropping this removes the group, if it is
/// empty.
#[derive(Debug)]
pub(crate) struct OwnGroup {
    name: String,
    folder: PathBuf,
}

impl OwnGroup {
    /// Creates a group below another, after removing what earlier processes have left there.
    pub(crate) fn make(hierarchy: &Hierarchy, below: &str, prefix: &str, pid: u32) -> Result<Self> {
        remove_empty(hierarchy, below, prefix);
        let mut name = format!("{}/{prefix}{pid}", below.trim_end_matches('/'));
        if let Some(namespace) = own_namespace() {
            name += &format!("-{namespace}");
        }
        let folder = hierarchy.folder(&name);
        // What an earlier process of the same number has left.
        let _ = fs::remove_dir(&folder);
        fs::create_dir(&folder).map_err(|error| match error.kind() {
            ErrorKind::NotFound => hierarchy::not_there(below),
            _ => not_made(error, &format!("the control group {name}")),
        })?;
        Ok(Self { name, folder })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps the group when this goes out of scope.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }

    /// Moves a process in.
    pub(crate) fn take_in(&self, pid: u32) -> Result<()> {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("process {pid} can't be moved into {}", self.name))
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.folder) {
            debug!("{} stays: {error}", self.name);
        }
    }
}

/// Removes empty groups of ours below another.
pub(crate) fn remove_empty(hierarchy: &Hierarchy, below: &str, prefix: &str) {
    let entries = fs::read_dir(hierarchy.folder(below)).into_iter().flatten();
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str() {
            let group = format!("{}/{name}", below.trim_end_matches('/'));
            remove_if_empty(hierarchy, &group, prefix);
        }
    }
}

/// Removes a group of ours, if it is empty (cgroup.procs).
pub(super) fn remove_if_empty(hierarchy: &Hierarchy, group: &str, prefix: &str) {
    let maker = group
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_prefix(prefix));
    // One that was just made is empty as well, until its maker has moved somebody in.
    if maker.is_some_and(has_ended) {
        let _ = fs::remove_dir(hierarchy.folder(group));
    }
}

/// Whether the process that a group is called after has ended, as far as it can be seen from here.
fn has_ended(maker: &str) -> bool {
    let (pid, namespace) = match maker.split_once('-') {
        Some((pid, namespace)) => (pid, namespace.parse().ok()),
        None => (maker, None),
    };
    let Ok(pid) = pid.parse::<u32>() else {
        return false;
    };
    match (namespace, own_namespace()) {
        (Some(namespace), None) => !is_inhabited(namespace),
        (namespace, ours) if namespace == ours => {
            // Procfs may be another namespace's.
            let is_ours = fs::read_link("/proc/self")
                .is_ok_and(|link| link.as_os_str() == std::process::id().to_string().as_str());
            is_ours && !PathBuf::from(format!("/proc/{pid}")).exists()
        }
        _ => false,
    }
}

/// Identifies our PID namespace; `None` if it is the machine's own.
fn own_namespace() -> Option<u64> {
    if sees_all() {
        return None;
    }
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?;
    Some(namespace.ino())
}

/// Whether a process is in a process namespace.
fn is_inhabited(namespace: u64) -> bool {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::metadata(process.path().join("ns/pid")).ok())
        .any(|found| found.ino() == namespace)
}
