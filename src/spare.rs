//! Opens a TCP socket of our own, for the moment of a second try (`libreuse_rules::sequence`).
//!
//! It is made by raw system calls (syscall(2)), so that other preloaded libraries do not see it.

use crate::errno;
use crate::socket::{Socket, size};
use core::ffi::{c_int, c_long};
use libreuse_rules::calls::{self, Errno};
use libreuse_rules::endpoint::Endpoint;

/// The socket, closed when it is dropped. Signals are blocked while it is open.
pub(crate) struct Spare(c_int);

impl Spare {
    /// Opens a socket of the family of `address`, if the calling thread is in the network namespace
    /// of the program's socket `beside`.
    pub(crate) fn open(address: Endpoint, beside: Socket) -> Option<Self> {
        let family = c_long::from(u16::from_ne_bytes(*address.encode().0.first_chunk()?));
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        // SAFETY: three numbers, which the kernel checks.
        let fd = unsafe { libc::syscall(libc::SYS_socket, family, kind, libc::IPPROTO_TCP) };
        let spare = Self(c_int::try_from(fd).ok().filter(|&fd| fd >= 0)?);
        (Socket(spare.0).network() == beside.network()).then_some(spare)
    }

    fn set(&self, level: c_int, name: c_int) {
        let on: c_int = 1;
        // SAFETY: the value outlives the call and has the size that is named; the kernel checks
        // everything else.
        unsafe {
            libc::syscall(
                libc::SYS_setsockopt,
                self.0,
                level,
                name,
                &raw const on,
                size::<c_int>(),
            )
        };
    }
}

impl calls::Spare for Spare {
    fn bind(&self, address: Endpoint) -> Result<(), Errno> {
        self.set(libc::IPPROTO_IP, libc::IP_FREEBIND);
        let (bytes, length) = address.encode();
        // SAFETY: `bytes` has `length` bytes, and outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_bind, self.0, bytes.as_ptr(), length) };
        if result == 0 {
            Ok(())
        } else {
            Err(Errno(errno::get()))
        }
    }

    fn reuse_address(&self) {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR);
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours: `open` has opened it.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}
