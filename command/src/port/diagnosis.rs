//! The verdict on a port: whether it can be bound, what is in the way, and the next command to
//! type.

use super::cause::{self, Kind, ManagerOf};
use super::hint::{Advice, Scope};
use super::socket::Socket;
use crate::net::probe::{Outcome, Probe};
use crate::net::sock_diag::State;
use crate::output::{self, BAD, GOOD, UNSURE, paragraph, styled};
use crate::process::holders::Holder;
use crate::process::tree;
use rustix::io::Errno;
use serde::Serialize;
use std::ops::RangeInclusive;

/// What can be said of a port.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    kind: Kind,
    /// One sentence or two.
    summary: String,
    probes: Vec<Probe>,
    /// When what is in the way is gone by itself, if that can be said. TIME_WAIT may last two
    /// seconds longer.
    free_in_ms: Option<u32>,
    advice: Vec<Advice>,
    /// Lines about those who hold it. For programs they are with the sockets.
    #[serde(skip)]
    who: String,
}

impl Verdict {
    /// Whether a plain bind succeeds.
    pub(crate) fn is_free(&self) -> bool {
        self.kind == Kind::Free
    }

    /// What may be said of many ports at once, if nothing in particular is to be said of this one.
    pub(crate) fn common(&self) -> Option<&str> {
        matches!(self.kind, Kind::Denied | Kind::Unknown).then_some(&self.summary)
    }

    /// The verdict in one paragraph.
    pub(crate) fn sentence(&self, port: u16) -> String {
        let (style, words) = match self.kind {
            Kind::Free => (GOOD, "is free"),
            Kind::Reusable => (GOOD, "is free with SO_REUSEADDR"),
            Kind::Denied => (UNSURE, "can't be bound"),
            Kind::Unknown => (UNSURE, "is busy"),
            Kind::Leftover | Kind::Connected | Kind::Listening | Kind::Bound => {
                match self.busy_family() {
                    Some("IPv6") => (UNSURE, "is busy on IPv6 and free on IPv4"),
                    Some(_) => (UNSURE, "is busy on IPv4 and free on IPv6"),
                    None => (BAD, "is busy"),
                }
            }
        };
        let words = words.replacen("is ", &format!("is {style}"), 1);
        let words = if words.starts_with("can't") {
            styled(style, &words)
        } else {
            format!("{words}{style:#}")
        };
        paragraph("", "", &format!("Port {port} {words}. {}", self.summary))
    }

    /// The verdict with who holds the port, and what to do, without what came of each bind.
    pub(crate) fn brief(&self, port: u16) -> String {
        let mut text = self.sentence(port) + &self.who;
        for advice in &self.advice {
            text += &output::command(&advice.command, &advice.purpose);
        }
        text
    }

    /// Which verdict it is.
    pub(crate) fn kind_name(&self) -> String {
        format!("{:?}", self.kind)
    }

    /// The one family that can't be bound, if the other can.
    fn busy_family(&self) -> Option<&'static str> {
        let free = |probe: &&Probe| probe.plain == Outcome::Bound;
        let busy = self.probes.iter().find(|probe| !free(probe))?;
        self.probes.iter().find(free)?;
        Some(if busy.address.is_ipv6() {
            "IPv6"
        } else {
            "IPv4"
        })
    }

    /// The verdict for people.
    pub(crate) fn text(&self, port: u16) -> String {
        let mut text = self.sentence(port);
        text += &self.who;
        if self.kind != Kind::Free {
            let shared = self
                .probes
                .iter()
                .any(|probe| probe.plain != Outcome::Bound && probe.reuse_port == Outcome::Bound);
            for (name, outcome, is_told) in [
                ("bind", plain as fn(&Probe) -> Outcome, true),
                ("bind with SO_REUSEADDR", reuse, true),
                ("bind with SO_REUSEPORT", |probe| probe.reuse_port, shared),
            ] {
                if !is_told {
                    continue;
                }
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

/// The holders' lines, with the managers of those that have one.
fn described(holders: &[Holder], managers: &ManagerOf) -> String {
    let mut text = tree::described(holders);
    let mut told = Vec::new();
    for holder in tree::eldest(holders) {
        if let Some(manager) = managers.get(&holder.pid) {
            let words = manager.words();
            if !told.contains(&words) {
                let prefix = if manager.is_certain() {
                    "    managed by "
                } else {
                    "    started again by "
                };
                text += &output::line(prefix, &words);
                told.push(words);
            }
        }
    }
    text
}

fn plain(probe: &Probe) -> Outcome {
    probe.plain
}

fn reuse(probe: &Probe) -> Outcome {
    probe.reuse
}

/// Judges a port by what was found on it, and by what came of binding it.
pub(crate) fn verdict(
    port: u16,
    sockets: &[&Socket],
    probes: Vec<Probe>,
    ephemeral: &RangeInclusive<u16>,
    scope: Scope,
    managers: &ManagerOf,
) -> Verdict {
    let all = |outcome: fn(&Probe) -> Outcome| {
        !probes.is_empty() && probes.iter().all(|probe| outcome(probe) == Outcome::Bound)
    };
    let failed_with = |error| {
        probes
            .iter()
            .any(|probe| probe.plain == Outcome::Failed(error))
    };
    let is_free = all(plain);
    // What is bound to the other family is in nobody's way there.
    let in_the_way: Vec<&Socket> = sockets
        .iter()
        .filter(|socket| {
            probes
                .iter()
                .any(|probe| probe.plain != Outcome::Bound && socket.meets(probe.address))
        })
        .copied()
        .collect();
    let all_of = |which: fn(&Socket) -> bool| -> Vec<&Socket> {
        let sockets = in_the_way.iter().copied();
        sockets.filter(|socket| which(socket)).collect()
    };
    let leftovers = all_of(|socket| socket.leftover);
    let connections = all_of(|socket| socket.peer.is_some() && !socket.leftover);
    let listeners = all_of(|socket| socket.state == State::Listen);
    let bound = all_of(|socket| socket.state == State::Bound);

    let (kind, summary, advice) = if is_free {
        let summary = if sockets.is_empty() {
            "A plain bind succeeds.".into()
        } else {
            "A plain bind succeeds: what is there is in nobody's way.".into()
        };
        (Kind::Free, summary, Vec::new())
    } else if failed_with(Errno::ADDRNOTAVAIL) {
        let summary =
            "This machine does not have that address; `ip address` shows those that it has.";
        (Kind::Denied, summary.into(), Vec::new())
    } else if !listeners.is_empty() {
        cause::listening(port, &listeners, &leftovers, scope, managers)
    } else if failed_with(Errno::ACCESS) {
        cause::refused(port, scope)
    } else if !bound.is_empty() {
        cause::bound(port, &bound, all(reuse), scope, managers)
    } else if all(reuse) {
        cause::reusable(&in_the_way)
    } else if let Some(connection) = connections.first() {
        cause::connected(
            port,
            connection,
            connections.len(),
            &leftovers,
            ephemeral,
            scope,
        )
    } else if leftovers.is_empty() {
        let summary = "The kernel does not tell what holds it: perhaps a socket that is bound and neither listens nor \
                       is connected. The program that has it open has to go first.";
        (Kind::Unknown, summary.into(), Vec::new())
    } else {
        cause::left_behind(port, &leftovers, ephemeral, scope)
    };

    let timed = !leftovers.is_empty()
        && matches!(kind, Kind::Leftover | Kind::Reusable)
        && connections.is_empty()
        && leftovers.iter().all(|socket| socket.left_ms.is_some());
    let free_in_ms = if timed {
        cause::longest(&leftovers)
    } else {
        None
    };
    let holding = match kind {
        Kind::Listening => listeners,
        Kind::Bound => bound,
        Kind::Connected => connections,
        _ => Vec::new(),
    };
    Verdict {
        kind,
        summary,
        probes,
        free_in_ms,
        advice,
        who: described(&cause::all_holders(&holding), managers),
    }
}
