//! What happens again and again: a program that tries every millisecond is reported at once, and
//! then now and then.

use super::seen::{Protocol, Seen};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Between two lines about the same.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Seen no more for so long, it is news again.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What makes two failures the same one: the program, where it runs, and the port.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Key {
    place: String,
    name: String,
    network: Option<String>,
    protocol: Protocol,
    port: u16,
}

impl Key {
    fn of(seen: &Seen) -> Self {
        Self {
            place: seen.known.info.place(),
            name: seen.name.clone(),
            network: seen.known.network.as_ref().map(|(_, name)| name.clone()),
            protocol: seen.protocol,
            port: seen.address.port(),
        }
    }
}

struct Reported {
    /// The verdict that was reported.
    kind: String,
    /// The last failure, and how many there were since the last line.
    last: Option<Box<Seen>>,
    unreported: usize,
    seen_at: Instant,
    due: Instant,
    pause: Duration,
}

/// What was reported, and what is to be.
#[derive(Default)]
pub(crate) struct Repeats(HashMap<Key, Reported>);

/// Failures that are to be reported together.
pub(crate) struct Due {
    pub(crate) seen: Box<Seen>,
    pub(crate) times: usize,
    /// The verdict that was reported last; none for what is new.
    pub(crate) kind: Option<String>,
}

impl Due {
    /// A failure that is new.
    pub(crate) fn first(seen: Box<Seen>) -> Self {
        Self {
            seen,
            times: 1,
            kind: None,
        }
    }
}

impl Repeats {
    /// Takes a failure; gives it back if it is new, and is to be reported at once.
    pub(crate) fn take(&mut self, seen: Box<Seen>) -> Option<Box<Seen>> {
        let now = Instant::now();
        self.0
            .retain(|_, state| state.unreported > 0 || now < state.seen_at + FORGOTTEN);
        let Some(state) = self.0.get_mut(&Key::of(&seen)) else {
            return Some(seen);
        };
        state.unreported += 1;
        state.seen_at = now;
        state.last = Some(seen);
        None
    }

    /// Remembers what was reported of a failure.
    pub(crate) fn reported(&mut self, seen: &Seen, kind: String) {
        let now = Instant::now();
        let state = self.0.entry(Key::of(seen)).or_insert(Reported {
            kind: String::new(),
            last: None,
            unreported: 0,
            seen_at: now,
            due: now,
            pause: FIRST_PAUSE,
        });
        // As long as nothing changes, ever less often.
        state.pause = if state.kind == kind {
            LONGEST_PAUSE.min(state.pause * 2)
        } else {
            FIRST_PAUSE
        };
        state.kind = kind;
        state.due = now + state.pause;
    }

    /// What is to be reported now.
    pub(crate) fn due(&mut self) -> Vec<Due> {
        let now = Instant::now();
        self.0
            .values_mut()
            .filter(|state| state.due <= now)
            .filter_map(|state| {
                let seen = state.last.take()?;
                Some(Due {
                    seen,
                    times: std::mem::take(&mut state.unreported),
                    kind: Some(state.kind.clone()),
                })
            })
            .collect()
    }
}
