//! Signals, blocked for a moment where a handler that jumps out, or a cancellation, would leave something of ours
//! behind in the program.
//!
//! The system calls are made without libc's functions, which would leave out the signals that glibc keeps for itself:
//! one of them is the asynchronous `pthread_cancel`.

use core::ffi::{c_int, c_long};
use core::mem::MaybeUninit;
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

/// Does something that may raise a signal in the calling thread, which is then taken off again. Signals are blocked;
/// `raised` tells from the outcome which one it was. One that was pending for the thread already stays, as two of them
/// are one, and so does one that somebody sent to the thread before ours was raised. Of one that is pending for the process
/// the kernel does not tell that apart, and then ours stays beside it.
pub(crate) fn taken_off<T>(ours: impl FnOnce() -> T, raised: impl FnOnce(T) -> Option<c_int>) {
    let pending_before = pending();
    let Some(signal) = raised(ours()) else {
        return;
    };
    if pending_before & only(signal) == 0 {
        take_off(signal);
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

fn take_off(signal: c_int) {
    let set = only(signal);
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the set is of the kernel's size; all of them outlive the call, and the kernel writes one siginfo.
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
    // What a write raises is of this kind (`send_sig` in kernel/signal.c), and what another thread sends is not.
    if taken != c_long::from(signal) || info.si_code == libc::SI_USER {
        return;
    }
    // SAFETY: it takes nothing.
    let process = unsafe { libc::getpid() };
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
