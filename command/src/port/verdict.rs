//! The verdict on a port: whether it can be bound, what is in the way, and the next command to type.

use super::advice::{Advice, Scope, see_as_root};
use super::model::Socket;
use super::obstacle::{self, Kind};
use crate::kernel::probe::{Outcome, Probe};
use crate::kernel::sock_diag::State;
use crate::output::{self, BAD, GOOD, UNSURE, paragraph, styled};
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
    /// When what is in the way is gone by itself, if that can be said. TIME_WAIT may last two seconds longer.
    free_in_ms: Option<u32>,
    advice: Vec<Advice>,
}

impl Verdict {
    /// Whether a plain bind succeeds.
    pub(crate) fn is_free(&self) -> bool {
        self.kind == Kind::Free
    }

    /// The verdict for people.
    pub(crate) fn text(&self, port: u16) -> String {
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

/// Judges a port by what was found on it, and by what came of binding it.
pub(crate) fn verdict(
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
        obstacle::listening(port, listener, scope)
    } else if denied {
        obstacle::refused(port, scope)
    } else if all(reuse) {
        obstacle::reusable(sockets)
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
        obstacle::connected(
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
        obstacle::left_behind(port, &leftovers, handed_out, scope)
    };

    let timed = !leftovers.is_empty()
        && matches!(kind, Kind::Leftover | Kind::Reusable)
        && connections.is_empty()
        && leftovers.iter().all(|socket| socket.left_ms.is_some());
    let free_in_ms = if timed {
        obstacle::longest(&leftovers)
    } else {
        None
    };
    Verdict {
        kind,
        summary,
        probes,
        free_in_ms,
        advice,
    }
}
