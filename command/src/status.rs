//! Who holds a port, and whether it can be bound: the kernel's table, with owners, and a verdict.

use super::advice::{self, Scope, Verdict};
use super::diag::{self, Entry, State, Which};
use super::holders::{Holder, Holders};
use super::output;
use super::ports::{self, PortList};
use super::{exit, network, probe};
use anyhow::Result;
use rustix::process::getuid;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use std::{fmt, thread};

/// Show who holds a port, whether it can be bound now, and what to do
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without PORT: every port with a listener, or with something that was left behind.\n\
    The verdict comes from binding the port for a moment; nothing ever listens."
)]
pub(super) struct Arguments {
    /// Ports: 49200, 8000-8100, or several with commas
    #[arg(value_name = "PORT")]
    ports: Vec<PortList>,

    /// Bind this address for the verdict, in place of all addresses
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,

    /// Look into the network namespace of this process, as a container's
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Show every socket on a line of its own
    #[arg(long)]
    all: bool,

    /// Show it again every second, until interrupted
    #[arg(long)]
    watch: bool,

    /// Answer in JSON (docs/json.md); with --watch, one line each time
    #[arg(long)]
    json: bool,
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

/// A socket with all that is known of it.
#[derive(Debug, Serialize)]
pub(super) struct Socket {
    pub(super) state: State,
    family: &'static str,
    /// Of an IPv6 listener: whether it takes IPv4 as well.
    dual_stack: Option<bool>,
    local: Endpoint,
    pub(super) peer: Option<Endpoint>,
    pub(super) direction: Option<Direction>,
    /// Whether a closed connection left it behind: no process owns it.
    pub(super) leftover: bool,
    pub(super) left_ms: Option<u32>,
    pub(super) uid: u32,
    pub(super) inode: u64,
    pub(super) holders: Vec<Holder>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: address.ip(),
            port: address.port(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    /// The peer, so this side is a server's.
    Inbound,
    /// This side, so the port is a client's.
    Outbound,
    /// It can't be told.
    Unknown,
}

/// Answers `reuseaddr status`.
pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    if let Some(pid) = arguments.pid {
        network::process(pid)?;
        network::enter(pid)?;
    }
    let ports = ports::all(&arguments.ports);
    let scope = Scope {
        pid: arguments.pid,
        address: arguments.address,
    };
    loop {
        let answer = look(&ports, scope)?;
        if arguments.json {
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
    let entries = diag::dump(which)?;
    let holders = Holders::find(entries.iter().map(|entry| entry.inode));
    let judge = Judge::new(&entries, diag::listeners()?);

    let mut by_port = BTreeMap::<u16, Vec<Socket>>::new();
    for &port in ports {
        by_port.insert(port, Vec::new());
    }
    for entry in &entries {
        by_port
            .entry(entry.local.port())
            .or_default()
            .push(socket(entry, &judge, &holders));
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
                advice::verdict(port, &in_question, probes, &handed_out, scope)
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

fn socket(entry: &Entry, judge: &Judge, holders: &Holders) -> Socket {
    let connected = !matches!(entry.state, State::Listen | State::Bound);
    Socket {
        state: entry.state,
        family: if entry.is_v6() { "ipv6" } else { "ipv4" },
        dual_stack: entry
            .v6only
            .filter(|_| entry.is_v6())
            .map(|only| !only && entry.local.ip().is_unspecified()),
        local: entry.local.into(),
        peer: connected.then(|| entry.peer.into()),
        direction: connected.then(|| judge.direction(entry)),
        leftover: entry.is_leftover(),
        left_ms: entry.left_ms,
        uid: entry.uid,
        inode: entry.inode,
        holders: holders.of(entry.inode).to_vec(),
    }
}

impl Socket {
    /// Whether it belongs to a server, or may.
    fn is_of_a_server(&self) -> bool {
        matches!(self.state, State::Listen | State::Bound)
            || (self.leftover && self.direction != Some(Direction::Outbound))
    }

    /// Whether it may be in the way of a bind of this address.
    fn meets(&self, address: IpAddr) -> bool {
        let own = self.local.address.to_canonical();
        let address = address.to_canonical();
        if own.is_unspecified() {
            // All of IPv6 is all of IPv4 as well, unless that is refused.
            own.is_ipv6() == address.is_ipv6() || (own.is_ipv6() && self.dual_stack != Some(false))
        } else if address.is_unspecified() {
            address.is_ipv6() || own.is_ipv4()
        } else {
            own == address
        }
    }

    /// Whether a program has yet to accept it.
    pub(super) fn waits_to_be_accepted(&self) -> bool {
        self.inode == 0 && !self.leftover
    }

    /// Who holds it, in words.
    pub(super) fn held_by(&self) -> String {
        if self.leftover {
            return "no process".into();
        }
        if self.waits_to_be_accepted() {
            return "not accepted yet".into();
        }
        if self.holders.is_empty() {
            let somewhere = if getuid().is_root() {
                ", in another PID namespace or out of reach without CAP_SYS_PTRACE"
            } else {
                ""
            };
            return format!("a process of uid {}{somewhere}", self.uid);
        }
        let mut by_name = BTreeMap::<&str, Vec<String>>::new();
        for holder in &self.holders {
            by_name
                .entry(&holder.name)
                .or_default()
                .push(holder.pid.to_string());
        }
        let names: Vec<String> = by_name
            .into_iter()
            .map(|(name, pids)| {
                let word = if pids.len() == 1 { "pid" } else { "pids" };
                format!("{name} ({word} {})", pids.join(", "))
            })
            .collect();
        output::list(&names)
    }
}

/// Tells who opened a connection, which the kernel does not say.
struct Judge {
    listeners: HashMap<u16, Vec<Entry>>,
    handed_out: RangeInclusive<u16>,
    /// Local addresses with several connections from one peer.
    shared: HashSet<(SocketAddr, IpAddr)>,
}

impl Judge {
    fn new(entries: &[Entry], listeners: Vec<Entry>) -> Self {
        let mut by_port = HashMap::<u16, Vec<Entry>>::new();
        for listener in listeners {
            by_port
                .entry(listener.local.port())
                .or_default()
                .push(listener);
        }
        let mut once = HashSet::new();
        let shared = entries
            .iter()
            .map(|entry| (entry.local, entry.peer.ip()))
            .filter(|&pair| !once.insert(pair))
            .collect();
        Self {
            listeners: by_port,
            handed_out: network::handed_out(),
            shared,
        }
    }

    fn direction(&self, entry: &Entry) -> Direction {
        if self.listens(entry.local) {
            return Direction::Inbound;
        }
        let (local, peer) = (entry.local, entry.peer);
        // Both ends are on this machine.
        if (peer.ip().to_canonical().is_loopback() || peer.ip() == local.ip()) && self.listens(peer)
        {
            return Direction::Outbound;
        }
        if entry.state == State::SynSent {
            return Direction::Outbound;
        }
        match (
            self.handed_out.contains(&local.port()),
            self.handed_out.contains(&peer.port()),
        ) {
            // The kernel does not hand this port out, so somebody has chosen it.
            (false, _) => Direction::Inbound,
            (true, false) => Direction::Outbound,
            // Two connections from one port of ours to one peer: clients get a port each.
            (true, true) if self.shared.contains(&(local, peer.ip())) => Direction::Inbound,
            (true, true) => Direction::Unknown,
        }
    }

    fn listens(&self, address: SocketAddr) -> bool {
        self.listeners.get(&address.port()).is_some_and(|all| {
            all.iter()
                .any(|listener| diag::covers(listener, address.ip()))
        })
    }
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
