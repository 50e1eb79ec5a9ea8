//! Control groups of our own: for the test of the kernel, and for a program that `run` starts.

use super::hierarchy::Hierarchy;
use anyhow::{Context, Result};
use log::debug;
use std::fs;
use std::path::PathBuf;

/// How the names begin, before the number of the process that it is for.
pub(crate) const TEST: &str = "libreuse-test-";
pub(crate) const RUN: &str = "libreuse-run-";

/// A group for a process, after which it is called. It is removed when this is dropped, if nobody
/// is in it.
#[derive(Debug)]
pub(crate) struct OwnGroup {
    name: String,
    folder: PathBuf,
}

impl OwnGroup {
    /// Makes a group below another, and first removes what earlier processes have left there.
    pub(crate) fn make(hierarchy: &Hierarchy, below: &str, prefix: &str, pid: u32) -> Result<Self> {
        remove_empty(hierarchy, below, prefix);
        let name = format!("{}/{prefix}{pid}", below.trim_end_matches('/'));
        let folder = hierarchy.folder(&name);
        fs::create_dir(&folder)
            .with_context(|| format!("the control group {name} can't be made, which takes root"))?;
        Ok(Self { name, folder })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Leaves it to whoever is in it.
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

/// Removes groups of ours below another, in which nobody is.
pub(crate) fn remove_empty(hierarchy: &Hierarchy, below: &str, prefix: &str) {
    let entries = fs::read_dir(hierarchy.folder(below)).into_iter().flatten();
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str() {
            let group = format!("{}/{name}", below.trim_end_matches('/'));
            remove_if_empty(hierarchy, &group, prefix);
        }
    }
}

/// Removes a group of ours in which nobody is: the kernel keeps one in which somebody is.
pub(super) fn remove_if_empty(hierarchy: &Hierarchy, group: &str, prefix: &str) {
    let number = group
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_prefix(prefix));
    // One that was just made is empty as well, until its maker has moved somebody in.
    let has_no_maker = number
        .and_then(|number| number.parse::<u32>().ok())
        .is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists());
    if has_no_maker {
        let _ = fs::remove_dir(hierarchy.folder(group));
    }
}
