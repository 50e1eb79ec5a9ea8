//! Clears the leftovers of earlier runs from ports, and reports the result.

use super::{exit, options};
use crate::net::namespace;
use crate::net::sock_diag::{DestroyError, SocketEntry};
use crate::output::{self, count, list, paragraph};
use crate::port::bindable::is_free;
use crate::port::evict::{Eviction, Filter, evict, explain, is_alive, reasons};
use crate::port::hint::as_root;
use crate::port::port_list::{self as ports, PortList, spelled};
use crate::process::holders::{Holder, Holders};
use crate::process::tree;
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// Clear closed connections (TIME_WAIT) from a port now
#[allow(clippy::struct_excessive_bools)] // They are options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "With CAP_NET_ADMIN (sudo) the kernel clears them all. Without privileges it \
                  clears those whose peer is on this host, by a reset from the peer's address and \
                  port, which it binds for that moment. A connection that a process owns is left \
                  alone, except with --established."
)]
pub(crate) struct Arguments {
    /// Local ports: 49200, 8000-8100, or several with commas
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<PortList>,

    /// Also clear orphans in FIN_WAIT1, CLOSING and LAST_ACK; data not delivered yet is lost
    #[arg(long)]
    all_states: bool,

    /// Also while a program listens there; without CAP_NET_ADMIN it sees an empty connection for
    /// each
    #[arg(long)]
    past_listeners: bool,

    /// Clear only connections with this peer address
    #[arg(long, value_name = "ADDRESS", value_parser = options::address)]
    peer: Option<IpAddr>,

    /// Reset connections that are alive, too: takes root and --peer, and asks twice
    #[arg(long, requires = "peer")]
    established: bool,

    /// Do not ask; where there is no terminal, --established needs it twice
    #[arg(short, long, action = clap::ArgAction::Count)]
    yes: u8,

    /// Show what would be cleared, and change nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    network: options::Network,

    #[command(flatten)]
    format: options::Format,
}

impl Arguments {
    /// The arguments as they would be typed.
    fn spelled(&self, ports: &[u16]) -> String {
        let mut words = Vec::new();
        words.extend(self.network.pid.map(|pid| format!("--pid {pid}")));
        words.extend(self.peer.map(|peer| format!("--peer {peer}")));
        words.extend(self.all_states.then(|| "--all-states".into()));
        words.extend(self.established.then(|| "--established".into()));
        words.extend(self.past_listeners.then(|| "--past-listeners".into()));
        words.push(spelled(ports));
        words.join(" ")
    }
}

#[derive(Debug, Serialize)]
struct EvictOutput {
    network_namespace: String,
    dry_run: bool,
    /// Why the kernel refused: `not-allowed`, `not-supported` or `errno N`.
    refusal: Option<String>,
    /// Why leftovers could not be reset from their peers' side, with the number of each.
    obstacles: BTreeMap<String, usize>,
    ports: Vec<PerPort>,
}

#[derive(Debug, Serialize)]
struct PerPort {
    port: u16,
    found: BTreeMap<&'static str, usize>,
    evicted: usize,
    left: BTreeMap<&'static str, usize>,
    spared: BTreeMap<&'static str, usize>,
    /// Whether a plain bind of all addresses succeeds now.
    free: bool,
}

/// Answers `reuseaddr evict`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    arguments.network.enter()?;
    let ports = ports::tcp(&arguments.ports)?;
    let filter = Filter {
        all_states: arguments.all_states,
        peer: arguments.peer,
        past_listeners: arguments.past_listeners,
        established: arguments.established,
    };
    if arguments.established && !arguments.dry_run && !agreed(&ports, filter, arguments)? {
        return Ok(exit::FAILED);
    }
    if arguments.all_states && !arguments.dry_run {
        output::warn("--all-states: what the peers have not got yet is lost");
    }
    let eviction = evict(&ports, filter, arguments.dry_run)?;
    let answer = answer(&ports, &eviction, arguments.dry_run);
    if arguments.format.json {
        output::print_json(&answer, output::json::USUAL)?;
    } else {
        output::print(&text(&answer, &reasons(&eviction.reset_errors)))?;
    }
    if arguments.dry_run {
        return Ok(exit::YES);
    }
    if !eviction.left.is_empty() {
        output::error(&explain(&eviction, &arguments.spelled(&ports)));
    }
    let unfinished = unfinished(&eviction, filter);
    if let Some(states) = &unfinished {
        output::error(&format!(
            "{states} left, whose peers have not got everything yet. To end that too, and lose \
             what they have not got:\n    \
             {}",
            as_root(&format!(
                "reuseaddr evict --all-states {}",
                arguments.spelled(&ports)
            ))
        ));
    }
    Ok(if eviction.left.is_empty() && unfinished.is_none() {
        exit::YES
    } else if eviction.refusal.is_some() && eviction.left.len() == eviction.found.len() {
        exit::FAILED
    } else {
        exit::NO
    })
}

/// Asks twice whether connections that are alive are to be reset, if there are any.
fn agreed(ports: &[u16], filter: Filter, arguments: &Arguments) -> Result<bool> {
    let found = evict(ports, filter, true)?.found;
    let alive: Vec<&SocketEntry> = found.iter().filter(|entry| is_alive(entry)).collect();
    let Some(first) = alive.first() else {
        return Ok(true);
    };
    let inodes = alive.iter().map(|entry| entry.inode);
    let holders = Holders::find(inodes.clone());
    let owners: Vec<Holder> = holders.of_any(inodes).into_values().cloned().collect();
    output::info(&format!(
        "{} with {} {} alive on port {}{}. A reset is an error for both programs, and loses what \
         was not delivered.",
        count(alive.len(), "connection", "connections"),
        first.peer.ip().to_canonical(),
        if alive.len() == 1 { "is" } else { "are" },
        spelled(ports),
        if owners.is_empty() {
            String::new()
        } else {
            format!(", held by {}", tree::named(&owners))
        },
    ));
    let questions = [
        format!(
            "Reset {}?",
            count(alive.len(), "live connection", "live connections")
        ),
        "Are you sure?".to_owned(),
    ];
    for question in questions.iter().skip(arguments.yes.into()) {
        if !output::ask(
            question,
            "--yes is needed twice to reset live connections; --dry-run shows them",
        )? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The leftovers that only `--all-states` ends: `1 FIN_WAIT1 is`.
fn unfinished(eviction: &Eviction, filter: Filter) -> Option<String> {
    let mut numbers = BTreeMap::new();
    for entry in &eviction.spared {
        if !filter.all_states && filter.may_become(entry) {
            *numbers.entry(entry.state.name()).or_insert(0) += 1;
        }
    }
    let verb = if numbers.values().sum::<usize>() == 1 {
        "is"
    } else {
        "are"
    };
    (!numbers.is_empty()).then(|| format!("{} {verb}", spell(&numbers)))
}

fn answer(ports: &[u16], eviction: &Eviction, dry_run: bool) -> EvictOutput {
    let touched: HashSet<u16> = [&eviction.found, &eviction.spared]
        .into_iter()
        .flatten()
        .map(|entry| entry.local.port())
        .collect();
    let on = |entries: &[SocketEntry], port: u16| {
        let mut numbers = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.local.port() == port) {
            *numbers.entry(entry.state.name()).or_insert(0) += 1;
        }
        numbers
    };
    EvictOutput {
        network_namespace: namespace::namespace(),
        dry_run,
        refusal: eviction.refusal.map(|refusal| match refusal {
            DestroyError::NotAllowed => "not-allowed".into(),
            DestroyError::NotSupported => "not-supported".into(),
            DestroyError::Other(code) => format!("errno {code}"),
        }),
        obstacles: eviction
            .reset_errors
            .iter()
            .map(|(error, &number)| (error.name(), number))
            .collect(),
        ports: ports
            .iter()
            // All ports that were named; of a long range, those that have sockets.
            .filter(|port| ports.len() <= 20 || touched.contains(port))
            .map(|&port| {
                let found = on(&eviction.found, port);
                let left = on(&eviction.left, port);
                PerPort {
                    port,
                    evicted: found
                        .values()
                        .sum::<usize>()
                        .saturating_sub(left.values().sum()),
                    found,
                    left,
                    spared: on(&eviction.spared, port),
                    free: is_free(port),
                }
            })
            .collect(),
    }
}

fn text(answer: &EvictOutput, reasons: &[String]) -> String {
    let mut text = String::new();
    for port in &answer.ports {
        let mut line = format!("Port {}: ", port.port);
        line += &if port.found.is_empty() {
            "there is nothing to evict.".into()
        } else if answer.dry_run {
            format!("{} would be evicted.", spell(&port.found))
        } else if port.left.is_empty() {
            format!("{} evicted, and nothing of it is left.", spell(&port.found))
        } else {
            format!(
                "{} of {} evicted; {} left.",
                port.evicted,
                spell(&port.found),
                spell(&port.left)
            )
        };
        if !port.spared.is_empty() {
            line += &format!(" Not touched: {}.", spell(&port.spared));
        }
        line += if port.free {
            " A plain bind succeeds now."
        } else if answer.dry_run {
            ""
        } else {
            " A plain bind still fails; `reuseaddr status` says why."
        };
        text += &paragraph("", "  ", &line);
    }
    if answer.dry_run && !answer.obstacles.is_empty() {
        text += &paragraph(
            "",
            "  ",
            &format!("That takes CAP_NET_ADMIN: {}.", reasons.join("; ")),
        );
    }
    if answer.ports.is_empty() {
        text += &paragraph("", "", "There is nothing to evict on any of these ports.");
    }
    text
}

fn spell(numbers: &BTreeMap<&'static str, usize>) -> String {
    list(
        &numbers
            .iter()
            .map(|(state, number)| count(*number, state, state))
            .collect::<Vec<_>>(),
    )
}
