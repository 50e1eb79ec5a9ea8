//! The words of a diagnosis: the cause in a sentence or two, who holds the port, what each bind
//! gave, and the hints.

use super::unseen;
use crate::net::probe::{Outcome, Probe};
use crate::net::sock_diag::TcpState;
use crate::output::{self, BAD, GOOD, UNSURE, count, list, paragraph, styled};
use crate::port::cause::{self, Bound, Cause, CauseKind, Connected, Leftovers, Listening};
use crate::port::diagnosis::Diagnosis;
use crate::port::direction::Direction;
use crate::port::socket::{Socket, numbers_by_state};
use crate::process::holders::Holder;
use crate::process::manager::ByPid;
use crate::process::tree;
use rustix::process::getuid;
use std::collections::BTreeSet;

impl Diagnosis {
    /// The diagnosis for people.
    pub(crate) fn text(&self, port: u16) -> String {
        let mut text = self.sentence(port);
        text += &described(&self.holders, &self.managers);
        if self.kind != CauseKind::Free {
            text += &binds(&self.probes);
        }
        if !self.hints.is_empty() {
            text += "What to do:\n";
            text += &self.hint_lines();
        }
        text
    }

    /// The diagnosis without the results of the binds.
    pub(crate) fn brief(&self, port: u16) -> String {
        self.sentence(port) + &described(&self.holders, &self.managers) + &self.hint_lines()
    }

    /// The diagnosis in one paragraph.
    pub(crate) fn sentence(&self, port: u16) -> String {
        let state = match self.kind {
            CauseKind::Free => format!("is {}", styled(GOOD, "free")),
            CauseKind::Reusable => format!("is {}", styled(GOOD, "free with SO_REUSEADDR")),
            CauseKind::Denied => styled(UNSURE, "can't be bound"),
            CauseKind::Unknown => format!("is {}", styled(UNSURE, "busy")),
            CauseKind::Leftover
            | CauseKind::Connected
            | CauseKind::Listening
            | CauseKind::Bound => match busy_family(&self.probes) {
                Some("IPv6") => {
                    format!("is {}", styled(UNSURE, "busy on IPv6 and free on IPv4"))
                }
                Some(_) => format!("is {}", styled(UNSURE, "busy on IPv4 and free on IPv6")),
                None => format!("is {}", styled(BAD, "busy")),
            },
        };
        paragraph("", "", &format!("Port {port} {state}. {}", self.summary))
    }

    fn hint_lines(&self) -> String {
        let hints = self.hints.iter();
        hints
            .map(|hint| output::command(&hint.command, &hint.purpose))
            .collect()
    }
}

/// The one family that can't be bound, if the other can.
fn busy_family(probes: &[Probe]) -> Option<&'static str> {
    let free = |probe: &&Probe| probe.plain == Outcome::Bound;
    let busy = probes.iter().find(|probe| !free(probe))?;
    probes.iter().find(free)?;
    Some(if busy.address.is_ipv6() {
        "IPv6"
    } else {
        "IPv4"
    })
}

/// A way to bind, and what it gave.
type Way = (&'static str, fn(&Probe) -> Outcome);

/// A line for each way to bind. That with `SO_REUSEPORT` is worth one only where it alone succeeds.
fn binds(probes: &[Probe]) -> String {
    let is_shared =
        |probe: &Probe| probe.plain != Outcome::Bound && probe.reuse_port == Outcome::Bound;
    let mut ways: Vec<Way> = vec![
        ("bind", |probe| probe.plain),
        ("bind with SO_REUSEADDR", |probe| probe.reuse),
    ];
    if probes.iter().any(is_shared) {
        ways.push(("bind with SO_REUSEPORT", |probe| probe.reuse_port));
    }
    let line = |(name, outcome): Way| {
        let results: Vec<String> = probes
            .iter()
            .map(|probe| format!("{} on {}", outcome(probe).name(), probe.address))
            .collect();
        paragraph("  ", "    ", &format!("{name}: {}", results.join(", ")))
    };
    ways.into_iter().map(line).collect()
}

/// The holders' lines, with the managers of those that have one.
fn described(holders: &[Holder], managers: &ByPid) -> String {
    let mut text = tree::described(holders);
    let mut shown = BTreeSet::new();
    for holder in tree::eldest(holders) {
        if let Some(manager) = managers.get(&holder.pid) {
            let words = manager.words();
            let prefix = if manager.is_certain() {
                "    managed by "
            } else {
                "    started again by "
            };
            if shown.insert(words.clone()) {
                text += &output::line(prefix, &words);
            }
        }
    }
    text
}

/// The cause in a sentence or two.
pub(in crate::port) fn summary(cause: &Cause) -> String {
    match cause {
        Cause::Free { has_sockets: false } => "A plain bind succeeds.".into(),
        Cause::Free { has_sockets: true } => {
            "A plain bind succeeds: the sockets there are no obstacle.".into()
        }
        Cause::NoAddress => {
            "This machine does not have that address; `ip address` shows those that it has.".into()
        }
        Cause::Privileged { lowest } => {
            format!("Ports below {lowest} may be bound by root only, or with CAP_NET_BIND_SERVICE.")
        }
        Cause::Listening(it) => listening(it),
        Cause::Bound(it) => bound(it),
        Cause::Reusable { sockets } if sockets.is_empty() => {
            "Something is in the way of a plain bind: the kernel does not report what. With \
             SO_REUSEADDR a bind succeeds now."
                .into()
        }
        Cause::Reusable { sockets } => format!(
            "Earlier connections are in the way of a plain bind: {}. With SO_REUSEADDR a bind \
             succeeds now.",
            by_state(sockets)
        ),
        Cause::Connected(it) => connected(it),
        Cause::Leftovers(it) => leftovers(it),
        Cause::Unknown => "The kernel does not report what holds it: perhaps a socket that is \
                           bound and neither listens nor is connected. The program that has it \
                           open has to go first."
            .into(),
    }
}

fn listening(it: &Listening) -> String {
    let who = holders(&it.sockets, &it.holders);
    let listens = if it.holders.len() > 1 {
        "listen"
    } else {
        "listens"
    };
    let place = match it.sockets.as_slice() {
        [only] if !only.is_of_everything() => format!(" at {}", only.place()),
        _ => String::new(),
    };
    let mut summary = if it.may_be_shared() {
        format!(
            "{who} {listens} on it{place} with SO_REUSEPORT: whoever sets that too, as the same \
             user, may share it. Nobody else can take it."
        )
    } else {
        format!("{who} {listens} on it{place}, and no option takes a port from a listener.")
    };
    if it.holders.len() > 1 && it.sockets.len() == 1 {
        summary += " The processes share one listener, and the port stays taken until the last of \
                    them has gone";
        summary += &orphaned(&it.holders);
    }
    if it.carries_reuse_address() {
        summary += " It carries SO_REUSEADDR already.";
    }
    if it.holders.is_empty() && getuid().is_root() {
        summary += &format!(" {}.", unseen());
    }
    summary
}

/// The end of a sentence, about those of the holders whose parent has exited.
fn orphaned(holders: &[Holder]) -> String {
    let pids: Vec<String> = tree::orphans(holders)
        .iter()
        .map(|holder| holder.pid.to_string())
        .collect();
    match pids.len() {
        0 => ".".into(),
        1 => format!("; pid {} has lost its parent.", list(&pids)),
        2..=8 => format!("; pids {} have lost their parent.", list(&pids)),
        many => format!("; {many} of them have lost their parent."),
    }
}

fn bound(it: &Bound) -> String {
    let who = holders(&it.sockets, &it.holders);
    let has = if it.holders.len() > 1 { "have" } else { "has" };
    if it.is_reusable {
        format!(
            "{who} {has} bound it with SO_REUSEADDR, and may listen any time. A bind with \
             SO_REUSEADDR succeeds beside it; whoever listens first has the port."
        )
    } else {
        format!("{who} {has} bound it, and may listen any time; it has to go first.")
    }
}

fn connected(it: &Connected) -> String {
    let holder = it.first.held_by();
    let peer = it.first.peer.map(|peer| peer.to_string());
    let peer = peer.unwrap_or_default();
    let more = if it.leftovers.is_empty() {
        String::new()
    } else {
        format!(" There is also {}.", by_state(&it.leftovers))
    };
    if it.first.direction == Some(Direction::Outbound) {
        let origin = if it.is_ephemeral {
            "was given this port by the kernel"
        } else {
            "comes from this port"
        };
        return format!(
            "Nobody listens, but an outgoing connection of {holder} to {peer} {origin}. The port \
             is free when that connection has ended and its TIME_WAIT is over.{more}"
        );
    }
    format!(
        "Nobody listens, but {} without SO_REUSEADDR {} open, the first held by {holder} with \
         {peer}.{more}",
        count(it.number, "connection", "connections"),
        if it.number == 1 {
            "is still"
        } else {
            "are still"
        },
    )
}

fn leftovers(it: &Leftovers) -> String {
    let sockets = &it.sockets;
    let (connection, are, they_expire) = match (it.outgoing == sockets.len(), sockets.len()) {
        (true, 1) => ("closed outgoing connection", "is", "it expires"),
        (true, _) => ("closed outgoing connections", "are", "they expire"),
        (false, 1) => ("closed connection", "is", "it expires"),
        (false, _) => ("closed connections", "are", "they expire"),
    };
    let states: BTreeSet<TcpState> = sockets.iter().map(|socket| socket.state).collect();
    let still = match states.first() {
        Some(only) if states.len() == 1 => format!("still in {}", only.name()),
        _ => format!("still there ({})", by_state(sockets)),
    };
    let untimed: Vec<&Socket> = sockets
        .iter()
        .filter(|socket| socket.left_ms.is_none())
        .copied()
        .collect();
    let until = if untimed.is_empty() {
        let left = cause::longest(sockets).unwrap_or_default();
        format!("{they_expire} ({} s)", left.div_ceil(1000))
    } else {
        let which = by_state(&untimed);
        format!("the peers of {which} answer or the kernel gives up")
    };
    let mut summary = format!(
        "{} {connection} {are} {still}, without SO_REUSEADDR. Until {until} every bind fails, \
         with or without the option.",
        sockets.len()
    );
    if !it.open_ends.is_empty() {
        let peers = tree::named(&it.open_ends);
        summary += &format!(" On this host {peers} still keeps an end open.");
    }
    summary
}

/// Names the holders of these sockets, as the subject of a sentence.
fn holders(sockets: &[&Socket], holders: &[Holder]) -> String {
    match sockets {
        [first, ..] if holders.is_empty() => first.held_by().replacen('a', "A", 1),
        _ => tree::named(holders),
    }
}

/// `3 TIME_WAIT and 1 FIN_WAIT2`.
fn by_state(sockets: &[&Socket]) -> String {
    list(&numbers_by_state(sockets.iter().copied()))
}
