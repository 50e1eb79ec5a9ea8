//! A process that can be signalled and waited for without mistaking another for it: by a pidfd
//! (pidfd_open(2)), since a number may be another process's by the time that it is used.

use crate::process::holders::{self, Holder};
use crate::process::info;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A process, also when its pid is reused (pidfd_open(2)).
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl Handle {
    /// A process by its number.
    pub(crate) fn open(pid: i32) -> Result<Self, Errno> {
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        pidfd_open(pid, PidfdFlags::empty()).map(Self)
    }

    /// The process that was found to hold one of these sockets: it is looked at once more when its
    /// number can't change any more.
    pub(crate) fn open_holder(holder: &Holder, inodes: &[u64]) -> Result<Self, Errno> {
        let handle = Self::open(holder.pid)?;
        let is_the_same = info::start(holder.pid) == holder.info.start;
        if is_the_same && holders::holds_one(holder.pid, inodes)? {
            Ok(handle)
        } else {
            Err(Errno::SRCH)
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(&self.0, signal)
    }
}

/// Sleeps for this time, or until one of them has ended. Returns which of them have.
pub(crate) fn sleep<'a>(
    handles: impl IntoIterator<Item = &'a Handle>,
    time: Duration,
) -> Vec<bool> {
    // Longer than there are numbers for is for ever.
    let time = Timespec::try_from(time).ok();
    let mut fds: Vec<PollFd<'_>> = handles
        .into_iter()
        .map(|Handle(pidfd)| PollFd::new(pidfd, PollFlags::IN))
        .collect();
    // Interrupted, nothing is known to have ended.
    let ready = poll(&mut fds, time.as_ref()).is_ok();
    fds.iter()
        .map(|fd| ready && !fd.revents().is_empty())
        .collect()
}
