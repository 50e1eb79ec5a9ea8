//! The program's sockets: their options, addresses and states.
//!
//! Each method is one system call; what sets an option is made by the function behind ours: another
//! preloaded library may have its own. None of them is a cancellation point (pthreads(7)). They may
//! change `errno`; whoever calls them puts it back.

use crate::real::{self, socket_call};
use core::ffi::{c_int, c_void};
use core::mem;
use libc::socklen_t;
use libreuse_rules::calls::{Connection, Facts, State};
use libreuse_rules::endpoint::{self, Endpoint};

/// `include/uapi/asm-generic/socket.h`.
const SO_NETNS_COOKIE: c_int = 71;

/// A descriptor of the program's, which need not be a socket and is never kept.
#[derive(Clone, Copy)]
pub(crate) struct Socket(pub(crate) c_int);

impl Socket {
    pub(crate) fn set<T: Copy>(self, level: c_int, name: c_int, value: T) -> bool {
        let length = size::<T>();
        // SAFETY: the value outlives the call and `length` is its size; the kernel checks
        // everything else.
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

    pub(crate) fn get<T>(self, level: c_int, name: c_int, mut value: T) -> Option<T> {
        let mut length = size::<T>();
        // SAFETY: the kernel writes at most `length` bytes, which is the value's size, and callers
        // pick a T for which all bytes are values. Both outlive the call.
        let result = unsafe {
            socket_call!(
                SYS_getsockopt,
                SYS_GETSOCKOPT,
                self.0,
                level,
                name,
                &raw mut value,
                &raw mut length
            )
        };
        (result == 0).then_some(value)
    }

    /// What tells its network namespace from every other one, from Linux 5.14 on.
    pub(crate) fn network(self) -> Option<u64> {
        self.get(libc::SOL_SOCKET, SO_NETNS_COOKIE, 0)
    }
}

impl Facts for Socket {
    fn local(&self) -> Option<Endpoint> {
        let mut bytes = [0_u8; endpoint::LONGEST];
        let mut length = size::<[u8; endpoint::LONGEST]>();
        // SAFETY: the kernel writes at most `length` bytes, which is the buffer's size. Both
        // outlive the call.
        let result = unsafe {
            socket_call!(
                SYS_getsockname,
                SYS_GETSOCKNAME,
                self.0,
                &raw mut bytes,
                &raw mut length
            )
        };
        // An unnamed AF_UNIX address and the like decode to None.
        if result == 0 {
            Endpoint::decode(bytes.get(..usize::try_from(length).ok()?)?)
        } else {
            None
        }
    }

    fn state(&self) -> Option<State> {
        self.get(libc::IPPROTO_TCP, libc::TCP_INFO, 0)
            .map(State::from_number)
    }

    fn connection(&self) -> Option<Connection> {
        self.get(libc::IPPROTO_TCP, libc::TCP_INFO, [0; Connection::INFO])
            .map(|info| Connection::decode(&info))
    }
}

#[allow(clippy::cast_possible_truncation)] // Socket options and addresses are a few bytes.
pub(crate) const fn size<T>() -> socklen_t {
    mem::size_of::<T>() as socklen_t
}
