//! The network namespace that is looked at, and what its settings say about ports.

use anyhow::{Context, Result};
use procfs::process::Process;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, test_kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::ops::RangeInclusive;
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
    let file = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .with_context(|| format!("the network namespace of process {pid} can't be opened"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).with_context(|| {
        format!("the network namespace of process {pid} can't be entered; root can")
    })
}

/// The ports that the kernel hands out by itself: an outgoing connection may sit on any of them.
pub(crate) fn handed_out() -> RangeInclusive<u16> {
    let read = || {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut ends = text.split_whitespace().map(str::parse::<u16>);
        Some(ends.next()?.ok()?..=ends.next()?.ok()?)
    };
    // What Linux starts with (ip(7)).
    read().unwrap_or(32768..=60999)
}

/// The lowest port that a program without privileges may bind.
pub(crate) fn lowest_unprivileged() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1024)
}

/// A process by its number, in words that help if there is none.
pub(crate) fn process(pid: u32) -> Result<Process> {
    i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok())
        .filter(Process::is_alive)
        .with_context(|| {
            if exists(pid) {
                format!("process {pid} is there, but not in /proc: that is mounted with hidepid, or not at all")
            } else {
                format!("there is no process {pid}; `pgrep -a NAME` finds one by its name")
            }
        })
}

/// Whether there is such a process, as the kernel says and not /proc.
fn exists(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| {
            matches!(
                test_kill_process(pid),
                Ok(()) | Err(rustix::io::Errno::PERM)
            )
        })
}
