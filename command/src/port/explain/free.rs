//! The words of `free`: which processes it asks to exit, which not, and the outcome.

use super::unseen;
use crate::output::{list, seconds};
use crate::port::free_plan::{ExitRequest, Holding, Method, Plan, Port, Refusal};
use crate::port::port_list::PortSet;
use crate::port::respawn::Respawn;
use crate::port::terminate::{Force, Termination};
use crate::process::cgroup::Container;
use crate::process::holders::Holder;
use crate::process::manager::Manager;
use crate::process::{tree, users};
use rustix::process::{geteuid, getuid};
use std::collections::BTreeSet;

/// Whether the words are about what is done, or what would be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mood {
    Is,
    Would,
}

/// `Port 5000 is`, `Ports 5000 and 6000-6100 are`.
pub(crate) fn is(ports: &PortSet) -> String {
    let words: Vec<String> = ports.spelled().split(',').map(ToOwned::to_owned).collect();
    if ports.len() == 1 {
        format!("Port {} is", list(&words))
    } else {
        format!("Ports {} are", list(&words))
    }
}

/// Says which processes are asked to exit, and how.
pub(crate) fn ask(request: &ExitRequest, force: &Force, mood: Mood) -> String {
    let (udp, tcp): (Vec<Port>, Vec<Port>) =
        request.ports().into_iter().partition(|port| port.is_udp);
    let numbers = |ports: Vec<Port>| ports.into_iter().map(|port| port.number).collect();
    let ports = PortSet {
        tcp: numbers(tcp),
        udp: numbers(udp),
    };
    let be = match mood {
        Mood::Is => "is",
        Mood::Would => "would be",
    };
    let signal = || {
        let name = force.signal_name();
        if force.kill {
            let grace = seconds(force.grace);
            format!("It {be} asked to exit ({name}), and killed after {grace}.")
        } else {
            format!("It {be} asked to exit ({name}).")
        }
    };
    let how = match &request.method {
        Method::Manager(Manager::Unit(unit)) => {
            let restart = unit
                .restart()
                .map_or(String::new(), |policy| format!(" (Restart={policy})"));
            let manager = Manager::Unit(unit.clone());
            format!(
                "It is {}{restart}, which {be} stopped by its manager: `{}`.",
                unit.name,
                manager.stop_command()
            )
        }
        Method::Manager(manager) => format!(
            "It is managed by {}, which would start it again. It {be} stopped by that: `{}`.",
            manager.words(),
            manager.stop_command()
        ),
        Method::SignalDespite(manager) => format!(
            "{} But {} may start it again {}: `{}` stops that.",
            signal(),
            manager.words(),
            manager.occasion(),
            manager.stop_command()
        ),
        Method::Signal => signal(),
    };
    let holders = request.holders();
    let own = getuid().as_raw();
    let others: BTreeSet<String> = holders
        .iter()
        .filter(|holder| holder.info.uid != Some(own))
        .map(|holder| holder.info.user())
        .collect();
    let whose = if others.is_empty() {
        String::new()
    } else {
        let users: Vec<String> = others.into_iter().collect();
        format!(" of user {}", list(&users))
    };
    let state = holders
        .first()
        .and_then(|holder| holder.info.state.words())
        .map_or(String::new(), |state| format!(", {state}"));
    format!(
        "{} held by {}{whose}{state}. {how}",
        is(&ports),
        request.named()
    )
}

/// Warns that free ports may be taken again by whatever started their holder.
pub(crate) fn outlook(plan: &Plan) -> String {
    let again: Vec<String> = plan
        .requests
        .iter()
        .filter_map(|request| match &request.method {
            Method::SignalDespite(manager) => Some(format!(
                " But {} may start it again {}: `{}` stops that.",
                manager.words(),
                manager.occasion(),
                manager.stop_command()
            )),
            Method::Signal | Method::Manager(_) => None,
        })
        .collect();
    again.concat()
}

/// Why a process is not asked. `asked` is what was typed.
pub(crate) fn refusal(refusal: &Refusal, asked: &str) -> String {
    let sudo = || {
        if geteuid().is_root() {
            String::new()
        } else {
            format!("\n    sudo reuseaddr free {asked}")
        }
    };
    match refusal {
        Refusal::Unseen { port, uid } => {
            let user = users::name(*uid).map_or_else(|| uid.to_string(), ToOwned::to_owned);
            if geteuid().is_root() {
                format!("port {port} is held for user {user}. {}", unseen())
            } else {
                format!(
                    "port {port} is held by a process of user {user}, which you may not inspect{}",
                    sudo()
                )
            }
        }
        Refusal::Init(holding) => format!(
            "{}, and process 1 is never terminated: everything that runs here ends with it",
            holds(holding)
        ),
        Refusal::SocketUnit(holding, None) => format!(
            "{} for a socket unit, which starts a service for whoever connects: stop that \
             unit\n    \
             systemctl list-sockets",
            holds(holding)
        ),
        Refusal::SocketUnit(holding, Some(user)) => format!(
            "{} for a socket unit of {user}: stop that unit\n    systemctl --user list-sockets",
            holds(holding)
        ),
        Refusal::Ourselves(holding) => format!(
            "this command itself was started with port {}",
            ports(holding)
        ),
        Refusal::Ancestor(holding) => format!(
            "{}, and has started this command: it is not terminated",
            holds(holding)
        ),
        Refusal::Container(holding, manager) => of_container(holding, manager),
        Refusal::OtherUser(holding) => format!(
            "{}, and belongs to user {}{}",
            holds(holding),
            holding.holder.info.user(),
            sudo()
        ),
        Refusal::Managed(holdings, manager) => {
            let holders: Vec<Holder> = holdings
                .iter()
                .map(|holding| holding.holder.clone())
                .collect();
            format!(
                "{} is managed by {}, which would start it again. The command for that {}\n    {}",
                tree::named(&holders),
                manager.words(),
                manager.purpose(),
                manager.stop_command()
            )
        }
    }
}

/// Why a process is not asked that is in a container, or holds the port for one.
fn of_container(holding: &Holding, manager: &Manager) -> String {
    let policy = manager.restart().map_or(String::new(), |policy| {
        format!(" (restart policy {policy})")
    });
    let (kind, target) = (manager.kind(), manager.target());
    let what = if holding.holder.info.container.is_some() {
        let container = container(holding, manager);
        format!(", and runs in container {container}{policy}: stop the container")
    } else if target.is_empty() {
        format!(" for a container of {kind}: stop the container that publishes it")
    } else {
        format!(" for {kind} container {target}{policy}: stop the container")
    };
    format!("{}{what}\n    {}", holds(holding), manager.stop_command())
}

fn container(holding: &Holding, manager: &Manager) -> String {
    let short = holding.holder.info.container.as_ref().map(Container::short);
    match short {
        Some(short) if !manager.target().is_empty() && !short.contains(&manager.target()) => {
            format!("{} {}", manager.kind(), manager.target())
        }
        Some(short) => short,
        None => manager.target(),
    }
}

fn ports(holding: &Holding) -> String {
    let words: Vec<String> = holding.ports.iter().map(ToString::to_string).collect();
    list(&words)
}

/// `nginx (pid 7) holds port 80`.
fn holds(holding: &Holding) -> String {
    let Holding { holder, .. } = holding;
    format!(
        "{} (pid {}) holds port {}",
        holder.name,
        holder.pid,
        ports(holding)
    )
}

/// Why processes did not exit.
pub(crate) fn failure(termination: &Termination, ports: &PortSet, force: &Force) -> Option<String> {
    Some(match termination {
        Termination::Done => return None,
        Termination::Stubborn(holders) if force.kill => format!(
            "{} killed by SIGKILL and still there: the kernel is at work, see STAT in `ps`",
            who(holders, "was", "were"),
        ),
        Termination::Stubborn(holders) => format!(
            "{} not exited within {} of {}; --kill sends SIGKILL then\n    \
             reuseaddr free --kill {}",
            who(holders, "has", "have"),
            seconds(force.grace),
            force.signal_name(),
            ports.spelled()
        ),
        Termination::Taken(respawn) => format!(
            "{} taken the port meanwhile{}\n{}",
            who(&respawn.holders, "has", "have"),
            started(respawn, ports),
            tree::described(&respawn.holders)
        ),
        Termination::Refused(why) => why.clone(),
    })
}

/// Processes, to begin a sentence with, and its verb.
fn who(holders: &[Holder], verb_of_one: &str, verb_of_many: &str) -> String {
    let verb = match holders {
        [_] => verb_of_one,
        _ => verb_of_many,
    };
    format!("{} {verb}", tree::named(holders))
}

/// Says which processes hold the ports again.
pub(crate) fn respawned(respawn: &Respawn, ports: &PortSet) -> String {
    format!(
        "{} held again, by {}{}",
        is(ports).replacen('P', "p", 1),
        tree::named(&respawn.holders),
        started(respawn, ports)
    )
}

fn started(respawn: &Respawn, ports: &PortSet) -> String {
    match &respawn.by {
        Some(starter) => format!(
            ": {} starts it again. Stop that first\n    {}\n    reuseaddr free {}",
            starter.words(),
            starter.stop_command(),
            ports.spelled()
        ),
        None => ", and was not asked to exit: find out who starts it".into(),
    }
}
