//! Live listeners, for `LIBREUSE_WAIT`: by a netlink socket that is there for a moment (`sock_diag(7)`).
//!
//! Asked once, before a `bind` begins to wait. Where the kernel or a sandbox refuses, nothing is known of listeners.

use crate::signals;
use core::ffi::{c_int, c_void};
use core::ptr;
use libreuse_rules::diag::{self, ANSWER, Answer};
use libreuse_rules::endpoint::Endpoint;

/// What is read of a dump, in answers: each holds dozens of listeners.
const MOST_ANSWERS: u32 = 64;

/// Whether a live listener is known to have the address.
pub(crate) fn is_listened_at(address: Endpoint) -> bool {
    let mut found = false;
    // A handler that jumped out would leave the descriptor behind. If they can't be held back, nobody looks.
    signals::held(|| {
        if let Some(socket) = Netlink::open() {
            found = socket.ask(address);
        }
    });
    found
}

/// A netlink socket, closed when it is dropped.
struct Netlink(c_int);

impl Netlink {
    fn open() -> Option<Self> {
        // SAFETY: three numbers, which the kernel checks.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_socket,
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::NETLINK_SOCK_DIAG,
            )
        };
        let fd = c_int::try_from(fd).ok().filter(|&fd| fd >= 0);
        fd.map(Self)
    }

    fn ask(&self, address: Endpoint) -> bool {
        let request = diag::listeners_on(address.port);
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
        let mut answer = [0_u8; ANSWER];
        for _ in 0..MOST_ANSWERS {
            // SAFETY: the kernel writes at most as many bytes as the buffer has; nobody's address is wanted. It answers
            // while it is asked, so there is nothing to wait for.
            let length = unsafe {
                libc::syscall(
                    libc::SYS_recvfrom,
                    self.0,
                    answer.as_mut_ptr(),
                    answer.len(),
                    libc::MSG_DONTWAIT,
                    ptr::null_mut::<c_void>(),
                    ptr::null_mut::<c_void>(),
                )
            };
            let messages = usize::try_from(length)
                .ok()
                .and_then(|length| answer.get(..length));
            match messages.map_or(Answer::End, |messages| diag::read(messages, address)) {
                Answer::Found => return true,
                Answer::More => {}
                Answer::End => return false,
            }
        }
        false
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours: `open` has opened it.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}
