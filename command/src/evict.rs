//! Ends what earlier runs left on a port, and looks again to see what is really gone.

use super::diag::{self, Entry, Refusal, State, Which};
use super::output::{self, count, list, paragraph};
use super::ports::{self, PortList};
use super::probe::{self, Outcome};
use super::{advice, exit, network};
use anyhow::Result;
use log::debug;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Force what earlier runs left on a port out of TIME_WAIT, now
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs CAP_NET_ADMIN: use sudo. A connection that a process owns is never touched."
)]
pub(super) struct Arguments {
    /// Local ports: 49200, 8000-8100, or several with commas
    #[arg(required = true, value_name = "PORT")]
    ports: Vec<PortList>,

    /// End orphans in FIN_WAIT1, CLOSING and LAST_ACK too: data that the peer has not got yet is lost
    #[arg(long)]
    all_states: bool,

    /// Only those whose peer has this address
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,

    /// Show what would be ended, and end nothing
    #[arg(long)]
    dry_run: bool,

    /// Do it in the network namespace of this process, as a container's
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Answer in JSON (docs/json.md)
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// What was asked, as it would be typed.
    fn spelled(&self, ports: &[u16]) -> String {
        let mut words = Vec::new();
        words.extend(self.pid.map(|pid| format!("--pid {pid}")));
        words.extend(self.peer.map(|peer| format!("--peer {peer}")));
        words.extend(self.all_states.then(|| "--all-states".into()));
        words.push(spelled(ports));
        words.join(" ")
    }
}

/// Which leftovers are to go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    all_states: bool,
    peer: Option<IpAddr>,
}

impl Choice {
    fn has(&self, entry: &Entry) -> bool {
        let state = match entry.state {
            State::TimeWait | State::FinWait2 => true,
            _ => self.all_states,
        };
        state && self.may_become(entry)
    }

    /// Whether it is a leftover that would be chosen in another state, one that it may be in the next moment.
    fn may_become(&self, entry: &Entry) -> bool {
        entry.is_leftover()
            && self
                .peer
                .is_none_or(|peer| peer.to_canonical() == entry.peer.ip().to_canonical())
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Eviction {
    /// What was to go.
    pub(super) found: Vec<Entry>,
    /// What of it is there all the same.
    pub(super) left: Vec<Entry>,
    /// What else is on the ports, and was not to go.
    spared: Vec<Entry>,
    pub(super) refusal: Option<Refusal>,
}

/// How long leftovers may take to become what can be ended, where the peers are alive: a round trip, and then some.
const SETTLING: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);
/// How often it looks at least, however slow the machine is.
const LOOKS: u32 = 3;

/// Ends the chosen leftovers on these ports, which are in order.
///
/// Just after a crash they are still on their way: `FIN_WAIT1` becomes `FIN_WAIT2` and that `TIME_WAIT`, a new entry in
/// the kernel's table, which a look at the table may miss both times. So it looks until nothing is left to end, and
/// nothing that may become so, or until the time is up: a server that lives leaves more behind without end.
pub(super) fn evict(ports: &[u16], choice: Choice, dry_run: bool) -> Result<Eviction> {
    let deadline = Instant::now() + SETTLING;
    let mut found = HashMap::new();
    let mut asked = HashSet::new();
    let mut refusal = None;
    let mut looks = 0;
    loop {
        // Not what the kernel answered counts, but what is there: some destroy a FIN_WAIT1 in name only.
        let (mut left, spared): (Vec<Entry>, Vec<Entry>) = diag::dump(Which::These(ports))?
            .into_iter()
            .partition(|entry| choice.has(entry));
        looks += 1;
        let settled = left.is_empty() && !spared.iter().any(|entry| choice.may_become(entry));
        let late = looks > LOOKS && Instant::now() > deadline;
        if late {
            // What has come since is another matter.
            left.retain(|entry| asked.contains(&entry.identity()));
        }
        for entry in &left {
            found
                .entry((entry.local, entry.peer))
                .or_insert_with(|| entry.clone());
        }
        if dry_run || settled || late || refusal.is_some() {
            return Ok(Eviction {
                found: found.into_values().collect(),
                left,
                spared,
                refusal,
            });
        }
        if left.is_empty() {
            debug!("waiting for orphans that may become TIME_WAIT");
        } else {
            asked.extend(left.iter().map(Entry::identity));
            refusal = diag::destroy(&left)?;
        }
        if looks > 1 {
            thread::sleep(PAUSE);
        }
    }
}

/// Why not everything is gone, and what else works. `asked` is what was asked of `evict`.
pub(super) fn explain(refusal: Option<Refusal>, asked: &str, left: &[Entry]) -> String {
    let longest = left
        .iter()
        .filter_map(|entry| entry.left_ms)
        .max()
        .unwrap_or(60_000);
    let wait = format!(
        "    reuseaddr run --wait {}s PROGRAM",
        advice::seconds_to_wait(longest)
    );
    let seconds = longest.div_ceil(1000);
    match refusal {
        Some(Refusal::NotAllowed) => format!(
            "evicting needs CAP_NET_ADMIN in the user namespace that owns this network. Any of these works instead:\n    \
             sudo reuseaddr evict {asked}\n{wait}\nor wait for {seconds} s."
        ),
        Some(Refusal::NotSupported) => format!(
            "Linux {} can't destroy these sockets: it was built without CONFIG_INET_DIAG_DESTROY, or is older than 6.0, \
             which was the first to destroy TIME_WAIT. What works instead:\n{wait}\nor wait for {seconds} s.",
            rustix::system::uname().release().to_string_lossy()
        ),
        Some(Refusal::Other(code)) => format!(
            "the kernel refused with: {}. What works instead:\n{wait}\nor wait for {seconds} s.",
            std::io::Error::from_raw_os_error(code)
        ),
        None => format!(
            "the kernel says that it has destroyed what is still there, as kernels before 6.11 do with FIN_WAIT1. \
             What works instead:\n{wait}"
        ),
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    network_namespace: String,
    dry_run: bool,
    /// Why the kernel refused: `not-allowed`, `not-supported` or `errno N`.
    refusal: Option<String>,
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
pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    if let Some(pid) = arguments.pid {
        network::process(pid)?;
        network::enter(pid)?;
    }
    let ports = ports::all(&arguments.ports);
    let choice = Choice {
        all_states: arguments.all_states,
        peer: arguments.peer,
    };
    if arguments.all_states && !arguments.dry_run {
        output::warn("--all-states: what the peers have not got yet is lost");
    }
    let eviction = evict(&ports, choice, arguments.dry_run)?;
    let answer = answer(&ports, &eviction, arguments.dry_run);
    if arguments.json {
        output::print_json(&answer, false)?;
    } else {
        output::print(&text(&answer))?;
    }
    if arguments.dry_run || eviction.left.is_empty() {
        return Ok(exit::YES);
    }
    output::complain(&explain(
        eviction.refusal,
        &arguments.spelled(&ports),
        &eviction.left,
    ));
    Ok(if eviction.refusal.is_some() {
        exit::FAILED
    } else {
        exit::NO
    })
}

/// The ports as the command line takes them, runs of them as ranges.
pub(super) fn spelled(ports: &[u16]) -> String {
    let runs = ports.chunk_by(|port, next| port.checked_add(1) == Some(*next));
    let words: Vec<String> = runs
        .filter_map(|run| match run {
            [] => None,
            [port] => Some(port.to_string()),
            [first, .., last] => Some(format!("{first}-{last}")),
        })
        .collect();
    words.join(",")
}

fn answer(ports: &[u16], eviction: &Eviction, dry_run: bool) -> Answer {
    let touched: HashSet<u16> = [&eviction.found, &eviction.spared]
        .into_iter()
        .flatten()
        .map(|entry| entry.local.port())
        .collect();
    let on = |entries: &[Entry], port: u16| {
        let mut numbers = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.local.port() == port) {
            *numbers.entry(entry.state.name()).or_insert(0) += 1;
        }
        numbers
    };
    Answer {
        network_namespace: network::namespace(),
        dry_run,
        refusal: eviction.refusal.map(|refusal| match refusal {
            Refusal::NotAllowed => "not-allowed".into(),
            Refusal::NotSupported => "not-supported".into(),
            Refusal::Other(code) => format!("errno {code}"),
        }),
        ports: ports
            .iter()
            // Of a range, those that have something; of what was named, all.
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
                    free: probe::probe(port, None)
                        .iter()
                        .all(|probe| probe.plain == Outcome::Bound),
                }
            })
            .collect(),
    }
}

fn text(answer: &Answer) -> String {
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

#[cfg(test)]
mod tests {
    use super::spelled;

    #[test]
    fn ports_are_spelled_as_the_command_line_takes_them() {
        for (ports, expected) in [
            (&[8000][..], "8000"),
            (&[8000, 8001], "8000-8001"),
            (&[80, 443, 8000, 8001, 8002, 9000], "80,443,8000-8002,9000"),
            (&[65534, 65535], "65534-65535"),
        ] {
            assert_eq!(spelled(ports), expected);
        }
    }
}
