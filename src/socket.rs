//! The program's sockets: their options, addresses and states.
//!
//! Each method is one system call; what sets an option is made by the function behind ours: another
//! preloaded library may have its own. None of them is a cancellation point (pthreads(7)). They may
//! change `errno`; their caller puts it back.

use crate::real::{self, socket_call};
use core::ffi::{c_int, c_void};
use core::mem::{self, MaybeUninit};
use libc::socklen_t;
use libreuse_rules::calls::{Connection, Facts, State};
use libreuse_rules::endpoint::{self, Endpoint};

/// `include/uapi/asm-generic/socket.h`.
const SO_NETNS_COOKIE: c_int = 71;

/// A descriptor of the program's, which need not be a socket and is never kept.
#[derive(Clone, Copy)]
pub(crate) struct Socket(pub(crate) c_int);

impl Socket {
    #[inline(always)]
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

    #[inline(always)]
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

    /// As much of its own address as there is room for, and how long the whole of it is.
    #[inline(always)]
    fn address<const ROOM: usize>(self, mut bytes: [u8; ROOM]) -> Option<([u8; ROOM], socklen_t)> {
        let mut length = size::<[u8; ROOM]>();
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
        (result == 0).then_some((bytes, length))
    }

    /// What tells its network namespace from every other one, from Linux 5.14 on.
    // In one place, not in four.
    #[inline(never)]
    pub(crate) fn network(self) -> Option<u64> {
        self.get(libc::SOL_SOCKET, SO_NETNS_COOKIE, 0)
    }
}

impl Facts for Socket {
    fn local(&self) -> Option<Endpoint> {
        let (bytes, length) = self.address([0_u8; endpoint::LONGEST])?;
        // An unnamed AF_UNIX address and the like decode to None.
        Endpoint::decode(bytes.get(..usize::try_from(length).ok()?)?)
    }

    #[inline(always)]
    fn port(&self) -> Option<u16> {
        // The kernel gives as much of an address as there is room for.
        let (bytes, _) = self.address([0_u8; 4])?;
        endpoint::port(bytes)
    }

    #[inline(always)]
    fn state(&self) -> Option<State> {
        self.get(libc::IPPROTO_TCP, libc::TCP_INFO, 0)
            .map(State::from_number)
    }

    fn connection(&self) -> Option<Connection> {
        /// What [`Connection::decode`] reads; the kernel may write less.
        #[repr(C)]
        struct Info {
            first: [u8; 8],
            between: MaybeUninit<[u8; Connection::INFO - 16]>,
            received: u64,
        }
        let info = Info {
            first: [0; 8],
            between: MaybeUninit::uninit(),
            received: 0,
        };
        let info = self.get(libc::IPPROTO_TCP, libc::TCP_INFO, info)?;
        let [state, _, _, _, _, options, ..] = info.first;
        Some(Connection::new(state, options, info.received))
    }
}

#[allow(clippy::cast_possible_truncation)] // Socket options and addresses are a few bytes.
pub(crate) const fn size<T>() -> socklen_t {
    mem::size_of::<T>() as socklen_t
}
