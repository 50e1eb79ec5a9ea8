//! The part of the tracer's work that a sequence has begun: its calls are made, its questions
//! answered, and the stops that come in its way held until it is over.

use super::super::arch;
use super::super::interception::{Channel, INTERRUPTED, Intercepted, Message, Request, Sequence};
use super::super::ptrace::{self, Stop, Syscall, SyscallEntry, Tid};
use super::super::remote_call::{self, Around, Failed, Query, Reply};
use super::super::socket::process_of;
use super::super::wait_timer;
use super::{Tracee, Tracer, Waiting};
use libreuse_rules::calls::Errno;
use std::io;
use std::time::Duration;

/// A call that a sequence is about.
pub(super) struct Interception {
    number: u64,
    sequence: Sequence,
    entry: SyscallEntry,
    stage: Stage,
    /// The registers behind the call, while it is restarted.
    behind: Option<libc::user_regs_struct>,
    /// Whether the thread was put back before the call, and has not made it yet.
    is_restarted: bool,
    /// The call's result, if it had to be made before the sequence asked for it.
    made: Option<Result<(), Errno>>,
    /// Whether the thread can be made to make other calls, if that is known.
    is_possible: Option<bool>,
    /// The page that was mapped for what those return.
    page: Option<u64>,
    /// The stop that interrupted the sequence: it is handled when the sequence is over, and before
    /// the call.
    held: Option<Stop>,
}

impl Interception {
    /// The tracee has exited: lets the sequence finish.
    pub(super) fn give_up(self) {
        self.sequence.made(Err(INTERRUPTED));
    }

    /// Whether this stop interrupted the sequence.
    pub(super) fn holds(&self, stop: Stop) -> bool {
        self.held == Some(stop)
    }

    /// Makes the call, from its syscall-enter-stop.
    fn make(&mut self, tid: Tid) -> io::Result<()> {
        ptrace::resume(tid, 0)?;
        self.stage = Stage::Running;
        Ok(())
    }

    /// Restarts the call, from its syscall-exit-stop.
    fn make_once_more(&mut self, tid: Tid) -> io::Result<()> {
        self.behind = Some(ptrace::registers(tid)?);
        if !self.is_restarted {
            restart_syscall(tid, &self.entry)?;
        }
        ptrace::resume(tid, 0)?;
        self.stage = Stage::Restarting;
        Ok(())
    }

    /// Makes the call from its syscall-exit-stop, in one batch with the options around it.
    fn make_in_batch(&mut self, tid: Tid, around: &Around) -> Result<i64, Failed> {
        if self.stage != Stage::Exit || !self.can_be_made_to_call(tid) {
            return Err(Failed::Refused);
        }
        let mut behind = ptrace::registers(tid).map_err(|_| Failed::Refused)?;
        if self.is_restarted {
            arch::step_over_syscall(&mut behind, &self.entry);
        }
        let value = remote_call::make_own(tid, &self.entry, around, &behind)?;
        self.is_restarted = false;
        Ok(value)
    }

    fn can_be_made_to_call(&mut self, tid: Tid) -> bool {
        let entry = &self.entry;
        *self
            .is_possible
            .get_or_insert_with(|| remote_call::is_possible(tid, entry))
    }

    fn ask(&mut self, tid: Tid, fd: i32, query: Query) -> Result<Reply, Failed> {
        if !self.can_be_made_to_call(tid) {
            return Err(Failed::Refused);
        }
        // Only behind a call can another one be made.
        if self.stage == Stage::Entry {
            if remote_call::can_skip_syscalls() {
                remote_call::skip_syscall(tid, &self.entry)?;
                self.is_restarted = true;
            } else {
                self.made = Some(result_of(remote_call::make_now(tid)?));
            }
            self.stage = Stage::Exit;
        }
        if self.stage != Stage::Exit {
            return Err(Failed::Refused);
        }
        remote_call::ask(tid, &self.entry, fd, query, &mut self.page)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// At the call's syscall-enter-stop.
    Entry,
    /// At its syscall-exit-stop.
    Exit,
    /// On the way from there to its syscall-enter-stop.
    Restarting,
    /// In the call.
    Running,
}

impl Tracee {
    /// Lets it make the call that is intercepted; returns what it has stopped at if it has left the
    /// call for good.
    fn begin_to_make(&mut self, tid: Tid, around: Option<&Around>) -> Option<Stop> {
        let intercepted = self.intercepted.as_mut()?;
        // A call that has failed with EADDRINUSE is repeated, with the option.
        let made = intercepted.made.take();
        if let Some(result) = made.filter(|result| *result != Err(Errno::IN_USE)) {
            // What was to be done before it is done after it.
            if let Some(around) = around.filter(|_| result.is_ok()) {
                for &(place, value) in &around.before {
                    let query = Query::SetOption(place, value);
                    if let Err(Failed::Left(stop)) = intercepted.ask(tid, around.fd, query) {
                        return Some(stop);
                    }
                }
            }
            intercepted.sequence.made(result);
            return None;
        }
        let alone = Around {
            fd: -1,
            before: Vec::new(),
            after: Vec::new(),
        };
        if let Some(around) = around.or(self.blocks_signals.then_some(&alone)) {
            match intercepted.make_in_batch(tid, around) {
                Ok(value) => {
                    intercepted.sequence.made(result_of(value));
                    return None;
                }
                Err(Failed::Left(stop)) => return Some(stop),
                Err(Failed::Refused) => {}
            }
        }
        let result = if intercepted.stage == Stage::Entry {
            intercepted.make(tid)
        } else {
            intercepted.make_once_more(tid)
        };
        if result.is_err() {
            // It has been killed, which is reported later.
            intercepted.sequence.made(Err(INTERRUPTED));
        }
        None
    }

    /// Has it answer a query of its sequence; returns what it has stopped at if it has left
    /// the call for good.
    fn answer(&mut self, tid: Tid, fd: i32, query: Query) -> Option<Stop> {
        let intercepted = self.intercepted.as_mut()?;
        match intercepted.ask(tid, fd, query) {
            Ok(reply) => intercepted.sequence.reply(Some(reply)),
            Err(Failed::Refused) => intercepted.sequence.reply(None),
            Err(Failed::Left(stop)) => return Some(stop),
        }
        if intercepted
            .held
            .is_some_and(|stop| !matches!(stop, Stop::Signal(_)))
        {
            // It may have left that stop to answer, and comes to it again.
            intercepted.held = Some(Stop::Other);
            let _ = ptrace::interrupt(tid);
        }
        None
    }
}

/// Decodes a call's return value.
fn result_of(value: i64) -> Result<(), Errno> {
    match value {
        0 => Ok(()),
        value => Err(Errno(i32::try_from(-value).unwrap_or(0))),
    }
}

impl Tracer {
    /// Begins a sequence, while the tracee stands still; false if that can't be.
    pub(super) fn intercept(
        &mut self,
        tid: Tid,
        entry: SyscallEntry,
        stage: Stage,
        intercepted: Intercepted,
    ) -> bool {
        let process = process_of(tid).unwrap_or(tid);
        let number = self.sequences;
        let channel = Channel {
            tid,
            sequence: number,
            messages: self.messages.clone(),
        };
        let Some((sequence, thread)) =
            Sequence::begin(self.settings, process, intercepted, channel)
        else {
            // No call can be intercepted any more, and to stop at each is of no use.
            self.progress.give_up();
            return false;
        };
        self.sequences += 1;
        self.threads.retain(|thread| !thread.is_finished());
        self.threads.push(thread);
        self.progress.intercept();
        self.tracees.entry(tid).or_default().intercepted = Some(Interception {
            number,
            sequence,
            entry,
            stage,
            behind: None,
            is_restarted: false,
            made: None,
            is_possible: None,
            page: None,
            held: None,
        });
        self.stand(tid);
        true
    }

    /// Keeps a tracee in its stop while others are handled.
    fn stand(&mut self, tid: Tid) {
        if let Some(stop @ (Stop::Gone | Stop::Exec)) = ptrace::take(tid) {
            self.stopped(tid, stop);
        }
    }

    /// Handles the message of a sequence.
    pub(super) fn receive(&mut self, message: Message) {
        let tid = message.tid;
        let tracee = self.tracees.get_mut(&tid);
        let is_about = |tracee: &&mut Tracee| {
            let intercepted = tracee.intercepted.as_ref();
            intercepted.is_some_and(|intercepted| intercepted.number == message.sequence)
        };
        match (message.request, tracee.filter(is_about)) {
            (Request::Make(around), Some(tracee)) => {
                if let Some(stop) = tracee.begin_to_make(tid, around.as_ref()) {
                    self.stopped(tid, stop);
                }
            }
            (Request::Query(fd, query), Some(tracee)) => {
                if let Some(stop) = tracee.answer(tid, fd, query) {
                    self.stopped(tid, stop);
                }
            }
            // The tracee has exited, which the sequence knows.
            (Request::Make(_) | Request::Query(..), None) => {}
            (Request::Done { listens }, tracee) => {
                if tracee.is_some() {
                    self.over(tid, false);
                }
                self.progress.intercepted(listens);
            }
            (Request::Signalled { since }, Some(tracee)) => {
                // It has come while the call was made.
                let held = tracee
                    .intercepted
                    .as_ref()
                    .and_then(|intercepted| intercepted.held);
                let since = match held {
                    Some(Stop::Signal(signal)) if wait_timer::asks_to_end(tid, signal) => {
                        wait_timer::ended(since)
                    }
                    _ => since,
                };
                tracee.waiting = tracee.intercepted.as_ref().map(|intercepted| Waiting {
                    entry: intercepted.entry,
                    since,
                    comes_next: true,
                });
                self.over(tid, true);
                let wait = Duration::from_millis(self.settings.wait_ms.into());
                self.progress.interrupted(since + wait);
            }
            (Request::Signalled { .. }, None) => {
                self.progress.intercepted(None);
            }
        }
    }

    /// Ends a sequence and resumes its tracee. The call is restarted if `again`, or if a stop has
    /// to be handled first.
    fn over(&mut self, tid: Tid, again: bool) {
        let intercepted = self
            .tracees
            .get_mut(&tid)
            .and_then(|tracee| tracee.intercepted.take());
        let Some(intercepted) = intercepted else {
            return;
        };
        let Interception { entry, held, .. } = intercepted;
        if let Some(Err(Failed::Left(stop))) = intercepted
            .page
            .map(|page| remote_call::unmap(tid, &entry, page))
        {
            self.stopped(tid, stop);
            return;
        }
        // This fails only if it has been killed, which is reported later.
        if (again || held.is_some()) && !intercepted.is_restarted {
            let _ = restart_syscall(tid, &entry);
        }
        let _ = match held {
            Some(stop) => self.stopped_freely(tid, stop),
            None => ptrace::resume(tid, 0),
        };
    }

    /// A tracee has stopped that a sequence is about: where the call is, or on the way there.
    pub(super) fn stopped_while_intercepted(&mut self, tid: Tid, stop: Stop) -> io::Result<()> {
        let Some(tracee) = self.tracees.get_mut(&tid) else {
            return Ok(());
        };
        let Some(intercepted) = &mut tracee.intercepted else {
            return Ok(());
        };
        let result = match (intercepted.stage, stop) {
            (Stage::Restarting, Stop::Syscall) => {
                intercepted.stage = Stage::Running;
                return ptrace::resume(tid, 0);
            }
            (Stage::Running, Stop::Syscall) => match ptrace::syscall(tid) {
                Some(Syscall::Exit(value)) => {
                    intercepted.is_restarted = false;
                    result_of(value)
                }
                _ => Err(INTERRUPTED),
            },
            // A signal, or a group-stop, has come before the call. It counts as if it had come
            // before the program made its call at all, and is handled when the sequence is over.
            // Until then the thread is at the syscall-exit-stop again.
            _ => {
                intercepted.held = Some(stop);
                tracee.blocks_signals |= matches!(stop, Stop::Signal(_));
                if let Some(registers) = intercepted.behind.take() {
                    let _ = ptrace::set_registers(tid, registers);
                }
                Err(INTERRUPTED)
            }
        };
        intercepted.stage = Stage::Exit;
        intercepted.sequence.made(result);
        // A signal that is taken would be lost with a tracer that ends.
        if !matches!(stop, Stop::Signal(_)) {
            self.stand(tid);
        }
        Ok(())
    }
}

/// Puts a tracee before its call again.
fn restart_syscall(tid: Tid, entry: &SyscallEntry) -> io::Result<()> {
    let mut registers = ptrace::registers(tid)?;
    arch::restart_syscall(&mut registers, entry);
    ptrace::set_registers(tid, registers)
}
