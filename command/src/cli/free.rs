//! Frees ports gently: does nothing, clears leftovers, or asks the processes holding them to exit.

use super::{exit, options};
use crate::net::namespace;
use crate::output::{self, list, paragraph};
use crate::port::bindable::{busy, is_free, is_free_for_udp};
use crate::port::explain::free::{self as explain, Mood, is};
use crate::port::free::{Failure, denied, free};
use crate::port::free_plan::{self, ExitRequest, MayAsk, Plan};
use crate::port::port_list::{self as ports, PortList, PortSet};
use crate::port::terminate::{Force, Terminator};
use crate::process::manager::Manager;
use crate::process::{signal, tree};
use anyhow::{Context, Result};
use rustix::process::Signal;
use serde::Serialize;
use std::collections::BTreeSet;

/// Free a port gently: clear leftovers, then ask the process holding it to exit
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Asks only the processes that listen on the port or have bound it, never its \
                  clients. A process that its manager (systemd, supervisord, runit, pm2, …) would \
                  start again is stopped by the manager's own command. A container is left alone, \
                  and the command that stops it is named. Never terminates process 1, or a process \
                  that started this command."
)]
pub(crate) struct Arguments {
    /// Ports: 49200, 8000-8100, 53/udp, or several with commas
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<PortList>,

    /// Do not ask; needed without a terminal
    #[arg(short, long)]
    yes: bool,

    /// Show which processes would be terminated and how, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// The signal that asks them to exit: TERM, INT, HUP, QUIT, …
    #[arg(long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal::read)]
    signal: Signal,

    /// How long they may take to exit
    #[arg(long, value_name = "TIME", default_value = "5s")]
    grace: options::Span,

    /// After that, kill them (SIGKILL)
    #[arg(long)]
    kill: bool,

    /// The same as --kill --grace TIME
    #[arg(long, value_name = "TIME", conflicts_with_all = ["kill", "grace"])]
    force_after: Option<options::Span>,

    #[command(flatten)]
    network: options::Network,

    #[command(flatten)]
    format: options::Format,
}

#[derive(Debug, Serialize)]
struct FreeOutput<'a> {
    network_namespace: String,
    dry_run: bool,
    /// The processes that were asked to exit.
    asked: Vec<Asked>,
    /// Why somebody was not asked.
    refusals: &'a [String],
    ports: Vec<PerPort>,
}

#[derive(Debug, Serialize)]
struct Asked {
    ports: BTreeSet<u16>,
    pids: Vec<i32>,
    name: String,
    user: String,
    command_line: Vec<String>,
    /// The unit that is stopped, if it is one.
    unit: Option<String>,
    /// The manager that starts them again, or would.
    manager: Option<Manager>,
}

#[derive(Debug, Serialize)]
struct PerPort {
    port: u16,
    protocol: &'static str,
    free: bool,
}

impl Arguments {
    /// The arguments as they would be typed.
    fn spelled(&self, ports: &PortSet) -> String {
        let mut words = Vec::new();
        words.extend(self.network.pid.map(|pid| format!("--pid {pid}")));
        words.extend(self.yes.then(|| "--yes".into()));
        words.extend((self.signal != Signal::TERM).then(|| {
            let name = signal::name(self.signal);
            format!("--signal {}", name.trim_start_matches("SIG"))
        }));
        words.extend(self.kill.then(|| "--kill".into()));
        words.push(ports.spelled());
        words.join(" ")
    }

    fn force(&self) -> Force {
        Force {
            signal: self.signal,
            grace: self.force_after.unwrap_or(self.grace).0,
            kill: self.kill || self.force_after.is_some(),
        }
    }
}

/// What is to be done, and what is said of it.
struct Answer<'a> {
    arguments: &'a Arguments,
    ports: &'a PortSet,
    plan: &'a Plan,
    refusals: Vec<String>,
}

/// Answers `reuseaddr free`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    arguments.network.enter()?;
    let ports = ports::all(&arguments.ports);
    let busy = busy(&ports);
    let plan = if busy.is_empty() {
        Plan::default()
    } else {
        free_plan::plan(&busy, MayAsk::Everybody)?
    };
    let typed = arguments.spelled(&ports);
    let refusals = plan.refusals.iter();
    let answer = Answer {
        arguments,
        ports: &ports,
        plan: &plan,
        refusals: refusals
            .map(|refusal| explain::refusal(refusal, &typed))
            .collect(),
    };
    if busy.is_empty() {
        answer.sentence(&format!(
            "{} free already: a plain bind succeeds.",
            is(&ports)
        ))?;
        return answer.done(exit::YES);
    }
    let force = arguments.force();
    answer.name_processes(&force)?;
    if !answer.refusals.is_empty() {
        return answer.done(exit::FAILED);
    }
    if let (true, Some(why)) = (plan.requests.is_empty(), denied(&busy)?) {
        output::error(&why);
        return answer.done(exit::FAILED);
    }
    if arguments.dry_run {
        if plan.requests.is_empty() {
            answer.sentence(&format!(
                "{} held by no process: leftovers would be evicted.",
                is(&busy)
            ))?;
        }
        return answer.done(exit::YES);
    }
    let terminator = terminator(&plan)?;
    if terminator.is_some() && !arguments.yes && !agreed(&plan)? {
        return answer.done(exit::FAILED);
    }
    match free(&plan, terminator, &busy, force)? {
        Err(Failure::Busy(why)) => {
            output::error(&why);
            answer.done(exit::NO)
        }
        Err(Failure::Denied(why)) => {
            output::error(&why);
            answer.done(exit::FAILED)
        }
        Ok(()) => {
            answer.sentence(&format!(
                "{} free now: a plain bind succeeds.{}",
                is(&busy),
                explain::outlook(&plan)
            ))?;
            answer.done(exit::YES)
        }
    }
}

/// Takes hold of the processes that are to exit, if there are any.
fn terminator(plan: &Plan) -> Result<Option<Terminator>> {
    if plan.requests.is_empty() {
        return Ok(None);
    }
    let terminator = Terminator::new(&plan.requests).context(
        "the processes can't be held by a pidfd, without which others might be terminated in their \
         place (pidfd_open(2), Linux 5.3)",
    )?;
    Ok(Some(terminator))
}

/// Asks on the terminal.
fn agreed(plan: &Plan) -> Result<bool> {
    let names: Vec<String> = plan.requests.iter().map(ExitRequest::named).collect();
    output::ask(
        &format!("Terminate {}?", list(&names)),
        "--yes is needed to terminate them; --dry-run shows them",
    )
}

impl Answer<'_> {
    fn say(&self, text: &str) -> Result<()> {
        if self.arguments.format.json {
            Ok(())
        } else {
            output::print(text)
        }
    }

    fn sentence(&self, text: &str) -> Result<()> {
        self.say(&paragraph("", "", text))
    }

    /// Names the processes that are asked to exit, or would be, and why somebody is not.
    fn name_processes(&self, force: &Force) -> Result<()> {
        let goes_on = self.refusals.is_empty() && !self.arguments.dry_run && self.arguments.yes;
        let mood = if goes_on { Mood::Is } else { Mood::Would };
        for request in &self.plan.requests {
            self.sentence(&explain::ask(request, force, mood))?;
            self.say(&tree::described(&request.holders()))?;
        }
        for refusal in &self.refusals {
            output::error(refusal);
        }
        Ok(())
    }

    /// Prints the answer in JSON, if that was asked for.
    fn done(&self, code: u8) -> Result<u8> {
        if self.arguments.format.json {
            let tcp = self.ports.tcp.iter().map(|&port| PerPort {
                port,
                protocol: "tcp",
                free: is_free(port),
            });
            let udp = self.ports.udp.iter().map(|&port| PerPort {
                port,
                protocol: "udp",
                free: is_free_for_udp(port),
            });
            let answer = FreeOutput {
                network_namespace: namespace::namespace(),
                dry_run: self.arguments.dry_run,
                asked: self.plan.requests.iter().map(Asked::new).collect(),
                refusals: &self.refusals,
                ports: tcp.chain(udp).collect(),
            };
            output::print_json(&answer, output::json::USUAL)?;
        }
        Ok(code)
    }
}

impl Asked {
    fn new(request: &ExitRequest) -> Self {
        let holders = request.holders();
        let eldest = holders.first();
        Self {
            ports: request.ports().iter().map(|port| port.number).collect(),
            pids: holders.iter().map(|holder| holder.pid).collect(),
            name: eldest.map_or(String::new(), |holder| holder.name.to_string()),
            user: eldest.map_or(String::new(), |holder| holder.info.user()),
            command_line: eldest.map_or_else(Vec::new, |holder| holder.info.command_line.clone()),
            unit: match request.stopped_by() {
                Some(Manager::Unit(unit)) => Some(unit.name.clone()),
                _ => None,
            },
            manager: request.manager().cloned(),
        }
    }
}
