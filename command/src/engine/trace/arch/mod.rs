//! What differs between processors: the numbers of system calls, where their arguments are, and how one is made again.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub(crate) use aarch64::MACHINES;
#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{ask, call, rewind};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::MACHINES;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{ask, call, rewind};

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
    /// Of a path below a folder: `AT_FDCWD` for the current one.
    Exec {
        folder: i32,
        path: u64,
    },
    /// Of the whole process.
    Exit,
    /// A handler of signals returns to where it was called.
    SignalReturn,
}

/// A system call that the program is made to make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
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
}

/// A descriptor or another int, of which the kernel looks at the lower half of a register.
#[allow(clippy::cast_possible_truncation)] // As the kernel does.
fn int(argument: u64) -> i32 {
    argument as i32
}
