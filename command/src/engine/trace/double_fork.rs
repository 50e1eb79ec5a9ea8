//! Starts the tracer so that the program does not notice it:
//!
//! * forked twice, so that it is not a child that the program would have to wait for (wait(2));
//! * in a process group of its own, so that no terminal's signal reaches it;
//! * without the program's descriptors, so that a reader of the program's pipe sees end-of-file
//!   when the program exits.
//!
//! It stays in the program's session: the scheduler gives each session its share of the processor
//! (autogroups in sched(7)). In a session of its own the tracer would compete with whole other
//! sessions, and the program wait for it: with 128 busy threads each call took three times as long.
#![allow(unsafe_code)]

use super::ptrace::Tid;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, socketpair};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::{io, ptr};

/// Connects a process with the tracer that it starts (socketpair(2)).
pub(super) struct Handshake(OwnedFd);

impl Handshake {
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a number to the other end.
    pub(super) fn send(&self, number: i32) -> io::Result<()> {
        rustix::net::send(&self.0, &number.to_ne_bytes(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the number that the other end sends.
    ///
    /// # Errors
    ///
    /// The other end is closed.
    pub(super) fn receive(&self) -> io::Result<i32> {
        let mut bytes = [0; 4];
        loop {
            match recv(&self.0, &mut bytes[..], RecvFlags::empty()) {
                Ok((_, 4)) => return Ok(i32::from_ne_bytes(bytes)),
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Runs a function in a grandchild process, which exits after it. Waits for the child in between.
///
/// # Errors
///
/// One of the two processes can't be created (fork(2)).
pub(super) fn detached(run: impl FnOnce()) -> io::Result<()> {
    // Without an exit signal, which could stay pending for the program. SAFETY: clone as fork(2)
    // is, with null pointers for what is not shared. This process has one thread, so the child
    // finds every lock free; it forks properly before it does anything else.
    let child = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if child == 0 {
        // SAFETY: setpgid takes numbers. A new process leads no session, so that it is allowed.
        unsafe { libc::setpgid(0, 0) };
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            0 => run(),
            -1 => end_with(
                io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or(libc::EAGAIN),
            ),
            _ => {}
        }
        exit_now();
    }
    let child = Tid::try_from(child).unwrap_or(-1);
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut status = 0;
    loop {
        // SAFETY: the status is written to an int that outlives the call, and the child is ours.
        if unsafe { libc::waitpid(child, &raw mut status, libc::__WALL) } != -1 {
            return match libc::WEXITSTATUS(status) {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(code)),
            };
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Exits with `_exit(2)`: no exit handler or destructor of the copied process runs.
pub(super) fn exit_now() -> ! {
    end_with(0)
}

fn end_with(code: i32) -> ! {
    // SAFETY: _exit takes a number.
    unsafe { libc::_exit(code) }
}

/// Allows another process to trace this one under Yama (`PR_SET_PTRACER` in prctl(2)).
pub(super) fn allow_ptrace(tracer: Tid) {
    // Without Yama it fails with EINVAL, and is not needed.
    // SAFETY: the option takes a number.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, tracer, 0, 0, 0) };
}

/// Drops what fork(2) has copied: working directory, signal mask, and every descriptor but the
/// handshake's and one that is kept.
///
/// Blocks all signals. A service manager sends them to each process of a service, and the program
/// alone is to answer: without its tracer, a `bind` of its might fail that is under way. As the
/// tracer is in a background process group, a terminal with TOSTOP would stop it by `SIGTTOU`, or
/// refuse its output (termios(3)).
///
/// Duplicates the handshake's descriptor onto stdin, stdout and stderr, in place of the program's.
pub(super) fn drop_inherited(handshake: &Handshake, kept: Option<BorrowedFd<'_>>) {
    // It always exists.
    let _ = std::env::set_current_dir("/");
    let mut mask = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is written to a place of its type.
    unsafe { libc::sigfillset(mask.as_mut_ptr()) };
    // SAFETY: sigfillset has initialised the set; a null pointer, so the old mask is not written.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask.as_ptr(), ptr::null_mut()) };

    let socket = handshake.0.as_raw_fd();
    let mut stay = vec![socket];
    stay.extend(kept.map(|fd| fd.as_raw_fd()));
    stay.sort_unstable();
    for fd in (0..3).filter(|fd| !stay.contains(fd)) {
        // SAFETY: what was there belonged to the process that this one is a copy of, and no value
        // here owns it.
        unsafe { libc::dup2(socket, fd) };
    }
    let mut first = 3;
    for fd in stay.into_iter().filter(|&fd| fd >= 3) {
        close_range(first, fd - 1);
        first = fd + 1;
    }
    close_range(first, RawFd::MAX);
}

/// Closes a range of the copied descriptors (`close_range(2)`).
fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: numbers alone. What they stand for belonged to the process that this one is a copy
    // of; values here that own one of them are never dropped, since `end` ends this process.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Before Linux 5.9.
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let open: Vec<RawFd> = open
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}
