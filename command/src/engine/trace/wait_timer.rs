//! Times a waiting `bind`, across the signals that interrupt it.
//!
//! A handler can't run while its thread is in a ptrace-stop (ptrace(2)). So a signal ends the
//! attempt: the thread handles the signal, its `bind` is restarted, and the wait continues.

use super::log;
use super::ptrace::Tid;
use crate::process::status::{signal_bit, status};
use libreuse_rules::calls::{Sleep, TERMINATION_SIGNALS};
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// No `LIBREUSE_WAIT` is longer.
const LONGEST_WAIT_MS: u64 = 0xffff_ffff;

/// How often a wait checks for pending signals.
const LOOK: Duration = Duration::from_millis(10);

/// Times one attempt.
#[derive(Debug)]
pub(super) struct Clock {
    tid: Tid,
    begin: Instant,
    /// Whether the wait began with an earlier attempt, at `begin`.
    goes_on: bool,
    waits: Cell<bool>,
    interrupted: Cell<bool>,
    /// Whether the signal asks the program to exit.
    asked_to_end: Cell<bool>,
}

impl Clock {
    /// Starts the clock of a tracee; `since` is when its wait began, if this attempt continues one.
    pub(super) fn of(tid: Tid, since: Option<Instant>) -> Self {
        Self {
            tid,
            begin: since.unwrap_or_else(Instant::now),
            goes_on: since.is_some(),
            waits: Cell::new(false),
            interrupted: Cell::new(false),
            asked_to_end: Cell::new(false),
        }
    }

    pub(super) fn now_ms(&self) -> Option<u64> {
        u64::try_from(self.begin.elapsed().as_millis()).ok()
    }

    pub(super) fn waited_ms(&self) -> u64 {
        if self.goes_on {
            self.now_ms().unwrap_or(0)
        } else {
            0
        }
    }

    /// Whether a signal that asks the program to exit has ended the wait.
    pub(super) fn has_ended(&self) -> bool {
        self.waited_ms() > LONGEST_WAIT_MS
    }

    /// Sleeps until `moment_ms`, unless a signal for the tracee comes first.
    pub(super) fn sleep_until(&self, moment_ms: u64) -> Sleep {
        self.waits.set(true);
        let moment = self.begin + Duration::from_millis(moment_ms);
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Sleep::Over;
            }
            thread::sleep(left.min(LOOK));
            match Pending::of(self.tid) {
                None => {}
                Some(pending) => {
                    self.asked_to_end.set(pending == Pending::ToEnd);
                    self.interrupt();
                    return Sleep::Failed;
                }
            }
        }
    }

    /// Notes that a signal has ended the attempt, which logs nothing from now on.
    pub(super) fn interrupt(&self) {
        self.interrupted.set(true);
        log::silence(true);
    }

    /// Returns when the wait began that a signal has interrupted; `None` if none was. See [`ended`]
    /// for a signal that asks the program to exit.
    pub(super) fn resumable_since(&self) -> Option<Instant> {
        let waits = self.waits.get() || self.goes_on;
        let begin = if self.asked_to_end.get() {
            ended(self.begin)
        } else {
            self.begin
        };
        (waits && self.interrupted.get()).then_some(begin)
    }
}

/// Marks a wait as ended by a signal that asks the program to exit: moves its beginning so far back
/// that no wait is that long.
pub(super) fn ended(begin: Instant) -> Instant {
    begin
        .checked_sub(Duration::from_millis(LONGEST_WAIT_MS + 1))
        .unwrap_or(begin)
}

/// Whether a signal asks the program to exit, and the program has a handler for it.
pub(super) fn asks_to_end(tid: Tid, signal: i32) -> bool {
    TERMINATION_SIGNALS.contains(&signal)
        && status(tid).is_some_and(|status| status.sigcgt & signal_bit(signal) != 0)
}

/// The signals that are pending for a tracee.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pending {
    /// One asks the program to exit, and the program has a handler for it.
    ToEnd,
    /// Others, neither blocked nor ignored (`SIG_IGN`); or the thread is gone.
    Other,
}

impl Pending {
    fn of(tid: Tid) -> Option<Self> {
        let Some(status) = status(tid) else {
            return Some(Self::Other);
        };
        let pending = (status.sigpnd | status.shdpnd) & !status.sigblk & !status.sigign;
        let to_end = TERMINATION_SIGNALS
            .into_iter()
            .any(|signal| pending & status.sigcgt & signal_bit(signal) != 0);
        match pending {
            0 => None,
            _ if to_end => Some(Self::ToEnd),
            _ => Some(Self::Other),
        }
    }
}
