//! The signals of a terminal, waited for by `--watch` (signalfd(2)), and those that terminate
//! process 1.

use libreuse_rules::calls::TERMINATION_SIGNALS;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;
use std::{io, ptr};

/// The signals that end, stop or resize a program on a terminal, blocked until they are waited
/// for.
pub(crate) struct Signals {
    set: libc::sigset_t,
    /// Reads them (signalfd(2)).
    fd: OwnedFd,
}

/// The result of a wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WaitResult {
    /// Nothing yet.
    None,
    Signal(c_int),
    /// There is something to be read from stdin.
    Input,
}

impl Signals {
    const THESE: [c_int; 6] = [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGQUIT,
        libc::SIGTSTP,
        libc::SIGWINCH,
    ];

    /// Blocks them in this thread, the only one, from now on.
    pub(crate) fn block() -> io::Result<Self> {
        let set = set_of(&Self::THESE);
        // SAFETY: the set outlives the call, and -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just opened it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: both pointers may be null, and the one that is not outlives the call.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        Ok(Self { set, fd })
    }

    /// Waits for one of them, or for stdin if that is asked for, or until the time is up.
    pub(crate) fn wait(&self, time: Duration, input: bool) -> WaitResult {
        // Longer than there are numbers for is for ever.
        let time = Timespec::try_from(time).ok();
        let stdin = io::stdin();
        let mut fds = vec![PollFd::new(&self.fd, PollFlags::IN)];
        if input {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        if poll(&mut fds, time.as_ref()).is_err() {
            return WaitResult::None;
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        if ready.next() == Some(true) {
            return self.next().map_or(WaitResult::None, WaitResult::Signal);
        }
        if ready.next() == Some(true) {
            return WaitResult::Input;
        }
        WaitResult::None
    }

    /// The first of those that wait.
    fn next(&self) -> Option<c_int> {
        // A struct signalfd_siginfo, which begins with the signal's number.
        let mut details = [0; 128];
        rustix::io::read(&self.fd, &mut details).ok()?;
        let number = details.first_chunk().copied().map(u32::from_ne_bytes)?;
        c_int::try_from(number).ok()
    }

    /// Stops this process, as Ctrl-Z does, until somebody lets it go on. Not where nobody could:
    /// the kernel ignores SIGTSTP in an orphaned process group, such as one that `ssh -t` or a
    /// container begins with.
    pub(crate) fn stop(&self) {
        // SAFETY: raise takes any number. It stays pending, as one of those that are blocked.
        unsafe { libc::raise(libc::SIGTSTP) };
        let this = set_of(&[libc::SIGTSTP]);
        // SAFETY: both pointers may be null, and the one that is not outlives the call. Here it
        // stops.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const this, ptr::null_mut()) };
        // SAFETY: as above.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const self.set, ptr::null_mut()) };
    }

    /// Ends this process by a signal that was waited for, so that its parent sees that.
    pub(crate) fn end_by(&self, signal: c_int) -> ! {
        // SAFETY: the default action exists for every signal, and calls nothing of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        // SAFETY: raise takes any number.
        unsafe { libc::raise(signal) };
        // SAFETY: both pointers may be null, and the one that is not outlives the call.
        unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const self.set, ptr::null_mut()) };
        std::process::exit(128 + signal)
    }
}

/// Makes SIGTERM, SIGINT, SIGHUP and SIGQUIT terminate this command where it is process 1, as a
/// container's command is: the kernel drops every signal for process 1 that has its default action
/// (pid_namespaces(7)). One that is ignored stays so. An exec puts the default action back.
pub(crate) fn terminate_as_process_1() {
    if std::process::id() != 1 {
        return;
    }
    for signal in TERMINATION_SIGNALS {
        // SAFETY: the handler makes one call, which is async-signal-safe.
        let before = unsafe { libc::signal(signal, exit_by as *const () as libc::sighandler_t) };
        if before == libc::SIG_IGN {
            // SAFETY: to ignore a signal calls nothing of ours.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

/// Exits with the status that a shell reports for a process that a signal has terminated.
extern "C" fn exit_by(signal: c_int) {
    // SAFETY: _exit is async-signal-safe (signal-safety(7)), and takes any status.
    unsafe { libc::_exit(128 + signal) };
}

fn set_of(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: a set of signals is bits: all zeroes are one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours and outlives the call.
    unsafe { libc::sigemptyset(&raw mut set) };
    for &signal in signals {
        // SAFETY: the set is ours, and the callers name signals that exist.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}
