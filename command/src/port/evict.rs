//! Clears the leftovers of earlier runs from ports, and looks again to see what is really gone.

use super::hint;
use crate::net::reset::{ResetError, Resetter};
use crate::net::sock_diag::{self, DestroyError, SocketEntry, TcpState, Which};
use crate::output::count;
use crate::output::progress::Progress;
use anyhow::Result;
use log::debug;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Which leftovers to clear.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) all_states: bool,
    pub(crate) peer: Option<IpAddr>,
    /// Whether to clear them where a listener would accept empty connections.
    pub(crate) past_listeners: bool,
    /// Whether to destroy live connections too.
    pub(crate) established: bool,
}

impl Filter {
    fn has(&self, entry: &SocketEntry) -> bool {
        if is_alive(entry) {
            return self.established && self.has_peer(entry);
        }
        let state = match entry.state {
            TcpState::TimeWait | TcpState::FinWait2 => true,
            _ => self.all_states,
        };
        state && self.may_become(entry)
    }

    /// Whether it is a leftover that may soon be in a state that this selects.
    pub(crate) fn may_become(&self, entry: &SocketEntry) -> bool {
        entry.is_leftover() && self.has_peer(entry)
    }

    fn has_peer(&self, entry: &SocketEntry) -> bool {
        self.peer
            .is_none_or(|peer| peer.to_canonical() == entry.peer.ip().to_canonical())
    }
}

/// Whether it is a connection that a process has open or may still accept.
pub(crate) fn is_alive(entry: &SocketEntry) -> bool {
    !entry.is_leftover() && entry.state.has_peer()
}

/// The outcome.
#[derive(Debug)]
pub(crate) struct Eviction {
    /// The leftovers that were selected.
    pub(crate) found: Vec<SocketEntry>,
    /// Those that remain.
    pub(crate) left: Vec<SocketEntry>,
    /// Other sockets on the ports.
    pub(crate) spared: Vec<SocketEntry>,
    /// Why the kernel does not destroy sockets for us.
    pub(crate) refusal: Option<DestroyError>,
    /// How many could not be reset from their peers' side, by the reason. A dry run counts what
    /// was found, any other run what is left.
    pub(crate) reset_errors: BTreeMap<ResetError, usize>,
}

/// How long leftovers may take to reach a state in which they can be cleared: a round trip, where
/// the peers are alive. The kernel may also ignore a second SYN for half a second
/// (`tcp_invalid_ratelimit`).
const SETTLING: Duration = Duration::from_millis(600);

const PAUSE: Duration = Duration::from_millis(10);

/// How often to look at least, however slow the machine is.
const LOOKS: u32 = 3;

/// Clears the selected leftovers from these ports, which are in order: by `SOCK_DESTROY` where the
/// kernel allows it, and otherwise by a reset from their peers' side.
///
/// Just after a crash they still change state: `FIN_WAIT1` becomes `FIN_WAIT2` and that
/// `TIME_WAIT`, a new entry in the kernel's table, which a look at the table may miss both times.
/// So it repeats until nothing is left to clear and nothing may become so, or until the time is up:
/// a live server leaves new ones behind all the time.
pub(crate) fn evict(ports: &[u16], filter: Filter, dry_run: bool) -> Result<Eviction> {
    let deadline = Instant::now() + SETTLING;
    let mut evictor = Evictor::new(filter);
    let mut looks = 0;
    loop {
        // What counts is the table, not the kernel's answer: some kernels report a FIN_WAIT1 as
        // destroyed and keep it.
        let (mut left, spared): (Vec<SocketEntry>, Vec<SocketEntry>) =
            sock_diag::dump_unordered(Which::These(ports))?
                .into_iter()
                .partition(|entry| filter.has(entry));
        looks += 1;
        let settled = left.is_empty() && !spared.iter().any(|entry| filter.may_become(entry));
        let late = looks > LOOKS && Instant::now() > deadline;
        if late {
            evictor.drop_newcomers(&mut left);
        }
        add_new(&mut evictor.found, &left);
        if dry_run {
            evictor.predict(&left)?;
        }
        if dry_run || settled || late || evictor.can_do_no_more(&left) {
            return Ok(evictor.finish(left, spared));
        }
        if left.is_empty() {
            debug!("waiting for orphans that may become TIME_WAIT");
        } else {
            evictor.clear(left)?;
        }
        if looks > 1 {
            thread::sleep(PAUSE);
        }
    }
}

/// The state of an eviction between two looks at the table.
struct Evictor {
    filter: Filter,
    found: Vec<SocketEntry>,
    /// The cookies of those that were to be cleared.
    asked: Vec<u64>,
    refusal: Option<DestroyError>,
    /// Why a socket could not be reset, by its cookie.
    reset_errors: HashMap<u64, ResetError>,
    progress: Progress,
}

impl Evictor {
    fn new(filter: Filter) -> Self {
        Self {
            filter,
            found: Vec::new(),
            asked: Vec::new(),
            refusal: None,
            reset_errors: HashMap::new(),
            progress: Progress::begin(),
        }
    }

    /// Drops those that have come since: they are another matter.
    fn drop_newcomers(&self, left: &mut Vec<SocketEntry>) {
        let asked: HashSet<u64> = self.asked.iter().copied().collect();
        left.retain(|entry| asked.contains(&entry.cookie()));
    }

    /// Finds why these can't be reset, and resets none.
    fn predict(&mut self, left: &[SocketEntry]) -> Result<()> {
        let mut resetter = Resetter::new(self.filter.past_listeners)?;
        self.reset_errors.extend(
            left.iter()
                .filter(|entry| !is_alive(entry))
                .filter_map(|entry| Some((entry.cookie(), resetter.error(entry)?))),
        );
        Ok(())
    }

    /// Whether none of these will be cleared, however often it is tried.
    fn can_do_no_more(&self, left: &[SocketEntry]) -> bool {
        // Only the kernel can destroy a live connection.
        let refused = self.filter.established && self.refusal.is_some();
        refused || (!left.is_empty() && left.iter().all(|entry| self.is_hopeless(entry)))
    }

    fn is_hopeless(&self, entry: &SocketEntry) -> bool {
        // A peer that has just received the FIN may be about to close its end.
        self.reset_errors
            .get(&entry.cookie())
            .is_some_and(|&error| error != ResetError::PeerInUse)
    }

    /// Has the kernel destroy these, or resets them from their peers' side where it refuses.
    fn clear(&mut self, mut left: Vec<SocketEntry>) -> Result<()> {
        self.asked.extend(left.iter().map(SocketEntry::cookie));
        let progress = &mut self.progress;
        if self.refusal.is_none() {
            let all = left.len();
            self.refusal = sock_diag::destroy(&left, |asked| {
                progress.show(|| format!("{asked} of {all} are to be destroyed by the kernel"));
            })?;
        }
        if self.refusal.is_none() || self.filter.established {
            return Ok(());
        }
        left.retain(|entry| !self.is_hopeless(entry));
        debug!("{} are to be ended from their peers' side", left.len());
        let all = left.len();
        let progress = &mut self.progress;
        let errors = Resetter::new(self.filter.past_listeners)?.reset(&left, |done| {
            progress.show(|| format!("{done} of {all} are reset from their peers' side"));
        });
        self.reset_errors.extend(
            left.iter()
                .zip(errors)
                .filter_map(|(entry, error)| Some((entry.cookie(), error?))),
        );
        Ok(())
    }

    fn finish(self, left: Vec<SocketEntry>, spared: Vec<SocketEntry>) -> Eviction {
        let mut reset_errors = BTreeMap::new();
        let errors = left
            .iter()
            .filter_map(|entry| self.reset_errors.get(&entry.cookie()));
        for &error in errors {
            *reset_errors.entry(error).or_insert(0) += 1;
        }
        Eviction {
            found: self.found,
            left,
            spared,
            refusal: self.refusal,
            reset_errors,
        }
    }
}

/// Adds the entries whose addresses are new. A socket that changes its state becomes another entry
/// with the same addresses, and one look may show both, of `FIN_WAIT2` even in the same state.
fn add_new(found: &mut Vec<SocketEntry>, entries: &[SocketEntry]) {
    let is_time_wait = |entry: &SocketEntry| entry.state == TcpState::TimeWait;
    if found.is_empty() && entries.iter().all(is_time_wait) {
        // Mostly that is all, and there are tens of thousands.
        found.extend_from_slice(entries);
        return;
    }
    let ends = |entry: &SocketEntry| (entry.local, entry.peer);
    let mut known: HashSet<_> = found.iter().map(ends).collect();
    found.extend(
        entries
            .iter()
            .filter(|entry| known.insert(ends(entry)))
            .cloned(),
    );
}

/// Explains what is left, and what else works. `asked` are the arguments of `evict`.
pub(crate) fn explain(eviction: &Eviction, asked: &str) -> String {
    let longest = eviction
        .left
        .iter()
        .filter_map(|entry| entry.left_ms)
        .max()
        .unwrap_or(60_000);
    let mut reasons = reasons(&eviction.reset_errors);
    let silent = eviction
        .left
        .len()
        .saturating_sub(eviction.reset_errors.values().sum());
    let mut root = None;
    match eviction.refusal {
        None => reasons.push(
            "the kernel says that it has destroyed what is still there, as kernels before 6.11 do \
             with FIN_WAIT1"
                .into(),
        ),
        Some(refusal) => {
            if silent > 0 {
                reasons.push(format!(
                    "{} did not go, though the kernel was to reset {}: a firewall may be in the \
                     way",
                    silent,
                    if silent == 1 { "it" } else { "them" }
                ));
            }
            match refusal {
                DestroyError::NotAllowed => {
                    let command = format!("reuseaddr evict {asked}");
                    root = Some(format!("    {}\n", hint::as_root(&command)));
                    reasons.push(
                        "clearing that takes root, or CAP_NET_ADMIN in the user namespace that \
                         owns this network"
                            .into(),
                    );
                }
                DestroyError::NotSupported => reasons.push(format!(
                    "Linux {} can't destroy these sockets: it was built without \
                     CONFIG_INET_DIAG_DESTROY, or is older than 6.0, which was the first to \
                     destroy TIME_WAIT",
                    rustix::system::uname().release().to_string_lossy()
                )),
                DestroyError::Other(code) => reasons.push(format!(
                    "the kernel refused to destroy it: {}",
                    std::io::Error::from_raw_os_error(code)
                )),
            }
        }
    }
    format!(
        "{} left: {}. Alternatives:\n{}    reuseaddr run --wait {}s PROGRAM\nor wait for {} s.",
        count(eviction.left.len(), "is", "are"),
        reasons.join("; "),
        root.unwrap_or_default(),
        hint::seconds_to_wait(longest),
        longest.div_ceil(1000)
    )
}

/// Explains why they could not be reset from their peers' side.
pub(crate) fn reasons(reset_errors: &BTreeMap<ResetError, usize>) -> Vec<String> {
    reset_errors
        .iter()
        .map(|(error, &number)| {
            let have = count(number, "has", "have");
            match error {
                ResetError::Remote => {
                    let peers = if number == 1 {
                        "its peer on another host"
                    } else {
                        "their peers on other hosts"
                    };
                    format!("{have} {peers}")
                }
                ResetError::Listener => format!(
                    "{have} a listener on the port, whose program would see an empty connection \
                     for each: --past-listeners ends them all the same"
                ),
                ResetError::Protected => format!(
                    "{} protected from a reset: net.ipv4.tcp_rfc1337 is set",
                    count(number, "is", "are")
                ),
                ResetError::PeerInUse => format!(
                    "{have} a peer on this host whose port is in use, most often since the peer \
                     has not closed its end"
                ),
                ResetError::PeerPrivileged => {
                    format!("{have} a peer whose port only root may bind")
                }
                ResetError::State => format!(
                    "{} neither in TIME_WAIT nor in FIN_WAIT2",
                    count(number, "is", "are")
                ),
                ResetError::Other(code) => format!(
                    "{number} could not be reset: {}",
                    std::io::Error::from_raw_os_error(*code)
                ),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_a_connection_once() {
        const FIN_WAIT1: u8 = 4;
        const FIN_WAIT2: u8 = 5;
        const TIME_WAIT: u8 = 6;
        for (entries, expected) in [
            // The socket and what takes its place are both in the table, in one state.
            (&[(FIN_WAIT2, 1, 1), (FIN_WAIT2, 1, 2)][..], 1),
            (&[(FIN_WAIT1, 1, 1), (TIME_WAIT, 1, 2)], 1),
            (&[(TIME_WAIT, 1, 1), (TIME_WAIT, 2, 2)], 2),
            (&[], 0),
        ] {
            let entries: Vec<SocketEntry> = entries
                .iter()
                .map(|&(state, peer, cookie)| SocketEntry::example(state, peer, cookie))
                .collect();
            let mut found = Vec::new();
            // The second look shows what the first has shown.
            for _ in 0..2 {
                add_new(&mut found, &entries);
                assert_eq!(found.len(), expected, "{entries:?}");
            }
        }
    }
}
