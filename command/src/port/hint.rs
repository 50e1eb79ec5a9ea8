//! The next commands to type, for each cause.

use super::cause::{self, Bound, Cause, Connected, Leftovers, Listening};
use super::direction::Direction;
use super::socket::Socket;
use crate::net::sock_diag::TcpState;
use crate::net::{reset, sysctl};
use crate::output::typed;
use crate::process::holders::Holder;
use crate::process::manager::{ByPid, Manager};
use crate::process::tree;
use rustix::process::{geteuid, getuid};
use serde::Serialize;
use std::net::IpAddr;

/// A command to type, and what it does.
#[derive(Debug, Serialize)]
pub(crate) struct Hint {
    pub(crate) command: String,
    pub(crate) purpose: String,
}

/// Which network and address a question is about, so that the hints are about the same.
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

    /// The command `arm`, for a user who may trace these processes.
    pub(crate) fn arm(self, port: u16, holders: &[Holder]) -> String {
        let command = format!("reuseaddr arm {port}");
        match self.pid {
            Some(_) => self.as_root(&command),
            None => as_owner(holders, &command),
        }
    }

    /// Prefixes nsenter(1) and sudo, for a command that has no `--pid`.
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

/// Prefixes sudo unless all holders are our own processes.
fn as_owner(holders: &[Holder], command: &str) -> String {
    let own = getuid();
    let is_ours = |holder: &Holder| holder.info.uid == Some(own.as_raw());
    if holders.iter().all(is_ours) {
        command.to_owned()
    } else {
        as_root(command)
    }
}

/// Prefixes sudo unless we are root.
pub(crate) fn as_root(command: &str) -> String {
    if geteuid().is_root() {
        command.to_owned()
    } else {
        format!("sudo {command}")
    }
}

fn hint(command: impl Into<String>, purpose: impl Into<String>) -> Hint {
    Hint {
        command: typed::command_line(&command.into()),
        purpose: purpose.into(),
    }
}

/// The hints for a cause, best first. `managers` are those of the holders.
pub(crate) fn hints(cause: &Cause, port: u16, scope: Scope, managers: &ByPid) -> Vec<Hint> {
    match cause {
        Cause::Free { .. } | Cause::NoAddress | Cause::Unknown => Vec::new(),
        Cause::Privileged { .. } => privileged(port, scope),
        Cause::Listening(it) => listening(it, port, scope, managers),
        Cause::Bound(Bound {
            sockets, holders, ..
        }) => {
            let mut hints = see_as_root(port, sockets, scope);
            hints.extend(stop(port, holders, scope, managers));
            hints
        }
        Cause::Reusable { .. } => vec![hint(
            "reuseaddr run PROGRAM",
            "starts PROGRAM, whose bind succeeds at once",
        )],
        Cause::Connected(it) => connected(it, port, scope),
        Cause::Leftovers(it) => leftovers(it, port, scope),
    }
}

fn privileged(port: u16, scope: Scope) -> Vec<Hint> {
    let lower = format!("sysctl -w net.ipv4.ip_unprivileged_port_start={port}");
    vec![
        hint(scope.status(&port.to_string()), "finds out as root"),
        hint(
            scope.as_root(&lower),
            "lets every program bind it; file capabilities (setcap) would keep the library out",
        ),
    ]
}

fn listening(it: &Listening, port: u16, scope: Scope, managers: &ByPid) -> Vec<Hint> {
    let mut hints = see_as_root(port, &it.sockets, scope);
    if let Some(systemd) = it.holders.iter().find(|holder| &*holder.name == "systemd") {
        let user = if systemd.pid == 1 { "" } else { " --user" };
        hints.push(hint(
            format!("systemctl{user} list-sockets"),
            "shows which socket unit has bound it: stop that one to free the port",
        ));
        return hints;
    }
    if it.holders.is_empty() {
        return hints;
    }
    if it.may_be_shared() {
        hints.push(hint(
            "reuseaddr run --reuseport on PROGRAM",
            "starts another copy that shares the port",
        ));
    }
    hints.extend(stop(port, &it.holders, scope, managers));
    // A process that publishes a container's port is no server itself.
    let is_proxy = |holder: &Holder| {
        let manager = managers.get(&holder.pid);
        holder.info.container.is_none() && manager.is_some_and(Manager::is_engine)
    };
    if !it.holders.iter().all(is_proxy) {
        hints.push(restart(it, port, scope));
    }
    hints
}

/// The command with which a listener's next start succeeds.
fn restart(it: &Listening, port: u16, scope: Scope) -> Hint {
    if it.carries_reuse_address() {
        let purpose = if it.has_leftovers {
            "once it has exited: gets the port, unless some of the above lack SO_REUSEADDR"
        } else {
            "once it has exited: gets the port at once"
        };
        hint("reuseaddr run PROGRAM", purpose)
    } else {
        let purpose = if it.has_leftovers {
            "if it is to be restarted: what it leaves from then on can be bound over"
        } else {
            "if it is to be restarted: then `reuseaddr run` gets the port at once"
        };
        hint(scope.arm(port, &it.holders), purpose)
    }
}

/// How the holders are stopped: by their manager, which would start them again, or else by `free`.
fn stop(port: u16, holders: &[Holder], scope: Scope, managers: &ByPid) -> Vec<Hint> {
    let mut hints: Vec<Hint> = Vec::new();
    let mut unmanaged = Vec::new();
    for holder in tree::eldest(holders) {
        let manager = managers.get(&holder.pid);
        if let Some(manager) = manager {
            let command = manager.stop_command();
            if !hints.iter().any(|given| given.command == command) {
                hints.push(hint(command, manager.purpose()));
            }
        }
        if holder.pid != 1 && manager.is_none_or(|manager| !manager.is_certain()) {
            unmanaged.push(holder.clone());
        }
    }
    if let Some(first) = unmanaged.first() {
        let command = format!("reuseaddr free {port}");
        let command = match scope.pid {
            Some(_) => scope.as_root(&command),
            None => as_owner(&unmanaged, &command),
        };
        let purpose = format!("stops {} (if it should no longer be running)", first.name);
        hints.push(hint(command, purpose));
    }
    hints
}

fn connected(it: &Connected, port: u16, scope: Scope) -> Vec<Hint> {
    let mut hints = see_as_root(port, &[it.first], scope);
    if it.is_ephemeral {
        hints.push(reserve(port, scope));
    }
    let purpose = if it.first.direction == Some(Direction::Outbound) {
        "sets SO_REUSEADDR on the connection: then `reuseaddr run` gets the port at once"
    } else {
        "sets SO_REUSEADDR on what is open: then `reuseaddr run` gets the port at once"
    };
    hints.push(hint(scope.arm(port, &it.first.holders), purpose));
    hints
}

fn leftovers(it: &Leftovers, port: u16, scope: Scope) -> Vec<Hint> {
    let sockets = &it.sockets;
    let is_common =
        |socket: &&Socket| matches!(socket.state, TcpState::TimeWait | TcpState::FinWait2);
    let needs_no_privileges = scope.pid.is_none() && can_be_reset(sockets);
    let can_be_destroyed =
        scope.pid.is_none() && getuid().is_root() && sockets.iter().all(is_common);
    let mut hints = Vec::new();
    if needs_no_privileges || can_be_destroyed {
        hints.push(hint(
            format!("reuseaddr run --evict --ports {port} PROGRAM"),
            "clears the leftovers, and starts PROGRAM",
        ));
        hints.push(hint(
            format!("reuseaddr evict {port}"),
            "clears the leftovers at once",
        ));
    }
    if !needs_no_privileges {
        let seconds = seconds_to_wait(cause::longest(sockets).unwrap_or(60_000));
        let purpose = if sockets.iter().all(|socket| socket.left_ms.is_some()) {
            "starts PROGRAM now; its bind waits for the port, this once"
        } else {
            "starts PROGRAM now; its bind waits that long for the port, which may not be enough"
        };
        hints.push(hint(
            format!("reuseaddr run --wait {seconds}s PROGRAM"),
            purpose,
        ));
        if !can_be_destroyed && sockets.iter().any(is_common) {
            hints.push(hint(
                scope.evict("", port),
                "clears TIME_WAIT and FIN_WAIT2 at once",
            ));
        }
    }
    if !sockets.iter().all(is_common) {
        hints.push(hint(
            scope.evict(" --all-states", port),
            "clears the rest too; what the peer has not got yet is lost",
        ));
    }
    if it.is_ephemeral {
        hints.push(reserve(port, scope));
    }
    hints
}

/// Whether all of these can be cleared from their peers' side.
fn can_be_reset(leftovers: &[&Socket]) -> bool {
    let ends = leftovers
        .iter()
        .filter_map(|socket| Some((socket.local.into(), socket.peer?.into())));
    let mut states = leftovers.iter().map(|socket| socket.state);
    states.all(|state| state == TcpState::TimeWait) && reset::needs_no_privileges(ends)
}

/// The value of `--wait` for what expires in this time: TIME_WAIT may last two seconds longer.
pub(crate) fn seconds_to_wait(left_ms: u32) -> u32 {
    (left_ms.div_ceil(1000) + 3).next_multiple_of(5)
}

/// Without privileges we see that a process holds a socket, and not which.
fn see_as_root(port: u16, sockets: &[&Socket], scope: Scope) -> Vec<Hint> {
    let is_hidden = |socket: &&Socket| socket.holders.is_empty() && socket.is_open();
    if sockets.iter().any(is_hidden) && !getuid().is_root() {
        vec![hint(
            scope.status(&port.to_string()),
            "shows which process that is",
        )]
    } else {
        Vec::new()
    }
}

/// How to keep outgoing connections off a port.
fn reserve(port: u16, scope: Scope) -> Hint {
    let reserved = sysctl::read("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    let separator = if reserved.is_empty() { "" } else { "," };
    hint(
        scope.as_root(&format!(
            "sysctl -w net.ipv4.ip_local_reserved_ports={reserved}{separator}{port}"
        )),
        "keeps outgoing connections off the port from now on",
    )
}
