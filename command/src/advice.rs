//! The verdict on a port: whether it can be bound, what is in the way, and the next command to type.

use super::output::{self, BAD, GOOD, UNSURE, count, list, paragraph, styled};
use super::probe::{Outcome, Probe};
use super::status::{Direction, Socket};
use super::{diag::State, network};
use rustix::io::Errno;
use rustix::process::getuid;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What can be said of a port.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    kind: Kind,
    /// One sentence or two.
    summary: String,
    probes: Vec<Probe>,
    /// When what is in the way is gone by itself, if that can be said. TIME_WAIT may last two seconds longer.
    free_in_ms: Option<u32>,
    advice: Vec<Advice>,
}

/// What is in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Nothing: a plain bind succeeds.
    Free,
    /// Leftovers that carry `SO_REUSEADDR`: a bind with the flag succeeds.
    Reusable,
    /// Leftovers without it: they have to go first.
    Leftover,
    /// Live connections without it, and no listener.
    Connected,
    /// A listener.
    Listening,
    /// A socket that is bound and neither listening nor connected.
    Bound,
    /// We may not bind it at all, so only what holds it is known.
    Denied,
    /// Something that the kernel does not tell of.
    Unknown,
}

/// A command to type, and what it is good for.
#[derive(Debug, Serialize)]
struct Advice {
    command: String,
    purpose: String,
}

impl Verdict {
    /// Whether a plain bind succeeds.
    pub(super) fn is_free(&self) -> bool {
        self.kind == Kind::Free
    }

    /// The verdict for people.
    pub(super) fn text(&self, port: u16) -> String {
        let (style, word) = match self.kind {
            Kind::Free => (GOOD, "free"),
            Kind::Reusable => (GOOD, "free with SO_REUSEADDR"),
            Kind::Denied | Kind::Unknown => (UNSURE, "not to be had"),
            Kind::Leftover | Kind::Connected | Kind::Listening | Kind::Bound => (BAD, "busy"),
        };
        let mut text = paragraph(
            "",
            "",
            &format!("Port {port} is {}. {}", styled(style, word), self.summary),
        );
        if self.kind != Kind::Free {
            for (name, outcome) in [
                ("bind", plain as fn(&Probe) -> Outcome),
                ("bind with SO_REUSEADDR", reuse),
            ] {
                let results: Vec<String> = self
                    .probes
                    .iter()
                    .map(|probe| format!("{} on {}", outcome(probe).name(), probe.address))
                    .collect();
                text += &paragraph("  ", "    ", &format!("{name}: {}", results.join(", ")));
            }
        }
        if !self.advice.is_empty() {
            text += "What to do:\n";
            for advice in &self.advice {
                text += &output::command(&advice.command, &advice.purpose);
            }
        }
        text
    }
}

fn plain(probe: &Probe) -> Outcome {
    probe.plain
}

fn reuse(probe: &Probe) -> Outcome {
    probe.reuse
}

/// Whose ports are looked at, so that a command that is advised looks at the same.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope {
    /// A process in the network in question, if that is not ours.
    pub(super) pid: Option<u32>,
    /// The address that is to be bound, if not all.
    pub(super) address: Option<IpAddr>,
}

impl Scope {
    fn status(self, port: u16) -> String {
        let address = self
            .address
            .map_or(String::new(), |address| format!(" --address {address}"));
        format!("sudo reuseaddr status{}{address} {port}", self.option())
    }

    fn evict(self, options: &str, port: u16) -> String {
        format!("sudo reuseaddr evict{}{options} {port}", self.option())
    }

    fn arm(self, port: u16) -> String {
        match self.pid {
            Some(_) => self.as_root(&format!("reuseaddr arm --port {port}")),
            None => format!("reuseaddr arm --port {port}"),
        }
    }

    /// A command that has no option for it.
    fn as_root(self, command: &str) -> String {
        match self.pid {
            Some(pid) => format!("sudo nsenter --net --target {pid} {command}"),
            None => format!("sudo {command}"),
        }
    }

    fn option(self) -> String {
        self.pid
            .map_or(String::new(), |pid| format!(" --pid {pid}"))
    }
}

/// How long `--wait` should be for what has so long to go: TIME_WAIT ends up to two seconds after its time.
pub(super) fn seconds_to_wait(left_ms: u32) -> u32 {
    (left_ms.div_ceil(1000) + 3).next_multiple_of(5)
}

/// Judges a port by what was found on it, and by what came of binding it.
pub(super) fn verdict(
    port: u16,
    sockets: &[&Socket],
    probes: Vec<Probe>,
    handed_out: &RangeInclusive<u16>,
    scope: Scope,
) -> Verdict {
    let all = |outcome: fn(&Probe) -> Outcome| {
        !probes.is_empty() && probes.iter().all(|probe| outcome(probe) == Outcome::Bound)
    };
    let denied = probes
        .iter()
        .any(|probe| probe.plain == Outcome::Failed(Errno::ACCESS));
    let absent = probes
        .iter()
        .any(|probe| probe.plain == Outcome::Failed(Errno::ADDRNOTAVAIL));
    let all_of = |which: fn(&Socket) -> bool| -> Vec<&Socket> {
        let sockets = sockets.iter().copied();
        sockets.filter(|socket| which(socket)).collect()
    };
    let in_state = |state| sockets.iter().find(|socket| socket.state == state);
    let leftovers = all_of(|socket| socket.leftover);
    let connections = all_of(|socket| socket.peer.is_some() && !socket.leftover);

    let (kind, summary, advice) = if all(plain) {
        let summary = if sockets.is_empty() {
            "A plain bind succeeds.".into()
        } else {
            "A plain bind succeeds: what is there is in nobody's way.".into()
        };
        (Kind::Free, summary, Vec::new())
    } else if absent {
        let summary =
            "This machine does not have that address; `ip address` shows those that it has.";
        (Kind::Denied, summary.into(), Vec::new())
    } else if let Some(listener) = in_state(State::Listen) {
        listening(port, listener, scope)
    } else if denied {
        refused(port, scope)
    } else if all(reuse) {
        reusable(sockets)
    } else if let Some(bound) = in_state(State::Bound) {
        (
            Kind::Bound,
            format!(
                "{} has bound it and may listen any time; it has to go first.",
                bound.held_by()
            ),
            see_as_root(port, bound, scope),
        )
    } else if let Some(connection) = connections.first() {
        connected(
            port,
            connection,
            connections.len(),
            &leftovers,
            handed_out,
            scope,
        )
    } else if leftovers.is_empty() {
        let summary = "The kernel does not tell what holds it: perhaps a socket that is bound and neither listens nor \
                       is connected. The program that has it open has to go first.";
        (Kind::Unknown, summary.into(), Vec::new())
    } else {
        left_behind(port, &leftovers, handed_out, scope)
    };

    let timed = !leftovers.is_empty()
        && matches!(kind, Kind::Leftover | Kind::Reusable)
        && connections.is_empty()
        && leftovers.iter().all(|socket| socket.left_ms.is_some());
    let free_in_ms = if timed { longest(&leftovers) } else { None };
    Verdict {
        kind,
        summary,
        probes,
        free_in_ms,
        advice,
    }
}

fn longest(leftovers: &[&Socket]) -> Option<u32> {
    leftovers.iter().filter_map(|socket| socket.left_ms).max()
}

/// `3 TIME_WAIT and 1 FIN_WAIT2`.
fn by_state(sockets: &[&Socket]) -> String {
    let mut numbers = BTreeMap::new();
    for socket in sockets {
        *numbers.entry(socket.state).or_insert(0) += 1;
    }
    list(
        &numbers
            .into_iter()
            .map(|(state, number): (State, usize)| format!("{number} {}", state.name()))
            .collect::<Vec<_>>(),
    )
}

fn advise(command: impl Into<String>, purpose: impl Into<String>) -> Advice {
    Advice {
        command: command.into(),
        purpose: purpose.into(),
    }
}

/// Without rights we see that somebody holds a socket, and not who.
fn see_as_root(port: u16, socket: &Socket, scope: Scope) -> Vec<Advice> {
    if socket.holders.is_empty() && socket.inode != 0 && !getuid().is_root() {
        vec![advise(scope.status(port), "shows which process that is")]
    } else {
        Vec::new()
    }
}

fn listening(port: u16, listener: &Socket, scope: Scope) -> (Kind, String, Vec<Advice>) {
    let mut summary = format!(
        "{} listens on it, and no option takes a port from a listener.",
        listener.held_by()
    );
    let mut advice = see_as_root(port, listener, scope);
    let holders = &listener.holders;
    if holders.len() > 1 {
        // The first process of a daemon has that parent too, but has its own children here.
        let orphans: Vec<String> = holders
            .iter()
            .filter(|holder| {
                holder.parent == 1
                    && !holders
                        .iter()
                        .any(|other| other.pid == holder.parent || other.parent == holder.pid)
            })
            .map(|holder| holder.pid.to_string())
            .collect();
        summary += " The processes share one listener, and the port stays taken until the last of them has gone";
        let lost = match orphans.len() {
            0 => ".".into(),
            1 => format!("; pid {} has lost its parent.", list(&orphans)),
            _ => format!("; pids {} have lost their parent.", list(&orphans)),
        };
        summary += &lost;
    }
    if let Some(manager) = holders.iter().find(|holder| holder.name == "systemd") {
        let user = if manager.pid == 1 { "" } else { " --user" };
        advice.push(advise(
            format!("systemctl{user} list-sockets"),
            "shows which socket unit has bound it: stop that one to free the port",
        ));
    } else if let Some(holder) = holders.first() {
        let pids: Vec<String> = holders
            .iter()
            .map(|holder| holder.pid.to_string())
            .collect();
        advice.push(advise(
            format!("kill {}", pids.join(" ")),
            format!("if {} is not meant to run any more", holder.name),
        ));
        advice.push(advise(
            scope.arm(port),
            "if it is to be restarted: then `reuseaddr run` gets the port at once",
        ));
    }
    (Kind::Listening, summary, advice)
}

fn refused(port: u16, scope: Scope) -> (Kind, String, Vec<Advice>) {
    let lowest = network::lowest_unprivileged();
    let summary =
        format!("Ports below {lowest} may be bound by root only, or with CAP_NET_BIND_SERVICE.");
    let advice = vec![
        advise(scope.status(port), "finds out as root"),
        advise(
            scope.as_root(&format!(
                "sysctl -w net.ipv4.ip_unprivileged_port_start={port}"
            )),
            "lets every program bind it; file capabilities (setcap) would keep the library out",
        ),
    ];
    (Kind::Denied, summary, advice)
}

fn reusable(all: &[&Socket]) -> (Kind, String, Vec<Advice>) {
    let summary = format!(
        "{} in the way of a plain bind: {}. With SO_REUSEADDR a bind succeeds now.",
        if all.is_empty() {
            "Something is"
        } else {
            "Earlier connections are"
        },
        if all.is_empty() {
            "the kernel does not tell what".into()
        } else {
            by_state(all)
        },
    );
    (
        Kind::Reusable,
        summary,
        vec![advise(
            "reuseaddr run PROGRAM",
            "starts PROGRAM, whose bind succeeds at once",
        )],
    )
}

fn connected(
    port: u16,
    connection: &Socket,
    number: usize,
    leftovers: &[&Socket],
    handed_out: &RangeInclusive<u16>,
    scope: Scope,
) -> (Kind, String, Vec<Advice>) {
    let peer = connection
        .peer
        .map(|peer| peer.to_string())
        .unwrap_or_default();
    let holder = connection.held_by();
    let more = if leftovers.is_empty() {
        String::new()
    } else {
        format!(" There is also {}.", by_state(leftovers))
    };
    let mut advice = see_as_root(port, connection, scope);
    if connection.direction == Some(Direction::Outbound) {
        let was_given = handed_out.contains(&port);
        if was_given {
            advice.push(reserve(port, scope));
        }
        advice.push(advise(
            scope.arm(port),
            "sets SO_REUSEADDR on the connection: then `reuseaddr run` gets the port at once",
        ));
        let summary = format!(
            "Nobody listens, but an outgoing connection of {holder} to {peer} {}. The port is free when that connection \
             has ended and its TIME_WAIT is over.{more}",
            if was_given {
                "was given this port by the kernel"
            } else {
                "comes from this port"
            }
        );
        return (Kind::Connected, summary, advice);
    }
    advice.push(advise(
        scope.arm(port),
        "sets SO_REUSEADDR on what is open: then `reuseaddr run` gets the port at once",
    ));
    let summary = format!(
        "Nobody listens, but {} without SO_REUSEADDR {} open, the first held by {holder} with {peer}.{more}",
        count(number, "connection", "connections"),
        if number == 1 { "is still" } else { "are still" },
    );
    (Kind::Connected, summary, advice)
}

fn left_behind(
    port: u16,
    leftovers: &[&Socket],
    handed_out: &RangeInclusive<u16>,
    scope: Scope,
) -> (Kind, String, Vec<Advice>) {
    let outbound = leftovers
        .iter()
        .filter(|socket| socket.direction == Some(Direction::Outbound))
        .count();
    let who = if outbound == leftovers.len() {
        "Outgoing connections"
    } else {
        "Earlier connections"
    };
    let mut summary = format!(
        "{who} left {} behind without SO_REUSEADDR, so that a bind fails whatever it sets",
        by_state(leftovers)
    );
    let untimed: Vec<&Socket> = leftovers
        .iter()
        .filter(|socket| socket.left_ms.is_none())
        .copied()
        .collect();
    let left = longest(leftovers).unwrap_or(60_000);
    let until = if untimed.is_empty() {
        format!(", for {} s more.", left.div_ceil(1000))
    } else {
        format!(
            "; {} until the peer answers or the kernel gives up.",
            by_state(&untimed)
        )
    };
    summary += &until;

    let mut advice = vec![advise(
        format!("reuseaddr run --wait {}s PROGRAM", seconds_to_wait(left)),
        "starts PROGRAM now; its bind waits for the port, this once",
    )];
    if leftovers
        .iter()
        .any(|socket| matches!(socket.state, State::TimeWait | State::FinWait2))
    {
        advice.push(advise(
            scope.evict("", port),
            "ends TIME_WAIT and FIN_WAIT2 at once",
        ));
    }
    if leftovers
        .iter()
        .any(|socket| !matches!(socket.state, State::TimeWait | State::FinWait2))
    {
        advice.push(advise(
            scope.evict(" --all-states", port),
            "ends the rest too; what the peer has not got yet is lost",
        ));
    }
    if outbound > 0 && handed_out.contains(&port) {
        advice.push(reserve(port, scope));
    }
    (Kind::Leftover, summary, advice)
}

/// How to keep outgoing connections off a port.
fn reserve(port: u16, scope: Scope) -> Advice {
    let reserved =
        fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let reserved = reserved.trim();
    let separator = if reserved.is_empty() { "" } else { "," };
    advise(
        scope.as_root(&format!(
            "sysctl -w net.ipv4.ip_local_reserved_ports={reserved}{separator}{port}"
        )),
        "keeps outgoing connections off the port from now on",
    )
}
