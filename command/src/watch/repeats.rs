//! Limits how often the same failure is reported: a program that tries every millisecond is
//! reported at once, and then ever less often.

use super::seen::{Protocol, Seen};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The pause after the first report of a failure, doubled after each until the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A failure that was not seen for this long counts as new.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// With so many failures, addresses of one port are no longer told apart: a program can try
/// millions.
const MANY: usize = 1000;

/// Identifies a failure: the program, where it runs, and the address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key {
    place: String,
    name: String,
    network: Option<String>,
    protocol: Protocol,
    address: Option<IpAddr>,
    port: u16,
}

impl Key {
    fn of(seen: &Seen) -> Self {
        Self {
            place: seen.known.info.place(),
            name: seen.name.clone(),
            network: seen.known.network.as_ref().map(|(_, name)| name.clone()),
            protocol: seen.protocol,
            address: Some(seen.address.ip()),
            port: seen.address.port(),
        }
    }
}

struct Reported {
    /// The diagnosis that was reported, if one was.
    kind: Option<String>,
    /// The first failure, until it is reported.
    first: Option<Box<Seen>>,
    /// The last failure after the first, and how many are unreported.
    last: Option<Box<Seen>>,
    unreported: u64,
    seen_at: Instant,
    due: Instant,
    pause: Duration,
}

/// The failures that were reported, and those that are due. Of each, at most two are kept (the
/// first and the last), however often it repeats.
#[derive(Default)]
pub(crate) struct Repeats(HashMap<Key, Reported>);

/// Repeated failures that are due, reported in one line.
pub(crate) struct Due {
    pub(crate) seen: Box<Seen>,
    pub(crate) key: Key,
    pub(crate) times: u64,
    /// The diagnosis that was reported last; `None` for a new failure.
    pub(crate) kind: Option<String>,
}

impl Repeats {
    /// Counts a failure.
    pub(crate) fn take(&mut self, seen: Box<Seen>) {
        let now = Instant::now();
        let mut key = Key::of(&seen);
        if self.0.len() >= MANY && !self.0.contains_key(&key) {
            key.address = None;
        }
        match self.0.entry(key) {
            Entry::Occupied(mut there) => {
                let state = there.get_mut();
                state.unreported += seen.times;
                state.seen_at = now;
                state.last = Some(seen);
            }
            Entry::Vacant(new) => {
                new.insert(Reported {
                    kind: None,
                    first: Some(seen),
                    last: None,
                    unreported: 0,
                    seen_at: now,
                    due: now,
                    pause: FIRST_PAUSE,
                });
            }
        }
    }

    /// Records the diagnosis that was reported for a failure, and sets when the next one is due.
    pub(crate) fn reported(&mut self, key: &Key, kind: String) {
        if let Some(state) = self.0.get_mut(key) {
            // Less and less often, as long as nothing changes.
            state.pause = if state.kind.as_ref() == Some(&kind) {
                LONGEST_PAUSE.min(state.pause * 2)
            } else {
                FIRST_PAUSE
            };
            state.kind = Some(kind);
            state.due = Instant::now() + state.pause;
        }
    }

    /// Returns the next report that is due: new failures first, then the one that is due for
    /// longest.
    pub(crate) fn due(&mut self) -> Option<Due> {
        let now = Instant::now();
        self.0.retain(|_, state| {
            state.first.is_some() || state.unreported > 0 || now < state.seen_at + FORGOTTEN
        });
        let (key, state) = self
            .0
            .iter_mut()
            .filter(|(_, state)| {
                state.due <= now && (state.first.is_some() || state.last.is_some())
            })
            .min_by_key(|(_, state)| (state.first.is_none(), state.due))?;
        let key = key.clone();
        if let Some(seen) = state.first.take() {
            return Some(Due {
                times: seen.times,
                seen,
                key,
                kind: None,
            });
        }
        Some(Due {
            seen: state.last.take()?,
            key,
            times: std::mem::take(&mut state.unreported),
            kind: state.kind.clone(),
        })
    }
}
