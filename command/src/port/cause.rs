//! What is in the way of a bind: each case in words, with what helps.

use super::direction::Direction;
use super::explain;
use super::hint::{Advice, Scope, advise, as_owner, reserve, seconds_to_wait, see_as_root};
use super::socket::Socket;
use crate::net::sock_diag::{self, State, Which};
use crate::net::{reset, sysctl};
use crate::output::{count, list};
use crate::process::holders::{Holder, Holders};
use crate::process::manager::Manager;
use crate::process::tree;
use rustix::process::getuid;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
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

pub(crate) fn listening(
    port: u16,
    listeners: &[&Socket],
    leftovers: &[&Socket],
    scope: Scope,
    managers: &ManagerOf,
) -> Found {
    let holders = all_holders(listeners);
    let who = holder_of(listeners, &holders);
    let number = if holders.len() > 1 {
        "listen"
    } else {
        "listens"
    };
    let place = match listeners {
        [only] if !only.is_of_everything() => format!(" at {}", only.place()),
        _ => String::new(),
    };
    let flagged = listeners
        .iter()
        .all(|socket| socket.reuse_address == Some(true));
    let grouped = listeners
        .iter()
        .any(|socket| socket.reuse_port == Some(true));
    let mut summary = if grouped {
        format!(
            "{who} {number} on it{place} with SO_REUSEPORT: whoever sets that too, as the same user, may share it. Nobody \
             else can take it."
        )
    } else {
        format!("{who} {number} on it{place}, and no option takes a port from a listener.")
    };
    if holders.len() > 1 && listeners.len() == 1 {
        let orphans: Vec<String> = tree::orphans(&holders)
            .iter()
            .map(|holder| holder.pid.to_string())
            .collect();
        summary += " The processes share one listener, and the port stays taken until the last of them has gone";
        let lost = match orphans.len() {
            0 => ".".into(),
            1 => format!("; pid {} has lost its parent.", list(&orphans)),
            2..=8 => format!("; pids {} have lost their parent.", list(&orphans)),
            many => format!("; {many} of them have lost their parent."),
        };
        summary += &lost;
    }
    if flagged {
        summary += " It carries SO_REUSEADDR already.";
    }
    if holders.is_empty() && getuid().is_root() {
        summary += &format!(" {}.", explain::unseen());
    }
    let mut advice = unseen(port, listeners, scope);
    let by_systemd = holders.iter().find(|holder| holder.name == "systemd");
    if let Some(manager) = by_systemd {
        let user = if manager.pid == 1 { "" } else { " --user" };
        advice.push(advise(
            format!("systemctl{user} list-sockets"),
            "shows which socket unit has bound it: stop that one to free the port",
        ));
    } else if !holders.is_empty() {
        if grouped {
            advice.push(advise(
                "reuseaddr run --reuseport on PROGRAM",
                "starts another copy that shares the port",
            ));
        }
        advice.extend(end(port, &holders, scope, managers));
        // What holds it for a container is no server itself.
        if holders
            .iter()
            .all(|holder| holder.info.container.is_none() && is_engine(managers.get(&holder.pid)))
        {
            return (Kind::Listening, summary, advice);
        }
        advice.push(if flagged {
            advise(
                "reuseaddr run PROGRAM",
                if leftovers.is_empty() {
                    "once it has exited: gets the port at once"
                } else {
                    "once it has exited: gets the port, unless some of the above lack SO_REUSEADDR"
                },
            )
        } else {
            advise(
                scope.arm(port, &holders),
                if leftovers.is_empty() {
                    "if it is to be restarted: then `reuseaddr run` gets the port at once"
                } else {
                    "if it is to be restarted: what it leaves behind from then on is in nobody's way"
                },
            )
        });
    }
    (Kind::Listening, summary, advice)
}

pub(crate) fn bound(
    port: u16,
    sockets: &[&Socket],
    beside: bool,
    scope: Scope,
    managers: &ManagerOf,
) -> Found {
    let holders = all_holders(sockets);
    let who = holder_of(sockets, &holders);
    let has = if holders.len() > 1 { "have" } else { "has" };
    let summary = if beside {
        format!(
            "{who} {has} bound it with SO_REUSEADDR, and may listen any time. A bind with SO_REUSEADDR succeeds beside it; \
             whoever listens first has the port."
        )
    } else {
        format!("{who} {has} bound it, and may listen any time; it has to go first.")
    };
    let mut advice = unseen(port, sockets, scope);
    advice.extend(end(port, &holders, scope, managers));
    (Kind::Bound, summary, advice)
}

/// Who has these sockets, in words.
fn holder_of(sockets: &[&Socket], holders: &[Holder]) -> String {
    match sockets {
        [first, ..] if holders.is_empty() => first.held_by().replacen('a', "A", 1),
        _ => tree::named(holders),
    }
}

/// Everybody who holds one of them, once.
pub(crate) fn all_holders(sockets: &[&Socket]) -> Vec<Holder> {
    let holders = sockets.iter().flat_map(|socket| &socket.holders);
    let by_pid: BTreeMap<i32, &Holder> = holders.map(|holder| (holder.pid, holder)).collect();
    by_pid.into_values().cloned().collect()
}

fn unseen(port: u16, sockets: &[&Socket], scope: Scope) -> Vec<Advice> {
    sockets
        .iter()
        .map(|socket| see_as_root(port, socket, scope))
        .find(|advice| !advice.is_empty())
        .unwrap_or_default()
}

/// How the holders are stopped: by their manager, which would start them again, or else by `free`.
fn end(port: u16, holders: &[Holder], scope: Scope, managers: &ManagerOf) -> Vec<Advice> {
    let mut advice = Vec::new();
    let mut plain = Vec::new();
    for holder in tree::eldest(holders) {
        let manager = managers.get(&holder.pid);
        if let Some(manager) = manager {
            let command = manager.stop_command();
            if !advice.iter().any(|given: &Advice| given.command == command) {
                advice.push(advise(command, manager.purpose()));
            }
        }
        if holder.pid != 1 && manager.is_none_or(|manager| !manager.is_certain()) {
            plain.push(holder.clone());
        }
    }
    if let Some(first) = plain.first() {
        let command = format!("reuseaddr free {port}");
        let command = match scope.pid {
            Some(_) => scope.as_root(&command),
            None => as_owner(&plain, &command),
        };
        let purpose = format!("stops {} (if it should no longer be running)", first.name);
        advice.push(advise(command, purpose));
    }
    advice
}

fn is_engine(manager: Option<&Manager>) -> bool {
    manager.is_some_and(Manager::is_engine)
}

/// The managers of holders, by their pids.
pub(crate) type ManagerOf = BTreeMap<i32, Manager>;

/// What is said of an obstacle.
pub(crate) type Found = (Kind, String, Vec<Advice>);

pub(crate) fn refused(port: u16, scope: Scope) -> Found {
    let lowest = sysctl::lowest_unprivileged();
    let summary =
        format!("Ports below {lowest} may be bound by root only, or with CAP_NET_BIND_SERVICE.");
    let advice = vec![
        advise(scope.status(&port.to_string()), "finds out as root"),
        advise(
            scope.as_root(&format!(
                "sysctl -w net.ipv4.ip_unprivileged_port_start={port}"
            )),
            "lets every program bind it; file capabilities (setcap) would keep the library out",
        ),
    ];
    (Kind::Denied, summary, advice)
}

pub(crate) fn reusable(all: &[&Socket]) -> Found {
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
    ephemeral: &RangeInclusive<u16>,
    scope: Scope,
) -> Found {
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
        let was_given = ephemeral.contains(&port);
        if was_given {
            advice.push(reserve(port, scope));
        }
        advice.push(advise(
            scope.arm(port, &connection.holders),
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
        scope.arm(port, &connection.holders),
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
    ephemeral: &RangeInclusive<u16>,
    scope: Scope,
) -> Found {
    let outbound = leftovers
        .iter()
        .filter(|socket| socket.direction == Some(Direction::Outbound))
        .count();
    let kind = if outbound == leftovers.len() {
        "closed outgoing connection"
    } else {
        "closed connection"
    };
    let what = count(leftovers.len(), kind, &format!("{kind}s"));
    let is = if leftovers.len() == 1 { "is" } else { "are" };
    let states: BTreeSet<State> = leftovers.iter().map(|socket| socket.state).collect();
    let still = match states.iter().next() {
        Some(only) if states.len() == 1 => format!("still in {}", only.name()),
        _ => format!("still there ({})", by_state(leftovers)),
    };
    let untimed: Vec<&Socket> = leftovers
        .iter()
        .filter(|socket| socket.left_ms.is_none())
        .copied()
        .collect();
    let left = longest(leftovers).unwrap_or(60_000);
    let until = if untimed.is_empty() {
        let they = if leftovers.len() == 1 {
            "it expires"
        } else {
            "they expire"
        };
        format!("{they} ({} s)", left.div_ceil(1000))
    } else {
        format!(
            "the peers of {} answer or the kernel gives up",
            by_state(&untimed)
        )
    };
    let mut summary = format!(
        "{what} {is} {still}, without SO_REUSEADDR. Until {until} every bind fails, with or without the option."
    );
    if let Some(peers) = keep_their_end_open(leftovers) {
        summary += &format!(" On this host {peers} still keeps an end open.");
    }

    let by_kernel = getuid().is_root()
        && leftovers
            .iter()
            .all(|socket| matches!(socket.state, State::TimeWait | State::FinWait2));
    let needs_no_privileges = scope.pid.is_none()
        && leftovers
            .iter()
            .all(|socket| socket.state == State::TimeWait)
        && reset::needs_no_privileges(
            leftovers
                .iter()
                .filter_map(|socket| Some((socket.local.into(), socket.peer?.into()))),
        );
    let is_evicted = needs_no_privileges || (by_kernel && scope.pid.is_none());
    let mut advice = Vec::new();
    if is_evicted {
        advice.push(advise(
            format!("reuseaddr run --evict --ports {port} PROGRAM"),
            "clears the leftovers, and starts PROGRAM",
        ));
        advice.push(advise(
            format!("reuseaddr evict {port}"),
            "clears the leftovers at once",
        ));
    }
    if !needs_no_privileges {
        advice.push(advise(
            format!("reuseaddr run --wait {}s PROGRAM", seconds_to_wait(left)),
            if untimed.is_empty() {
                "starts PROGRAM now; its bind waits for the port, this once"
            } else {
                "starts PROGRAM now; its bind waits so long for the port, which may not be enough"
            },
        ));
    }
    if !is_evicted
        && leftovers
            .iter()
            .any(|socket| matches!(socket.state, State::TimeWait | State::FinWait2))
    {
        advice.push(advise(
            scope.evict("", port),
            "clears TIME_WAIT and FIN_WAIT2 at once",
        ));
    }
    if leftovers
        .iter()
        .any(|socket| !matches!(socket.state, State::TimeWait | State::FinWait2))
    {
        advice.push(advise(
            scope.evict(" --all-states", port),
            "clears the rest too; what the peer has not got yet is lost",
        ));
    }
    if outbound > 0 && ephemeral.contains(&port) {
        advice.push(reserve(port, scope));
    }
    (Kind::Leftover, summary, advice)
}

/// The processes on this host that have not closed their ends of these: until they do, an orphan
/// stays in FIN_WAIT2.
fn keep_their_end_open(leftovers: &[&Socket]) -> Option<String> {
    let ends: BTreeMap<SocketAddr, SocketAddr> = leftovers
        .iter()
        .filter(|socket| socket.state != State::TimeWait)
        .filter_map(|socket| Some((socket.peer?.into(), socket.local.into())))
        .collect();
    if ends.is_empty() {
        return None;
    }
    let ports: BTreeSet<u16> = ends.keys().map(SocketAddr::port).collect();
    let ports: Vec<u16> = ports.into_iter().collect();
    let entries = sock_diag::dump(Which::These(&ports)).ok()?;
    let inodes = entries
        .iter()
        .filter(|entry| ends.get(&entry.local) == Some(&entry.peer))
        .map(|entry| entry.inode);
    let inodes: Vec<u64> = inodes.collect();
    let holders = Holders::find(inodes.iter().copied());
    let mut theirs: Vec<Holder> = inodes
        .iter()
        .flat_map(|&inode| holders.of(inode))
        .cloned()
        .collect();
    theirs.sort_by_key(|holder| holder.pid);
    theirs.dedup_by_key(|holder| holder.pid);
    (!theirs.is_empty()).then(|| tree::named(&theirs))
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
