//! The program's sockets, through copies of its descriptors (pidfd_getfd(2)): a copy is the same
//! socket. So the program is not made to ask or set anything, its registers and memory stay as they
//! are, and it may lose its tracer at any moment.

use super::ptrace::Tid;
use super::wait_timer::Clock;
use crate::net::spare::Spare;
use crate::process::status::status;
use crate::sys::sockopt;
use libreuse_rules::calls::{Connection, Facts, Kernel, SocketOption, State};
use libreuse_rules::endpoint::{self, Endpoint};
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// `PIDFD_THREAD`, from Linux 6.9 on: a thread that is not the first one of its process, whose
/// first one may have ended.
const OF_A_THREAD: u32 = 0x80;

/// One of the program's sockets.
pub(super) struct Socket<'a> {
    number: i32,
    process: OwnedFd,
    copy: OwnedFd,
    clock: &'a Clock,
}

impl<'a> Socket<'a> {
    /// The file behind a descriptor of a thread's.
    pub(super) fn of(tid: Tid, number: i32, clock: &'a Clock) -> Result<Self, Errno> {
        // rustix takes it for a descriptor of this process's, and asserts that it is one.
        if number < 0 {
            return Err(Errno::BADF);
        }
        let pid = Pid::from_raw(tid).ok_or(Errno::SRCH)?;
        let process = pidfd_open(pid, PidfdFlags::from_bits_retain(OF_A_THREAD)).or_else(|_| {
            let process = process_of(tid).and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            pidfd_open(process, PidfdFlags::empty())
        })?;
        let copy = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        Ok(Self {
            number,
            process,
            copy,
            clock,
        })
    }
}

impl Socket<'_> {
    /// The copy of its descriptor.
    pub(super) fn copy(&self) -> BorrowedFd<'_> {
        self.copy.as_fd()
    }

    /// Identifies its network namespace.
    fn network(&self) -> Option<u64> {
        sockopt::network(self.copy.as_fd())
    }
}

/// The calls that the rules make beside those on the socket: for the time, for other sockets of its
/// network, for a wait. They are the same whichever way the socket is reached.
macro_rules! calls_beside_the_socket {
    () => {
        type File = (u64, u64);
        type Mask = ();
        type Spare = Spare;
        type Wait = ();

        fn descriptor(&self) -> i32 {
            self.number
        }

        /// Never asked for: `LIBREUSE_LINGER=zero` is refused, since it is a matter of `close`.
        fn reset_on_close(&self) -> bool {
            false
        }

        fn log(&self) -> impl log::Log {
            log::logger()
        }

        fn now_ms(&self) -> Option<u64> {
            self.clock.now_ms()
        }

        fn waited_ms(&self) -> u64 {
            self.clock.waited_ms()
        }

        fn is_held(&self, wanted: &libreuse_rules::diag::BindAddress) -> bool {
            $crate::net::sock_diag::is_held(wanted, self.network()).unwrap_or(false)
        }

        fn spare(&self, address: Endpoint) -> Option<Spare> {
            Spare::open(address, self.network())
        }

        fn pause(&self) {
            std::thread::sleep($crate::net::spare::PAUSE);
        }

        fn wait_has_ended(&self) -> bool {
            self.clock.has_ended()
        }

        fn begin_wait(&self) {}

        fn end_wait(&self, (): ()) {}

        fn sleep_until(&self, (): &(), moment_ms: u64) -> libreuse_rules::calls::Sleep {
            self.clock.sleep_until(moment_ms)
        }
    };
}
pub(super) use calls_beside_the_socket;

/// The process that a thread is of.
pub(super) fn process_of(tid: Tid) -> Option<Tid> {
    Some(status(tid)?.tgid)
}

impl Facts for Socket<'_> {
    fn local(&self) -> Option<Endpoint> {
        let mut bytes = [0; endpoint::LONGEST];
        let length = sockopt::local(self.copy.as_fd(), &mut bytes)?;
        Endpoint::decode(bytes.get(..length)?)
    }

    fn state(&self) -> Option<State> {
        sockopt::tcp_state(self.copy.as_fd()).map(State::from_number)
    }

    fn connection(&self) -> Option<Connection> {
        let mut info = [0; Connection::INFO];
        sockopt::tcp_info(self.copy.as_fd(), &mut info)?;
        Some(Connection::decode(&info))
    }
}

impl Kernel for Socket<'_> {
    fn option(&self, option: SocketOption) -> Option<i32> {
        sockopt::option(self.copy.as_fd(), option.into())
    }

    fn set_option(&self, option: SocketOption, value: i32) -> bool {
        sockopt::set_option(self.copy.as_fd(), option.into(), value).is_ok()
    }

    fn file(&self) -> Option<(u64, u64)> {
        let now = pidfd_getfd(&self.process, self.number, PidfdGetfdFlags::empty()).ok()?;
        let file = fstat(&now).ok()?;
        Some((file.st_dev, file.st_ino))
    }

    /// Nothing is to be held: a stopped program runs no handler. One that comes before its `bind`
    /// is made again ends the attempt (`Intercepted::make`).
    fn block_signals(&self, (): &mut ()) -> bool {
        true
    }

    fn restore_signals(&self, (): &()) {}

    calls_beside_the_socket!();
}
