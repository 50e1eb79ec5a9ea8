//! A traced program that traces another one, or has itself traced: a thread has one tracer at a
//! time (ptrace(2)), so ours detaches from it first.

use super::super::arch::Call;
use super::super::ptrace::{self, Stop, Syscall, Tid};
use super::super::socket::process_of;
use super::Tracer;
use crate::process::status::status;
use procfs::process::Process;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

impl Tracer {
    /// A tracee is at the syscall-enter-stop of ptrace(2). It may trace others while it is traced
    /// itself, and stays, since its next call may be about another thread or process.
    pub(super) fn makes_way(&mut self, tid: Tid, request: u64, number: Tid) -> io::Result<()> {
        const ATTACH: u64 = libc::PTRACE_ATTACH as u64;
        const SEIZE: u64 = libc::PTRACE_SEIZE as u64;
        const TRACE_ME: u64 = libc::PTRACE_TRACEME as u64;
        match request {
            TRACE_ME => {
                self.forget(tid);
                return ptrace::detach(tid, 0);
            }
            ATTACH | SEIZE => {
                let process = self
                    .numbered_by(tid, number)
                    .and_then(process_of)
                    // No thread may trace another one of its own process.
                    .filter(|&process| process_of(tid) != Some(process));
                if let Some(process) = process {
                    self.detach_process(process);
                }
            }
            _ => {}
        }
        ptrace::resume(tid, 0)
    }

    /// The thread that has this number where the caller is, which may be another PID namespace than
    /// ours (pid_namespaces(7)).
    fn numbered_by(&self, caller: Tid, number: Tid) -> Option<Tid> {
        let theirs = pid_namespace(&caller.to_string())?;
        if pid_namespace("self")? == theirs {
            return Some(number);
        }
        let is_meant = |tid: Tid| {
            let status = status(tid)?;
            Some(*status.nspid?.last()? == number && pid_namespace(&tid.to_string())? == theirs)
        };
        let mut known = self.tracees.keys().copied();
        known.find(|&tid| is_meant(tid) == Some(true))
    }

    /// Detaches from all threads of a process, as a debugger attaches to each of them: one that
    /// stayed would be ended by the first breakpoint. If a call of one is intercepted all stay, and
    /// the new tracer is refused.
    fn detach_process(&mut self, process: Tid) {
        let is_intercepted = self
            .tracees
            .iter()
            .any(|(&tid, tracee)| tracee.intercepted.is_some() && process_of(tid) == Some(process));
        if is_intercepted {
            return;
        }
        // Those that they have made meanwhile come in the next round.
        loop {
            let threads = threads_of(process).into_iter();
            if threads.filter(|&tid| self.detach_running(tid)).count() == 0 {
                break;
            }
        }
    }

    /// Detaches from a tracee that is not in a stop yet; whether that could be.
    fn detach_running(&mut self, tid: Tid) -> bool {
        // What fails here fails because it has ended, or is not ours.
        let Some(stop) = self.stop_running(tid) else {
            return false;
        };
        let _ = match stop {
            Stop::Gone => {
                self.forget(tid);
                return false;
            }
            Stop::Signal(signal) => self.interrupts(tid, Some(signal)),
            Stop::Group => self.interrupts(tid, None),
            Stop::Syscall => self.at_a_call(tid),
            _ => Ok(()),
        };
        let _ = self.fails_if_timed(tid);
        self.forget(tid);
        let signal = match stop {
            Stop::Signal(signal) => signal,
            _ => 0,
        };
        ptrace::detach(tid, signal).is_ok()
    }

    /// Has a tracee stop, but not before a call that it is to make again: it may have to fail.
    fn stop_running(&mut self, tid: Tid) -> Option<Stop> {
        loop {
            ptrace::interrupt(tid).ok()?;
            let stop = next_stop(tid)?;
            let tracee = self.tracees.entry(tid).or_default();
            let entry = match ptrace::syscall(tid) {
                Some(Syscall::Entry(entry)) if stop == Stop::Syscall => entry,
                _ => return Some(stop),
            };
            let restarted = tracee.restarted.as_mut();
            if !restarted.is_some_and(|call| call.is_made(&entry)) {
                return Some(stop);
            }
            tracee.entry = Some(entry);
            ptrace::resume(tid, 0).ok()?;
        }
    }

    /// A tracee has stopped at a system call, maybe because it was asked to.
    fn at_a_call(&mut self, tid: Tid) -> io::Result<()> {
        const INTERRUPTED: i64 = -(libc::EINTR as i64);
        // What a handler returns to is not made again, as in `leaves`.
        let entry = self
            .tracees
            .get(&tid)
            .filter(|tracee| tracee.call != Some(Call::SignalReturn))
            .and_then(|tracee| tracee.entry);
        match (entry, ptrace::syscall(tid)) {
            (Some(entry), Some(Syscall::Exit(INTERRUPTED))) => self.interrupted(tid, entry),
            _ => Ok(()),
        }
    }
}

/// Identifies the PID namespace of a process, by its number in procfs.
fn pid_namespace(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/pid")).ok()
}

fn threads_of(process: Tid) -> Vec<Tid> {
    let threads = Process::new(process).and_then(|process| process.tasks());
    threads.map_or_else(
        |_| Vec::new(),
        |threads| threads.flatten().map(|thread| thread.tid).collect(),
    )
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
