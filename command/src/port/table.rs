//! The table of sockets: those that differ in nothing that matters share a row.

use super::direction::Direction;
use super::socket::{Endpoint, Socket};
use crate::net::sock_diag::TcpState;
use crate::output::table::{Column, Shrink, table};
use crate::process::info::{ProcessInfo, spelled_age};
use crate::process::tree;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::rc::Rc;

const COLUMNS: [Column; 11] = [
    column("STATE", Shrink::Never),
    column("SOCKETS", Shrink::Drop(6)),
    column("LOCAL", Shrink::Never),
    column("PEER", Shrink::CutThenDrop(15, 5)),
    column("OPENED", Shrink::Drop(4)),
    column("LEFT", Shrink::Drop(7)),
    column("HELD BY", Shrink::Cut(12)),
    column("USER", Shrink::Drop(2)),
    column("AGE", Shrink::Drop(1)),
    column("UNIT", Shrink::Drop(3)),
    column("COMMAND", Shrink::CutThenDrop(20, 0)),
];

const fn column(header: &'static str, shrink: Shrink) -> Column {
    Column { header, shrink }
}

/// Sockets that differ in nothing that matters.
#[derive(Default)]
struct Row<'a> {
    number: usize,
    peers: Vec<Endpoint>,
    left: Vec<u32>,
    first: Option<&'a Socket>,
}

/// The key of a row: sockets with the same key share it.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    port: u16,
    state: TcpState,
    local: Endpoint,
    peer: Option<IpAddr>,
    direction: Option<Direction>,
    held_by: Rc<str>,
    dual_stack: Option<bool>,
    position: usize,
}

/// A socket, compared by its holders: for thousands with the same ones, the words are put together
/// once.
struct ByHolders<'a>(&'a Socket);

impl ByHolders<'_> {
    fn holders(&self) -> (impl Iterator<Item = i32>, bool, Option<u32>) {
        let Self(socket) = self;
        let pids = socket.holders.iter().map(|holder| holder.pid);
        (pids, socket.leftover, socket.uid())
    }
}

impl PartialEq for ByHolders<'_> {
    fn eq(&self, other: &Self) -> bool {
        let ((ours, leftover, uid), (theirs, is_leftover, their_uid)) =
            (self.holders(), other.holders());
        leftover == is_leftover && uid == their_uid && ours.eq(theirs)
    }
}

impl Eq for ByHolders<'_> {}

impl Hash for ByHolders<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (pids, leftover, uid) = self.holders();
        (leftover, uid).hash(state);
        pids.for_each(|pid| pid.hash(state));
    }
}

/// The table; with `all`, every socket has a row of its own.
pub(crate) fn listing<'a>(
    sockets: impl Iterator<Item = (u16, &'a Socket)> + Clone,
    all: bool,
) -> String {
    // A server may have left something behind for each of thousands of clients.
    const MANY_PEERS: usize = 8;
    let mut addresses = Vec::new();
    let by_address = sockets.clone().all(|(_, socket)| {
        let address = socket.peer.map(|peer| peer.address);
        addresses.extend(address.filter(|address| !addresses.contains(address)));
        addresses.len() <= MANY_PEERS
    });

    let mut words = HashMap::<ByHolders<'_>, Rc<str>>::new();
    let mut rows = BTreeMap::<Key, Row<'_>>::new();
    for (position, (port, socket)) in sockets.enumerate() {
        let held_by = words
            .entry(ByHolders(socket))
            .or_insert_with(|| socket.held_by().into());
        let key = Key {
            port,
            state: socket.state,
            local: socket.local,
            peer: socket.peer.map(|peer| peer.address).filter(|_| by_address),
            direction: socket.direction,
            held_by: Rc::clone(held_by),
            dual_stack: socket.dual_stack,
            position: if all { position } else { 0 },
        };
        let row = rows.entry(key).or_default();
        row.number += 1;
        row.peers.extend(socket.peer);
        row.left.extend(socket.left_ms);
        row.first.get_or_insert(socket);
    }
    let several = rows.values().any(|row| row.number > 1);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(key, row)| cells(&key, row, several))
        .collect();
    if rows.is_empty() {
        String::new()
    } else {
        table(&COLUMNS, &rows)
    }
}

fn cells(key: &Key, row: Row<'_>, several: bool) -> Vec<String> {
    let holders = row.first.map_or(&[][..], |socket| &socket.holders);
    let eldest = tree::eldest(holders);
    let who = eldest.first().map(|holder| &*holder.info);
    vec![
        key.state.name().into(),
        if several {
            row.number.to_string()
        } else {
            String::new()
        },
        row.first.map_or_else(String::new, Socket::place),
        peers(row.peers),
        match key.direction {
            Some(Direction::Inbound) => "in",
            Some(Direction::Outbound) => "out",
            Some(Direction::Unknown) => "in or out",
            None => "",
        }
        .into(),
        left(&row.left),
        key.held_by.to_string(),
        who.map_or_else(String::new, ProcessInfo::user),
        who.and_then(|who| who.age_s)
            .map_or_else(String::new, spelled_age),
        who.map_or_else(String::new, ProcessInfo::place),
        who.map_or_else(String::new, ProcessInfo::command),
    ]
}

fn peers(mut peers: Vec<Endpoint>) -> String {
    // In order as they come, mostly: to hash thousands takes longer.
    peers.sort_unstable();
    peers.dedup();
    let addresses = peers.chunk_by(|one, next| one.address == next.address);
    match (peers.as_slice(), addresses.count()) {
        ([], _) => String::new(),
        ([peer], _) => peer.to_string(),
        ([peer, ..], 1) => format!("{}, {} ports", peer.address, peers.len()),
        (_, number) => format!("{number} addresses"),
    }
}

fn left(milliseconds: &[u32]) -> String {
    let seconds = |value: &u32| value.div_ceil(1000);
    match (milliseconds.iter().min(), milliseconds.iter().max()) {
        (Some(least), Some(most)) if seconds(least) == seconds(most) => {
            format!("{} s", seconds(most))
        }
        (Some(least), Some(most)) => format!("{}-{} s", seconds(least), seconds(most)),
        _ => String::new(),
    }
}
