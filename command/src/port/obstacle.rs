//! What is in the way of a bind: each case in words, with what helps.

use super::advice::{Advice, Scope, advise, reserve, seconds_to_wait, see_as_root};
use super::direction::Direction;
use super::model::Socket;
use crate::kernel::network;
use crate::kernel::sock_diag::State;
use crate::output::{count, list};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What is in the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
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

pub(crate) fn listening(port: u16, listener: &Socket, scope: Scope) -> (Kind, String, Vec<Advice>) {
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

pub(crate) fn refused(port: u16, scope: Scope) -> (Kind, String, Vec<Advice>) {
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

pub(crate) fn reusable(all: &[&Socket]) -> (Kind, String, Vec<Advice>) {
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

pub(crate) fn connected(
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

pub(crate) fn left_behind(
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

pub(crate) fn longest(leftovers: &[&Socket]) -> Option<u32> {
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
