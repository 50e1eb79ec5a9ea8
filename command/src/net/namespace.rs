//! The network namespace that is looked at.

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// The name of our network namespace, as `lsns` has it: `net:[4026531840]`.
pub(crate) fn namespace() -> String {
    namespace_of("self").unwrap_or_else(|| "unknown".into())
}

/// The name of a process's network namespace, if we may know it.
pub(crate) fn namespace_of(process: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{process}/ns/net")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Goes into the network namespace of a process, as a container's: its ports are other ports.
pub(crate) fn enter(pid: u32) -> Result<()> {
    if namespace_of(&pid.to_string()).is_some_and(|theirs| theirs == namespace()) {
        return Ok(());
    }
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let file = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).with_context(|| {
        format!(
            "the network namespace of process {pid} can't be opened; that takes root, with \
                 CAP_SYS_PTRACE"
        )
    })?;
    enter_file(&file).with_context(|| {
        format!("the network namespace of process {pid} can't be entered; root can")
    })
}

/// Goes into a network namespace by its file (setns(2)).
pub(crate) fn enter_file(file: impl AsFd) -> rustix::io::Result<()> {
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
}
