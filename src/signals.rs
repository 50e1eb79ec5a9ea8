//! Blocks signals for a moment, where a handler that jumps out (longjmp(3)) or a cancellation
//! (`pthread_cancel(3)`) would leave a descriptor or an option of ours in the program.
//!
//! The system calls are made without libc's functions: these never block the signals that glibc
//! reserves, one of which carries asynchronous cancellation (nptl(7)).

use crate::errno;
use core::ffi::{c_int, c_long, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use libreuse_rules::calls::TERMINATION_SIGNALS;

/// The size of the kernel's signal set, in bytes; libc's is larger.
pub(crate) const KERNEL_SIGSET: usize = 8;

/// The signals that are never blocked: the running instruction or system call raises them, and the
/// kernel terminates a program that blocks one, instead of calling its handler
/// (`force_sig_info_to_task` in kernel/signal.c). By SIGSYS a seccomp sandbox handles a system call
/// itself (`SECCOMP_RET_TRAP` in seccomp(2)).
const SYNCHRONOUS: u64 = only(libc::SIGBUS)
    | only(libc::SIGFPE)
    | only(libc::SIGILL)
    | only(libc::SIGSEGV)
    | only(libc::SIGSYS)
    | only(libc::SIGTRAP);

/// A thread's blocked signals, as the kernel has them.
#[derive(Default)]
pub(crate) struct Mask(u64);

/// Blocks signals (sigprocmask(2)), and saves the program's own mask in `before`; false if the
/// kernel refused. The mask stays where the kernel has written it: `listen` copies nothing.
#[inline(always)]
pub(crate) fn block(before: &mut Mask) -> bool {
    change_mask(libc::SIG_BLOCK, &!SYNCHRONOUS, Some(&mut before.0))
}

/// Restores the program's mask.
#[inline(always)]
pub(crate) fn restore(before: &Mask) {
    change_mask(libc::SIG_SETMASK, &before.0, None);
}

/// Calls a function with signals blocked; does nothing if the kernel refused to block them.
pub(crate) fn while_blocked(ours: impl FnOnce()) {
    let mut before = Mask::default();
    if block(&mut before) {
        ours();
        restore(&before);
    }
}

/// The set of [`TERMINATION_SIGNALS`].
const TERMINATION: u64 = {
    let [hangup, interrupt, quit, terminate] = TERMINATION_SIGNALS;
    only(hangup) | only(interrupt) | only(quit) | only(terminate)
};

/// Whether the program has handlers for the signals that ask it to exit.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Handlers {
    /// None.
    None,
    /// For these signals alone: only they can interrupt a system call with `EINTR`.
    Alone,
    /// For these signals and for others.
    Among,
}

impl Handlers {
    /// Reads the program's handlers from the kernel (`rt_sigaction(2)`).
    fn of_the_program() -> Self {
        if !is_any_handled(TERMINATION) {
            Self::None
        } else if is_any_handled(!TERMINATION) {
            Self::Among
        } else {
            Self::Alone
        }
    }
}

/// A wait that blocks the signals that ask the program to exit, if it has a handler for any of
/// them. Their handlers run during a sleep (ppoll(2)), or when the wait ends.
pub(crate) struct Wait {
    pub(crate) handlers: Handlers,
    /// The program's own mask.
    before: u64,
}

impl Wait {
    pub(crate) fn begin() -> Self {
        let mut before = 0_u64;
        let mut handlers = Handlers::of_the_program();
        if handlers != Handlers::None
            && !change_mask(libc::SIG_BLOCK, &TERMINATION, Some(&mut before))
        {
            handlers = Handlers::None;
        }
        Self { handlers, before }
    }

    pub(crate) fn end(self) {
        if self.handlers != Handlers::None {
            restore(&Mask(self.before));
        }
    }

    /// Whether one of these signals is pending, and not blocked by the program itself.
    pub(crate) fn is_asked_to_end(&self) -> bool {
        pending() & TERMINATION & !self.before != 0
    }

    /// Sleeps for some milliseconds with the program's own mask (ppoll(2)); returns the error
    /// number if the sleep was cut short.
    pub(crate) fn sleep_for(&self, milliseconds: u64) -> Result<(), c_int> {
        // A wait sleeps for less than a second at a time.
        let milliseconds = u32::try_from(milliseconds.min(999)).unwrap_or(999);
        let time = libc::timespec {
            tv_sec: 0,
            #[allow(clippy::unnecessary_fallible_conversions)] // Of 32 bits on some processors.
            tv_nsec: libc::c_long::try_from(milliseconds.saturating_mul(1_000_000)).unwrap_or(0),
        };
        // SAFETY: no descriptors; the timespec and the mask, which is of the kernel's size, outlive
        // the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_ppoll,
                ptr::null::<c_void>(),
                0,
                &raw const time,
                &raw const self.before,
                KERNEL_SIGSET,
            )
        };
        if result < 0 {
            Err(errno::get())
        } else {
            Ok(())
        }
    }
}

/// Whether the program has a handler for one of these signals.
// In one place, not in two.
#[inline(never)]
fn is_any_handled(set: u64) -> bool {
    const LAST: c_int = 64;
    (1..=LAST).any(|signal| set & only(signal) != 0 && is_handled(signal))
}

fn is_handled(signal: c_int) -> bool {
    // A `struct sigaction` of the kernel's, which has the handler first: 0 is SIG_DFL, 1 is
    // SIG_IGN.
    let mut action = [0_usize; 8];
    // SAFETY: nothing is set; the kernel writes one such structure, which is no larger, and
    // outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            ptr::null::<c_void>(),
            action.as_mut_ptr(),
            KERNEL_SIGSET,
        )
    };
    let [handler, ..] = action;
    result == 0 && handler > 1
}

/// Calls a function that may raise a signal in the calling thread, and removes that signal from the
/// pending ones (sigtimedwait(2)). Signals are blocked; `raised` returns, from the function's
/// result, which signal it was. It is not removed:
///
/// * if the same signal was pending for the thread already: standard signals do not queue;
/// * if another thread sent it to this thread first;
/// * if it was pending for the process: sigpending(2) does not distinguish that from the thread.
pub(crate) fn consume_raised<T>(ours: impl FnOnce() -> T, raised: impl FnOnce(T) -> Option<c_int>) {
    let pending_before = pending();
    let Some(signal) = raised(ours()) else {
        return;
    };
    if pending_before & only(signal) == 0 {
        consume(signal);
    }
}

/// The signal set with one signal.
const fn only(signal: c_int) -> u64 {
    1 << (signal.unsigned_abs().saturating_sub(1) & 63)
}

#[inline(always)]
fn change_mask(how: c_int, set: &u64, before: Option<&mut u64>) -> bool {
    let before = before.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: both sets are of the kernel's size and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            ptr::from_ref(set),
            before,
            KERNEL_SIGSET,
        ) == 0
    }
}

fn pending() -> u64 {
    let mut set = 0_u64;
    // SAFETY: the set is of the kernel's size and outlives the call.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut set, KERNEL_SIGSET) };
    set
}

fn consume(signal: c_int) {
    let set = only(signal);
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the set is of the kernel's size; all of them outlive the call, and the kernel writes
    // one siginfo.
    let taken = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            info.as_mut_ptr(),
            &raw const at_once,
            KERNEL_SIGSET,
        )
    };
    // SAFETY: all zeroes is a siginfo, and so is what the kernel writes.
    let info = unsafe { info.assume_init() };
    // A write(2) raises it with SI_USER (`send_sig` in kernel/signal.c); another thread sends it
    // with SI_TKILL.
    if taken != c_long::from(signal) || info.si_code == libc::SI_USER {
        return;
    }
    // SAFETY: it takes nothing.
    let process = unsafe { libc::syscall(libc::SYS_getpid) };
    // SAFETY: as above.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    // SAFETY: three numbers, and a siginfo that outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            process,
            thread,
            signal,
            &raw const info,
        )
    };
}
