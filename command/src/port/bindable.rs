//! Whether a port can be bound: the one answer for `free`, `evict`, `wait` and `next`.

use super::port_list::PortSet;
use crate::net::probe::{self, Outcome, Probe};
use rustix::io::Errno;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// The result of binding a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Bindable {
    /// It succeeds.
    Free,
    /// Something is in the way.
    Busy,
    /// This machine does not have the address.
    NoAddress,
    /// We may not bind it, held or not.
    Denied,
}

/// Which bind to try.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bind {
    /// The address, if not all.
    pub(crate) address: Option<IpAddr>,
    /// Whether it sets `SO_REUSEADDR`.
    pub(crate) reuse: bool,
}

impl Bind {
    /// Tries it.
    pub(crate) fn of(self, port: u16) -> Bindable {
        self.judge(&probe::probe(port, self.address))
    }

    fn judge(self, probes: &[Probe]) -> Bindable {
        let outcomes: Vec<Outcome> = probes
            .iter()
            .map(|probe| if self.reuse { probe.reuse } else { probe.plain })
            .collect();
        let some = |error| outcomes.contains(&Outcome::Failed(error));
        if some(Errno::ACCESS) {
            Bindable::Denied
        } else if outcomes.is_empty() || some(Errno::ADDRNOTAVAIL) || some(Errno::AFNOSUPPORT) {
            Bindable::NoAddress
        } else if outcomes.iter().all(|&outcome| outcome == Outcome::Bound) {
            Bindable::Free
        } else {
            Bindable::Busy
        }
    }
}

/// Whether a plain bind of all addresses succeeds.
pub(crate) fn is_free(port: u16) -> bool {
    Bind::default().of(port) == Bindable::Free
}

/// Whether a plain bind of all addresses by UDP succeeds.
pub(crate) fn is_free_for_udp(port: u16) -> bool {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::AddrInUse => false,
        // A machine without IPv6 has nothing to say about it.
        Err(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok(),
    }
}

/// The ports of which a plain bind fails.
pub(crate) fn busy(ports: &PortSet) -> PortSet {
    let those = |ports: &[u16], is_free: fn(u16) -> bool| {
        let busy = ports.iter().copied().filter(|&port| !is_free(port));
        busy.collect()
    };
    PortSet {
        tcp: those(&ports.tcp, is_free),
        udp: those(&ports.udp, is_free_for_udp),
    }
}
