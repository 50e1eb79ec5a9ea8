//! Whether a port can be bound: found out by binding it, with a socket that never listens and is
//! closed at once.

use super::tcp;
use log::trace;
use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{SocketFlags, bind};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// The result of a bind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Bound,
    Failed(Errno),
}

impl Outcome {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Bound => "ok".into(),
            Self::Failed(Errno::ADDRINUSE) => "EADDRINUSE".into(),
            Self::Failed(Errno::ACCESS) => "EACCES".into(),
            Self::Failed(Errno::ADDRNOTAVAIL) => "EADDRNOTAVAIL".into(),
            Self::Failed(error) => format!("errno {}", error.raw_os_error()),
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// The results of binding an address in each way.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Probe {
    pub(crate) address: IpAddr,
    /// Without any option.
    pub(crate) plain: Outcome,
    /// With `SO_REUSEADDR`, as the library does after `EADDRINUSE`.
    pub(crate) reuse: Outcome,
    /// With `SO_REUSEPORT`, as a copy of a server does that shares its port.
    pub(crate) reuse_port: Outcome,
}

impl Probe {
    fn bound(address: IpAddr) -> Self {
        Self {
            address,
            plain: Outcome::Bound,
            // An option forbids nothing, and a program that binds while we hold the port is in our
            // way and we in theirs.
            reuse: Outcome::Bound,
            reuse_port: Outcome::Bound,
        }
    }
}

/// Probes a port on an address, or else on all of IPv4 and on all of IPv6 with IPv4, as most
/// servers bind.
///
/// While a bind of ours holds the port, somebody else's fails. So there is no more than one that
/// succeeds where that is enough: what can be bound on both families at once can be bound on IPv4.
pub(crate) fn probe(port: u16, address: Option<IpAddr>) -> Vec<Probe> {
    let four = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let both = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if let Some(address) = address {
        return vec![probe_one(port, address)];
    }
    let of_both = probe_one(port, both);
    match of_both.plain {
        Outcome::Bound => vec![Probe::bound(four), of_both],
        // A machine without IPv6 has nothing to say about it.
        Outcome::Failed(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => vec![probe_one(port, four)],
        Outcome::Failed(_) => vec![probe_one(port, four), of_both],
    }
}

fn probe_one(port: u16, address: IpAddr) -> Probe {
    let address_and_port = SocketAddr::new(address, port);
    let mut socket = None;
    match try_bind(&mut socket, address_and_port, Flag::None) {
        Outcome::Bound => Probe::bound(address),
        plain @ Outcome::Failed(_) => Probe {
            address,
            plain,
            reuse: try_bind(&mut socket, address_and_port, Flag::ReuseAddress),
            reuse_port: try_bind(&mut socket, address_and_port, Flag::ReusePort),
        },
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flag {
    None,
    ReuseAddress,
    ReusePort,
}

/// Binds with no more than this flag. A socket whose bind has failed is as it was, and takes the
/// next; one that was bound is closed at once.
fn try_bind(kept: &mut Option<OwnedFd>, address: SocketAddr, flag: Flag) -> Outcome {
    let mut attempt = || {
        let socket = match kept.take() {
            Some(socket) => socket,
            None => open(address)?,
        };
        match flag {
            Flag::None => {}
            Flag::ReuseAddress => set_socket_reuseaddr(&socket, true)?,
            Flag::ReusePort => {
                set_socket_reuseaddr(&socket, false)?;
                set_socket_reuseport(&socket, true)?;
            }
        }
        let result = bind(&socket, &address);
        if result.is_err() {
            *kept = Some(socket);
        }
        result
    };
    let outcome = match attempt() {
        Ok(()) => Outcome::Bound,
        Err(error) => Outcome::Failed(error),
    };
    trace!("bind {address}, {flag:?}: {}", outcome.name());
    outcome
}

fn open(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let socket = tcp::open(&address, SocketFlags::empty())?;
    if address.is_ipv6() {
        set_ipv6_v6only(&socket, false)?;
    }
    Ok(socket)
}
