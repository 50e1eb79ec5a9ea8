//! Clears leftovers from their peers' side, which needs no privileges where the peer is on this
//! host.
//!
//! A socket that is bound to the peer's address and port connects to the server's. `TIME_WAIT`
//! answers the SYN by an acknowledgement of what it knows, which our kernel takes for nonsense and
//! answers by a reset; and that ends it (RFC 1337). Nothing waits for anything: over loopback all
//! of it happens before `connect` returns, and if it does not, our kernel answers with a reset for
//! a socket that is closed, too. Ours has never been connected, so nothing is left of it.

use crate::net::sock_diag::{self, SocketEntry, TcpState};
use crate::net::{sysctl, tcp};
use crate::sys::{descriptors, sockopt};
use anyhow::Result;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SocketFlags, bind, connect, getpeername};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{RwLock, mpsc};
use std::thread;
use std::time::Duration;

/// Why a leftover can't be cleared from its peer's side.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum ResetError {
    /// The peer's address is not one of this host's.
    Remote,
    /// A program listens there, and would see an empty connection.
    Listener,
    /// The kernel ignores resets (`tcp_rfc1337`).
    Protected,
    /// The peer's port is in use: often by the peer, which has not closed its end.
    PeerInUse,
    /// The peer's port is one of those that root alone binds.
    PeerPrivileged,
    /// In this state our SYN would do nothing, or harm.
    State,
    /// The kernel refused for another reason.
    Other(i32),
}

impl ResetError {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Remote => "remote".into(),
            Self::Listener => "listener".into(),
            Self::Protected => "rfc1337".into(),
            Self::PeerInUse => "peer-in-use".into(),
            Self::PeerPrivileged => "peer-privileged".into(),
            Self::State => "state".into(),
            Self::Other(code) => format!("errno {code}"),
        }
    }
}

/// Clears leftovers from their peers' side.
#[derive(Debug)]
pub(crate) struct Resetter {
    listeners: Vec<SocketEntry>,
    past_listeners: bool,
    protected: bool,
    /// Whether foreign addresses can be bound too (`ip_nonlocal_bind`), in IPv4 and in IPv6.
    binds_foreign: [bool; 2],
    ephemeral: RangeInclusive<u16>,
    /// Which addresses are this host's, as far as that was asked.
    here: HashMap<SocketAddr, bool>,
}

impl Resetter {
    /// Reads what decides whether a reset works in this network: listeners and settings.
    pub(crate) fn new(past_listeners: bool) -> Result<Self> {
        Ok(Self {
            listeners: sock_diag::listeners()?,
            past_listeners,
            protected: sysctl::is_on("net.ipv4.tcp_rfc1337"),
            binds_foreign: [
                sysctl::is_on("net.ipv4.ip_nonlocal_bind"),
                sysctl::is_on("net.ipv6.ip_nonlocal_bind"),
            ],
            ephemeral: sysctl::ephemeral_ports(),
            here: HashMap::new(),
        })
    }

    /// Returns why a reset would fail, as far as that is known before anything is sent.
    pub(crate) fn error(&mut self, entry: &SocketEntry) -> Option<ResetError> {
        if !matches!(entry.state, TcpState::TimeWait | TcpState::FinWait2) {
            return Some(ResetError::State);
        }
        // FIN_WAIT2 listens to a reset all the same (net/ipv4/tcp_minisocks.c).
        if self.protected && entry.state == TcpState::TimeWait {
            return Some(ResetError::Protected);
        }
        let (local, peer) = ends(entry);
        if !self.is_here(local, peer) {
            return Some(ResetError::Remote);
        }
        // The server of a connection that this side has opened: its port can't be bound while it
        // lives.
        if self.listens(peer) {
            return Some(ResetError::PeerInUse);
        }
        (!self.past_listeners && self.listens(local)).then_some(ResetError::Listener)
    }

    fn listens(&self, address: SocketAddr) -> bool {
        self.listeners.iter().any(|listener| {
            listener.local.port() == address.port() && sock_diag::covers(listener, address.ip())
        })
    }

    /// Whether the peer is on this host: only its own addresses can be bound.
    fn is_here(&mut self, local: SocketAddr, mut peer: SocketAddr) -> bool {
        let [in_ipv4, in_ipv6] = self.binds_foreign;
        if if peer.is_ipv4() { in_ipv4 } else { in_ipv6 } {
            return peer.ip().is_loopback() || peer.ip() == local.ip();
        }
        peer.set_port(0);
        *self.here.entry(peer).or_insert_with(|| {
            tcp::open(&peer, SocketFlags::NONBLOCK)
                .and_then(|socket| bind(&socket, &peer))
                .is_ok()
        })
    }

    /// Resets each of these, and returns why that failed. Only the kernel's table shows which are
    /// gone. `show` is called with the number tried so far.
    pub(crate) fn reset(
        &mut self,
        entries: &[SocketEntry],
        mut show: impl FnMut(usize),
    ) -> Vec<Option<ResetError>> {
        /// Fewer are done before a second thread has begun.
        const WORTH_A_THREAD: usize = 500;
        let known: Vec<Option<ResetError>> =
            entries.iter().map(|entry| self.error(entry)).collect();
        let work: Vec<(&SocketEntry, Option<ResetError>)> = entries.iter().zip(known).collect();
        let threads = thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8)
            .min(work.len().div_ceil(WORTH_A_THREAD))
            .max(1);
        let size = work.len().div_ceil(threads).max(1);
        let this = &*self;
        let is_accepted = &AtomicBool::new(false);
        let tried = &AtomicUsize::new(0);
        let mut chunks = work.chunks(size);
        let Some(first) = chunks.next() else {
            return Vec::new();
        };
        // No copy of a socket of ours is to keep it open: nobody begins before each thread has
        // descriptors of its own, and has dropped its end of the channel.
        let begin = &RwLock::new(());
        let not_yet = begin.write();
        let (prepared, all_prepared) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let parts: Vec<_> = chunks
                .map(|chunk| {
                    let prepared = prepared.clone();
                    let run = move || {
                        descriptors::of_this_thread();
                        drop(prepared);
                        drop(begin.read());
                        this.reset_each(chunk, is_accepted, tried, |_| {})
                    };
                    // This user may have no process left to start.
                    thread::Builder::new()
                        .spawn_scoped(scope, run)
                        .map_err(|_| chunk)
                })
                .collect();
            drop(prepared);
            let _ = all_prepared.recv();
            drop(not_yet);
            // One part in this thread, which has a terminal to show, and those without a thread.
            let mut errors = this.reset_each(first, is_accepted, tried, &mut show);
            for part in parts {
                errors.extend(match part {
                    Ok(thread) => thread.join().unwrap_or_default(),
                    Err(chunk) => this.reset_each(chunk, is_accepted, tried, &mut show),
                });
            }
            errors
        })
    }

    fn reset_each(
        &self,
        work: &[(&SocketEntry, Option<ResetError>)],
        is_accepted: &AtomicBool,
        tried: &AtomicUsize,
        mut show: impl FnMut(usize),
    ) -> Vec<Option<ResetError>> {
        let each = |&(entry, known): &(&SocketEntry, Option<ResetError>)| {
            if known.is_some() {
                return known;
            }
            // A program has begun to listen: one empty connection is enough. The next look finds
            // it.
            if is_accepted.load(Ordering::Relaxed) && !self.past_listeners {
                return None;
            }
            match self.reset_one(entry) {
                Ok(false) => None,
                Ok(true) => {
                    is_accepted.store(true, Ordering::Relaxed);
                    None
                }
                Err(Errno::ADDRINUSE | Errno::ADDRNOTAVAIL) => Some(ResetError::PeerInUse),
                Err(Errno::ACCESS) => Some(ResetError::PeerPrivileged),
                Err(error) => Some(ResetError::Other(error.raw_os_error())),
            }
        };
        let show = |_: &_| show(tried.fetch_add(1, Ordering::Relaxed) + 1);
        work.iter().map(each).inspect(show).collect()
    }

    /// Returns whether somebody accepted the connection.
    fn reset_one(&self, entry: &SocketEntry) -> rustix::io::Result<bool> {
        let (local, mut peer) = ends(entry);
        let socket = tcp::open(&peer, SocketFlags::NONBLOCK)?;
        // If it is accepted after all: then it ends by a reset, and leaves nothing behind at either
        // end.
        set_socket_linger(&socket, Some(Duration::ZERO))?;
        match bind(&socket, &peer) {
            // Connections from the peer's port to elsewhere, or their own TIME_WAIT, keep it from
            // `bind`, and not from a `connect` that chooses it.
            Err(Errno::ADDRINUSE) if self.ephemeral.contains(&peer.port()) => {
                sockopt::set_port_of_connect(socket.as_fd(), peer.port())
                    .map_err(|_| Errno::ADDRINUSE)?;
                peer.set_port(0);
                bind(&socket, &peer)?;
            }
            result => result?,
        }
        match connect(&socket, &local) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(getpeername(&socket).is_ok()),
            // It is gone already.
            Err(Errno::CONNREFUSED) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether `TIME_WAIT` between these ends, the local one first, can be cleared without privileges,
/// as far as that is known beforehand.
pub(crate) fn needs_no_privileges(
    ends: impl IntoIterator<Item = (SocketAddr, SocketAddr)>,
) -> bool {
    let Ok(mut resetter) = Resetter::new(false) else {
        return false;
    };
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    !resetter.protected
        && ends.into_iter().all(|(local, peer)| {
            let (local, peer) = (canonical(local), canonical(peer));
            resetter.is_here(local, peer) && !resetter.listens(peer) && !resetter.listens(local)
        })
}

/// Both addresses as packets have them: IPv4 for a connection that an IPv6 socket had over IPv4.
fn ends(entry: &SocketEntry) -> (SocketAddr, SocketAddr) {
    let end = |address: SocketAddr| match address.ip().to_canonical() {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, address.port(), 0, entry.interface()).into()
        }
        ip => SocketAddr::new(ip, address.port()),
    };
    (end(entry.local), end(entry.peer))
}
