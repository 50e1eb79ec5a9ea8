//! Hides what differs between processors: system call numbers, where the arguments are, and how a
//! call is restarted.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod i386;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::MACHINES;
#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{
    call, closes, code, go_to, number, restart_syscall, set_result, skip_syscall,
    step_over_syscall, wait,
};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::MACHINES;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{
    call, closes, code, go_to, number, restart_syscall, set_result, skip_syscall,
    step_over_syscall, wait,
};

use super::ptrace::{SyscallEntry, Tid, read};

/// The processors that are known here.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "the engine `trace` knows x86-64, i386 and arm64 alone: add a file for this processor"
);

/// A system call that the rules are about, with its arguments.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Bind {
        fd: i32,
        address: u64,
        length: u64,
    },
    Listen {
        fd: i32,
    },
    Accept,
    Connect {
        fd: i32,
    },
    SetOption {
        fd: i32,
        level: i32,
        name: i32,
        value: u64,
        length: u64,
    },
    /// A path below a folder; `AT_FDCWD` is the current one.
    Exec {
        folder: i32,
        path: u64,
    },
    /// ptrace(2), of a thread as the caller numbers it.
    Trace {
        request: u64,
        tid: i32,
    },
    /// exit_group(2)
    Exit,
    /// A handler of signals returns to where it was called.
    SignalReturn,
}

/// A system call that a signal ends with `EINTR` whatever `SA_RESTART` says (signal(7)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Wait {
    pub(super) time: Time,
    /// Its result when the time is up.
    pub(super) expired: i64,
}

/// How long such a call waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Time {
    /// For as long as it takes.
    Unlimited,
    Milliseconds(i32),
    /// A `struct timespec`, in words of 64 bits or of 32; no limit if the address is 0.
    At {
        address: u64,
        words: Words,
    },
    /// This option of the socket, a `struct timeval`.
    Option {
        fd: i32,
        name: i32,
    },
}

/// How wide the two numbers of a `struct timespec` are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Words {
    Of64,
    #[cfg_attr(target_arch = "aarch64", expect(dead_code))]
    Of32,
}

/// A system call that the program is made to make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RemoteCall {
    /// mmap(2)
    Map,
    /// munmap(2)
    Unmap,
    /// getsockopt(2)
    Option,
    /// setsockopt(2)
    SetOption,
    /// getsockname(2)
    Local,
    /// sigprocmask(2)
    Mask,
}

/// The registers of a tracee.
pub(super) type Registers = libc::user_regs_struct;

/// A system call that code is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemCall {
    pub(super) number: u64,
    pub(super) arguments: [u64; 6],
}

/// The number of a call, of a program as wide as this one.
fn native_number(asked: RemoteCall) -> Option<u64> {
    let number = match asked {
        RemoteCall::Map => libc::SYS_mmap,
        RemoteCall::Unmap => libc::SYS_munmap,
        RemoteCall::Option => libc::SYS_getsockopt,
        RemoteCall::SetOption => libc::SYS_setsockopt,
        RemoteCall::Local => libc::SYS_getsockname,
        RemoteCall::Mask => libc::SYS_rt_sigprocmask,
    };
    u64::try_from(number).ok()
}

/// Which of the calls that matter this is, of a program as wide as this one.
fn native_call(entry: &SyscallEntry) -> Option<Call> {
    let [a, b, c, ..] = entry.arguments;
    Some(match libc::c_long::try_from(entry.number).ok()? {
        libc::SYS_bind => Call::Bind {
            fd: int(a),
            address: b,
            length: c,
        },
        libc::SYS_listen => Call::Listen { fd: int(a) },
        libc::SYS_accept | libc::SYS_accept4 => Call::Accept,
        libc::SYS_connect => Call::Connect { fd: int(a) },
        libc::SYS_setsockopt => set_option(entry.arguments),
        libc::SYS_execve => Call::Exec {
            folder: libc::AT_FDCWD,
            path: a,
        },
        libc::SYS_execveat => Call::Exec {
            folder: int(a),
            path: b,
        },
        libc::SYS_ptrace => Call::Trace {
            request: a,
            tid: int(b),
        },
        libc::SYS_exit_group => Call::Exit,
        libc::SYS_rt_sigreturn => Call::SignalReturn,
        _ => return None,
    })
}

fn set_option([fd, level, name, value, length, _]: [u64; 6]) -> Call {
    Call::SetOption {
        fd: int(fd),
        level: int(level),
        name: int(name),
        value,
        length,
    }
}

/// How long a call waits, if a signal ends it with `EINTR`, of a program as wide as this one.
fn native_wait(tid: Tid, entry: &SyscallEntry) -> Option<Wait> {
    let [fd, _, third, fourth, fifth, _] = entry.arguments;
    let number = libc::c_long::try_from(entry.number).ok()?;
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_epoll_wait {
        return Some(Wait::of_epoll(fourth));
    }
    Some(match number {
        libc::SYS_epoll_pwait => Wait::of_epoll(fourth),
        libc::SYS_epoll_pwait2 => Wait::until(fourth, Words::Of64, 0),
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_preadv2
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_recvmmsg
        | libc::SYS_accept
        | libc::SYS_accept4 => Wait::to_receive(fd),
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_pwritev2
        | libc::SYS_sendfile
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg => Wait::to_send(fd),
        libc::SYS_connect => Wait::to_connect(fd),
        libc::SYS_semop => Wait::UNLIMITED,
        libc::SYS_semtimedop => Wait::until(fourth, Words::Of64, -i64::from(libc::EAGAIN)),
        libc::SYS_rt_sigtimedwait => Wait::until(third, Words::Of64, -i64::from(libc::EAGAIN)),
        // The kernel ends these two with EINTR where it can't write the rest of the time.
        libc::SYS_ppoll => Wait::until(third, Words::Of64, 0),
        libc::SYS_io_getevents => Wait::until(fifth, Words::Of64, 0),
        // With sets, the kernel clears them when the time is up.
        libc::SYS_pselect6 if has_no_sets(entry) => Wait::until(fifth, Words::Of64, 0),
        libc::SYS_io_uring_enter => Wait::of_ring(tid, int(fourth), fifth),
        _ => return None,
    })
}

/// Whether pselect6(2) watches no descriptor.
fn has_no_sets(entry: &SyscallEntry) -> bool {
    entry.arguments[1..4] == [0; 3]
}

impl Wait {
    const UNLIMITED: Self = Self {
        time: Time::Unlimited,
        expired: 0,
    };

    /// io_uring_enter(2).
    fn of_ring(tid: Tid, flags: i32, argument: u64) -> Self {
        const EXTENDED: i32 = 1 << 3;
        const UNTIL_A_MOMENT: i32 = 1 << 5;
        // struct io_uring_getevents_arg: a mask, its size, and the address of a struct timespec.
        let mut bytes = [0; 24];
        if flags & (EXTENDED | UNTIL_A_MOMENT) != EXTENDED
            || read(tid, argument, &mut bytes) != bytes.len()
        {
            return Self::UNLIMITED;
        }
        let address = bytes
            .last_chunk()
            .map_or(0, |&bytes| u64::from_ne_bytes(bytes));
        Self::until(address, Words::Of64, -i64::from(libc::ETIME))
    }

    /// epoll_wait(2) or epoll_pwait(2).
    fn of_epoll(milliseconds: u64) -> Self {
        Self {
            time: match int(milliseconds) {
                ..0 => Time::Unlimited,
                milliseconds => Time::Milliseconds(milliseconds),
            },
            expired: 0,
        }
    }

    fn until(address: u64, words: Words, expired: i64) -> Self {
        let time = if address == 0 {
            Time::Unlimited
        } else {
            Time::At { address, words }
        };
        Self { time, expired }
    }

    /// `SO_RCVTIMEO` (socket(7)).
    fn to_receive(fd: u64) -> Self {
        Self::of_socket(fd, libc::SO_RCVTIMEO, libc::EAGAIN)
    }

    /// `SO_SNDTIMEO` (socket(7)).
    fn to_send(fd: u64) -> Self {
        Self::of_socket(fd, libc::SO_SNDTIMEO, libc::EAGAIN)
    }

    fn to_connect(fd: u64) -> Self {
        Self::of_socket(fd, libc::SO_SNDTIMEO, libc::EINPROGRESS)
    }

    fn of_socket(fd: u64, name: i32, expired: i32) -> Self {
        Self {
            time: Time::Option { fd: int(fd), name },
            expired: -i64::from(expired),
        }
    }
}

/// A descriptor or another int, of which the kernel looks at the lower half of a register.
#[allow(clippy::cast_possible_truncation)] // As the kernel does.
fn int(argument: u64) -> i32 {
    argument as i32
}
