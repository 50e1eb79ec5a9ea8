//! Sets `SO_REUSEADDR` on the sockets of a program that runs without the library. What it leaves
//! behind then carries the flag, so that its next run can bind over it.

use super::{exit, options};
use crate::net::namespace;
use crate::net::sock_diag::{self, Which};
use crate::output::{self, count, list, paragraph};
use crate::port::arm::{Armed, Arming, Job, SocketKind, arm};
use crate::port::hint::seconds_to_wait;
use crate::port::port_list::{self as ports, PortList, spelled};
use crate::process::info;
use crate::process::sockets::{each_socket, why_not};
use anyhow::{Result, bail};
use procfs::process::Process;
use rustix::process::geteuid;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Set SO_REUSEADDR on a running program's sockets, so that its next start can bind their port
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
#[command(
    after_help = "The next run needs the option too: start it with `reuseaddr run`, unless it sets \
                  the option itself."
)]
pub(crate) struct Arguments {
    /// Arm every process with a socket on these ports: 49200, 8000-8100, localhost:8080, http
    #[arg(group = "whose", value_name = "PORT")]
    ports: Vec<PortList>,

    /// Arm this process's listening ports, and every process that shares them
    #[arg(long, group = "whose", value_name = "PID", value_parser = options::pid)]
    pid: Option<u32>,

    /// `graceful`: connections closed by the program leave no TIME_WAIT (TCP_LINGER2)
    #[arg(long, value_name = "graceful", value_parser = ["graceful"])]
    linger: Option<String>,

    /// Show what would be armed, and arm nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    format: options::Format,
}

/// Answers `reuseaddr arm`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let (ports, alone) = match arguments.pid {
        Some(pid) => of_process(pid)?,
        None => (ports::tcp(&arguments.ports)?, None),
    };
    let job = Job {
        ports: &ports,
        alone,
        linger: arguments.linger.is_some(),
        dry_run: arguments.dry_run,
    };
    let answer = arm(&job)?;
    if arguments.format.json {
        output::print_json(&answer, output::json::USUAL)?;
    } else {
        output::print(&text(&answer))?;
    }
    for refused in &answer.refused {
        output::error(&refusal(&refused.why, &arguments.spelled(&ports)));
    }
    if answer.is_empty() && answer.refused.is_empty() {
        output::error(&unarmed(&ports)?);
    } else if answer.missed > 0 {
        output::error(&format!(
            "{} could not be armed: not accepted yet, or held by a process that you may not \
             inspect. It may block the next start: run `reuseaddr arm` again later",
            count(answer.missed, "connection", "connections"),
        ));
    }
    Ok(code(&answer))
}

impl Arguments {
    /// Whose sockets, as it was typed.
    fn spelled(&self, ports: &[u16]) -> String {
        self.pid
            .map_or_else(|| spelled(ports), |pid| format!("--pid {pid}"))
    }
}

/// The exit code.
fn code(answer: &Arming) -> u8 {
    let failed =
        !answer.refused.is_empty() || answer.sockets.iter().any(|socket| socket.error.is_some());
    let done = answer
        .sockets
        .iter()
        .any(|socket| socket.kind != SocketKind::Bound && socket.error.is_none());
    if done && !failed && answer.missed == 0 {
        exit::YES
    } else if !done && failed {
        exit::FAILED
    } else {
        exit::NO
    }
}

/// Says what was done, equal sockets on one line.
fn text(answer: &Arming) -> String {
    type Alike<'a> = (
        i32,
        &'a str,
        SocketKind,
        &'a str,
        &'a [&'static str],
        Option<&'a str>,
    );
    let mut alike = BTreeMap::<Alike<'_>, Vec<&Armed>>::new();
    for socket in &answer.sockets {
        let key = (
            socket.pid,
            &*socket.name,
            socket.kind,
            &*socket.local,
            &*socket.set,
            socket.error.as_deref(),
        );
        alike.entry(key).or_default().push(socket);
    }
    let mut text = String::new();
    for ((pid, name, kind, local, set, error), sockets) in alike {
        let several = sockets.len() > 1;
        let what = match (kind, sockets.as_slice()) {
            (SocketKind::Listener, _) => format!("the listener on {local}"),
            (SocketKind::Bound, _) => format!("the socket bound to {local}"),
            (SocketKind::Connection, [only]) => {
                format!(
                    "the connection of {local} with {}",
                    only.peer.as_deref().unwrap_or("?")
                )
            }
            (SocketKind::Connection, many) => format!("{} connections of {local}", many.len()),
        };
        let (has, had) = if several {
            ("have", "had")
        } else {
            ("has", "had")
        };
        let options: Vec<String> = set.iter().map(ToString::to_string).collect();
        let done = match (kind, error) {
            (SocketKind::Bound, _) => {
                "is left alone: it does not listen, and with the flag others could bind beside it"
                    .into()
            }
            (_, Some(error)) => format!("refused {error}"),
            (_, None) if options.is_empty() => format!("{had} SO_REUSEADDR already"),
            (_, None) if answer.dry_run => format!("would get {}", list(&options)),
            (_, None) => format!("{has} {} now", list(&options)),
        };
        text += &paragraph("", "  ", &format!("{name} (pid {pid}): {what} {done}"));
    }
    let armed = answer
        .sockets
        .iter()
        .filter(|socket| socket.kind != SocketKind::Bound && socket.error.is_none())
        .count();
    if armed > 0 {
        text += &paragraph("", "", &outlook(answer, armed));
    }
    text
}

/// Says what the next start will find.
fn outlook(answer: &Arming, armed: usize) -> String {
    let number = count(armed, "socket", "sockets");
    let mut text = if answer.dry_run {
        format!("{number} would be armed.")
    } else {
        format!("{number} armed.")
    };
    let port = spelled(&answer.ports);
    if answer.leftovers.is_empty() {
        if answer.missed == 0 && !answer.dry_run && answer.refused.is_empty() {
            text +=
                " Now the program can be stopped, and started again at once with `reuseaddr run`.";
        }
        return text;
    }
    let left = answer.leftovers_left_ms.unwrap_or(60_000);
    let what: Vec<String> = answer
        .leftovers
        .iter()
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    let had = answer
        .sockets
        .iter()
        .any(|socket| socket.kind == SocketKind::Listener && socket.had_reuse_address);
    let is_one = answer.leftovers.values().sum::<usize>() == 1;
    let (remain, subject, block, object) = if is_one {
        ("remains", "it", "blocks", "it")
    } else {
        ("remain", "they", "block", "them")
    };
    let (since, block) = if had {
        (
            ", perhaps from before the listener carried SO_REUSEADDR",
            "may block",
        )
    } else {
        (" without SO_REUSEADDR", block)
    };
    text += &format!(
        " But {} {remain}{since}: {subject} {block} the port for {} s more. Once the program has \
         been stopped, `reuseaddr evict {port}` clears {object}, or `reuseaddr run --wait {}s \
         PROGRAM` waits for {object}.",
        list(&what),
        left.div_ceil(1000),
        seconds_to_wait(left),
    );
    text
}

/// Why nothing was armed, and the command for root, unless we are root.
fn refusal(why: &str, arguments: &str) -> String {
    if geteuid().is_root() {
        why.into()
    } else {
        format!("{why}\n    sudo reuseaddr arm {arguments}")
    }
}

/// The ports that a process listens on; and the process, if those who share them can't be found.
fn of_process(pid: u32) -> Result<(Vec<u16>, Option<u32>)> {
    let process = info::process(pid)?;
    let mut ports = BTreeSet::new();
    let looked = each_socket(&process, &mut HashSet::new(), |socket| {
        if socket.listening {
            ports.insert(socket.local.port());
        }
    });
    looked.map_err(|error| {
        let why = why_not(error, process.pid());
        anyhow::Error::msg(refusal(&why, &format!("--pid {pid}")))
    })?;
    if ports.is_empty() {
        bail!(
            "process {pid} listens on no TCP port, so there is nothing that its next start would \
             need. Perhaps a child of it does, or another process:\n    reuseaddr status"
        );
    }
    // Its network namespace may be another one, and in ours these ports are somebody else's.
    let entered = namespace::enter(pid);
    if let Err(error) = &entered {
        output::warn(&format!(
            "{error:#}. Process {pid} alone is armed, and not what may share its ports"
        ));
    }
    let alone = entered.is_err().then_some(pid);
    Ok((ports.into_iter().collect(), alone))
}

/// Why nothing was armed.
fn unarmed(ports: &[u16]) -> Result<String> {
    let entries = sock_diag::dump(Which::These(ports))?;
    let spelled = spelled(ports);
    Ok(if entries.iter().any(|entry| entry.inode != 0) {
        format!(
            "nothing on the port listens or is connected, so that there is nothing to arm\n    \
             reuseaddr status {spelled}"
        )
    } else if entries.is_empty() {
        let process = match ports {
            [pid] if Process::new(i32::from(*pid)).is_ok() => {
                format!("; if process {pid} is meant:\n    reuseaddr arm --pid {pid}")
            }
            _ => format!(
                "; a program can be armed only while it runs\n    reuseaddr status {spelled}"
            ),
        };
        format!("no socket has this port{process}")
    } else {
        format!(
            "no process holds what is on this port: an earlier run left it behind, and only \
             evicting or waiting helps\n    \
             reuseaddr status {spelled}"
        )
    })
}
