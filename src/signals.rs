//! Signals, held back for a moment where a handler that jumps out, or a cancellation, would leave something of ours
//! behind in the program.
//!
//! The system calls are made without libc's functions, which would leave out the signals that glibc keeps for itself:
//! one of them is the asynchronous `pthread_cancel`.

use core::ffi::{c_int, c_void};
use core::ptr;

/// The size of the kernel's signal set, in bytes; libc's is larger.
pub(crate) const KERNEL_SIGSET: usize = 8;

/// The signals that are never held back: they come from the very instruction or system call that is running, and the
/// kernel ends a program in which such a one is blocked, instead of calling its handler (`force_sig_info_to_task` in
/// kernel/signal.c). SIGSYS is how a seccomp sandbox lets its own handler answer a system call.
const SYNCHRONOUS: [c_int; 6] = [
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// A thread's signals that are held back, as the kernel has them.
#[derive(Clone, Copy)]
pub(crate) struct Mask(u64);

/// Holds signals back; returns the program's own mask, or `None` if the kernel would not.
pub(crate) fn hold() -> Option<Mask> {
    let signals = SYNCHRONOUS
        .into_iter()
        .fold(u64::MAX, |set, signal| set & !only(signal));
    let mut before = 0_u64;
    change_mask(libc::SIG_BLOCK, signals, Some(&mut before)).then_some(Mask(before))
}

/// Puts the program's mask in place again.
pub(crate) fn release(before: Mask) {
    change_mask(libc::SIG_SETMASK, before.0, None);
}

/// Does something of ours with signals held back; nothing, if the kernel would not hold them.
pub(crate) fn held(ours: impl FnOnce()) {
    if let Some(before) = hold() {
        ours();
        release(before);
    }
}

/// Does something that may raise a signal in the calling thread, which is then taken off again. Signals are held back;
/// `raised` tells from the outcome which one it was. One that was pending for the thread already stays, as two of them are
/// one; of one that is pending for the process the kernel does not tell that apart, and then ours stays beside it.
pub(crate) fn taken_off<T>(ours: impl FnOnce() -> T, raised: impl FnOnce(T) -> Option<c_int>) {
    let pending_before = pending();
    let Some(signal) = raised(ours()) else {
        return;
    };
    if pending_before & only(signal) == 0 {
        take_off(only(signal));
    }
}

/// The set that holds one signal.
const fn only(signal: c_int) -> u64 {
    1 << (signal.unsigned_abs().saturating_sub(1) & 63)
}

fn change_mask(how: c_int, set: u64, before: Option<&mut u64>) -> bool {
    let before = before.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: both sets are of the kernel's size and outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            how,
            &raw const set,
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

fn take_off(set: u64) {
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the set is of the kernel's size; it and the timespec outlive the call; nothing is wanted of the signal.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            ptr::null_mut::<c_void>(),
            &raw const at_once,
            KERNEL_SIGSET,
        )
    };
}
