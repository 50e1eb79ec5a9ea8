//! Diagnoses why a program could not bind, in the words of `status`, and clears leftovers for
//! `--evict`.

use super::seen::{Protocol, Seen};
use crate::net::namespace;
use crate::net::sock_diag::{self, Which};
use crate::output::paragraph;
use crate::port::diagnosis::{Diagnosis, Surroundings, diagnose};
use crate::port::direction::Directions;
use crate::port::evict::{self, Filter};
use crate::port::hint::Scope;
use crate::port::socket::{Socket, UdpSocket, held_by_udp};
use crate::process::holders::Holders;
use crate::process::manager::Managers;
use crate::sys::scheduling::in_thread;
use anyhow::{Context, Result};
use serde::Serialize;
use std::net::IpAddr;

/// The obstacle.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Finding {
    /// The diagnosis of `status`, of TCP.
    #[serde(rename = "verdict")]
    pub(crate) diagnosis: Option<Diagnosis>,
    /// The UDP holders.
    pub(crate) udp: Vec<UdpSocket>,
    /// How many leftovers have been cleared.
    pub(crate) evicted: Option<usize>,
}

/// Looks for what is in the way, from the network namespace of the program.
pub(crate) fn find(seen: &Seen, evict: bool) -> Result<Finding> {
    match &seen.known.network {
        Some((file, name)) if *name != namespace::namespace() => in_thread(|| {
            namespace::enter_file(file)
                .context("the program's network namespace can't be entered")?;
            find_here(seen, Some(seen.pid), evict)
        }),
        _ => find_here(seen, None, evict),
    }
}

fn find_here(seen: &Seen, pid: Option<i32>, evict: bool) -> Result<Finding> {
    let port = seen.address.port();
    let ports = &[port][..];
    if seen.protocol == Protocol::Udp {
        let entries = sock_diag::udp(ports);
        let holders = Holders::find(entries.iter().map(|entry| entry.inode));
        return Ok(Finding {
            udp: entries
                .iter()
                .map(|entry| UdpSocket::new(entry, &holders))
                .collect(),
            ..Finding::default()
        });
    }
    let diagnosis = diagnosis(port, pid, wanted(seen.address.ip()))?;
    let evicted = if evict {
        let eviction = evict::evict(ports, Filter::default(), false)?;
        Some(eviction.found.len().saturating_sub(eviction.left.len()))
    } else {
        None
    };
    Ok(Finding {
        diagnosis: Some(diagnosis),
        evicted: evicted.filter(|&number| number > 0),
        ..Finding::default()
    })
}

/// The address to look at, if it is not every address.
fn wanted(address: IpAddr) -> Option<IpAddr> {
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}

/// The diagnosis that `status` gives. `pid` is a process in the network namespace, if that is not
/// ours.
fn diagnosis(port: u16, pid: Option<i32>, address: Option<IpAddr>) -> Result<Diagnosis> {
    let entries = sock_diag::dump(Which::These(&[port]))?;
    let holders = Holders::find(entries.iter().map(|entry| entry.inode));
    // Who could not bind has often gone when somebody types the command.
    let holder = entries
        .iter()
        .find_map(|entry| Some(holders.of(entry.inode).first()?.pid));
    let scope = Scope {
        pid: pid.and_then(|pid| u32::try_from(holder.unwrap_or(pid)).ok()),
        address,
    };
    let directions = Directions::of(&entries)?;
    let mut sockets: Vec<Socket> = entries
        .iter()
        .map(|entry| Socket::new(entry, &directions, &holders))
        .filter(|socket| scope.address.is_none_or(|address| socket.meets(address)))
        .collect();
    sockets.iter_mut().for_each(Socket::look_at_flags);
    let held = sockets.iter().map(|socket| (port, &*socket.holders));
    let around = Surroundings {
        scope,
        ephemeral: directions.ephemeral,
        managers: Managers::of_all(held),
    };
    Ok(diagnose(port, &sockets, &around))
}

impl Finding {
    /// Words for the obstacle, with the next command to type.
    pub(crate) fn text(&self, seen: &Seen) -> String {
        let port = seen.address.port();
        let mut text = match &self.diagnosis {
            Some(diagnosis) => diagnosis.brief(port),
            None if seen.protocol == Protocol::Udp => self.udp_text(port),
            None => String::new(),
        };
        if let Some(number) = self.evicted {
            let what = if number == 1 {
                "leftover was"
            } else {
                "leftovers were"
            };
            text += &paragraph("  ", "  ", &format!("{number} {what} cleared (--evict)."));
        }
        text
    }

    /// Which diagnosis it is: as long as that is the same, one line is enough for what happens
    /// again.
    pub(crate) fn kind(&self) -> String {
        self.diagnosis
            .as_ref()
            .map_or_else(String::new, |diagnosis| format!("{:?}", diagnosis.kind()))
    }

    fn udp_text(&self, port: u16) -> String {
        let text = match held_by_udp(&self.udp) {
            Some(holders) => format!("UDP port {port} is held by {holders}."),
            None => format!("UDP port {port} is free now."),
        };
        paragraph("", "", &text)
    }
}
