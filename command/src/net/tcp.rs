//! Opens TCP sockets. rustix makes these calls without libc, so they are the kernel's own answer
//! even where the library is preloaded into this command too.

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Opens a socket of the address's family.
pub(super) fn open(address: &SocketAddr, flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = flags | SocketFlags::CLOEXEC;
    socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
}
