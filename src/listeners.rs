//! Queries the kernel for live sockets that hold an address, by a short-lived netlink socket
//! (`sock_diag(7)`).
//!
//! This is done before the second try of a `bind`, before a `bind` begins to wait, and when the
//! program has cleared `SO_REUSEADDR`. Where the kernel or a sandbox refuses, no socket is found.

use crate::file;
use crate::signals;
use crate::socket::Socket;
use core::ffi::{c_int, c_long, c_void};
use core::{mem, ptr};
use libreuse_rules::diag::{BindAddress, Message, Messages};

/// How much of a datagram is read at once: the hooks are called on small stacks, and the kernel's
/// datagrams have 8 KiB or more.
const PIECE: usize = 1024;

/// How many pieces the largest datagram takes: the kernel makes none of more than 32 KiB
/// (`netlink_recvmsg` in `net/netlink/af_netlink.c`).
const PIECES: usize = 33;

/// Opens a descriptor for the network namespace of a socket, which takes `CAP_NET_ADMIN` there:
/// from Linux 4.10 on (`include/uapi/linux/sockios.h`).
const SIOCGSKNS: c_int = 0x894c;

/// Whether a live socket in the network namespace of `socket` is known to hold the address.
#[cold]
#[inline(never)]
pub(crate) fn is_held(socket: Socket, wanted: &BindAddress) -> bool {
    let mut found = false;
    // A handler that jumped out (longjmp(3)) would leave the descriptor open. If signals can't be
    // blocked, the kernel is not queried.
    signals::while_blocked(|| {
        // A netlink socket belongs to the thread's network namespace, and reports no other.
        found = Descriptor::of_netlink().is_some_and(|netlink| {
            is_of_one_network(socket, Socket(netlink.0)) && netlink.finds(wanted)
        });
    });
    found
}

/// Whether two sockets are in the same network namespace: true where that is not known, since few
/// programs change theirs.
fn is_of_one_network(one: Socket, other: Socket) -> bool {
    match (one.network(), other.network()) {
        (Some(one), Some(other)) => one == other,
        // Before Linux 5.14.
        _ => match (Descriptor::of_network(one), Descriptor::of_network(other)) {
            (Some(one), Some(other)) => file::identify(one.0) == file::identify(other.0),
            _ => true,
        },
    }
}

/// A descriptor of ours, closed when it is dropped.
struct Descriptor(c_int);

impl Descriptor {
    fn of_netlink() -> Option<Self> {
        // SAFETY: three numbers, which the kernel checks.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_socket,
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_SOCK_DIAG,
            )
        };
        Self::from_result(fd)
    }

    fn of_network(socket: Socket) -> Option<Self> {
        // SAFETY: two numbers, which the kernel checks; it looks at no memory.
        let fd = unsafe { libc::syscall(libc::SYS_ioctl, socket.0, SIOCGSKNS) };
        Self::from_result(fd)
    }

    fn from_result(fd: libc::c_long) -> Option<Self> {
        let fd = c_int::try_from(fd).ok().filter(|&fd| fd >= 0);
        fd.map(Self)
    }

    /// Whether a socket of the namespace conflicts with `wanted`.
    fn finds(&self, wanted: &BindAddress) -> bool {
        let request = wanted.request();
        // SAFETY: the request outlives the call; no address, so that it goes to the kernel.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_sendto,
                self.0,
                request.as_ptr(),
                request.len(),
                0,
                ptr::null::<c_void>(),
                0,
            )
        };
        if sent < 0 {
            return false;
        }
        let mut piece = [0_u8; PIECE];
        // The bytes of the next datagram to read now.
        let (mut start, mut end) = (0, PIECE);
        while let Some(datagram) = self.peek(start, end, &mut piece) {
            let length = datagram.min(end).saturating_sub(start);
            let mut messages = Messages::of(piece.get(..length).unwrap_or_default());
            for message in messages.by_ref() {
                match message {
                    Message::Socket(socket) if wanted.is_held_by(&socket) => return true,
                    Message::Socket(_) => {}
                    Message::End(_) => return false,
                }
            }
            let read = length.saturating_sub(messages.rest().len());
            start = start.saturating_add(read);
            if read == 0 || start >= datagram {
                // A datagram that is not taken off would be read for ever.
                if !self.skip() {
                    return false;
                }
                start = 0;
            }
            end = start.saturating_add(PIECE);
            if start > 0 {
                // With more room the kernel would make the next datagram larger.
                end = end.min(datagram);
            }
        }
        false
    }

    /// Reads bytes `start..end` of the next datagram, which stays in the queue (`MSG_PEEK`);
    /// returns the length of the datagram. `None` if there is none: the kernel queues its answer
    /// before the request returns, so there is nothing to wait for.
    fn peek(&self, start: usize, end: usize, into: &mut [u8; PIECE]) -> Option<usize> {
        let base = into.as_mut_ptr().cast::<c_void>();
        let mut parts = [libc::iovec {
            iov_base: base,
            iov_len: 0,
        }; PIECES];
        // The bytes before `start` go to the same place, and are overwritten.
        let mut before = start;
        let mut used = 0_usize;
        for part in &mut parts {
            used = used.saturating_add(1);
            part.iov_len = if before > 0 {
                before.min(PIECE)
            } else {
                end.saturating_sub(start).min(PIECE)
            };
            if before == 0 {
                break;
            }
            before = before.saturating_sub(part.iov_len);
        }
        // SAFETY: all zeroes is a msghdr, without an address and without control data.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = used;
        let length = self.receive(&mut message, libc::MSG_PEEK | libc::MSG_TRUNC);
        usize::try_from(length).ok()
    }

    /// Takes the next datagram off the queue; returns whether there was one that is not empty.
    fn skip(&self) -> bool {
        // SAFETY: all zeroes is a msghdr, without an address, and with room for nothing.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        self.receive(&mut message, libc::MSG_TRUNC) > 0
    }

    /// Receives a datagram; returns its length with `MSG_TRUNC`, and less than 0 if there is none.
    fn receive(&self, message: &mut libc::msghdr, flags: c_int) -> c_long {
        // SAFETY: the kernel writes to what the message names, at most as much as it has for each
        // part: to nothing, or to what `peek` has borrowed.
        unsafe {
            libc::syscall(
                libc::SYS_recvmsg,
                self.0,
                &raw mut *message,
                libc::MSG_DONTWAIT | flags,
            )
        }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours: it was opened here.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}
