//! A traced program that traces another one, or has itself traced: a thread has one tracer at a
//! time (ptrace(2)), so ours detaches from it first.

use super::super::ptrace::{self, Stop, Syscall, Tid};
use super::Tracer;
use std::io;
use std::thread;
use std::time::Duration;

impl Tracer {
    /// A tracee is at the syscall-enter-stop of ptrace(2).
    pub(super) fn makes_way(&mut self, tid: Tid, request: u64, other: Tid) -> io::Result<()> {
        const ATTACH: u64 = libc::PTRACE_ATTACH as u64;
        const SEIZE: u64 = libc::PTRACE_SEIZE as u64;
        if matches!(request, ATTACH | SEIZE) && other != tid && self.tracees.contains_key(&other) {
            self.detach_running(other);
        }
        self.forget(tid);
        ptrace::detach(tid, 0)
    }

    /// Detaches from a tracee that is not in a stop yet. One whose call is intercepted stays: its
    /// new tracer is refused.
    fn detach_running(&mut self, tid: Tid) {
        let Some(tracee) = self.tracees.get(&tid).filter(|it| it.intercepted.is_none()) else {
            return;
        };
        let entry = tracee.entry;
        // What fails here fails because it has ended.
        let Some(stop) = ptrace::interrupt(tid).ok().and_then(|()| next_stop(tid)) else {
            return;
        };
        let signal = match stop {
            Stop::Gone => {
                self.forget(tid);
                return;
            }
            Stop::Signal(signal) => signal,
            _ => 0,
        };
        let has_failed = || match ptrace::syscall(tid) {
            Some(Syscall::Exit(value)) => value == -i64::from(libc::EINTR),
            _ => false,
        };
        let was_interrupted = stop == Stop::Syscall && has_failed();
        if let Some(entry) = entry.filter(|_| was_interrupted) {
            let _ = self.interrupted(tid, entry);
        }
        self.forget(tid);
        let _ = ptrace::detach(tid, signal);
    }
}

/// Waits for a tracee's next stop; `None` if it does not come to one, as while it waits for a child
/// of vfork(2).
fn next_stop(tid: Tid) -> Option<Stop> {
    const LOOKS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(1);
    (0..LOOKS).find_map(|_| {
        let stop = ptrace::take(tid);
        if stop.is_none() {
            thread::sleep(PAUSE);
        }
        stop
    })
}
