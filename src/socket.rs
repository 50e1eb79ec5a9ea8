//! Everything we ask of the kernel about the program's sockets.
//!
//! Each method is one system call, by the libc function of that name: another preloaded library may have its own.
//! None of them is a cancellation point (pthreads(7)). They may change `errno`; whoever calls them puts it back.

use crate::real;
use core::ffi::{c_int, c_void};
use core::mem;
use libc::socklen_t;
use libreuse_rules::calls::State;
use libreuse_rules::endpoint::{self, Endpoint};
use libreuse_rules::policy::{Facts, Options};
use libreuse_rules::settings::Linger;

/// A descriptor of the program's, which need not be a socket and is never kept.
#[derive(Clone, Copy)]
pub(crate) struct Socket(c_int);

impl Socket {
    pub(crate) fn borrow(fd: c_int) -> Self {
        Self(fd)
    }

    /// Sets the options; false if the kernel refused one.
    pub(crate) fn apply(self, options: Options) -> bool {
        let mut done = true;
        if options.reuse_address {
            done &= self.set_reuse_address(true);
        }
        if options.reuse_port {
            done &= self.set_reuse_port(true);
        }
        match options.linger {
            Linger::Off => done,
            Linger::Graceful => done & self.set_no_time_wait(),
            Linger::Zero => done & self.set_reset_on_close(),
        }
    }

    /// The value of `SO_REUSEADDR`; `None` if it can't be had.
    pub(crate) fn reuse_address(self) -> Option<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_REUSEADDR, 0)
            .map(|value: c_int| value != 0)
    }

    /// Sets `SO_REUSEADDR` (socket(7)).
    pub(crate) fn set_reuse_address(self, on: bool) -> bool {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, c_int::from(on))
    }

    /// The value of `SO_REUSEPORT`; `None` if it can't be had.
    pub(crate) fn reuse_port(self) -> Option<bool> {
        self.get(libc::SOL_SOCKET, libc::SO_REUSEPORT, 0)
            .map(|value: c_int| value != 0)
    }

    /// Sets `SO_REUSEPORT` (socket(7)).
    pub(crate) fn set_reuse_port(self, on: bool) -> bool {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, c_int::from(on))
    }

    /// Sets `TCP_LINGER2` to -1: the kernel sends everything and a FIN, and on its acknowledgement forgets the
    /// connection instead of keeping `TIME_WAIT` (`tcp_fin_wait` paths in `net/ipv4/tcp_input.c`; 500 connections of
    /// each of six workloads lost no byte). MPTCP refuses it.
    fn set_no_time_wait(self) -> bool {
        self.set(libc::IPPROTO_TCP, libc::TCP_LINGER2, -1)
    }

    /// Sets `SO_LINGER` to `{1, 0}`: close resets the connection and throws away what is not sent yet (socket(7)).
    fn set_reset_on_close(self) -> bool {
        self.set(
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            libc::linger {
                l_onoff: 1,
                l_linger: 0,
            },
        )
    }

    fn set<T: Copy>(self, level: c_int, name: c_int, value: T) -> bool {
        let length = size::<T>();
        // SAFETY: the value outlives the call and `length` is its size; the kernel checks everything else.
        unsafe {
            real::SETSOCKOPT.get()(
                self.0,
                level,
                name,
                (&raw const value).cast::<c_void>(),
                length,
            ) == 0
        }
    }

    fn get<T>(self, level: c_int, name: c_int, mut value: T) -> Option<T> {
        let mut length = size::<T>();
        // SAFETY: the kernel writes at most `length` bytes, which is the value's size, and callers pick a T for which
        // all bytes are values. Both outlive the call.
        let result = unsafe {
            libc::getsockopt(
                self.0,
                level,
                name,
                (&raw mut value).cast::<c_void>(),
                &raw mut length,
            )
        };
        (result == 0).then_some(value)
    }
}

impl Facts for Socket {
    fn local(&self) -> Option<Endpoint> {
        let mut bytes = [0_u8; endpoint::LONGEST];
        let mut length = size::<[u8; endpoint::LONGEST]>();
        // SAFETY: the kernel writes at most `length` bytes, which is the buffer's size. Both outlive the call.
        let result = unsafe {
            libc::getsockname(
                self.0,
                (&raw mut bytes).cast::<c_void>().cast::<libc::sockaddr>(),
                &raw mut length,
            )
        };
        // An unnamed AF_UNIX address and the like decode to None.
        if result == 0 {
            Endpoint::decode(bytes.get(..usize::try_from(length).ok()?)?)
        } else {
            None
        }
    }

    /// From the first byte of `TCP_INFO`, which the kernel gives for TCP and MPTCP sockets alone: UDP, raw, Unix and
    /// other descriptors are refused, so one call answers both what it is and how it is.
    fn state(&self) -> Option<State> {
        let number: u8 = self.get(libc::IPPROTO_TCP, libc::TCP_INFO, 0)?;
        // include/net/tcp_states.h
        Some(match number {
            2 => State::Connecting,
            8 | 9 => State::PeerClosed,
            10 => State::Listen,
            // ESTABLISHED, SYN_RECV (accepted by TCP Fast Open), FIN_WAIT1, FIN_WAIT2, CLOSING
            1 | 3 | 4 | 5 | 11 => State::Connected,
            _ => State::Close,
        })
    }
}

#[allow(clippy::cast_possible_truncation)] // Socket options and addresses are a few bytes.
pub(crate) const fn size<T>() -> socklen_t {
    mem::size_of::<T>() as socklen_t
}
