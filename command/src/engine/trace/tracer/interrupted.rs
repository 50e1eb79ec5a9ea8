//! Calls that a signal has interrupted which the program ignores.
//!
//! The kernel throws an ignored signal away when it is sent, but not for a traced thread
//! (`sig_ignored` in `kernel/signal.c`): it wakes the thread, and a call that is never restarted
//! (signal(7)) then fails with `EINTR`, in a program that has no handler at all. So the thread is
//! put before its call again. What is left of a timeout is kept by the tracer, and not put into the
//! call's arguments: if the tracer ends, the program has its own.

use super::super::arch::{self, Time, Words};
use super::super::ptrace::{self, SyscallEntry, Tid};
use super::super::socket::{Socket, process_of};
use super::super::wait_timer::Clock;
use super::Tracer;
use crate::process::status::{signal_bit, status};
use std::io;
use std::time::{Duration, Instant};

/// A call that has been interrupted and is restarted.
#[derive(Debug)]
pub(super) struct Restarted {
    entry: SyscallEntry,
    /// When the program made it.
    since: Instant,
    /// When the thread was put before it last.
    last: Instant,
    /// The registers at the syscall-exit-stop, until the thread makes the call again. A signal that
    /// is not ignored may come before that, and ends the call as it would without a tracer.
    behind: Option<libc::user_regs_struct>,
    deadline: Option<Instant>,
    /// How many times in a row nothing was to be seen of a signal.
    unexplained: u32,
}

impl Restarted {
    /// Whether the call at the next syscall-enter-stop is the restarted one.
    pub(super) fn is_made(&mut self, entry: &SyscallEntry) -> bool {
        self.behind.take().is_some() && self.entry == *entry
    }
}

/// How another thread handled a signal.
enum Taken {
    Handled,
    Ignored,
}

/// A process's dispositions of signals, and its pending ones.
struct Signals {
    pending: u64,
    ignored: u64,
}

impl Signals {
    fn of(tid: Tid) -> Option<Self> {
        /// Those that do nothing unless there is a handler.
        const NOTHING: [i32; 4] = [libc::SIGCHLD, libc::SIGCONT, libc::SIGWINCH, libc::SIGURG];
        let status = status(tid)?;
        let by_default = if status
            .nspid
            .is_some_and(|numbers| numbers.last() == Some(&1))
        {
            // The first process of a PID namespace is not ended by its own (pid_namespaces(7)).
            !(signal_bit(libc::SIGKILL) | signal_bit(libc::SIGSTOP))
        } else {
            NOTHING.into_iter().map(signal_bit).sum()
        };
        Some(Self {
            pending: (status.sigpnd | status.shdpnd) & !status.sigblk,
            ignored: status.sigign | (by_default & !status.sigcgt),
        })
    }
}

impl Tracer {
    /// A call has failed with `EINTR`: restarts it if the program would not have noticed the
    /// signal.
    pub(super) fn interrupted(&mut self, tid: Tid, entry: SyscallEntry) -> io::Result<()> {
        /// Something else than a signal interrupts a call as well, and nothing without end.
        const MOST_UNEXPLAINED: u32 = 8;
        let now = Instant::now();
        let tracee = self.tracees.entry(tid).or_default();
        let since = tracee.entered.unwrap_or(now);
        let before = tracee.restarted.take();
        let Some(signals) = Signals::of(tid) else {
            return Ok(());
        };
        if signals.pending & !signals.ignored != 0 || arch::closes(&entry) {
            return Ok(());
        }
        let wait = arch::wait(tid, &entry);
        let (since, last, mut unexplained) = before.as_ref().map_or((since, since, 0), |before| {
            (before.since, before.last, before.unexplained)
        });
        let deadline = match &before {
            Some(before) => before.deadline,
            None => wait.and_then(|wait| since.checked_add(time_of(tid, wait.time)?)),
        };
        let is_over = deadline.is_some_and(|deadline| deadline <= now);
        if signals.pending != 0 || is_over {
            unexplained = 0;
        } else if wait.is_none() {
            return Ok(());
        } else {
            // Another thread of the process has taken the signal, or is about to.
            match self.taken_elsewhere(tid, last) {
                Some(Taken::Handled) => return Ok(()),
                Some(Taken::Ignored) => unexplained = 0,
                None if unexplained == MOST_UNEXPLAINED => return Ok(()),
                None => unexplained += 1,
            }
        }
        let mut registers = ptrace::registers(tid)?;
        if let Some(wait) = wait.filter(|_| is_over) {
            arch::set_result(&mut registers, wait.expired);
            return ptrace::set_registers(tid, registers);
        }
        let behind = registers;
        arch::restart_syscall(&mut registers, &entry);
        ptrace::set_registers(tid, registers)?;
        if let Some(deadline) = deadline {
            self.next_deadline = Some(
                self.next_deadline
                    .map_or(deadline, |next| next.min(deadline)),
            );
        }
        self.tracees.entry(tid).or_default().restarted = Some(Restarted {
            entry,
            since,
            last: now,
            behind: Some(behind),
            deadline,
            unexplained,
        });
        Ok(())
    }

    /// A tracee is about to be given a signal, or to stop: a call that was interrupted before fails
    /// after all, unless the signal is ignored as well.
    pub(super) fn interrupts(&mut self, tid: Tid, signal: Option<i32>) -> io::Result<()> {
        let tracee = self.tracees.entry(tid).or_default();
        if let Some(signal) = signal {
            tracee.signalled = Some((Instant::now(), signal));
        }
        let Some(behind) = tracee.restarted.as_ref().and_then(|call| call.behind) else {
            return Ok(());
        };
        let is_ignored = |signal| {
            Signals::of(tid).is_some_and(|signals| signals.ignored & signal_bit(signal) != 0)
        };
        if signal.is_some_and(is_ignored) {
            return Ok(());
        }
        tracee.restarted = None;
        ptrace::set_registers(tid, behind)
    }

    /// A tracee is about to be detached from: a call that it is to make again fails after all if it
    /// waits for a limited time, of which nobody would know what is left.
    pub(super) fn fails_if_timed(&mut self, tid: Tid) -> io::Result<()> {
        let restarted = self
            .tracees
            .get_mut(&tid)
            .and_then(|tracee| tracee.restarted.take())
            .filter(|call| call.deadline.is_some());
        match restarted.and_then(|call| call.behind) {
            Some(behind) => ptrace::set_registers(tid, behind),
            None => Ok(()),
        }
    }

    /// Finds a signal that another thread of the process has taken since then. If handled, it may
    /// have been the reason why another thread's call was interrupted, as it may without a tracer.
    fn taken_elsewhere(&self, tid: Tid, since: Instant) -> Option<Taken> {
        let process = process_of(tid);
        let mut taken = None;
        for (&other, tracee) in &self.tracees {
            let Some((_, signal)) = tracee.signalled.filter(|&(when, _)| when >= since) else {
                continue;
            };
            if process_of(other) == process {
                if Signals::of(other)
                    .is_none_or(|signals| signals.ignored & signal_bit(signal) == 0)
                {
                    return Some(Taken::Handled);
                }
                taken = Some(Taken::Ignored);
            }
        }
        taken
    }

    /// Ends the restarted calls whose time is up by now.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        if self.next_deadline.is_none_or(|next| next > now) {
            return;
        }
        self.next_deadline = None;
        for (&tid, tracee) in &self.tracees {
            let Some(deadline) = tracee.restarted.as_ref().and_then(|call| call.deadline) else {
                continue;
            };
            if deadline <= now {
                // It fails with EINTR, and `interrupted` has it return what it does when its time
                // is up. If it has returned meanwhile, nothing is different.
                let _ = ptrace::interrupt(tid);
            } else {
                let next = self.next_deadline;
                self.next_deadline = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
    }
}

/// How long a call waits; `None` if there is no limit, or none is known.
fn time_of(tid: Tid, time: Time) -> Option<Duration> {
    use rustix::net::sockopt::{Timeout, socket_timeout};
    match time {
        Time::Unlimited => None,
        Time::Milliseconds(milliseconds) => {
            Some(Duration::from_millis(u64::try_from(milliseconds).ok()?))
        }
        Time::At { address, words } => {
            let (seconds, nanoseconds) = match words {
                Words::Of64 => {
                    let bytes = read::<16>(tid, address)?;
                    (
                        i64::from_ne_bytes(*bytes.first_chunk()?),
                        i64::from_ne_bytes(*bytes.last_chunk()?),
                    )
                }
                Words::Of32 => {
                    let bytes = read::<8>(tid, address)?;
                    (
                        i32::from_ne_bytes(*bytes.first_chunk()?).into(),
                        i32::from_ne_bytes(*bytes.last_chunk()?).into(),
                    )
                }
            };
            Some(Duration::new(
                u64::try_from(seconds).ok()?,
                u32::try_from(nanoseconds).ok()?,
            ))
        }
        Time::Option { fd, name } => {
            let clock = Clock::of(tid, None);
            let socket = Socket::of(tid, fd, &clock).ok()?;
            let which = if name == libc::SO_RCVTIMEO {
                Timeout::Recv
            } else {
                Timeout::Send
            };
            socket_timeout(socket.copy(), which).ok()?
        }
    }
}

fn read<const LENGTH: usize>(tid: Tid, address: u64) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    (ptrace::read(tid, address, &mut bytes) == LENGTH).then_some(bytes)
}
