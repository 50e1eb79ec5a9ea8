//! Who holds a port, and whether it can be bound: the kernel's table, with owners, and a verdict.

use super::{exit, options};
use crate::kernel::holders::Holders;
use crate::kernel::sock_diag::{self, Which};
use crate::kernel::{network, probe};
use crate::output;
use crate::port::advice::Scope;
use crate::port::direction::{Direction, Judge};
use crate::port::list::{self as ports, PortList};
use crate::port::model::{Endpoint, Socket};
use crate::port::verdict::{Verdict, verdict};
use anyhow::Result;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

/// Show who holds a port, whether it can be bound now, and what to do
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without PORT: every port with a listener, or with something that was left behind.\n\
    The verdict comes from binding the port for a moment; nothing ever listens."
)]
pub(crate) struct Arguments {
    /// Ports: 49200, 8000-8100, or several with commas
    #[arg(value_name = "PORT")]
    ports: Vec<PortList>,

    /// Bind this address for the verdict, in place of all addresses
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,

    #[command(flatten)]
    network: options::Network,

    /// Show every socket on a line of its own
    #[arg(long)]
    all: bool,

    /// Show it again every second, until interrupted; with --json, on one line each time
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    format: options::Format,
}

/// The whole answer, as `--json` has it.
#[derive(Debug, Serialize)]
struct Answer {
    network_namespace: String,
    ports: Vec<PerPort>,
}

#[derive(Debug, Serialize)]
struct PerPort {
    port: u16,
    verdict: Option<Verdict>,
    sockets: Vec<Socket>,
}

/// Answers `reuseaddr status`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    arguments.network.enter()?;
    let ports = ports::all(&arguments.ports);
    let scope = Scope {
        pid: arguments.network.pid,
        address: arguments.address,
    };
    loop {
        let answer = look(&ports, scope)?;
        if arguments.format.json {
            output::print_json(&answer, arguments.watch)?;
        } else {
            let clear = if arguments.watch && output::on_terminal() {
                "\x1b[H\x1b[2J"
            } else {
                ""
            };
            output::print(&format!(
                "{clear}{}",
                text(&answer, ports.len(), arguments.all)
            ))?;
        }
        if !arguments.watch {
            let busy = |port: &PerPort| {
                port.verdict
                    .as_ref()
                    .is_some_and(|verdict| !verdict.is_free())
            };
            return Ok(if answer.ports.iter().any(busy) {
                exit::NO
            } else {
                exit::YES
            });
        }
        thread::sleep(Duration::from_secs(1));
        if output::reader_has_gone() {
            return Ok(exit::YES);
        }
    }
}

fn look(ports: &[u16], scope: Scope) -> Result<Answer> {
    let which = if ports.is_empty() {
        Which::All
    } else {
        Which::These(ports)
    };
    let entries = sock_diag::dump(which)?;
    let holders = Holders::find(entries.iter().map(|entry| entry.inode));
    let judge = Judge::new(&entries, sock_diag::listeners()?);

    let mut by_port = BTreeMap::<u16, Vec<Socket>>::new();
    for &port in ports {
        by_port.insert(port, Vec::new());
    }
    for entry in &entries {
        by_port
            .entry(entry.local.port())
            .or_default()
            .push(Socket::new(entry, &judge, &holders));
    }
    if ports.is_empty() {
        by_port.retain(|_, sockets| sockets.iter().any(Socket::is_of_a_server));
    }
    let handed_out = network::handed_out();
    let ports = by_port
        .into_iter()
        .map(|(port, sockets)| {
            let in_question: Vec<&Socket> = sockets
                .iter()
                .filter(|socket| scope.address.is_none_or(|address| socket.meets(address)))
                .collect();
            let verdict = (!ports.is_empty()).then(|| {
                let probes = probe::probe(port, scope.address);
                verdict(port, &in_question, probes, &handed_out, scope)
            });
            PerPort {
                port,
                verdict,
                sockets,
            }
        })
        .collect();
    Ok(Answer {
        network_namespace: network::namespace(),
        ports,
    })
}

/// Above so many quiet ports, a verdict each would hide the one that is not.
const MANY_PORTS: usize = 20;

fn text(answer: &Answer, asked: usize, all: bool) -> String {
    let mut text = String::new();
    let sockets: Vec<(u16, &Socket)> = answer
        .ports
        .iter()
        .flat_map(|port| port.sockets.iter().map(|socket| (port.port, socket)))
        .collect();
    if !sockets.is_empty() {
        text += &table(&sockets, all);
        text += "\n";
    }
    let mut quiet = 0;
    for port in &answer.ports {
        match &port.verdict {
            Some(verdict) if asked > MANY_PORTS && verdict.is_free() => quiet += 1,
            Some(verdict) => text += &verdict.text(port.port),
            None => {}
        }
    }
    if quiet > 0 {
        text += &output::paragraph(
            "",
            "",
            &format!("{quiet} more ports are free: a plain bind succeeds."),
        );
    }
    if asked == 0 {
        let what = if sockets.is_empty() {
            "No port has a listener, and nothing was left behind. "
        } else {
            ""
        };
        text += &output::paragraph(
            "",
            "",
            &format!(
                "{what}`reuseaddr status PORT` says whether a port can be bound, and what to do."
            ),
        );
    }
    text
}

/// Sockets that differ in nothing that matters.
#[derive(Default)]
struct Row {
    number: usize,
    peers: HashSet<Endpoint>,
    left: Vec<u32>,
}

fn table(sockets: &[(u16, &Socket)], all: bool) -> String {
    // A server may have left something behind for each of thousands of clients.
    const MANY_PEERS: usize = 8;
    let addresses: HashSet<IpAddr> = sockets
        .iter()
        .filter_map(|(_, socket)| Some(socket.peer?.address))
        .collect();
    let by_address = addresses.len() <= MANY_PEERS;

    let mut rows = BTreeMap::<_, Row>::new();
    for (position, (port, socket)) in sockets.iter().enumerate() {
        let key = (
            *port,
            socket.state,
            socket.local,
            socket.peer.map(|peer| peer.address).filter(|_| by_address),
            socket.direction,
            socket.held_by(),
            socket.dual_stack,
            if all { position } else { 0 },
        );
        let row = rows.entry(key).or_default();
        row.number += 1;
        row.peers.extend(socket.peer);
        row.left.extend(socket.left_ms);
    }
    let rows = rows
        .into_iter()
        .map(
            |((_, state, local, _, direction, held_by, dual_stack, _), row)| {
                vec![
                    state.name().into(),
                    row.number.to_string(),
                    format!(
                        "{local}{}",
                        if dual_stack == Some(true) {
                            " and IPv4"
                        } else {
                            ""
                        }
                    ),
                    peers(&row.peers),
                    match direction {
                        Some(Direction::Inbound) => "in",
                        Some(Direction::Outbound) => "out",
                        Some(Direction::Unknown) => "in or out",
                        None => "",
                    }
                    .into(),
                    left(&row.left),
                    held_by,
                ]
            },
        )
        .collect();
    output::table(
        &[
            "STATE", "SOCKETS", "LOCAL", "PEER", "OPENED", "LEFT", "HELD BY",
        ],
        rows,
    )
}

fn peers(peers: &HashSet<Endpoint>) -> String {
    let addresses: HashSet<IpAddr> = peers.iter().map(|peer| peer.address).collect();
    match (peers.len(), addresses.iter().next()) {
        (0, _) | (_, None) => String::new(),
        (1, _) => peers
            .iter()
            .next()
            .map(ToString::to_string)
            .unwrap_or_default(),
        (number, Some(address)) if addresses.len() == 1 => format!("{address}, {number} ports"),
        _ => format!("{} addresses", addresses.len()),
    }
}

fn left(milliseconds: &[u32]) -> String {
    let seconds = |value: &u32| value.div_ceil(1000);
    match (milliseconds.iter().min(), milliseconds.iter().max()) {
        (Some(least), Some(most)) if seconds(least) == seconds(most) => {
            format!("{} s", seconds(most))
        }
        (Some(least), Some(most)) => format!("{}-{} s", seconds(least), seconds(most)),
        _ => String::new(),
    }
}
