//! The tracer's work: what is done at each stop of the program's.

mod handover;
mod interrupted;
mod worker;

use super::arch::{self, Call};
use super::detach::{DetachPolicy, DetachState};
use super::double_fork;
use super::exempt::{self, Preloaded};
use super::interception::{Intercepted, Message};
use super::log;
use super::ptrace::{self, Stop, Syscall, SyscallEntry, Tid};
use super::socket::{Socket, process_of};
use super::wait_timer::Clock;
use crate::process::names;
use ::log::{Level, log_enabled};
use interrupted::Restarted;
use libreuse_rules::calls::{Errno, SocketOption};
use libreuse_rules::endpoint::{self, Endpoint};
use libreuse_rules::settings::{Linger, Settings};
use libreuse_rules::{report, sequence};
use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use worker::{Interception, Stage};

/// Traces a process until it is time to detach, or it has ended.
pub(super) fn follow(
    program: Tid,
    settings: &'static Settings,
    policy: DetachPolicy,
    preloaded: Option<Preloaded>,
) {
    let (messages, inbox) = mpsc::channel();
    let mut tracer = Tracer {
        program,
        settings,
        preloaded,
        is_first_exec: true,
        tracees: HashMap::new(),
        chosen: HashMap::new(),
        progress: DetachState::begin(policy),
        messages,
        inbox,
        threads: Vec::new(),
        sequences: 0,
        in_a_row: 0,
        next_deadline: None,
    };
    ptrace::keep_sigchld();
    // An error is that nothing is left to trace.
    while tracer.step().is_ok() {}
}

struct Tracer {
    /// The process that was asked for.
    program: Tid,
    settings: &'static Settings,
    preloaded: Option<Preloaded>,
    is_first_exec: bool,
    tracees: HashMap<Tid, Tracee>,
    /// Whether `LIBREUSE_PROGRAMS` means a process.
    chosen: HashMap<Tid, bool>,
    progress: DetachState,
    messages: Sender<Message>,
    inbox: Receiver<Message>,
    /// The threads of the sequences that may still run.
    threads: Vec<JoinHandle<()>>,
    /// How many sequences there have been: the number of the next one.
    sequences: u64,
    /// How many stops were handled since each tracee had its turn, or none had stopped.
    in_a_row: usize,
    /// When the next call is to be ended that waits for too long, see `interrupted`.
    next_deadline: Option<Instant>,
}

/// A thread of the program's.
#[derive(Default)]
struct Tracee {
    /// The system call that it is in.
    entry: Option<SyscallEntry>,
    call: Option<Call>,
    /// When it has made that.
    entered: Option<Instant>,
    /// That call, if it has been interrupted and is restarted.
    restarted: Option<Restarted>,
    /// The last signal that it was given, and when.
    signalled: Option<(Instant, libc::c_int)>,
    /// For a `setsockopt` of `SO_REUSEADDR`, whether the socket carried it before.
    carried: bool,
    intercepted: Option<Interception>,
    /// The wait that a signal has interrupted.
    waiting: Option<Waiting>,
    /// Whether a signal has come before a call that was to be restarted. From then on signals are
    /// blocked during a restart: a fast timer would restart the call for ever.
    blocks_signals: bool,
}

/// A `bind` that is restarted when a signal has been handled.
struct Waiting {
    entry: SyscallEntry,
    since: Instant,
    /// Whether the next call is that one. After a handler that jumps out of it there may be the
    /// same call, but not the same wait.
    comes_next: bool,
}

impl Tracer {
    /// Handles the next event.
    fn step(&mut self) -> io::Result<()> {
        /// How long to sleep without looking for stops: not every exit sends SIGCHLD.
        const LONGEST: Duration = Duration::from_secs(1);
        /// How many tracees to look at for each stop, on average: of thousands of threads nearly
        /// all sleep.
        const LOOKS: usize = 16;
        while let Ok(message) = self.inbox.try_recv() {
            self.receive(message);
        }
        let now = Instant::now();
        let left = self.progress.time_left(now);
        if left.is_zero() {
            double_fork::exit_now();
        }
        self.end_overdue(now);
        let is_news = match ptrace::any_stop()? {
            Some((tid, stop)) if self.holds(tid, stop) => self.give_each_its_turn(),
            Some((tid, stop)) => {
                self.stopped(tid, stop);
                self.in_a_row += 1;
                if self.in_a_row > 1 && self.in_a_row * LOOKS > self.tracees.len() {
                    self.give_each_its_turn();
                }
                true
            }
            None => false,
        };
        if !is_news {
            self.in_a_row = 0;
            let next = self.next_deadline;
            let next = next.map_or(LONGEST, |next| next.saturating_duration_since(now));
            ptrace::sleep(left.min(LONGEST).min(next));
        }
        Ok(())
    }

    /// Handles the stop of each tracee that has stopped, and returns whether there was any. A look
    /// at any of them shows the newest one, so that the older ones of many busy threads would wait
    /// for ever.
    fn give_each_its_turn(&mut self) -> bool {
        self.in_a_row = 0;
        let known: Vec<Tid> = self.tracees.keys().copied().collect();
        let mut is_news = false;
        for tid in known {
            if let Some(stop) = ptrace::stop_if_any(tid).filter(|&stop| !self.holds(tid, stop)) {
                self.stopped(tid, stop);
                is_news = true;
            }
        }
        is_news
    }

    /// Whether this stop is a signal that its tracee gets when its sequence is over.
    fn holds(&self, tid: Tid, stop: Stop) -> bool {
        let intercepted = self.tracees.get(&tid).map(|tracee| &tracee.intercepted);
        matches!(stop, Stop::Signal(_))
            && intercepted.is_some_and(|call| call.as_ref().is_some_and(|call| call.holds(stop)))
    }

    fn stopped(&mut self, tid: Tid, stop: Stop) {
        if stop == Stop::Gone {
            self.forget(tid);
            return;
        }
        if stop == Stop::Exec {
            // The number is now that of the thread that has become it, whatever the one that had it
            // was at.
            let _ = self.became(tid);
            return;
        }
        let is_intercepted = self.tracees.entry(tid).or_default().intercepted.is_some();
        // This fails only if the tracee has been killed, which is reported next.
        let _ = if is_intercepted {
            self.stopped_while_intercepted(tid, stop)
        } else {
            self.stopped_freely(tid, stop)
        };
    }

    fn forget(&mut self, tid: Tid) {
        self.chosen.remove(&tid);
        if let Some(tracee) = self.tracees.remove(&tid) {
            if let Some(intercepted) = tracee.intercepted {
                intercepted.give_up();
            }
        }
    }

    fn stopped_freely(&mut self, tid: Tid, stop: Stop) -> io::Result<()> {
        match stop {
            Stop::Syscall => match ptrace::syscall(tid) {
                Some(Syscall::Entry(entry)) => self.enters(tid, entry),
                Some(Syscall::Exit(value)) => self.leaves(tid, value),
                None => ptrace::resume(tid, 0),
            },
            Stop::Group => {
                self.interrupts(tid, None)?;
                ptrace::listen(tid)
            }
            Stop::Signal(signal) => {
                self.interrupts(tid, Some(signal))?;
                ptrace::resume(tid, signal)
            }
            Stop::Clone => {
                if let Ok(child) = Tid::try_from(ptrace::message(tid)?) {
                    self.tracees.entry(child).or_default();
                }
                ptrace::resume(tid, 0)
            }
            Stop::Other | Stop::Exec | Stop::Gone => ptrace::resume(tid, 0),
        }
    }

    /// Handles a syscall-enter-stop.
    fn enters(&mut self, tid: Tid, entry: SyscallEntry) -> io::Result<()> {
        let call = arch::call(tid, &entry);
        let tracee = self.tracees.entry(tid).or_default();
        tracee.entry = Some(entry);
        tracee.call = call;
        if !tracee
            .restarted
            .as_mut()
            .is_some_and(|call| call.is_made(&entry))
        {
            tracee.restarted = None;
            tracee.entered = Some(Instant::now());
        }
        match (call, &mut tracee.waiting) {
            (_, None) => {}
            (Some(Call::SignalReturn), Some(waiting)) => waiting.comes_next = true,
            (_, Some(waiting)) if waiting.comes_next && waiting.entry == entry => {}
            (_, Some(waiting)) => waiting.comes_next = false,
        }
        match call {
            Some(Call::Listen { fd })
                if self.is_selected(tid)
                    && self.intercept(tid, entry, Stage::Entry, Intercepted::Listen { fd }) =>
            {
                return Ok(());
            }
            Some(Call::Connect { fd }) if self.connections_matter() && self.is_selected(tid) => {
                self.briefly(tid, fd, |settings, socket| {
                    sequence::connect(settings, socket);
                });
            }
            Some(Call::SetOption {
                fd, level, name, ..
            }) if SocketOption::at(level, name) == Some(SocketOption::ReuseAddress)
                && self.is_selected(tid) =>
            {
                let mut carried = false;
                self.briefly(tid, fd, |settings, socket| {
                    carried = sequence::carries_the_option(settings, socket);
                });
                self.tracees.entry(tid).or_default().carried = carried;
            }
            Some(Call::Exec { folder, path }) if exempt::is_never_traced(tid, folder, path) => {
                self.forget(tid);
                return ptrace::detach(tid, 0);
            }
            Some(Call::Trace {
                request,
                tid: other,
            }) => {
                return self.makes_way(tid, request, other);
            }
            // Whoever waits for it, as systemd does for the start of a daemon, finds no tracer.
            Some(Call::Exit) if tid == self.program && self.progress.listens() => {
                self.end_alone();
            }
            _ => {}
        }
        ptrace::resume(tid, 0)
    }

    /// Detaches, as the last thread of the tracer: the kernel lets the program go on as soon as
    /// this one ends, and from then on nobody is to find the tracer in a group of processes.
    fn end_alone(&mut self) -> ! {
        for thread in self.threads.drain(..) {
            // None panics, and if it did it would be gone as well.
            let _ = thread.join();
        }
        double_fork::exit_now()
    }

    /// Whether the settings concern `connect`.
    fn connections_matter(&self) -> bool {
        self.settings.linger == Linger::Graceful
            || log_enabled!(Level::Trace)
            || (self.settings.reuse_address && !self.settings.ports.all())
    }

    /// Handles a syscall-exit-stop.
    fn leaves(&mut self, tid: Tid, value: i64) -> io::Result<()> {
        const IN_USE: i64 = -(Errno::IN_USE.0 as i64);
        let tracee = self.tracees.entry(tid).or_default();
        let call = tracee.call.take();
        let entry = tracee.entry.take();
        let carried = std::mem::take(&mut tracee.carried);
        let waiting = match call {
            Some(Call::Bind { .. }) => tracee.waiting.take(),
            _ => None,
        };
        // The call that a signal handler returns to may have failed so: the return does not restart
        // it.
        let is_return = call == Some(Call::SignalReturn);
        if let Some(entry) = entry.filter(|_| value == -i64::from(libc::EINTR) && !is_return) {
            self.interrupted(tid, entry)?;
            return ptrace::resume(tid, 0);
        }
        tracee.restarted = None;
        match (call, entry) {
            (
                Some(Call::Bind {
                    fd,
                    address,
                    length,
                }),
                Some(entry),
            ) if value == IN_USE => {
                let bind = Intercepted::Bind {
                    fd,
                    address: read_address(tid, address, length),
                    since: waiting
                        .filter(|waiting| waiting.comes_next)
                        .map(|waiting| waiting.since),
                };
                if self.is_selected(tid) && self.intercept(tid, entry, Stage::Exit, bind) {
                    return Ok(());
                }
            }
            (Some(Call::Accept), _) if value >= 0 => self.progress.accepted(),
            (Some(call), _) if value == 0 => self.succeeded(tid, call, carried),
            _ => {}
        }
        ptrace::resume(tid, 0)
    }

    /// Keeps to the settings after a call that has succeeded.
    fn succeeded(&mut self, tid: Tid, call: Call, carried: bool) {
        match call {
            Call::Bind {
                fd,
                address,
                length,
            } if self.settings.reuse_port => {
                let address = read_address(tid, address, length);
                if self.is_selected(tid) {
                    self.briefly(tid, fd, |settings, socket| {
                        sequence::bound(settings, socket, address);
                    });
                }
            }
            Call::SetOption {
                fd,
                level,
                name,
                value: place,
                length,
            } => {
                let mut bytes = [0; 4];
                let option = SocketOption::at(level, name)
                    .filter(|_| length >= 4 && ptrace::read(tid, place, &mut bytes) == 4);
                if let Some(option) = option.filter(|_| self.is_selected(tid)) {
                    let value = i32::from_ne_bytes(bytes);
                    self.briefly(tid, fd, |settings, socket| {
                        sequence::option_set(settings, socket, option, value, carried);
                    });
                }
            }
            _ => {}
        }
    }

    /// Runs a sequence that makes no call of the program's, and so neither waits nor needs the
    /// tracer.
    ///
    /// Where descriptors can't be copied, it is left out: it is about options that the program sets
    /// itself.
    fn briefly(&self, tid: Tid, fd: i32, sequence: impl FnOnce(&Settings, &Socket)) {
        if let Ok(socket) = Socket::of(tid, fd, &Clock::of(tid, None)) {
            if log_enabled!(Level::Error) {
                log::speak_for(process_of(tid).unwrap_or(tid));
            }
            sequence(self.settings, &socket);
        }
    }

    /// Handles an exec, in which the tracee has lost its other threads.
    fn became(&mut self, tid: Tid) -> io::Result<()> {
        if let Ok(former) = Tid::try_from(ptrace::message(tid)?) {
            if former != tid {
                self.forget(former);
            }
        }
        self.forget(tid);
        // What `run` itself has become is traced for a reason.
        let is_first = std::mem::take(&mut self.is_first_exec);
        let library = self.preloaded.as_ref();
        if !is_first
            && (exempt::has_become_a_container_engine(tid)
                || library.is_some_and(|library| library.is_enough_for(tid)))
        {
            return ptrace::detach(tid, 0);
        }
        if self.is_selected(tid) {
            log::speak_for(tid);
            report::loaded(&::log::logger(), self.settings);
        }
        ptrace::resume(tid, 0)
    }

    /// Whether the settings mean the program that a thread is of.
    fn is_selected(&mut self, tid: Tid) -> bool {
        if self.settings.programs.all() {
            return true;
        }
        let process = process_of(tid).unwrap_or(tid);
        let programs = &self.settings.programs;
        *self
            .chosen
            .entry(process)
            .or_insert_with(|| names_of(process).iter().any(|name| programs.contains(name)))
    }
}

/// The address that the kernel has read there.
fn read_address(tid: Tid, address: u64, length: u64) -> Option<Endpoint> {
    let mut bytes = [0; endpoint::LONGEST];
    let length = usize::try_from(length)
        .unwrap_or(bytes.len())
        .min(bytes.len());
    let bytes = bytes.get_mut(..length)?;
    let length = ptrace::read(tid, address, bytes);
    Endpoint::decode(bytes.get(..length)?)
}

/// The names by which `LIBREUSE_PROGRAMS` may list a process.
fn names_of(process: Tid) -> Vec<Vec<u8>> {
    procfs::process::Process::new(process).map_or_else(
        |_| Vec::new(),
        |process| names::names(&process, process.exe().ok().as_deref()),
    )
}
