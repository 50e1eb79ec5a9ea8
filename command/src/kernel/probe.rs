//! Whether a port can be bound: found out by binding it, with a socket that never listens and is closed at once.
//!
//! rustix makes these calls without libc, so they are the kernel's own answer even where the library is preloaded into
//! this command too.

use rustix::io::Errno;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What came of a bind.
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

/// The two ways to bind an address, and what came of each.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Probe {
    pub(crate) address: IpAddr,
    /// As a program binds that sets no option.
    pub(crate) plain: Outcome,
    /// With `SO_REUSEADDR`, as the library does after `EADDRINUSE`.
    pub(crate) reuse: Outcome,
}

/// Probes a port on an address, or else on all of IPv4 and on all of IPv6 with IPv4, as most servers bind.
pub(crate) fn probe(port: u16, address: Option<IpAddr>) -> Vec<Probe> {
    let addresses = match address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    addresses
        .into_iter()
        .filter_map(|address| {
            let plain = try_bind(SocketAddr::new(address, port), false);
            let reuse = match plain {
                // The flag forbids nothing, and whoever binds while we hold the port is in our way and we in theirs.
                Outcome::Bound => Outcome::Bound,
                Outcome::Failed(_) => try_bind(SocketAddr::new(address, port), true),
            };
            // A machine without IPv6 has nothing to say about it.
            let absent = matches!(plain, Outcome::Failed(Errno::AFNOSUPPORT))
                || (address == Ipv6Addr::UNSPECIFIED
                    && plain == Outcome::Failed(Errno::ADDRNOTAVAIL));
            (!absent).then_some(Probe {
                address,
                plain,
                reuse,
            })
        })
        .collect()
}

fn try_bind(address: SocketAddr, reuse: bool) -> Outcome {
    let attempt = || {
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        if address.is_ipv6() {
            set_ipv6_v6only(&socket, false)?;
        }
        if reuse {
            set_socket_reuseaddr(&socket, true)?;
        }
        bind(&socket, &address)
    };
    match attempt() {
        Ok(()) => Outcome::Bound,
        Err(error) => Outcome::Failed(error),
    }
}
