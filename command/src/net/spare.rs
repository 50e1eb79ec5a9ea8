//! A TCP socket of our own beside a program's, for the moment of a second try
//! (`libreuse_rules::sequence`).

use super::tcp;
use crate::sys::sockopt;
use libreuse_rules::calls::{self, Errno};
use libreuse_rules::endpoint::Endpoint;
use rustix::net::sockopt::{set_ip_freebind, set_socket_reuseaddr};
use rustix::net::{SocketFlags, bind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Between two tries at a guard.
pub(crate) const PAUSE: Duration = Duration::from_micros(100);

/// The socket.
#[derive(Debug)]
pub(crate) struct Spare(OwnedFd);

impl Spare {
    /// Opens one for the family of `address`, if our network namespace is the one that
    /// [`sockopt::network`] knows as `network`.
    pub(crate) fn open(address: Endpoint, network: Option<u64>) -> Option<Self> {
        let socket = tcp::open(&socket_address(address)?, SocketFlags::empty()).ok()?;
        let ours = sockopt::network(socket.as_fd());
        (ours == network).then_some(Self(socket))
    }
}

impl calls::Spare for Spare {
    fn bind(&self, address: Endpoint) -> Result<(), Errno> {
        // Where it can't be set, the bind says so.
        let _ = set_ip_freebind(&self.0, true);
        let address = socket_address(address).ok_or(Errno(libc::EAFNOSUPPORT))?;
        bind(&self.0, &address).map_err(|error| Errno(error.raw_os_error()))
    }

    fn reuse_address(&self) {
        // Where it can't be set, the socket stays in the way of others for a moment.
        let _ = set_socket_reuseaddr(&self.0, true);
    }
}

fn socket_address(address: Endpoint) -> Option<SocketAddr> {
    let (bytes, length) = address.encode();
    let host = match length {
        16 => Ipv4Addr::from(*bytes[4..].first_chunk()?).into(),
        _ => Ipv6Addr::from(*bytes[8..].first_chunk()?).into(),
    };
    Some(SocketAddr::new(host, address.port))
}
