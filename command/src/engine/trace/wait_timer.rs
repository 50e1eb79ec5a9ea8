//! How long a `bind` waits, through the signals that come meanwhile.
//!
//! A handler can't run while its thread stands still. So a signal ends the attempt: the thread is put before its `bind`
//! again, handles the signal, makes the call, and the wait goes on where it was.

use super::log;
use super::ptrace::Tid;
use procfs::process::Process;
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks whether a signal has come for the program.
const LOOK: Duration = Duration::from_millis(10);

/// The time of one attempt.
#[derive(Debug)]
pub(super) struct Clock {
    tid: Tid,
    begin: Instant,
    /// Whether the wait began with an earlier attempt, at `begin`.
    goes_on: bool,
    waits: Cell<bool>,
    interrupted: Cell<bool>,
}

impl Clock {
    /// Of a thread of the program's, whose wait began at this moment if it is one that goes on.
    pub(super) fn of(tid: Tid, since: Option<Instant>) -> Self {
        Self {
            tid,
            begin: since.unwrap_or_else(Instant::now),
            goes_on: since.is_some(),
            waits: Cell::new(false),
            interrupted: Cell::new(false),
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

    /// Sleeps until then; false if a signal has come for this thread of the program's.
    pub(super) fn sleep_until(&self, moment_ms: u64) -> bool {
        self.waits.set(true);
        let moment = self.begin + Duration::from_millis(moment_ms);
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(LOOK));
            if signal_has_come(self.tid) {
                self.interrupt();
                return false;
            }
        }
    }

    /// A signal has ended the attempt, of which nothing more is to be said.
    pub(super) fn interrupt(&self) {
        self.interrupted.set(true);
        log::silence(true);
    }

    /// When the wait began that a signal has interrupted.
    pub(super) fn is_to_go_on_since(&self) -> Option<Instant> {
        let waits = self.waits.get() || self.goes_on;
        (waits && self.interrupted.get()).then_some(self.begin)
    }
}

/// Whether a signal waits for a thread that would do something to it; also if it is not there any more.
fn signal_has_come(tid: Tid) -> bool {
    let Ok(status) = Process::new(tid).and_then(|thread| thread.status()) else {
        return true;
    };
    (status.sigpnd | status.shdpnd) & !status.sigblk & !status.sigign != 0
}
