//! The kernel's table of TCP sockets (sock_diag(7)): read by everyone, and shortened by those with
//! `CAP_NET_ADMIN`.

mod entry;
mod netlink;

pub(crate) use entry::{SocketEntry, TcpState};

use crate::sys::sockopt;
use anyhow::{Context, Result, bail};
use libreuse_rules::diag::{self, BindAddress, FAMILIES, LISTEN, Message, Request, Socket};
use log::{debug, trace};
use netlink::Netlink;
use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

/// Which local ports to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    All,
    /// Sorted.
    These(&'a [u16]),
}

/// All TCP sockets with these local ports in our network namespace, in the order of port, state and
/// addresses.
pub(crate) fn dump(which: Which<'_>) -> Result<Vec<SocketEntry>> {
    let mut entries = dump_unordered(which)?;
    put_in_order(&mut entries);
    Ok(entries)
}

fn put_in_order(entries: &mut [SocketEntry]) {
    // Bytes are compared in less time than addresses, and there are thousands.
    let ip = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => (4_u8, ip.to_ipv6_mapped().octets()),
        IpAddr::V6(ip) => (6, ip.octets()),
    };
    entries.sort_by_cached_key(|entry| {
        let (local, peer) = (entry.local, entry.peer);
        (local.port(), entry.state, ip(local), ip(peer), peer.port())
    });
}

/// The same in the kernel's order: sorting tens of thousands takes as long as reading them.
pub(crate) fn dump_unordered(which: Which<'_>) -> Result<Vec<SocketEntry>> {
    let mut netlink = Netlink::open().context(UNREADABLE_TABLE)?;
    read(&mut netlink, which, u32::MAX)
}

/// All TCP sockets with these local ports, as [`dump`] has them, and all UDP sockets with those, as
/// [`udp`] has them.
pub(crate) fn dump_with_udp(
    which: Which<'_>,
    of_udp: &[u16],
) -> Result<(Vec<SocketEntry>, Vec<SocketEntry>)> {
    let mut netlink = Netlink::open().context(UNREADABLE_TABLE)?;
    let mut entries = read(&mut netlink, which, u32::MAX)?;
    put_in_order(&mut entries);
    Ok((entries, read_udp(&mut netlink, of_udp)))
}

/// All listeners in our network namespace.
pub(crate) fn listeners() -> Result<Vec<SocketEntry>> {
    let mut netlink = Netlink::open().context(UNREADABLE_TABLE)?;
    read(&mut netlink, Which::All, 1 << LISTEN)
}

/// Whether a live socket is known to have the address that is wanted. `network` is what
/// [`sockopt::network`] has of the socket that wants it: of another network namespace than ours
/// nothing is known.
pub(crate) fn is_held(wanted: &BindAddress, network: Option<u64>) -> io::Result<bool> {
    let mut netlink = Netlink::open()?;
    let ours = sockopt::network(netlink.as_fd());
    if ours.is_some() && network.is_some() && ours != network {
        return Ok(false);
    }
    let mut found = false;
    netlink.ask(&wanted.request(), |socket| {
        found |= wanted.is_held_by(&socket);
    })?;
    Ok(found)
}

/// All UDP sockets with these local ports. Where the kernel can't show (CONFIG_INET_UDP_DIAG),
/// there are none.
pub(crate) fn udp(ports: &[u16]) -> Vec<SocketEntry> {
    Netlink::open().map_or_else(|_| Vec::new(), |mut netlink| read_udp(&mut netlink, ports))
}

fn read_udp(netlink: &mut Netlink, ports: &[u16]) -> Vec<SocketEntry> {
    let mut entries = Vec::new();
    if ports.is_empty() {
        return entries;
    }
    let which = Which::These(ports);
    for family in FAMILIES {
        let request = Request::dump(family, u32::MAX)
            .of_udp()
            .on_port(which.port());
        // What has been read is right, even if the rest fails.
        let _ = netlink.ask(&request.encode(), |socket| {
            entries.extend(which.entry(&socket));
        });
    }
    entries.sort_by_key(|entry| (entry.local, entry.peer, entry.inode));
    entries
}

impl Which<'_> {
    /// The one port, which the kernel can choose itself; 0 if there are several.
    fn port(self) -> u16 {
        match self {
            Self::These([port]) => *port,
            _ => 0,
        }
    }

    /// The socket, if its port is one of these.
    fn entry(self, socket: &Socket) -> Option<SocketEntry> {
        match self {
            Self::These(ports) if ports.binary_search(&socket.local().port()).is_err() => None,
            _ => SocketEntry::of(socket),
        }
    }
}

const UNREADABLE_TABLE: &str = "the kernel's table of TCP sockets can't be read";

fn read(netlink: &mut Netlink, which: Which<'_>, states: u32) -> Result<Vec<SocketEntry>> {
    let mut entries = Vec::new();
    let request = diag::of_both_families(which.port(), states);
    match netlink.ask(&request, |socket| entries.extend(which.entry(&socket))) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {
            bail!(
                "the kernel's table of TCP sockets can't be read: Linux was built without \
                 CONFIG_INET_DIAG, or its module could not be loaded; try `sudo modprobe tcp_diag`"
            )
        }
        result => result.context(UNREADABLE_TABLE)?,
    }
    // A table that changes while it is read may give an entry twice.
    let mut seen = HashSet::with_capacity(entries.len());
    entries.retain(|entry| seen.insert(entry.cookie()));
    debug!("sock_diag reports {} sockets", entries.len());
    for entry in &entries {
        trace!("sock_diag: {entry:?}");
    }
    Ok(entries)
}

/// Why the kernel left a socket alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum DestroyError {
    /// `CAP_NET_ADMIN` is missing in the user namespace that owns the network namespace.
    NotAllowed,
    /// The kernel can't, or can't for this state.
    NotSupported,
    /// Some other error.
    Other(i32),
}

/// Asks the kernel to destroy these sockets; returns why it refused, if it did. A socket that is
/// already gone counts as destroyed.
///
/// The first request is sent alone, which shows whether we may; the others by the thousand, and the
/// kernel answers only those that fail. `show` is called with the number asked for so far.
pub(crate) fn destroy(
    entries: &[SocketEntry],
    mut show: impl FnMut(usize),
) -> Result<Option<DestroyError>> {
    // 72 bytes each. A datagram has to fit into the socket's buffer, which is 208 KiB unless
    // somebody has shrunk it.
    const AT_ONCE: usize = 1000;
    let mut netlink = Netlink::open().context("no netlink socket")?;
    let refusal = Cell::new(None);
    let mut take = |message| {
        if let Message::End(error) = message {
            let refused = match error {
                0 | libc::ENOENT => return,
                libc::EPERM | libc::EACCES => DestroyError::NotAllowed,
                libc::EOPNOTSUPP | libc::EINVAL => DestroyError::NotSupported,
                other => DestroyError::Other(other),
            };
            refusal.set(refusal.get().or(Some(refused)));
        }
    };
    let Some((first, others)) = entries.split_first() else {
        return Ok(None);
    };
    netlink
        .send(&first.destruction(true).encode())
        .context(UNSENT)?;
    netlink.receive(&mut take).context(UNREADABLE)?;
    if refusal.get() == Some(DestroyError::NotAllowed) {
        return Ok(refusal.get());
    }
    let mut asked = 1;
    for some in others.chunks(AT_ONCE) {
        let requests: Vec<u8> = some
            .iter()
            .flat_map(|entry| entry.destruction(false).encode())
            .collect();
        netlink.send(&requests).context(UNSENT)?;
        netlink
            .receive_what_is_there(&mut take)
            .context(UNREADABLE)?;
        asked += some.len();
        show(asked);
    }
    Ok(refusal.get())
}

const UNSENT: &str = "the request to destroy sockets can't be sent";
const UNREADABLE: &str = "the kernel's answer can't be read";

/// Whether two addresses of one host meet: one of them is a wildcard, or both are the same.
pub(crate) fn covers(listener: &SocketEntry, address: IpAddr) -> bool {
    let bound = listener.local.ip();
    if bound.is_unspecified() {
        return listener.is_v6() == address.is_ipv6()
            || (listener.is_v6() && listener.v6only == Some(false));
    }
    bound.to_canonical() == address.to_canonical()
}
