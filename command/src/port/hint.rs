//! The next command to type.

use super::socket::Socket;
use crate::net::sysctl;
use crate::output::typed;
use crate::process::holders::Holder;
use rustix::process::{geteuid, getuid};
use serde::Serialize;
use std::net::IpAddr;

/// A command to type, and what it is good for.
#[derive(Debug, Serialize)]
pub(crate) struct Advice {
    pub(crate) command: String,
    pub(crate) purpose: String,
}

/// Whose ports are looked at, so that a command that is advised looks at the same.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope {
    /// A process in the network in question, if that is not ours.
    pub(crate) pid: Option<u32>,
    /// The address that is to be bound, if not all.
    pub(crate) address: Option<IpAddr>,
}

impl Scope {
    pub(crate) fn status(self, ports: &str) -> String {
        let address = self
            .address
            .map_or(String::new(), |address| format!(" --address {address}"));
        as_root(&format!(
            "reuseaddr status{}{address} {ports}",
            self.option()
        ))
    }

    pub(crate) fn evict(self, options: &str, port: u16) -> String {
        as_root(&format!("reuseaddr evict{}{options} {port}", self.option()))
    }

    /// `arm`, as somebody may type it who may trace these processes.
    pub(crate) fn arm(self, port: u16, holders: &[Holder]) -> String {
        let command = format!("reuseaddr arm {port}");
        match self.pid {
            Some(_) => self.as_root(&command),
            None => as_owner(holders, &command),
        }
    }

    /// A command that has no option for it.
    pub(crate) fn as_root(self, command: &str) -> String {
        match self.pid {
            Some(pid) => as_root(&format!("nsenter --net --target {pid} {command}")),
            None => as_root(command),
        }
    }

    fn option(self) -> String {
        self.pid
            .map_or(String::new(), |pid| format!(" --pid {pid}"))
    }
}

/// A command that takes the holders' own right, or root's.
pub(crate) fn as_owner(holders: &[Holder], command: &str) -> String {
    let own = getuid();
    let is_ours = |holder: &Holder| holder.info.uid == Some(own.as_raw());
    if holders.iter().all(is_ours) {
        command.to_owned()
    } else {
        as_root(command)
    }
}

/// A command that takes root.
pub(crate) fn as_root(command: &str) -> String {
    if geteuid().is_root() {
        command.to_owned()
    } else {
        format!("sudo {command}")
    }
}

pub(crate) fn advise(command: impl Into<String>, purpose: impl Into<String>) -> Advice {
    Advice {
        command: typed::command_line(&command.into()),
        purpose: purpose.into(),
    }
}

/// How long `--wait` should be for what has so long to go: TIME_WAIT ends up to two seconds after
/// its time.
pub(crate) fn seconds_to_wait(left_ms: u32) -> u32 {
    (left_ms.div_ceil(1000) + 3).next_multiple_of(5)
}

/// Without rights we see that somebody holds a socket, and not who.
pub(crate) fn see_as_root(port: u16, socket: &Socket, scope: Scope) -> Vec<Advice> {
    if socket.holders.is_empty() && socket.inode != 0 && !getuid().is_root() {
        vec![advise(
            scope.status(&port.to_string()),
            "shows which process that is",
        )]
    } else {
        Vec::new()
    }
}

/// How to keep outgoing connections off a port.
pub(crate) fn reserve(port: u16, scope: Scope) -> Advice {
    let reserved = sysctl::read("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    let separator = if reserved.is_empty() { "" } else { "," };
    advise(
        scope.as_root(&format!(
            "sysctl -w net.ipv4.ip_local_reserved_ports={reserved}{separator}{port}"
        )),
        "keeps outgoing connections off the port from now on",
    )
}
