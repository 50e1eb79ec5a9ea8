//! Waits until ports can be bound. It looks again when a process that holds one exits, when a
//! `TIME_WAIT` expires, and otherwise a few times a second: the kernel has no event for a closed
//! descriptor.

use super::bindable::{Bind, Bindable};
use super::direction::Directions;
use super::socket::{Socket, numbers_by_state};
use crate::net::sock_diag::{self, TcpState, Which};
use crate::output::count;
use crate::process::holders::Holders;
use crate::process::pidfd::{self, Handle};
use crate::sys::signals;
use anyhow::Result;
use log::debug;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Which binds to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) ports: &'a [u16],
    /// The bind that is to succeed.
    pub(crate) bind: Bind,
    pub(crate) denied: Denied,
}

/// How to treat a port that this user may not bind (`EACCES`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Denied {
    /// Give up: waiting does not help a program without the privilege.
    GivesUp,
    /// Read the kernel's table of sockets: the program may have more privileges than its starter.
    ReadsTable,
}

/// Whether the caller has cleared something meanwhile, so that it is soon worth another look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Meanwhile {
    Nothing,
    Acted,
}

/// How a wait ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Every port can be bound.
    Free,
    /// The time is up; this is in the way.
    TimeIsUp(String),
    /// We may not bind this port, held or not.
    Denied(u16),
}

/// The longest pause between two looks, where nothing wakes us up.
const LONGEST: Duration = Duration::from_millis(250);
/// The longest pause while only timers have to expire: somebody else may clear the leftovers, too.
const LONGEST_WHILE_TIMED: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(10);

/// Waits until all of the ports can be bound or the time is up. `show` is called with what is
/// in the way after each look, and may do something about it.
pub(crate) fn wait(
    wish: Wish<'_>,
    deadline: Option<Instant>,
    mut show: impl FnMut(&str) -> Meanwhile,
) -> Result<End> {
    // Also for `run`, which does not handle signals before it becomes another program.
    signals::terminate_as_process_1();
    let mut watched = Watched::default();
    let mut pause = SHORTEST;
    loop {
        let mut busy = Vec::new();
        let mut denied = Vec::new();
        let mut absent = false;
        for &port in wish.ports {
            match wish.bind.of(port) {
                Bindable::Free => {}
                Bindable::Busy => busy.push(port),
                Bindable::NoAddress => {
                    absent = true;
                    busy.push(port);
                }
                Bindable::Denied if wish.denied == Denied::GivesUp => return Ok(End::Denied(port)),
                Bindable::Denied => denied.push(port),
            }
        }
        busy.extend(with_sockets(&denied)?);
        if busy.is_empty() {
            return Ok(End::Free);
        }
        let (mut found, changed) = look(wish, &busy, &mut watched)?;
        if let (true, Some(address)) = (absent, wish.bind.address) {
            found.text = format!("{address}, which this machine does not have");
        }
        let meanwhile = show(&found.text);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(End::TimeIsUp(found.text));
        }
        if changed {
            pause = SHORTEST;
        }
        let sleep = match found.timed {
            _ if meanwhile == Meanwhile::Acted => SHORTEST,
            Some(timed) => timed.clamp(SHORTEST, LONGEST_WHILE_TIMED),
            None => pause,
        };
        pause = (pause * 2).min(LONGEST);
        watched.sleep(left.map_or(sleep, |left| left.min(sleep)));
    }
}

/// The ports with any TCP socket: a plain bind fails beside each.
fn with_sockets(ports: &[u16]) -> Result<BTreeSet<u16>> {
    if ports.is_empty() {
        return Ok(BTreeSet::new());
    }
    let entries = sock_diag::dump(Which::These(ports))?;
    Ok(entries.iter().map(|entry| entry.local.port()).collect())
}

/// The obstacles on some ports.
struct InTheWay {
    text: String,
    /// When the first of the ports is free, if time alone frees them all.
    timed: Option<Duration>,
}

fn look(wish: Wish<'_>, busy: &[u16], watched: &mut Watched) -> Result<(InTheWay, bool)> {
    /// Nobody reads more than the first of thousands of ports.
    const SHOWN: usize = 3;
    let entries = sock_diag::dump(Which::These(busy))?;
    let changed = watched.watch(entries.iter().map(|entry| entry.inode));
    let directions = Directions::new(&entries, Vec::new());
    let mut by_port: BTreeMap<u16, Vec<Socket>> =
        busy.iter().map(|&port| (port, Vec::new())).collect();
    for entry in &entries {
        let socket = Socket::new(entry, &directions, &watched.holders);
        if wish
            .bind
            .address
            .is_none_or(|address| socket.meets(address))
        {
            by_port.entry(entry.local.port()).or_default().push(socket);
        }
    }
    let mut text: Vec<String> = by_port
        .iter()
        .take(SHOWN)
        .map(|(port, sockets)| format!("port {port} ({})", in_the_way(sockets)))
        .collect();
    if by_port.len() > SHOWN {
        text.push(count(by_port.len() - SHOWN, "more port", "more ports"));
    }
    let timed: Option<Vec<u32>> = by_port
        .values()
        .map(|sockets| {
            let times: Option<Vec<u32>> = sockets.iter().map(|socket| socket.left_ms).collect();
            times?.into_iter().max()
        })
        .collect();
    let timed = timed
        .and_then(|times| times.into_iter().min())
        .map(|milliseconds| Duration::from_millis(milliseconds.into()));
    Ok((
        InTheWay {
            text: text.join(", "),
            timed,
        },
        changed,
    ))
}

/// Names the obstacles on these ports in a few words.
pub(crate) fn what_holds(ports: &[u16]) -> Result<String> {
    let wish = Wish {
        ports,
        bind: Bind::default(),
        denied: Denied::ReadsTable,
    };
    Ok(look(wish, ports, &mut Watched::default())?.0.text)
}

/// Whether some socket listens on one of these ports or is bound to it.
pub(crate) fn has_listener_or_bound(ports: &[u16]) -> Result<bool> {
    Ok(sock_diag::dump(Which::These(ports))?
        .iter()
        .any(|entry| !entry.state.has_peer()))
}

/// Names the obstacle on a port in a few words.
fn in_the_way(sockets: &[Socket]) -> String {
    let in_state = |state| sockets.iter().find(|socket| socket.state == state);
    if let Some(listener) = in_state(TcpState::Listen) {
        return format!("{} listens", listener.held_by());
    }
    if let Some(bound) = in_state(TcpState::Bound) {
        return format!("{} has bound it", bound.held_by());
    }
    let open: Vec<&Socket> = sockets.iter().filter(|socket| !socket.leftover).collect();
    if let Some(first) = open.first() {
        return format!(
            "{}, held by {}",
            count(open.len(), "connection", "connections"),
            first.held_by()
        );
    }
    let mut words = numbers_by_state(sockets);
    if words.is_empty() {
        return "the kernel does not show which process holds it".into();
    }
    if let Some(longest) = sockets.iter().filter_map(|socket| socket.left_ms).max() {
        words.push(format!("{} s to go", longest.div_ceil(1000)));
    }
    words.join(", ")
}

/// The processes whose end wakes us up.
#[derive(Default)]
struct Watched {
    inodes: BTreeSet<u64>,
    holders: Holders,
    handles: Vec<Handle>,
}

impl Watched {
    /// Looks for who holds these, if they are others than before, and returns whether they are.
    fn watch(&mut self, inodes: impl Iterator<Item = u64>) -> bool {
        let inodes: BTreeSet<u64> = inodes.filter(|&inode| inode != 0).collect();
        if inodes == self.inodes {
            return false;
        }
        self.holders = Holders::find(inodes.iter().copied());
        let holders = self.holders.of_any(inodes.iter().copied());
        // Before Linux 5.3 there are no handles; then we look now and then.
        self.handles = holders
            .into_keys()
            .filter_map(|pid| Handle::open(pid).ok())
            .collect();
        self.inodes = inodes;
        true
    }

    /// Sleeps for this time, or until one of them has ended.
    fn sleep(&mut self, time: Duration) {
        debug!(
            "sleeping for {time:?}, or until one of {} has ended",
            self.handles.len()
        );
        let mut ended = pidfd::sleep(&self.handles, time).into_iter();
        self.handles.retain(|_| ended.next() == Some(false));
    }
}
