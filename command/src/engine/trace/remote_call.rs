//! The program's sockets where its descriptors can't be copied: containers commonly forbid pidfd_getfd(2), and not
//! ptrace(2). The program's thread, which stands behind a system call, is made to ask and set by itself, with its signals held
//! back and in memory that is mapped for that and unmapped again: a stack may have no room.
//!
//! Killed in the middle of this, the tracer leaves the thread with registers that are not its own. That takes some
//! microseconds for each question, and is why copies are tried first.

use super::arch::{self, Asked};
use super::ptrace::{self, Entry, Stop, Syscall, Tid};
use super::wait_timer::Clock;
use crate::net::sock_diag;
use crate::net::spare::{self, Spare};
use crate::sys::sockopt::{NETWORK_COOKIE, Place};
use libreuse_rules::calls::{Calls, Connection, Facts, SocketOption, State};
use libreuse_rules::diag::Wanted;
use libreuse_rules::endpoint::{self, Endpoint};
use rustix::fs::stat;
use std::cell::Cell;
use std::thread;

/// What is asked about a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Option(Place),
    SetOption(Place, i32),
    Local,
    /// To hold back these signals; it tells which it has held back until now.
    HoldSignals(u64),
}

/// What the kernel tells, as many bytes of it as there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    bytes: [u8; endpoint::LONGEST],
    length: usize,
}

impl Told {
    fn of(told: [u8; 8]) -> Self {
        let mut bytes = [0; endpoint::LONGEST];
        bytes[..told.len()].copy_from_slice(&told);
        Self {
            bytes,
            length: told.len(),
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// Who has questions answered.
pub(super) trait Ask {
    /// `None`: the kernel refuses, or the program is not there any more.
    fn ask(&self, question: Question) -> Option<Told>;
}

/// One of the program's sockets, and who asks about it.
pub(super) struct Injected<'a, A> {
    pub(super) tid: Tid,
    pub(super) number: i32,
    pub(super) clock: &'a Clock,
    pub(super) who: &'a A,
}

impl<A: Ask> Injected<'_, A> {
    /// What tells its network namespace from others.
    fn network(&self) -> Option<u64> {
        let told = self.who.ask(Question::Option(NETWORK_COOKIE))?;
        Some(u64::from_ne_bytes(*told.bytes()?.first_chunk()?))
    }
}

impl<A: Ask> Facts for Injected<'_, A> {
    fn local(&self) -> Option<Endpoint> {
        Endpoint::decode(self.who.ask(Question::Local)?.bytes()?)
    }

    fn state(&self) -> Option<State> {
        let place = Place {
            level: libc::IPPROTO_TCP,
            name: libc::TCP_INFO,
        };
        let told = self.who.ask(Question::Option(place))?;
        told.bytes()?.first().copied().map(State::from_number)
    }

    /// Never asked for: it is a matter of `close`.
    fn connection(&self) -> Option<Connection> {
        None
    }
}

impl<A: Ask> Calls for Injected<'_, A> {
    type File = (u64, u64);
    type Mask = u64;
    type Spare = Spare;

    fn descriptor(&self) -> i32 {
        self.number
    }

    fn option(&self, option: SocketOption) -> Option<i32> {
        let told = self.who.ask(Question::Option(option.into()))?;
        Some(i32::from_ne_bytes(*told.bytes()?.first_chunk()?))
    }

    fn set_option(&self, option: SocketOption, value: i32) -> bool {
        self.who
            .ask(Question::SetOption(option.into(), value))
            .is_some()
    }

    /// Never asked for, as in `Socket`.
    fn reset_on_close(&self) -> bool {
        false
    }

    fn file(&self) -> Option<(u64, u64)> {
        let file = stat(format!("/proc/{}/fd/{}", self.tid, self.number)).ok()?;
        Some((file.st_dev, file.st_ino))
    }

    /// What is put back after a call is asked of the thread itself: a signal that came before the call would be in its way.
    fn hold_signals(&self) -> Option<u64> {
        let told = self.who.ask(Question::HoldSignals(u64::MAX))?;
        Some(u64::from_ne_bytes(*told.bytes()?.first_chunk()?))
    }

    fn release_signals(&self, mask: u64) {
        self.who.ask(Question::HoldSignals(mask));
    }

    fn now_ms(&self) -> Option<u64> {
        self.clock.now_ms()
    }

    fn waited_ms(&self) -> u64 {
        self.clock.waited_ms()
    }

    fn is_held(&self, wanted: &Wanted) -> bool {
        sock_diag::is_held(wanted, self.network()).unwrap_or(false)
    }

    fn spare(&self, address: Endpoint) -> Option<Spare> {
        Spare::open(address, self.network())
    }

    fn pause(&self) {
        thread::sleep(spare::PAUSE);
    }

    fn sleep_until(&self, moment_ms: u64) -> bool {
        self.clock.sleep_until(moment_ms)
    }
}

/// Has a tracee answer a question; it stands behind a system call, which is `entry`.
pub(super) fn ask(tid: Tid, entry: &Entry, fd: i32, question: Question) -> Option<Told> {
    const PAGE: u64 = 4096;
    // PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
    const MAP: [u64; 6] = [0, PAGE, 3, 0x22, u64::MAX, 0];
    if let Question::HoldSignals(mask) = question {
        let until_now = ptrace::signal_mask(tid).ok()?;
        ptrace::set_signal_mask(tid, mask).ok()?;
        return Some(Told::of(until_now.to_ne_bytes()));
    }
    let thread = Thread::borrow(tid, entry)?;
    let page = thread.call(Asked::Map, MAP).filter(|&page| page > 0)?;
    let page = u64::from_ne_bytes(page.to_ne_bytes());
    let told = thread.answer(fd.unsigned_abs().into(), question, page);
    thread.call(Asked::Unmap, [page, PAGE, 0, 0, 0, 0]);
    told
}

/// A thread of the program's, which gets back its registers and its signal mask in the end.
struct Thread<'a> {
    tid: Tid,
    entry: &'a Entry,
    registers: libc::user_regs_struct,
    mask: u64,
    was_stopped: Cell<bool>,
}

impl<'a> Thread<'a> {
    fn borrow(tid: Tid, entry: &'a Entry) -> Option<Self> {
        let registers = ptrace::registers(tid).ok()?;
        let mask = ptrace::signal_mask(tid).ok()?;
        ptrace::set_signal_mask(tid, u64::MAX).ok()?;
        Some(Self {
            tid,
            entry,
            registers,
            mask,
            was_stopped: Cell::new(false),
        })
    }

    /// Has it make a system call; `None` if it is gone.
    fn call(&self, asked: Asked, arguments: [u64; 6]) -> Option<i64> {
        let mut registers = self.registers;
        arch::ask(&mut registers, self.entry, asked, arguments)?;
        ptrace::set_registers(self.tid, registers).ok()?;
        let mut is_within = false;
        let mut signal = 0;
        loop {
            ptrace::go_on(self.tid, signal).ok()?;
            signal = 0;
            match (ptrace::stop_of(self.tid).ok()?, is_within) {
                (Stop::Syscall, false) => is_within = true,
                (Stop::Syscall, true) => match ptrace::syscall(self.tid)? {
                    Syscall::Exit(value) => return Some(value),
                    Syscall::Entry(_) => return None,
                },
                (Stop::Gone, _) => return None,
                // SIGSTOP, which nobody can hold back: the whole process is to stop.
                (Stop::Signal(number), _) => signal = number,
                _ => self.was_stopped.set(true),
            }
        }
    }

    fn answer(&self, fd: u64, question: Question, page: u64) -> Option<Told> {
        let mut told = Told {
            bytes: [0; endpoint::LONGEST],
            length: 0,
        };
        let length_at = page + 512;
        let int = |number: i32| u64::from(number.unsigned_abs());
        let length = u32::try_from(told.bytes.len()).ok()?;
        ptrace::write(self.tid, length_at, &length.to_ne_bytes())?;
        let result = match question {
            Question::SetOption(place, value) => {
                ptrace::write(self.tid, page, &value.to_ne_bytes())?;
                let arguments = [fd, int(place.level), int(place.name), page, 4, 0];
                self.call(Asked::SetOption, arguments)?
            }
            Question::Option(place) => {
                let arguments = [fd, int(place.level), int(place.name), page, length_at, 0];
                self.call(Asked::Option, arguments)?
            }
            Question::Local => self.call(Asked::Local, [fd, page, length_at, 0, 0, 0])?,
            // Nothing that the thread is made to do.
            Question::HoldSignals(_) => return None,
        };
        if result != 0 {
            return None;
        }
        if !matches!(question, Question::SetOption(..)) {
            let mut length = [0; 4];
            ptrace::read(self.tid, length_at, &mut length);
            told.length = usize::try_from(u32::from_ne_bytes(length)).ok()?;
            let bytes = told.bytes.get_mut(..told.length)?;
            ptrace::read(self.tid, page, bytes);
        }
        Some(told)
    }
}

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        // If that fails it is gone.
        let _ = ptrace::set_registers(self.tid, self.registers);
        let _ = ptrace::set_signal_mask(self.tid, self.mask);
        if self.was_stopped.get() {
            // Its whole process was, and it is to stop as well when it goes on.
            let _ = ptrace::interrupt(self.tid);
        }
    }
}

/// Has a tracee that stands before a system call stand behind it, without having made it. To make it, it is to make it again.
pub(super) fn put_off(tid: Tid) -> Option<()> {
    let registers = ptrace::registers(tid).ok()?;
    ptrace::skip_call(tid).ok()?;
    ptrace::go_on(tid, 0).ok()?;
    if ptrace::stop_of(tid).ok()? != Stop::Syscall {
        return None;
    }
    ptrace::set_registers(tid, registers).ok()
}
