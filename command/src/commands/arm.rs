//! Sets `SO_REUSEADDR` on the sockets of a program that runs without the library, through copies of its descriptors
//! (pidfd_getfd(2)). What it leaves behind then carries the flag, so that its next run can bind over it.

use super::exit;
use crate::kernel::descriptors::{Theirs, sockets_of, why_not};
use crate::kernel::holders::Holders;
use crate::kernel::sock_diag::{self, State, Which};
use crate::kernel::{calls, network};
use crate::output::{self, count, list, paragraph};
use crate::port::list::{self as ports, PortList};
use anyhow::{Context, Result, bail};
use log::debug;
use procfs::process::Process;
use rustix::net::sockopt::set_socket_reuseaddr;
use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

/// Set SO_REUSEADDR on a running program's sockets, so that its next start can bind their port
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true))]
#[command(
    after_help = "The next run needs the flag too: start it with `reuseaddr run`, unless it sets the flag itself."
)]
pub(crate) struct Arguments {
    /// The process; whoever shares its ports is armed too
    #[arg(group = "whose", value_name = "PID")]
    pid: Option<u32>,

    /// Every process with a socket on these ports
    #[arg(long, group = "whose", value_name = "PORT")]
    port: Option<PortList>,

    /// `graceful`: connections closed by the program leave no TIME_WAIT (TCP_LINGER2)
    #[arg(long, value_name = "graceful", value_parser = ["graceful"])]
    linger: Option<String>,
}

/// Answers `reuseaddr arm`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let (ports, alone) = match (&arguments.pid, &arguments.port) {
        (Some(pid), _) => of_process(*pid)?,
        (None, Some(list)) => (ports::all(std::slice::from_ref(list)), None),
        (None, None) => bail!("a PID or --port is needed"),
    };
    let linger = arguments.linger.is_some();
    let mut armed = HashSet::new();
    let mut failed = arm_all(&holders(alone, &ports)?, &ports, linger, &mut armed)?;
    let mut missed = if alone.is_some() {
        HashSet::new()
    } else {
        missed(&ports, &armed)?
    };
    let deadline = Instant::now() + ACCEPTING;
    while failed == 0 && !missed.is_empty() && Instant::now() < deadline {
        thread::sleep(PAUSE);
        failed = arm_all(&holders(alone, &ports)?, &ports, linger, &mut armed)?;
        let still = self::missed(&ports, &armed)?;
        missed.retain(|identity| still.contains(identity));
    }

    if failed > 0 {
        return Ok(if armed.is_empty() {
            exit::FAILED
        } else {
            exit::NO
        });
    }
    if armed.is_empty() {
        output::complain(&unarmed(&ports)?);
        return Ok(exit::NO);
    }
    let number = count(armed.len(), "socket", "sockets");
    if !missed.is_empty() {
        output::print(&paragraph("", "", &format!("{number} armed.")))?;
        output::complain(&format!(
            "{} not: nobody has accepted what is there, or you may not look where it is held. What it leaves behind may \
             keep the port from the next start, so arm once more when it has been accepted",
            count(missed.len(), "connection was", "connections were"),
        ));
        return Ok(exit::NO);
    }
    output::print(&paragraph(
        "",
        "",
        &format!(
            "{number} armed. Now the program can be stopped, and started again at once with `reuseaddr run`."
        ),
    ))?;
    Ok(exit::YES)
}

/// How long a program may take to accept what waits when its listener is armed.
const ACCEPTING: Duration = Duration::from_millis(500);

const PAUSE: Duration = Duration::from_millis(10);

/// The process alone, or every process with a socket on these ports.
fn holders(alone: Option<u32>, ports: &[u16]) -> Result<Vec<Process>> {
    match alone {
        Some(pid) => Ok(vec![network::process(pid)?]),
        None => on_ports(ports),
    }
}

/// The connections that were there when the listeners had been armed, and are not armed themselves: those that wait to be
/// accepted, which no descriptor leads to, and those that were accepted meanwhile.
fn missed(
    ports: &[u16],
    armed: &HashSet<u64>,
) -> Result<HashSet<(SocketAddr, SocketAddr, [u8; 8])>> {
    Ok(sock_diag::dump(Which::These(ports))?
        .iter()
        .filter(|entry| matches!(entry.state, State::Established | State::CloseWait))
        .filter(|entry| !armed.contains(&entry.inode))
        .map(sock_diag::Entry::identity)
        .collect())
}

/// Arms what these processes have on the ports and is not armed yet, and returns how much of it could not be.
fn arm_all(
    processes: &[Process],
    ports: &[u16],
    linger: bool,
    armed: &mut HashSet<u64>,
) -> Result<usize> {
    let again = !armed.is_empty();
    let mut failed = 0;
    for process in processes {
        let theirs = match sockets_of(process) {
            Ok(theirs) => theirs,
            Err(error) => {
                output::complain(&format!(
                    "{}\n    sudo reuseaddr arm {}",
                    why_not(error, process.pid()),
                    process.pid()
                ));
                failed += 1;
                continue;
            }
        };
        let name = process.stat().map_or_else(
            |_| "?".into(),
            |stat| output::readable(stat.comm.as_bytes()),
        );
        for (inode, socket) in theirs {
            if ports.binary_search(&socket.local.port()).is_err() || !armed.insert(inode) {
                continue;
            }
            // What was accepted since has inherited the flag.
            if !(again && socket.reuses_address()) {
                failed += usize::from(!arm(&socket, linger, &name, process.pid())?);
            }
        }
    }
    Ok(failed)
}

/// Sets the options on one socket, and says so.
fn arm(socket: &Theirs, linger: bool, name: &str, pid: i32) -> Result<bool> {
    let had = socket.reuses_address();
    let mut set = Vec::new();
    let mut refused = Vec::new();
    match set_socket_reuseaddr(&socket.fd, true) {
        Ok(()) if had => debug!("{} has SO_REUSEADDR already", socket.describe()),
        Ok(()) => set.push("SO_REUSEADDR".to_owned()),
        Err(error) => refused.push(format!("SO_REUSEADDR ({error})")),
    }
    if linger {
        match calls::set_no_time_wait(socket.fd.as_fd()) {
            Ok(()) => set.push("TCP_LINGER2=-1".to_owned()),
            Err(error) => refused.push(format!("TCP_LINGER2 ({error})")),
        }
    }
    let what = socket.describe();
    if !refused.is_empty() {
        output::complain(&format!(
            "{name} (pid {pid}): {what} refused {}",
            list(&refused)
        ));
        return Ok(false);
    }
    let done = if set.is_empty() {
        "had SO_REUSEADDR already".into()
    } else {
        format!("has {} now", list(&set))
    };
    output::print(&paragraph(
        "",
        "  ",
        &format!("{name} (pid {pid}): {what} {done}"),
    ))?;
    Ok(true)
}

/// The ports that a process listens on; and the process, if those who share them can't be found.
fn of_process(pid: u32) -> Result<(Vec<u16>, Option<u32>)> {
    let process = network::process(pid)?;
    let theirs = sockets_of(&process).map_err(|error| {
        anyhow::anyhow!(
            "{}\n    sudo reuseaddr arm {pid}",
            why_not(error, process.pid())
        )
    })?;
    let ports: BTreeSet<u16> = theirs
        .iter()
        .filter(|(_, socket)| socket.listening)
        .map(|(_, socket)| socket.local.port())
        .collect();
    if ports.is_empty() {
        bail!(
            "process {pid} listens on no TCP port, so there is nothing that its next start would need. Perhaps a child of \
             it does, or another process:\n    reuseaddr status"
        );
    }
    // Its network may not be ours, and in ours these ports are somebody else's.
    let entered = network::enter(pid);
    if let Err(error) = &entered {
        output::warn(&format!(
            "{error:#}. Process {pid} alone is armed, and not what may share its ports"
        ));
    }
    let alone = entered.is_err().then_some(pid);
    Ok((ports.into_iter().collect(), alone))
}

/// Every process that holds a socket on these ports.
fn on_ports(ports: &[u16]) -> Result<Vec<Process>> {
    let entries =
        sock_diag::dump(Which::These(ports)).context("the holders of the ports can't be found")?;
    let inodes: Vec<u64> = entries.iter().map(|entry| entry.inode).collect();
    let holders = Holders::find(inodes.iter().copied());
    let pids: BTreeSet<i32> = inodes
        .iter()
        .flat_map(|&inode| holders.of(inode))
        .map(|holder| holder.pid)
        .collect();
    // One that has ended meanwhile needs nothing.
    Ok(pids
        .into_iter()
        .filter_map(|pid| Process::new(pid).ok())
        .collect())
}

/// Why nothing was armed.
fn unarmed(ports: &[u16]) -> Result<String> {
    let entries = sock_diag::dump(Which::These(ports))?;
    let spelled = ports
        .iter()
        .take(4)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",");
    Ok(if entries.iter().any(|entry| entry.inode != 0) {
        format!(
            "the port is held by a process whose descriptors you may not see; root may, with CAP_SYS_PTRACE\n    \
             sudo reuseaddr arm --port {spelled}"
        )
    } else if entries.is_empty() {
        format!(
            "no socket has this port; a program can be armed only while it runs\n    reuseaddr status {spelled}"
        )
    } else {
        format!(
            "no process holds what is on this port: an earlier run left it behind, and only evicting or waiting helps\n    \
             reuseaddr status {spelled}"
        )
    })
}
