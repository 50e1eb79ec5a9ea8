//! ptrace(2) and waitpid(2), for the thread that traces.
//!
//! By libc and not by the `nix` crate: its `waitpid` fails for a real-time signal, which it has no
//! name for, and the stop is then lost.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

/// A thread of the program's, or the program.
pub(super) type Tid = i32;

/// The ptrace options: what the kernel follows, and that syscall-stops differ from signals. Never
/// `PTRACE_O_EXITKILL`: the program lives on when the tracer ends, which is how it
/// detaches.
const OPTIONS: libc::c_int = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACESYSGOOD;

/// The number of `PTRACE_EVENT_STOP`, which not every libc has (`include/uapi/linux/ptrace.h`).
const EVENT_STOP: libc::c_int = 128;

/// A ptrace-stop, or the end of the tracee.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    /// It has ended.
    Gone,
    /// It enters or leaves a system call.
    Syscall,
    /// It has made another tracee.
    Clone,
    /// It has become another program.
    Exec,
    /// It, and every thread of its process, is stopped by job control.
    Group,
    /// It is new, or was asked to stop.
    Other,
    /// It is about to be given this signal.
    Signal(libc::c_int),
}

/// A stop at a system call, as far as the kernel tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Syscall {
    Entry(SyscallEntry),
    /// With what it returns: an error is a negative number.
    Exit(i64),
}

/// A system call that is about to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SyscallEntry {
    /// `AUDIT_ARCH_…` (`include/uapi/linux/audit.h`).
    pub(super) arch: u32,
    pub(super) number: u64,
    pub(super) arguments: [u64; 6],
}

/// Begins to trace a process, which goes on running.
pub(super) fn seize(pid: Tid) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, pid, 0, as_data(OPTIONS))
}

/// Looks for a stop of any tracee, of those that have stopped the newest one; `None` if there is
/// none yet.
///
/// The kernel goes on telling of the stop until the tracee goes on, or `take` takes it: what is
/// taken away of a stop is the signal that the tracee stopped for (`wait_task_stopped` in
/// `kernel/exit.c`), and would be lost with a tracer that ends before it hands it on.
///
/// # Errors
///
/// `ECHILD`: nothing is traced any more.
pub(super) fn any_stop() -> io::Result<Option<(Tid, Stop)>> {
    look(libc::P_ALL, 0)
}

/// Looks whether a tracee has stopped.
pub(super) fn stop_if_any(tid: Tid) -> Option<Stop> {
    let (_, stop) = look(libc::P_PID, libc::id_t::try_from(tid).ok()?).ok()??;
    Some(stop)
}

fn look(whom: libc::idtype_t, id: libc::id_t) -> io::Result<Option<(Tid, Stop)>> {
    const FLAGS: libc::c_int =
        libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL | libc::WNOHANG;
    let mut seen = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the kernel writes to a place of the type that it wants, which outlives the call.
    if unsafe { libc::waitid(whom, id, seen.as_mut_ptr(), FLAGS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a struct of numbers, which was all zeroes before the kernel wrote to it.
    let seen = unsafe { seen.assume_init() };
    // SAFETY: waitid fills in what belongs to SIGCHLD, or leaves the zero if there is nothing.
    let tid = unsafe { seen.si_pid() };
    if tid == 0 {
        return Ok(None);
    }
    if matches!(seen.si_code, libc::CLD_TRAPPED | libc::CLD_STOPPED) {
        // SAFETY: as above.
        let stop = stop(unsafe { seen.si_status() });
        // Until it is taken, a thread that has become another program under its leader's number
        // can't be reached (`looks_like_a_spurious_pid` in `kernel/ptrace.c`).
        if stop == Stop::Exec && take(tid) == Some(Stop::Gone) {
            return Ok(Some((tid, Stop::Gone)));
        }
        return Ok(Some((tid, stop)));
    }
    take(tid);
    Ok(Some((tid, Stop::Gone)))
}

/// Sleeps until a tracee has stopped since the last look, [`wake`] was called, or the time is up.
///
/// For `SIGCHLD`, which is blocked as all signals are, and so stays pending if it comes before
/// ([`keep_sigchld`]).
pub(super) fn sleep(time: Duration) {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written to a place of its type.
    unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
    // SAFETY: sigemptyset has initialised the set.
    unsafe { libc::sigaddset(signals.as_mut_ptr(), libc::SIGCHLD) };
    // SAFETY: both are read by the kernel, and outlive the call; the information is not asked for.
    // An error is that the time is up.
    unsafe { libc::sigtimedwait(signals.as_ptr(), ptr::null_mut(), &raw const time) };
}

/// Ends the `sleep` of this process's tracer, or the next one.
pub(super) fn wake() {
    use rustix::process::{Signal, getpid, kill_process};
    // This process is there.
    let _ = kill_process(getpid(), Signal::CHILD);
}

/// Has the kernel send `SIGCHLD` for `sleep`: ignored, as the program may have had it, it would not
/// be sent (`do_notify_parent_cldstop`).
pub(super) fn keep_sigchld() {
    // SAFETY: the default takes no function.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Takes a stop that waitid(2) has reported with WNOWAIT, and leaves the tracee in it while others
/// are handled. Returns another stop if the tracee has been killed meanwhile, or another thread has
/// executed a program under its number; `None` if it is about to exit, which is reported later.
pub(super) fn take(tid: Tid) -> Option<Stop> {
    match wait_for(tid, libc::WNOHANG) {
        Ok(0) => None,
        Ok(status) if libc::WIFSTOPPED(status) => Some(stop(status >> 8)),
        _ => Some(Stop::Gone),
    }
}

/// Decodes a stop from the status of waitid(2): the signal and, in the higher bits, the event.
fn stop(status: libc::c_int) -> Stop {
    let signal = status & 0xff;
    match status >> 8 {
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
            Stop::Clone
        }
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        EVENT_STOP if signal == libc::SIGTRAP => Stop::Other,
        EVENT_STOP => Stop::Group,
        0 if signal == libc::SIGTRAP | 0x80 => Stop::Syscall,
        0 => Stop::Signal(signal),
        _ => Stop::Other,
    }
}

/// Lets a tracee go on to its next system call, with this signal if it is not 0.
pub(super) fn resume(tid: Tid, signal: libc::c_int) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, tid, 0, as_data(signal))
}

/// Leaves a tracee in the stop of its whole process, until that is continued.
pub(super) fn listen(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_LISTEN, tid, 0, 0)
}

/// Detaches from a tracee that is in a stop, with this signal if it is not 0.
pub(super) fn detach(tid: Tid, signal: libc::c_int) -> io::Result<()> {
    request(libc::PTRACE_DETACH, tid, 0, as_data(signal))
}

/// Reads an event's message (`PTRACE_GETEVENTMSG`): for an exec, the thread's former tid.
pub(super) fn message(tid: Tid) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    request(
        libc::PTRACE_GETEVENTMSG,
        tid,
        0,
        (&raw mut message).expose_provenance(),
    )?;
    Ok(message)
}

/// Waits for the next stop of one tracee, and takes it.
pub(super) fn stop_of(tid: Tid) -> io::Result<Stop> {
    let status = wait_for(tid, 0)?;
    Ok(if libc::WIFSTOPPED(status) {
        stop(status >> 8)
    } else {
        Stop::Gone
    })
}

/// The status of one tracee, which is taken; 0 if there is none yet and none is to be waited for.
fn wait_for(tid: Tid, flags: libc::c_int) -> io::Result<libc::c_int> {
    loop {
        let mut status = 0;
        // SAFETY: the status is written to an int that outlives the call.
        if unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | flags) } >= 0 {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Whether a thread may make call number -1: a seccomp filter that kills at unknown calls, as a
/// systemd unit's, kills it. A child tries.
pub(super) fn may_make_no_call() -> bool {
    // SAFETY: the child makes system calls alone, and ends.
    match unsafe { libc::fork() } {
        -1 => false,
        0 => {
            // Nobody wants its core. SAFETY: it takes numbers.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
            // SAFETY: there is no such call, and so no argument of it.
            unsafe { libc::syscall(-1) };
            // SAFETY: nothing of this process's is to be done at its end.
            unsafe { libc::_exit(0) }
        }
        child => wait_for(child, 0).is_ok_and(|status| libc::WIFEXITED(status)),
    }
}

/// Has a tracee stop at its next opportunity.
pub(super) fn interrupt(tid: Tid) -> io::Result<()> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0)
}

/// Returns the signal mask of a tracee in a stop, a bit for each signal it blocks.
pub(super) fn signal_mask(tid: Tid) -> io::Result<u64> {
    let mut mask = 0_u64;
    request(
        libc::PTRACE_GETSIGMASK,
        tid,
        size_of_val(&mask),
        (&raw mut mask).expose_provenance(),
    )?;
    Ok(mask)
}

/// Sets the signal mask of a tracee in a stop.
pub(super) fn set_signal_mask(tid: Tid, mut mask: u64) -> io::Result<()> {
    request(
        libc::PTRACE_SETSIGMASK,
        tid,
        size_of_val(&mask),
        (&raw mut mask).expose_provenance(),
    )
}

/// Skips the system call of a tracee at its syscall-enter-stop.
#[cfg(target_arch = "aarch64")]
pub(super) fn make_no_call(tid: Tid) -> io::Result<()> {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut none: libc::c_int = -1;
    let mut place = libc::iovec {
        iov_base: (&raw mut none).cast(),
        iov_len: size_of_val(&none),
    };
    request(
        libc::PTRACE_SETREGSET,
        tid,
        NT_ARM_SYSTEM_CALL,
        (&raw mut place).expose_provenance(),
    )
}

/// Returns the system call that a tracee is at (`PTRACE_GET_SYSCALL_INFO`, Linux 5.3).
pub(super) fn syscall(tid: Tid) -> Option<Syscall> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    request(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size_of_val(&info),
        info.as_mut_ptr().expose_provenance(),
    )
    .ok()?;
    // SAFETY: numbers alone, which were all zeroes before the kernel wrote to them.
    let info = unsafe { info.assume_init() };
    match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: the kind of the stop says so.
            let entry = unsafe { info.u.entry };
            Some(Syscall::Entry(SyscallEntry {
                arch: info.arch,
                number: entry.nr,
                arguments: entry.args,
            }))
        }
        // SAFETY: as above.
        libc::PTRACE_SYSCALL_INFO_EXIT => Some(Syscall::Exit(unsafe { info.u.exit }.sval)),
        _ => None,
    }
}

/// The registers of a tracee in a stop.
pub(super) fn registers(tid: Tid) -> io::Result<libc::user_regs_struct> {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    transfer(tid, Transfer::Get, registers.as_mut_ptr())?;
    // SAFETY: a struct of numbers, which was all zeroes before the kernel wrote to it.
    Ok(unsafe { registers.assume_init() })
}

/// Gives a tracee in a stop other registers.
pub(super) fn set_registers(tid: Tid, mut registers: libc::user_regs_struct) -> io::Result<()> {
    // At a syscall-stop arm64 shows whether it is the enter- or the exit-stop in x7, and keeps the
    // program's (`report_syscall_enter` in `arch/arm64/kernel/ptrace.c`). What was read there may
    // be set at another stop, which shows the program's: nothing here changes that.
    #[cfg(target_arch = "aarch64")]
    {
        registers.regs[7] = self::registers(tid)?.regs[7];
    }
    transfer(tid, Transfer::Set, &raw mut registers)
}

#[derive(Clone, Copy)]
enum Transfer {
    Get,
    Set,
}

/// Reads or writes the registers, in the 64-bit layout for 32-bit programs too.
#[cfg(target_arch = "x86_64")]
fn transfer(tid: Tid, way: Transfer, registers: *mut libc::user_regs_struct) -> io::Result<()> {
    let code = match way {
        Transfer::Get => libc::PTRACE_GETREGS,
        Transfer::Set => libc::PTRACE_SETREGS,
    };
    request(code, tid, 0, registers.expose_provenance())
}

#[cfg(not(target_arch = "x86_64"))]
fn transfer(tid: Tid, way: Transfer, registers: *mut libc::user_regs_struct) -> io::Result<()> {
    const NT_PRSTATUS: usize = 1;
    let code = match way {
        Transfer::Get => libc::PTRACE_GETREGSET,
        Transfer::Set => libc::PTRACE_SETREGSET,
    };
    let mut place = libc::iovec {
        iov_base: registers.cast(),
        iov_len: size_of::<libc::user_regs_struct>(),
    };
    request(code, tid, NT_PRSTATUS, (&raw mut place).expose_provenance())
}

/// Reads the memory of a tracee in a stop, as much as there is; returns how much.
///
/// Where a filter forbids process_vm_readv(2), as Docker's default one does, word by word.
pub(super) fn read(tid: Tid, address: u64, into: &mut [u8]) -> usize {
    let Ok(place) = usize::try_from(address) else {
        return 0;
    };
    let ours = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let theirs = libc::iovec {
        iov_base: ptr::without_provenance_mut(place),
        iov_len: into.len(),
    };
    // SAFETY: the kernel writes at most as many bytes as `into` has, and reads the other process's
    // memory, not ours.
    let length =
        unsafe { libc::process_vm_readv(tid, &raw const ours, 1, &raw const theirs, 1, 0) };
    usize::try_from(length).unwrap_or_else(|_| {
        let mut done = 0;
        while let Some((word, first)) = place.checked_add(done).and_then(|at| word_at(tid, at)) {
            let (left, bytes) = (&mut into[done..], &word[first..]);
            let length = left.len().min(bytes.len());
            left[..length].copy_from_slice(&bytes[..length]);
            done += length;
            if done == into.len() {
                break;
            }
        }
        done
    })
}

/// Writes to the memory of a tracee in a stop; `None` if that can't be.
pub(super) fn write(tid: Tid, address: u64, bytes: &[u8]) -> Option<()> {
    let place = usize::try_from(address).ok()?;
    let ours = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let theirs = libc::iovec {
        iov_base: ptr::without_provenance_mut(place),
        iov_len: bytes.len(),
    };
    // SAFETY: the kernel reads as many bytes as there are, and writes to the other process's
    // memory, not ours.
    let length =
        unsafe { libc::process_vm_writev(tid, &raw const ours, 1, &raw const theirs, 1, 0) };
    if usize::try_from(length) == Ok(bytes.len()) {
        return Some(());
    }
    let mut done = 0;
    while done < bytes.len() {
        let at = place.checked_add(done)?;
        let (mut word, first) = word_at(tid, at)?;
        let length = (word.len() - first).min(bytes.len() - done);
        word[first..first + length].copy_from_slice(&bytes[done..done + length]);
        let data = usize::from_ne_bytes(word);
        request(libc::PTRACE_POKEDATA, tid, at - first, data).ok()?;
        done += length;
    }
    Some(())
}

/// The word of a tracee's memory that an address is in, and where in it that is. By the system call
/// itself: libc's function has no room for both a word and an error.
fn word_at(tid: Tid, address: usize) -> Option<([u8; size_of::<usize>()], usize)> {
    let first = address % size_of::<usize>();
    let mut word = 0_usize;
    // SAFETY: the kernel writes a word to a place of that size, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            libc::PTRACE_PEEKDATA,
            tid,
            address - first,
            &raw mut word,
        )
    };
    (result == 0).then_some((word.to_ne_bytes(), first))
}

/// A signal or a set of options, as an argument of ptrace.
fn as_data(number: libc::c_int) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn request(code: libc::c_uint, tid: Tid, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: every caller in this file gives the requests that write a place of the size that they
    // write to, which outlives the call; the others take numbers alone (ptrace(2)).
    let result = unsafe {
        libc::ptrace(
            code as _,
            tid,
            ptr::without_provenance_mut::<libc::c_void>(address),
            ptr::with_exposed_provenance_mut::<libc::c_void>(data),
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
