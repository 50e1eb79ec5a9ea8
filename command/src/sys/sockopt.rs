//! Socket options and addresses that rustix does not have (setsockopt(2), getsockopt(2),
//! getsockname(2)).

use libreuse_rules::calls::SocketOption;
use rustix::fs::fstat;
use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A socket option by its numbers (getsockopt(2)).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RawOption {
    pub(crate) level: c_int,
    pub(crate) name: c_int,
}

impl From<SocketOption> for RawOption {
    fn from(option: SocketOption) -> Self {
        Self {
            level: option.level(),
            name: option.name(),
        }
    }
}

/// Sets `TCP_LINGER2` to -1: closed by this side, the connection leaves no `TIME_WAIT` (tcp(7)).
pub(crate) fn set_no_time_wait(socket: BorrowedFd<'_>) -> io::Result<()> {
    let option = RawOption {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_LINGER2,
    };
    set_option(socket, option, -1)
}

/// Has `connect` choose this port, which other connections may have as well, and `bind` leave the
/// choice to it (ip(7), since Linux 6.3). Only an ephemeral port is chosen.
pub(crate) fn set_port_of_connect(socket: BorrowedFd<'_>, port: u16) -> io::Result<()> {
    /// From include/uapi/linux/in.h: the lowest port in the lower half, the highest in the upper.
    const IP_LOCAL_PORT_RANGE: c_int = 51;
    let range = u32::from(port) | u32::from(port) << 16;
    let option = |name| RawOption {
        level: libc::IPPROTO_IP,
        name,
    };
    set_option(socket, option(libc::IP_BIND_ADDRESS_NO_PORT), 1)?;
    set_option(
        socket,
        option(IP_LOCAL_PORT_RANGE),
        c_int::from_ne_bytes(range.to_ne_bytes()),
    )
}

/// Sets a socket option whose value is an int (setsockopt(2)).
pub(crate) fn set_option(
    socket: BorrowedFd<'_>,
    option: RawOption,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: the value is an int, outlives the call, and the length is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            option.level,
            option.name,
            (&raw const value).cast(),
            4,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The value of a socket option that is an int, if it can be had (getsockopt(2)).
pub(crate) fn option(socket: BorrowedFd<'_>, option: RawOption) -> Option<c_int> {
    let mut value = [0; 4];
    let length = get(socket, option, &mut value)?;
    (length == value.len()).then(|| c_int::from_ne_bytes(value))
}

/// The number of the state of a TCP socket: the first byte of `TCP_INFO` (tcp(7)).
pub(crate) fn tcp_state(socket: BorrowedFd<'_>) -> Option<u8> {
    let mut state = [0];
    tcp_info(socket, &mut state).map(|_| state[0])
}

/// The first bytes of `TCP_INFO` of a TCP socket (tcp(7)); returns how many the kernel has.
pub(crate) fn tcp_info(socket: BorrowedFd<'_>, into: &mut [u8]) -> Option<usize> {
    let option = RawOption {
        level: libc::IPPROTO_TCP,
        name: libc::TCP_INFO,
    };
    get(socket, option, into)
}

/// Identifies the network namespace of a socket (`SO_NETNS_COOKIE`, from Linux 5.14 on; before, the
/// number of its file, for those who may administer it).
pub(crate) fn network(socket: BorrowedFd<'_>) -> Option<u64> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    let mut cookie = [0; 8];
    if get(socket, NETWORK_COOKIE, &mut cookie) == Some(cookie.len()) {
        return Some(u64::from_ne_bytes(cookie));
    }
    // SAFETY: two numbers, which the kernel checks; it looks at no memory.
    let fd = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return None;
    }
    // SAFETY: the kernel has just opened it for us.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    Some(fstat(file).ok()?.st_ino)
}

/// `SO_NETNS_COOKIE` (`include/uapi/asm-generic/socket.h`).
pub(crate) const NETWORK_COOKIE: RawOption = RawOption {
    level: libc::SOL_SOCKET,
    name: 71,
};

/// Reads a socket option; returns its length.
fn get(socket: BorrowedFd<'_>, option: RawOption, into: &mut [u8]) -> Option<usize> {
    let mut length = libc::socklen_t::try_from(into.len()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, which `into` has, and to the length, which
    // outlives the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            option.level,
            option.name,
            into.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(usize::try_from(length).ok()?)
}

/// The address that a socket is bound to, as the kernel has it (getsockname(2)); returns its
/// length, which may be more than there is room for.
pub(crate) fn local(socket: BorrowedFd<'_>, into: &mut [u8]) -> Option<usize> {
    let mut length = libc::socklen_t::try_from(into.len()).ok()?;
    // SAFETY: the kernel writes at most `length` bytes, which `into` has, and to the length, which
    // outlives the call.
    let result = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            into.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(usize::try_from(length).ok()?)
}
