//! The kernel's table of TCP sockets (sock_diag(7)): read by everyone, and shortened by those with `CAP_NET_ADMIN`.

mod entry;
mod messages;

pub(crate) use entry::{Entry, State};

use anyhow::{Context, Result, bail};
use libreuse_rules::diag;
use libreuse_rules::endpoint::Endpoint;
use log::debug;
use messages::{Answer, Request, SOCK_DESTROY, ask, bytes, open, receive, receive_what_is_there};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkPayload};
use netlink_packet_sock_diag::SOCK_DIAG_BY_FAMILY;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{SocketId, StateFlags};
use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

/// Which local ports to read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    All,
    /// In order.
    These(&'a [u16]),
}

/// All TCP sockets with these local ports in our network namespace, in the order of port, state and addresses.
///
/// In every state, also those that the crate has no name for.
pub(crate) fn dump(which: Which<'_>) -> Result<Vec<Entry>> {
    read(which, u32::MAX)
}

/// All listeners in our network namespace.
pub(crate) fn listeners() -> Result<Vec<Entry>> {
    read(Which::All, StateFlags::LISTEN.bits())
}

/// Whether a live listener is known to have the address, as the rules ask and read it.
pub(crate) fn is_listened_at(address: Endpoint) -> io::Result<bool> {
    let socket = open()?;
    socket.send(&diag::listeners_on(address.port), 0)?;
    let mut buffer = Vec::with_capacity(1 << 16);
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        match diag::read(&buffer, address) {
            diag::Answer::Found => return Ok(true),
            diag::Answer::More => {}
            diag::Answer::End => return Ok(false),
        }
    }
}

/// All UDP sockets with these local ports. Where the kernel can't tell (CONFIG_INET_UDP_DIAG), there are none.
pub(crate) fn udp(ports: &[u16]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (family, mut id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        if let [port] = ports {
            id.source_port = *port;
        }
        let request = Request::new(SOCK_DIAG_BY_FAMILY, u32::MAX, family, id).of_udp();
        let answers = ask(request).unwrap_or_default();
        entries.extend(answers.into_iter().filter_map(Answer::entry));
    }
    entries.retain(|entry| ports.binary_search(&entry.local.port()).is_ok());
    entries.sort_by_key(|entry| (entry.local, entry.peer, entry.inode));
    entries
}

fn read(which: Which<'_>, states: u32) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (family, mut id) in [
        (AF_INET, SocketId::new_v4()),
        (AF_INET6, SocketId::new_v6()),
    ] {
        if let Which::These([port]) = which {
            id.source_port = *port;
        }
        let answers = match ask(Request::new(SOCK_DIAG_BY_FAMILY, states, family, id)) {
            // Without IPv6 there is nothing to read.
            Err(error) if family == AF_INET6 && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "the kernel's table of TCP sockets can't be read: Linux was built without CONFIG_INET_DIAG, or its \
                 module could not be loaded; try `sudo modprobe tcp_diag`"
            ),
            result => result.context("the kernel's table of TCP sockets can't be read")?,
        };
        entries.extend(answers.into_iter().filter_map(Answer::entry));
    }
    if let Which::These(ports) = which {
        entries.retain(|entry| ports.binary_search(&entry.local.port()).is_ok());
    }
    // A table that changes while it is read may give an entry twice.
    let mut seen = HashSet::with_capacity(entries.len());
    entries.retain(|entry| seen.insert(entry.identity()));
    entries.sort_by_key(|entry| (entry.local.port(), entry.state, entry.local, entry.peer));
    debug!("sock_diag tells of {} sockets", entries.len());
    Ok(entries)
}

/// Why the kernel left a socket alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refusal {
    /// `CAP_NET_ADMIN` is missing in the user namespace that owns the network namespace.
    NotAllowed,
    /// The kernel can't, or can't for this state.
    NotSupported,
    /// Some other error.
    Other(i32),
}

/// Asks the kernel to destroy these sockets; returns why it refused, if it did. A socket that is already gone counts
/// as destroyed.
///
/// The first alone, which tells whether we may; the rest by the thousand, and only what fails is answered. `tell` is told
/// for how many it has been asked.
pub(crate) fn destroy(entries: &[Entry], mut tell: impl FnMut(usize)) -> Result<Option<Refusal>> {
    // 72 bytes each. A datagram has to fit into the socket's buffer, which is 208 KiB unless somebody has shrunk it.
    const AT_ONCE: usize = 1000;
    let socket = open().context("no netlink socket")?;
    let mut refusal = None;
    let mut take = |payload| {
        if let NetlinkPayload::Error(error) = payload {
            let refused = match -error.raw_code() {
                0 | libc::ENOENT => return,
                libc::EPERM | libc::EACCES => Refusal::NotAllowed,
                libc::EOPNOTSUPP | libc::EINVAL => Refusal::NotSupported,
                other => Refusal::Other(other),
            };
            refusal.get_or_insert(refused);
        }
    };
    let Some((first, others)) = entries.split_first() else {
        return Ok(None);
    };
    let send = |requests: &[u8]| {
        socket
            .send(requests, 0)
            .context("the request to destroy sockets can't be sent")
    };
    send(&destruction(first, NLM_F_REQUEST | NLM_F_ACK))?;
    receive(&socket, &mut take).context(UNREADABLE)?;
    let mut asked = 1;
    for some in others.chunks(AT_ONCE) {
        let requests: Vec<u8> = some
            .iter()
            .flat_map(|entry| destruction(entry, NLM_F_REQUEST))
            .collect();
        send(&requests)?;
        receive_what_is_there(&socket, &mut take).context(UNREADABLE)?;
        asked += some.len();
        tell(asked);
    }
    Ok(refusal)
}

const UNREADABLE: &str = "the kernel's answer can't be read";

fn destruction(entry: &Entry, flags: u16) -> Vec<u8> {
    let request = Request::new(SOCK_DESTROY, u32::MAX, entry.family, entry.id.clone());
    bytes(request, flags)
}

/// Whether two addresses of one host meet: one of them is a wildcard, or both are the same.
pub(crate) fn covers(listener: &Entry, address: IpAddr) -> bool {
    let bound = listener.local.ip();
    if bound.is_unspecified() {
        return listener.is_v6() == address.is_ipv6()
            || (listener.is_v6() && listener.v6only == Some(false));
    }
    bound.to_canonical() == address.to_canonical()
}
