//! When the tracer lets go.
//!
//! It does so by ending: the kernel then lets every tracee run on from where it is (`exit_ptrace` in `kernel/ptrace.c`).
//! To stop each one first, as `PTRACE_DETACH` wants it, would interrupt the system calls that they wait in, and some of
//! those then fail with `EINTR`: epoll_wait(2) for one.

use super::double_fork;
use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// When to let go.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// The ports that are to listen, if they are known.
    pub(crate) ports: Option<BTreeSet<u16>>,
    /// How long nothing more has listened, if they are not known.
    pub(crate) quiet: Duration,
    /// How long at the most, whatever listens.
    pub(crate) limit: Duration,
}

/// What the program has come to.
#[derive(Debug)]
pub(super) struct Progress {
    shared: Arc<Shared>,
    watch: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told when there is to be no more looking at the clock.
    over: Condvar,
}

#[derive(Debug)]
struct State {
    terms: Terms,
    begin: Instant,
    listening: BTreeSet<u16>,
    last: Instant,
    /// Sequences that are not over: each may have to put something back.
    attended: usize,
    /// Until when a `bind` may be made again that a signal has interrupted.
    expected: Option<Instant>,
    is_over: bool,
}

impl Progress {
    /// Begins to look at the clock.
    pub(super) fn begin(terms: Terms) -> Self {
        let now = Instant::now();
        let quiet = terms.quiet;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                terms,
                begin: now,
                listening: BTreeSet::new(),
                last: now,
                attended: 0,
                expected: None,
                is_over: false,
            }),
            over: Condvar::new(),
        });
        let watched = Arc::clone(&shared);
        // Without a thread for it the limits do not hold, and the tracer ends with the program.
        let watch = thread::Builder::new().spawn(move || {
            let mut state = watched.state();
            while !state.is_over {
                let left = state.time_left(Instant::now());
                if left.is_zero() {
                    // With the lock held, so that nothing can begin meanwhile.
                    double_fork::end();
                }
                // A listen that comes meanwhile may bring the end nearer.
                state = match watched.over.wait_timeout(state, left.min(quiet)) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                };
            }
        });
        Self {
            shared,
            watch: watch.ok(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Lets go, as the last thread of the tracer: the kernel lets the program go on as soon as this one ends, and from then on
    /// nobody is to find the tracer in a group of processes.
    pub(super) fn end_alone(&mut self, others: impl Iterator<Item = JoinHandle<()>>) -> ! {
        self.state().is_over = true;
        self.shared.over.notify_all();
        for thread in self.watch.take().into_iter().chain(others) {
            // None panics, and if it did it would be gone as well.
            let _ = thread.join();
        }
        double_fork::end()
    }

    /// A call is attended to.
    pub(super) fn attend(&self) {
        let mut state = self.state();
        state.attended += 1;
        state.expected = None;
    }

    /// It is over for now, and goes on until then: the program handles a signal.
    pub(super) fn interrupted(&self, until: Instant) {
        let mut state = self.state();
        state.attended = state.attended.saturating_sub(1);
        state.expected = Some(until);
    }

    /// It is over, and the program listens on this port; lets go if that was the last one.
    pub(super) fn attended(&self, listens: Option<u16>) {
        let mut state = self.state();
        state.attended = state.attended.saturating_sub(1);
        if let Some(port) = listens {
            state.listening.insert(port);
            state.last = Instant::now();
        }
        if state.all_listen() && state.attended == 0 {
            double_fork::end();
        }
    }

    /// Whether anything listens, and nothing is under way.
    pub(super) fn listens(&self) -> bool {
        let state = self.state();
        !state.listening.is_empty() && state.attended == 0
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn all_listen(&self) -> bool {
        self.terms
            .ports
            .as_ref()
            .is_some_and(|ports| ports.is_subset(&self.listening))
    }

    /// How long until the tracer may let go if nothing more happens; zero if it may now.
    fn time_left(&self, now: Instant) -> Duration {
        /// How often to look whether a sequence is over.
        const LOOK: Duration = Duration::from_millis(10);
        let limit = (self.begin + self.terms.limit).saturating_duration_since(now);
        let left = if self.terms.ports.is_none() && !self.listening.is_empty() {
            limit.min((self.last + self.terms.quiet).saturating_duration_since(now))
        } else {
            limit
        };
        if self.attended > 0 {
            left.max(LOOK)
        } else if let Some(until) = self.expected {
            left.max(until.saturating_duration_since(now))
        } else {
            left
        }
    }
}
