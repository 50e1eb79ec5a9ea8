//! The diagnosis of a port: whether it can be bound, what is in the way, and the next commands to
//! type. The words are in `explain`.

use super::cause::{self, CauseKind};
use super::explain;
use super::hint::{self, Hint, Scope};
use super::socket::Socket;
use crate::net::probe::{self, Probe};
use crate::net::sysctl::EphemeralPorts;
use crate::process::holders::Holder;
use crate::process::manager::ByPid;
use serde::Serialize;

/// Why a port can be bound or not. `--json` has it under the key `verdict`.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    pub(super) kind: CauseKind,
    /// The cause in a sentence or two.
    pub(super) summary: String,
    pub(super) probes: Vec<Probe>,
    /// When the obstacle expires, if the kernel has a timer for all of it. `TIME_WAIT` may last two
    /// seconds longer.
    free_in_ms: Option<u32>,
    #[serde(rename = "advice")]
    pub(super) hints: Vec<Hint>,
    /// The processes that hold the obstacle. For programs they are with the sockets.
    #[serde(skip)]
    pub(super) holders: Vec<Holder>,
    /// Their managers.
    #[serde(skip)]
    pub(super) managers: ByPid,
}

/// The scope, the ephemeral ports and the managers: all ports of one command share them.
pub(crate) struct Surroundings {
    pub(crate) scope: Scope,
    /// The ports that the kernel gives to outgoing connections.
    pub(crate) ephemeral: EphemeralPorts,
    pub(crate) managers: ByPid,
}

/// Probes a port, and finds out what keeps it from being bound. `sockets` are those on it.
pub(crate) fn diagnose(port: u16, sockets: &[Socket], around: &Surroundings) -> Diagnosis {
    let Surroundings {
        scope, managers, ..
    } = around;
    let in_question: Vec<&Socket> = sockets
        .iter()
        .filter(|socket| scope.address.is_none_or(|address| socket.meets(address)))
        .collect();
    let probes = probe::probe(port, scope.address);
    let cause = cause::find(port, &in_question, &probes, &around.ephemeral);
    let holders = cause.holders().to_vec();
    let managers_of_holders = holders
        .iter()
        .filter_map(|holder| Some((holder.pid, managers.get(&holder.pid)?.clone())));
    Diagnosis {
        kind: cause.kind(),
        summary: explain::summary(&cause),
        free_in_ms: cause.free_in_ms(),
        hints: hint::hints(&cause, port, *scope, managers),
        managers: managers_of_holders.collect(),
        holders,
        probes,
    }
}

impl Diagnosis {
    /// Whether a plain bind succeeds.
    pub(crate) fn is_free(&self) -> bool {
        self.kind == CauseKind::Free
    }

    pub(crate) fn kind(&self) -> CauseKind {
        self.kind
    }

    /// A summary that other ports may share, if this one has no details.
    pub(crate) fn common(&self) -> Option<&str> {
        matches!(self.kind, CauseKind::Denied | CauseKind::Unknown).then_some(&self.summary)
    }
}
