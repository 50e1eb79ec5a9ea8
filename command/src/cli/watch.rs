//! Which programs can't bind, as it happens on this machine, and what is in their way.

use super::exit;
use crate::output::{self, BAD, paragraph, styled};
use crate::port::port_list::{self as ports, PortList, PortSet};
use crate::process::info::ProcessInfo;
use crate::process::unit::{self, NamedUnit};
use crate::sys::clock::time_of_day;
use crate::watch::finding::{self, Finding};
use crate::watch::repeats::{Due, Repeats};
use crate::watch::seen::{self, Observation, Protocol, Seen};
use anyhow::{Result, bail};
use log::debug;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Show each program that can't bind, as it happens, and what is in its way
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Sees TCP and UDP binds and listens that fail because the address is in use, in \
                  containers too, until interrupted; not those by io_uring or of 32-bit programs. \
                  Takes root, and Linux 5.8 or later.\n\
                  Example: sudo reuseaddr watch --unit myd --evict"
)]
pub(crate) struct Arguments {
    /// Only these ports: 49200, 8000-8100, or several with commas
    #[arg(value_name = "PORT")]
    ports: Vec<PortList>,

    /// Only this service, scope or slice, or a template's instances; may be repeated
    #[arg(long = "unit", value_name = "UNIT", allow_hyphen_values = true)]
    units: Vec<String>,

    /// Clear what earlier runs of the service left on the port, so that its next try succeeds
    #[arg(long, requires = "units")]
    evict: bool,

    /// Print one JSON object per line; the manual describes every key (`reuseaddr man`)
    #[arg(long)]
    json: bool,
}

/// A program that is served by libreuse fails first, and succeeds at once, on a busy machine too.
const SECOND_TRY: Duration = Duration::from_millis(300);

/// So much is taken at once before something is reported.
const AT_ONCE: usize = 10_000;

/// How often it looks whether there is something to do, and somebody to read it.
const OFTEN: Duration = Duration::from_millis(50);

/// Between two lines about failures that may have been lost.
const LOST_PAUSE: Duration = Duration::from_secs(10);

/// The event, as `--json` prints it.
#[derive(Serialize)]
struct Event<'a> {
    time_ms: u64,
    pid: i32,
    name: &'a str,
    #[serde(flatten)]
    info: &'a ProcessInfo,
    network_namespace: Option<&'a str>,
    call: &'static str,
    protocol: Protocol,
    address: IpAddr,
    port: u16,
    times: u64,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// Answers `reuseaddr watch`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let units = Units::new(&arguments.units)?;
    let PortSet { tcp, udp } = ports::all(&arguments.ports);
    if let Some(port) = udp.first() {
        bail!("{port}/udp: watch takes a port for TCP and UDP alike: `reuseaddr watch {port}`");
    }
    let (sender, receiver) = mpsc::channel();
    seen::begin(tcp, sender)?;
    if arguments.json {
        debug!("watching");
    } else {
        output::info("Watching for programs that can't bind. Ctrl-C ends it.");
    }
    let mut waiting: Vec<Box<Seen>> = Vec::new();
    let mut repeats = Repeats::default();
    let mut pause = OFTEN;
    let mut lost_some = false;
    let mut may_say_so = Instant::now();
    loop {
        let first = match receiver.recv_timeout(pause) {
            Ok(news) => Some(news),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => bail!("the kernel reports nothing any more"),
        };
        for news in first.into_iter().chain(receiver.try_iter().take(AT_ONCE)) {
            match news {
                Observation::Failed(seen) if units.have(&seen) => waiting.push(seen),
                Observation::Failed(_) => {}
                Observation::MayHaveLostSome => lost_some = true,
                Observation::Succeeded {
                    tid,
                    descriptor,
                    address,
                } => waiting.retain(|seen| !seen.is_of(tid, descriptor, address)),
            }
        }
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|seen| now >= seen.at + SECOND_TRY);
        waiting = later;
        for seen in due {
            repeats.take(seen);
        }
        if lost_some && now >= may_say_so {
            output::warn(
                "so many calls failed at once, on any port of this machine, that some may not be \
                 reported",
            );
            lost_some = false;
            may_say_so = now + LOST_PAUSE;
        }
        pause = OFTEN;
        // One at a time: whatever happens meanwhile is taken in between.
        if let Some(due) = repeats.due() {
            report(&due, arguments, &mut repeats)?;
            pause = Duration::ZERO;
        }
        if output::reader_has_gone() {
            return Ok(exit::YES);
        }
    }
}

/// The slice that everything is in.
const EVERYTHING: &str = "-.slice";

/// The units that are meant; all processes, if there is none.
struct Units(Vec<String>);

impl Units {
    fn new(names: &[String]) -> Result<Self> {
        let mut units = Vec::new();
        for name in names {
            let full = unit::with_processes(name)?;
            if full == EVERYTHING {
                return Ok(Self(Vec::new()));
            }
            if unit::is_template(&full) {
                units.push(full);
                continue;
            }
            let unit = NamedUnit::ask(full);
            if unit.exists == Some(false) {
                output::warn(&format!(
                    "systemd knows no unit {}; a user's manager may run one",
                    unit.name
                ));
            }
            units.push(unit.name);
        }
        Ok(Self(units))
    }

    fn have(&self, seen: &Seen) -> bool {
        let group = &seen.known.info.group;
        self.0.is_empty()
            || group.split('/').any(|part| {
                let is_it = |wanted: &String| unit::is_or_instantiates(part, wanted);
                self.0.iter().any(is_it)
            })
    }
}

/// Looks for what is in the way, and prints it.
fn report(due: &Due, arguments: &Arguments, repeats: &mut Repeats) -> Result<()> {
    let seen = &due.seen;
    let finding = finding::find(seen, arguments.evict).unwrap_or_else(|error| {
        // It may be so of one network namespace alone.
        output::warn(&format!(
            "what keeps {} from its port can't be found out: {error:#}",
            seen.title()
        ));
        Finding::default()
    });
    let kind = finding.kind();
    let is_same = due.kind.as_ref() == Some(&kind) && finding.evicted.is_none();
    repeats.reported(&due.key, kind);
    if arguments.json {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let event = Event {
            time_ms: u64::try_from(since.as_millis())?,
            pid: seen.pid,
            name: &seen.name,
            info: &seen.known.info,
            network_namespace: seen.known.network.as_ref().map(|(_, name)| name.as_str()),
            call: seen.call.name(),
            protocol: seen.protocol,
            address: seen.address.ip(),
            port: seen.address.port(),
            times: due.times,
            finding: &finding,
        };
        return output::print_json(&event, output::json::ONE_LINE);
    }
    let again = match due.times {
        1 if due.kind.is_none() => String::new(),
        1 => ", once more".into(),
        times if due.kind.is_none() => format!(", {times} times"),
        times => format!(", {times} times more"),
    };
    let text = format!(
        "{} {}: {}{again}",
        time_of_day(),
        seen.title(),
        styled(BAD, &format!("can't {}", seen.deed()))
    );
    let mut text = paragraph("", "  ", &text);
    if !is_same {
        text += &seen.command();
        text += &finding.text(seen);
    }
    output::print(&text)
}
