//! Makes ports free by the least force: nothing, the eviction of leftovers, and then their holders are asked to end.

use super::{exit, options};
use crate::net::namespace;
use crate::net::probe::{self, Outcome};
use crate::output::progress::Progress;
use crate::output::{self, list, paragraph};
use crate::port::evict::{self, Choice, Eviction};
use crate::port::free_plan::{self, Ask, Plan, Whom};
use crate::port::port_list::{self as ports, PortList, spelled};
use crate::port::terminate::{Came, Ending, Force};
use crate::port::wait;
use crate::process::tree;
use anyhow::{Context, Result, bail};
use rustix::process::getuid;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Make a port free by the least force: evict what was left behind, ask who has it to end
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends whoever has a listener or a bound socket on the port, and no client. A service is stopped by its \
    manager, since it would be started again; a container is named. Never process 1, nor what started this command."
)]
pub(crate) struct Arguments {
    /// Ports: 49200, 8000-8100, or several with commas
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<PortList>,

    /// Do not ask; needed where there is no terminal
    #[arg(short, long)]
    yes: bool,

    /// Show who would be ended and how, and end nobody
    #[arg(long)]
    dry_run: bool,

    /// How long they may take to end after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "5s")]
    grace: options::Span,

    /// After that, end them by SIGKILL
    #[arg(long)]
    kill: bool,

    #[command(flatten)]
    network: options::Network,

    #[command(flatten)]
    format: options::Format,
}

#[derive(Debug, Serialize)]
struct Answer {
    network_namespace: String,
    dry_run: bool,
    /// Who had to end.
    asked: Vec<Asked>,
    /// Why somebody was not asked.
    refusals: Vec<String>,
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
}

#[derive(Debug, Serialize)]
struct PerPort {
    port: u16,
    free: bool,
}

/// Answers `reuseaddr free`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    arguments.network.enter()?;
    let ports = ports::all(&arguments.ports);
    let busy: Vec<u16> = ports
        .iter()
        .copied()
        .filter(|&port| !is_free(port))
        .collect();
    let asked = asked(arguments, &ports);
    let plan = free_plan::plan(&busy, Whom::Everybody, &asked)?;
    let say = |text: &str| {
        if arguments.format.json {
            Ok(())
        } else {
            output::print(text)
        }
    };
    if busy.is_empty() {
        say(&paragraph(
            "",
            "",
            &format!("{} free already: a plain bind succeeds.", is(&ports)),
        ))?;
        return done(arguments, &ports, &plan, exit::YES);
    }
    for ask in &plan.asks {
        say(&described(ask, arguments))?;
    }
    for refusal in &plan.refusals {
        output::complain(refusal);
    }
    if !plan.refusals.is_empty() {
        return done(arguments, &ports, &plan, exit::FAILED);
    }
    if arguments.dry_run {
        if plan.asks.is_empty() {
            say(&paragraph(
                "",
                "",
                &format!(
                    "{} held by no process: what was left behind would be evicted.",
                    is(&busy)
                ),
            ))?;
        }
        return done(arguments, &ports, &plan, exit::YES);
    }
    if !plan.asks.is_empty() {
        let ending = Ending::new(&plan.asks).context(
            "the processes can't be held on to, without which others might be ended in their place (pidfd_open(2), Linux 5.3)",
        )?;
        if !arguments.yes && !agreed(&plan)? {
            return done(arguments, &ports, &plan, exit::FAILED);
        }
        let force = Force {
            grace: arguments.grace.0,
            kill: arguments.kill,
        };
        if let Err(why) = end(&plan, ending, &busy, force)? {
            output::complain(&why);
            return done(arguments, &ports, &plan, exit::NO);
        }
    }
    let eviction = evict::evict(&busy, Choice::default(), false)?;
    if let Some(why) = still_busy(&busy, &eviction)? {
        output::complain(&why);
        return done(arguments, &ports, &plan, exit::NO);
    }
    say(&paragraph(
        "",
        "",
        &format!("{} free now: a plain bind succeeds.", is(&busy)),
    ))?;
    done(arguments, &ports, &plan, exit::YES)
}

/// Frees the ports for a program that is to be started: of our own processes alone, and without a question. What can't
/// be done is said, and the program is started all the same.
pub(crate) fn for_program(ports: &[u16]) -> Result<()> {
    let busy: Vec<u16> = ports
        .iter()
        .copied()
        .filter(|&port| !is_free(port))
        .collect();
    if busy.is_empty() {
        return Ok(());
    }
    let plan = free_plan::plan(&busy, Whom::Own, &spelled(&busy))?;
    for refusal in &plan.refusals {
        output::warn(refusal);
    }
    if !plan.refusals.is_empty() {
        return Ok(());
    }
    for ask in &plan.asks {
        output::tell(&format!("reuseaddr: {} is asked to end", ask.named()));
    }
    let force = Force {
        grace: Duration::from_secs(5),
        kill: false,
    };
    if let Err(why) = end(&plan, Ending::new(&plan.asks)?, &busy, force)? {
        output::warn(&why);
        return Ok(());
    }
    let eviction = evict::evict(&busy, Choice::default(), false)?;
    if let Some(why) = still_busy(&busy, &eviction)? {
        output::warn(&why);
    }
    Ok(())
}

/// Ends whom the plan names, or says why that did not succeed.
fn end(plan: &Plan, ending: Ending, ports: &[u16], force: Force) -> Result<Result<(), String>> {
    let mut progress = Progress::begin();
    for unit in plan.asks.iter().filter_map(|ask| ask.unit.as_ref()) {
        let tell = || progress.tell(|| format!("Waiting for {} to stop", unit.name));
        if let Err(error) = unit.stop(tell) {
            return Ok(Err(format!("{error:#}")));
        }
    }
    let came = ending.run(ports, force, |alive| {
        let holders: Vec<_> = alive.iter().map(|holding| holding.holder.clone()).collect();
        progress.tell(|| format!("Waiting for {} to end", tree::named(&holders)));
    })?;
    drop(progress);
    Ok(match came {
        Came::Ended => Ok(()),
        Came::Stubborn(who) if force.kill => Err(format!(
            "{who} was killed and has not ended: the kernel is still at work for it, see its state in `ps`"
        )),
        Came::Stubborn(who) => Err(format!(
            "{who} has not ended within {} s of SIGTERM; with --kill it would be ended by force\n    \
             reuseaddr free --kill {}",
            force.grace.as_secs_f32(),
            spelled(ports)
        )),
        Came::Taken(holders) => Err(format!(
            "{} has taken the port meanwhile, and was not asked to end: who starts it has to be stopped\n{}",
            tree::named(&holders),
            tree::described(&holders)
        )),
        Came::Refused(why) => Err(why),
    })
}

/// Why a plain bind fails after all, if it does.
fn still_busy(ports: &[u16], eviction: &Eviction) -> Result<Option<String>> {
    let busy: Vec<u16> = ports
        .iter()
        .copied()
        .filter(|&port| !is_free(port))
        .collect();
    if busy.is_empty() {
        return Ok(None);
    }
    if !eviction.left.is_empty() {
        return Ok(Some(evict::explain(eviction, &spelled(&busy))));
    }
    Ok(Some(format!(
        "a plain bind still fails: {}. Connections are not ended by `free`\n    reuseaddr status {}",
        wait::what_holds(&busy)?,
        spelled(&busy)
    )))
}

fn is_free(port: u16) -> bool {
    probe::probe(port, None)
        .iter()
        .all(|probe| probe.plain == Outcome::Bound)
}

/// `Port 5000 is`, `Ports 5000 and 6000-6100 are`.
fn is(ports: &[u16]) -> String {
    let words: Vec<String> = spelled(ports).split(',').map(ToOwned::to_owned).collect();
    if ports.len() == 1 {
        format!("Port {} is", list(&words))
    } else {
        format!("Ports {} are", list(&words))
    }
}

/// What was asked, as it would be typed.
fn asked(arguments: &Arguments, ports: &[u16]) -> String {
    let mut words = Vec::new();
    words.extend(arguments.network.pid.map(|pid| format!("--pid {pid}")));
    words.extend(arguments.yes.then(|| "--yes".into()));
    words.extend(arguments.kill.then(|| "--kill".into()));
    words.push(spelled(ports));
    words.join(" ")
}

/// Who is to end, and how.
fn described(ask: &Ask, arguments: &Arguments) -> String {
    let ports: Vec<u16> = ask.ports().into_iter().collect();
    let how = match &ask.unit {
        Some(unit) => format!("It is stopped by its manager: `{}`.", unit.how_to_stop()),
        None if arguments.kill => format!(
            "It is asked to end (SIGTERM), and after {} s killed.",
            arguments.grace.0.as_secs_f32()
        ),
        None => "It is asked to end (SIGTERM).".into(),
    };
    let holders = ask.holders();
    let own = getuid().as_raw();
    let others: BTreeSet<String> = holders
        .iter()
        .filter(|holder| holder.who.uid != Some(own))
        .map(|holder| holder.who.user())
        .collect();
    let whose = if others.is_empty() {
        String::new()
    } else {
        let users: Vec<String> = others.into_iter().collect();
        format!(" of user {}", list(&users))
    };
    let text = format!("{} held by {}{whose}. {how}", is(&ports), ask.named());
    paragraph("", "", &text) + &tree::described(&holders)
}

/// Asks on the terminal.
fn agreed(plan: &Plan) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        bail!("without a terminal to ask on, --yes is needed to end them; --dry-run shows them");
    }
    let names: Vec<String> = plan.asks.iter().map(Ask::named).collect();
    write!(io::stderr(), "End {}? [y/N] ", list(&names))?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// Prints the answer in JSON, if that was asked for.
fn done(arguments: &Arguments, ports: &[u16], plan: &Plan, code: u8) -> Result<u8> {
    if arguments.format.json {
        let answer = Answer {
            network_namespace: namespace::namespace(),
            dry_run: arguments.dry_run,
            asked: plan.asks.iter().map(Asked::new).collect(),
            refusals: plan.refusals.clone(),
            ports: ports
                .iter()
                .map(|&port| PerPort {
                    port,
                    free: is_free(port),
                })
                .collect(),
        };
        output::print_json(&answer, false)?;
    }
    Ok(code)
}

impl Asked {
    fn new(ask: &Ask) -> Self {
        let holders = ask.holders();
        let eldest = holders.first();
        Self {
            ports: ask.ports(),
            pids: holders.iter().map(|holder| holder.pid).collect(),
            name: eldest.map_or(String::new(), |holder| holder.name.clone()),
            user: eldest.map_or(String::new(), |holder| holder.who.user()),
            command_line: eldest.map_or_else(Vec::new, |holder| holder.who.command_line.clone()),
            unit: ask.unit.as_ref().map(|unit| unit.name.clone()),
        }
    }
}
