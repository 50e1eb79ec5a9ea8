//! When the tracer detaches.
//!
//! It does so by ending: the kernel then lets every tracee run on from where it is (`exit_ptrace`
//! in `kernel/ptrace.c`). To stop each one first, as `PTRACE_DETACH` wants it, would interrupt the
//! system calls that they wait in, and some of those then fail with `EINTR`: epoll_wait(2) for one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// When to detach.
#[derive(Clone, Debug)]
pub(crate) struct DetachPolicy {
    /// The ports that are to listen, if they are known.
    pub(crate) ports: Option<BTreeSet<u16>>,
    /// How long nothing more has listened.
    pub(crate) quiet: Duration,
    /// How long at the most, whatever listens.
    pub(crate) limit: Duration,
}

/// How far the program has come.
#[derive(Debug)]
pub(super) struct DetachState {
    policy: DetachPolicy,
    begin: Instant,
    listening: BTreeSet<u16>,
    last: Instant,
    /// Whether the program has accepted a connection: it is at work then, and what does not listen
    /// by now will hardly be its own port.
    accepts: bool,
    /// Whether nothing can be done any more.
    is_in_vain: bool,
    /// Sequences that are not over: each may have to put something back.
    intercepted: usize,
    /// Until when an interrupted `bind` may be restarted.
    expected: Option<Instant>,
}

impl DetachState {
    pub(super) fn begin(policy: DetachPolicy) -> Self {
        let now = Instant::now();
        Self {
            policy,
            begin: now,
            listening: BTreeSet::new(),
            last: now,
            accepts: false,
            is_in_vain: false,
            intercepted: 0,
            expected: None,
        }
    }

    /// A sequence begins.
    pub(super) fn intercept(&mut self) {
        self.intercepted += 1;
        self.expected = None;
    }

    /// A sequence is interrupted: the program handles a signal, and may restart the call until
    /// then.
    pub(super) fn interrupted(&mut self, until: Instant) {
        self.intercepted = self.intercepted.saturating_sub(1);
        self.expected = Some(until);
    }

    /// A sequence is over. The program listens on this port now, if on any.
    pub(super) fn intercepted(&mut self, listens: Option<u16>) {
        self.intercepted = self.intercepted.saturating_sub(1);
        if let Some(port) = listens {
            self.listening.insert(port);
            self.last = Instant::now();
        }
    }

    /// The program has accepted a connection.
    pub(super) fn accepted(&mut self) {
        self.accepts = true;
    }

    /// Nothing can be done for the program any more.
    pub(super) fn give_up(&mut self) {
        self.is_in_vain = true;
    }

    /// Whether anything listens, and nothing is under way.
    pub(super) fn listens(&self) -> bool {
        !self.listening.is_empty() && self.intercepted == 0
    }

    /// How long until the tracer detaches if nothing more happens; zero if it is to do so now.
    ///
    /// A port may have several addresses, which a server listens on one after the other
    /// (getaddrinfo(3)): so the ports that are named are not enough, and quiet has to follow.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        /// How often to look whether a sequence is over.
        const LOOK: Duration = Duration::from_millis(10);
        let limit = (self.begin + self.policy.limit).saturating_duration_since(now);
        let left = if self.is_in_vain {
            Duration::ZERO
        } else if self.is_complete() {
            limit.min((self.last + self.policy.quiet).saturating_duration_since(now))
        } else {
            limit
        };
        if self.intercepted > 0 {
            left.max(LOOK)
        } else if let Some(until) = self.expected {
            left.max(until.saturating_duration_since(now))
        } else {
            left
        }
    }

    /// Whether every port listens that is expected to.
    fn is_complete(&self) -> bool {
        match &self.policy.ports {
            Some(ports) if !self.accepts => ports.is_subset(&self.listening),
            _ => !self.listening.is_empty(),
        }
    }
}
