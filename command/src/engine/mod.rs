//! The engines: each applies the rules to a program's calls in its own way.
//!
//! * `preload`: the library, in the program.
//! * `trace`: a tracer, from the program's start until it listens.
//! * `bpf`: BPF programs, for everything in a control group.
//! * `wait`: none; the program starts when its ports are free.

pub(crate) mod bpf;
pub(crate) mod preload;
pub(crate) mod trace;
pub(crate) mod wait;

use serde::Serialize;
use std::fmt;

/// The engines, the least intrusive first.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    /// The library, loaded into PROGRAM
    Preload,
    /// A tracer, from the start until PROGRAM listens
    Trace,
    /// BPF programs, for root; used only if asked for
    Bpf,
    /// PROGRAM starts when the ports of --ports can be bound
    Wait,
}

impl Engine {
    /// Its limits, as in README's table.
    pub(crate) fn cannot(self) -> &'static [&'static str] {
        match self {
            Self::Preload => &[
                "serve calls that bypass libc, such as a bind by io_uring",
                "serve what the program starts with another LD_PRELOAD",
            ],
            Self::Trace => &[
                "serve what is bound after it has detached",
                "serve a bind by io_uring",
                "reset connections (LIBREUSE_LINGER=zero)",
                "be used under a debugger",
                "serve programs that refuse to be traced: they exit",
            ],
            Self::Bpf => &[
                "work without root, before Linux 6.1, or with cgroup v1 alone",
                "wait, end connections otherwise, log, or tell programs apart by name",
                "set the option again that a program clears after listen",
                "keep a bare bind, on a port that was served, from another program that sets the \
                 option itself, or that binds a wildcard beside it",
                "serve a client that binds its port and connects",
                "serve sockets that were made outside the control group",
            ],
            Self::Wait => &[
                "bind over leftovers: it waits until they expire",
                "help the next start",
            ],
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preload => "preload",
            Self::Trace => "trace",
            Self::Bpf => "bpf",
            Self::Wait => "wait",
        })
    }
}

/// The engine for a program, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Choice {
    pub(crate) name: Engine,
    pub(crate) reason: String,
    pub(crate) cannot: &'static [&'static str],
}

impl Choice {
    pub(crate) fn new(name: Engine, reason: impl Into<String>) -> Self {
        Self {
            name,
            reason: reason.into(),
            cannot: name.cannot(),
        }
    }
}
