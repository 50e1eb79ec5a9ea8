//! Prints who holds a port and whether it can be bound: the kernel's table, with holders, and a
//! diagnosis.

use super::{exit, options};
use crate::net::namespace;
use crate::net::sock_diag::{self, Which};
use crate::output::progress::Progress;
use crate::output::screen::{Frame, Screen};
use crate::output::{self, count, paragraph};
use crate::port::diagnosis::{Diagnosis, Surroundings, diagnose};
use crate::port::direction::Directions;
use crate::port::hint::Scope;
use crate::port::port_list::{self as ports, PortList, PortOrProgram, PortSet, spelled};
use crate::port::socket::{Endpoint, Socket, UdpSocket, held_by_udp};
use crate::port::table::listing;
use crate::process::holders::{Holder, Holders};
use crate::process::manager::{ByPid, Manager, Managers};
use crate::sys::clock::time_of_day;
use crate::sys::signals;
use anyhow::{Result, bail};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

/// Show which process holds a port, whether it can be bound now, and what to do
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without PORT: every port with a listener, or with leftovers of an earlier run.\n\
                  For the diagnosis it binds the port for a moment, and never listens."
)]
pub(crate) struct Arguments {
    /// Ports, or names of programs: 49200, 8000-8100, 53/udp, localhost:8080, http, node
    #[arg(value_name = "PORT")]
    targets: Vec<PortOrProgram>,

    /// Bind this address for the diagnosis, not all addresses
    #[arg(long, value_name = "ADDRESS", value_parser = options::address)]
    address: Option<IpAddr>,

    #[command(flatten)]
    network: options::Network,

    /// Show every socket on a line of its own
    #[arg(long)]
    all: bool,

    /// Repeat every second until `q` or Ctrl-C; with --json, one line each time
    #[arg(long)]
    watch: bool,

    #[command(flatten)]
    format: options::Format,
}

/// The whole answer.
#[derive(Debug)]
struct StatusOutput {
    network_namespace: String,
    ports: Vec<PerPort>,
    managers: ByPid,
}

#[derive(Debug)]
struct PerPort {
    port: u16,
    diagnosis: Option<Diagnosis>,
    sockets: Vec<Socket>,
    udp: Vec<UdpSocket>,
}

impl PerPort {
    fn is_busy(&self) -> bool {
        match &self.diagnosis {
            Some(diagnosis) => !diagnosis.is_free(),
            // A UDP port, if it was named.
            None => !self.udp.is_empty(),
        }
    }
}

/// Above so many ports, a long verdict each would hide the one that matters.
const MANY_PORTS: usize = 20;

/// Answers `reuseaddr status`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    arguments.network.enter()?;
    let scope = Scope {
        pid: arguments.network.pid,
        address: arguments.address,
    };
    let mut screen = if arguments.watch && !arguments.format.json {
        Screen::take()
    } else {
        None
    };
    if arguments.watch {
        signals::terminate_as_process_1();
    }
    loop {
        let answer = look(wanted(&arguments.targets)?.as_ref(), scope)?;
        if arguments.format.json {
            let depth = if arguments.watch {
                output::json::ONE_LINE
            } else {
                A_SOCKET_A_LINE
            };
            output::print_json(&OutputInJson::of(&answer), depth)?;
        } else {
            let table = table(&answer, arguments.all);
            let mut below = text(&answer, !arguments.targets.is_empty(), scope);
            if !table.is_empty() {
                below = format!("\n{below}");
            }
            match &mut screen {
                Some(screen) => screen.show(&Frame {
                    title: &title(arguments),
                    table: &table,
                    below: &below,
                }),
                None if arguments.watch => {
                    output::print(&format!("{}\n\n{table}{below}\n", title(arguments)))?;
                }
                None => output::print(&(table + &below))?,
            }
        }
        if !arguments.watch {
            return Ok(if answer.ports.iter().any(PerPort::is_busy) {
                exit::NO
            } else {
                exit::YES
            });
        }
        let pause = Duration::from_secs(1);
        let goes_on = screen.as_mut().map_or_else(
            || {
                thread::sleep(pause);
                true
            },
            |screen| screen.pause(pause),
        );
        if !goes_on || output::reader_has_gone() {
            return Ok(exit::YES);
        }
    }
}

fn title(arguments: &Arguments) -> String {
    let what: Vec<String> = arguments
        .targets
        .iter()
        .map(|target| match target {
            PortOrProgram::Ports(ports) => ports::all(std::slice::from_ref(ports)).spelled(),
            PortOrProgram::Program(name) => name.clone(),
        })
        .collect();
    format!("{}  reuseaddr status {}", time_of_day(), what.join(" "))
        .trim_end()
        .to_owned()
}

/// The ports that were named, and those of the programs that were; `None` if nothing was.
fn wanted(targets: &[PortOrProgram]) -> Result<Option<PortSet>> {
    let mut lists: Vec<PortList> = Vec::new();
    let mut programs: Vec<&str> = Vec::new();
    for target in targets {
        match target {
            PortOrProgram::Ports(list) => lists.push(list.clone()),
            PortOrProgram::Program(name) => programs.push(name),
        }
    }
    let named = ports::all(&lists);
    let mut ports: BTreeSet<u16> = named.tcp.into_iter().collect();
    if !programs.is_empty() {
        let mut entries = sock_diag::dump(Which::All)?;
        entries.retain(|entry| !entry.state.has_peer());
        let holders = Holders::find(entries.iter().map(|entry| entry.inode));
        for program in programs {
            let theirs: Vec<u16> = entries
                .iter()
                .filter(|entry| {
                    let mut holders = holders.of(entry.inode).iter();
                    holders.any(|holder| holder.info.is_called(program, &holder.name))
                })
                .map(|entry| entry.local.port())
                .collect();
            if theirs.is_empty() {
                bail!(
                    "of the programs that you may inspect none called {program} listens on a TCP \
                     port or has bound one, and /etc/services names no port of that name"
                );
            }
            ports.extend(theirs);
        }
    }
    Ok((!targets.is_empty()).then(|| PortSet {
        tcp: ports.into_iter().collect(),
        udp: named.udp,
    }))
}

fn look(wanted: Option<&PortSet>, scope: Scope) -> Result<StatusOutput> {
    // Somebody who asks about a TCP port may mean the UDP port.
    let named: BTreeSet<u16> = wanted
        .map(|wanted| wanted.tcp.iter().chain(&wanted.udp).copied().collect())
        .unwrap_or_default();
    let named: Vec<u16> = named.into_iter().collect();
    let which = wanted.map_or(Which::All, |wanted| Which::These(&wanted.tcp));
    let (entries, udp) = sock_diag::dump_with_udp(which, &named)?;
    let inodes = entries.iter().chain(&udp).map(|entry| entry.inode);
    let holders = Holders::find(inodes);
    let directions = Directions::of(&entries)?;

    let mut by_port = BTreeMap::<u16, (Vec<Socket>, Vec<UdpSocket>)>::new();
    for &port in &named {
        by_port.entry(port).or_default();
    }
    for entry in &entries {
        let (tcp, _) = by_port.entry(entry.local.port()).or_default();
        tcp.push(Socket::new(entry, &directions, &holders));
    }
    for entry in &udp {
        let (_, udp) = by_port.entry(entry.local.port()).or_default();
        udp.push(UdpSocket::new(entry, &holders));
    }
    let Some(wanted) = wanted else {
        by_port.retain(|_, (sockets, _)| sockets.iter().any(Socket::is_of_a_server));
        return Ok(answer(
            by_port.into_iter().map(|(port, found)| (port, found, None)),
        ));
    };
    let is_long = wanted.len() <= MANY_PORTS;
    let held = by_port.iter().flat_map(|(&port, (tcp, udp))| {
        let tcp = tcp.iter().map(|socket| &socket.holders);
        let holders = tcp.chain(udp.iter().map(|socket| &socket.holders));
        holders.map(move |holders| (port, holders.as_slice()))
    });
    let managers = if is_long {
        Managers::of_all(held)
    } else {
        ByPid::new()
    };
    let around = Surroundings {
        scope,
        ephemeral: directions.ephemeral,
        managers,
    };
    let number = by_port.len();
    let mut progress = Progress::begin();
    let diagnosed =
        by_port
            .into_iter()
            .enumerate()
            .map(|(position, (port, (mut sockets, udp)))| {
                progress.show(|| format!("{position} of {number} ports"));
                if is_long {
                    sockets.iter_mut().for_each(Socket::look_at_flags);
                }
                // Sorted, and perhaps all ports.
                let is_tcp = wanted.tcp.binary_search(&port).is_ok();
                let diagnosis = is_tcp.then(|| diagnose(port, &sockets, &around));
                (port, (sockets, udp), diagnosis)
            });
    let mut answer = answer(diagnosed);
    answer.managers = around.managers;
    Ok(answer)
}

/// Those in `sockets` are the fifth level of the JSON's objects and arrays.
const A_SOCKET_A_LINE: usize = 4;

/// The answer as `--json` has it.
#[derive(Serialize)]
struct OutputInJson<'a> {
    network_namespace: &'a str,
    ports: Vec<PortInJson<'a>>,
}

#[derive(Serialize)]
struct PortInJson<'a> {
    port: u16,
    verdict: Option<&'a Diagnosis>,
    sockets: Vec<SocketInJson<'a>>,
    udp: Vec<UdpInJson<'a>>,
}

#[derive(Serialize)]
struct SocketInJson<'a> {
    #[serde(flatten)]
    socket: &'a Socket,
    holders: Vec<HolderInJson<'a>>,
}

#[derive(Serialize)]
struct UdpInJson<'a> {
    local: Endpoint,
    peer: Option<Endpoint>,
    uid: u32,
    inode: u64,
    holders: Vec<HolderInJson<'a>>,
}

/// A process is described once, and referred to by its pid from then on: who has thousands of
/// connections is one process, with one command line.
#[derive(Serialize)]
#[serde(untagged)]
enum HolderInJson<'a> {
    First {
        #[serde(flatten)]
        holder: &'a Holder,
        manager: Option<&'a Manager>,
    },
    Again {
        pid: i32,
    },
}

impl<'a> OutputInJson<'a> {
    fn of(answer: &'a StatusOutput) -> Self {
        let mut described = HashSet::new();
        let mut holders = |holders: &'a [Holder]| -> Vec<HolderInJson<'a>> {
            let each = holders.iter().map(|holder| {
                if described.insert(holder.pid) {
                    HolderInJson::First {
                        holder,
                        manager: answer.managers.get(&holder.pid),
                    }
                } else {
                    HolderInJson::Again { pid: holder.pid }
                }
            });
            each.collect()
        };
        let ports = answer.ports.iter().map(|port| PortInJson {
            port: port.port,
            verdict: port.diagnosis.as_ref(),
            sockets: port
                .sockets
                .iter()
                .map(|socket| SocketInJson {
                    socket,
                    holders: holders(&socket.holders),
                })
                .collect(),
            udp: port
                .udp
                .iter()
                .map(|socket| UdpInJson {
                    local: socket.local,
                    peer: socket.peer,
                    uid: socket.uid,
                    inode: socket.inode,
                    holders: holders(&socket.holders),
                })
                .collect(),
        });
        Self {
            network_namespace: &answer.network_namespace,
            ports: ports.collect(),
        }
    }
}

fn answer(
    ports: impl Iterator<Item = (u16, (Vec<Socket>, Vec<UdpSocket>), Option<Diagnosis>)>,
) -> StatusOutput {
    StatusOutput {
        network_namespace: namespace::namespace(),
        managers: ByPid::new(),
        ports: ports
            .map(|(port, (sockets, udp), diagnosis)| PerPort {
                port,
                diagnosis,
                sockets,
                udp,
            })
            .collect(),
    }
}

fn table(answer: &StatusOutput, all: bool) -> String {
    let sockets = answer
        .ports
        .iter()
        .flat_map(|port| port.sockets.iter().map(|socket| (port.port, socket)));
    listing(sockets, all)
}

fn text(answer: &StatusOutput, named: bool, scope: Scope) -> String {
    if !named {
        let what = if answer.ports.is_empty() {
            "No port has a listener, and nothing was left behind. "
        } else {
            ""
        };
        let text = format!(
            "{what}`reuseaddr status PORT` says whether a port can be bound, and what to do."
        );
        return paragraph("", "", &text);
    }
    if answer.ports.len() > MANY_PORTS {
        return summary(answer, scope);
    }
    let mut text = String::new();
    for port in &answer.ports {
        if let Some(diagnosis) = &port.diagnosis {
            text += &diagnosis.text(port.port);
        }
        text += &udp(port);
    }
    text
}

/// Names the UDP holders of the port, which are no obstacle.
fn udp(port: &PerPort) -> String {
    let number = port.port;
    let is_beside = port.diagnosis.is_some();
    let text = match held_by_udp(&port.udp) {
        None if is_beside => return String::new(),
        None => format!("UDP port {number} is free."),
        Some(holders) if is_beside => {
            format!("UDP port {number}, which is another one, is held by {holders}.")
        }
        Some(holders) => format!("UDP port {number} is held by {holders}."),
    };
    paragraph("", "", &text)
}

/// Many ports: each that matters in one paragraph, and the others together.
fn summary(answer: &StatusOutput, scope: Scope) -> String {
    /// How many are described at length.
    const FEW: usize = 3;
    let mut text = String::new();
    let mut alike = BTreeMap::<&str, Vec<u16>>::new();
    let mut described = Vec::new();
    let mut free = 0;
    for port in &answer.ports {
        let Some(diagnosis) = &port.diagnosis else {
            continue;
        };
        match diagnosis.common() {
            Some(common) if port.sockets.is_empty() => {
                alike.entry(common).or_default().push(port.port);
            }
            _ if diagnosis.is_free() => free += 1,
            _ => described.push((port.port, diagnosis)),
        }
    }
    for (port, diagnosis) in &described {
        text += &if described.len() <= FEW {
            diagnosis.text(*port)
        } else {
            diagnosis.sentence(*port)
        };
    }
    if described.len() > FEW {
        text += &paragraph("", "", "`reuseaddr status PORT` shows for each what to do.");
    }
    for (common, ports) in alike {
        let range = spelled(&ports);
        text += &paragraph(
            "",
            "",
            &format!(
                "{} can't be bound: {range}. {common}",
                count(ports.len(), "port", "ports")
            ),
        );
        text += &output::command(&scope.status(&range), "finds out as root");
    }
    let all = if free == answer.ports.len() {
        "All "
    } else {
        ""
    };
    let more = if free == answer.ports.len() {
        ""
    } else {
        " more"
    };
    if free > 0 {
        let (ports, are) = if free == 1 {
            ("port", "is")
        } else {
            ("ports", "are")
        };
        text += &paragraph(
            "",
            "",
            &format!("{all}{free}{more} {ports} {are} free: a plain bind succeeds."),
        );
    }
    text
}
