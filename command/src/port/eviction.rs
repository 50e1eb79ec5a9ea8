//! Ends what earlier runs left on a port, and looks again to see what is really gone.

use super::advice;
use crate::kernel::sock_diag::{self, Entry, Refusal, State, Which};
use anyhow::Result;
use log::debug;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Which leftovers are to go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) all_states: bool,
    pub(crate) peer: Option<IpAddr>,
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
pub(crate) struct Eviction {
    /// What was to go.
    pub(crate) found: Vec<Entry>,
    /// What of it is there all the same.
    pub(crate) left: Vec<Entry>,
    /// What else is on the ports, and was not to go.
    pub(crate) spared: Vec<Entry>,
    pub(crate) refusal: Option<Refusal>,
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
pub(crate) fn evict(ports: &[u16], choice: Choice, dry_run: bool) -> Result<Eviction> {
    let deadline = Instant::now() + SETTLING;
    let mut found = HashMap::new();
    let mut asked = HashSet::new();
    let mut refusal = None;
    let mut looks = 0;
    loop {
        // Not what the kernel answered counts, but what is there: some destroy a FIN_WAIT1 in name only.
        let (mut left, spared): (Vec<Entry>, Vec<Entry>) = sock_diag::dump(Which::These(ports))?
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
            refusal = sock_diag::destroy(&left)?;
        }
        if looks > 1 {
            thread::sleep(PAUSE);
        }
    }
}

/// Why not everything is gone, and what else works. `asked` is what was asked of `evict`.
pub(crate) fn explain(refusal: Option<Refusal>, asked: &str, left: &[Entry]) -> String {
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
