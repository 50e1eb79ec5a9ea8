//! Prepares the first restart of a service that has run without libreuse. What that run leaves
//! carries no SO_REUSEADDR, so its port would be busy for a minute, whatever the next run sets.

use super::properties::Properties;
use crate::net::namespace::namespace_of;
use crate::net::sock_diag;
use crate::output::{self, count};
use crate::port::arm::{self, Job, SocketKind};
use crate::port::evict::{self, Filter};
use crate::port::port_list::spelled;
use crate::process::holders;
use anyhow::Result;
use log::debug;
use std::collections::BTreeSet;

/// How the first restart will find the service's ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outlook {
    Free,
    /// Busy for a minute or two, unless there was no connection.
    Busy(String),
}

/// Arms the service's listeners, clears its leftovers, and reports both.
pub(crate) fn prepare(properties: &Properties) -> Outlook {
    let ports = match listening(properties) {
        Ok(ports) => ports,
        Err(error) => {
            debug!("what the service listens on is not known: {error:#}");
            return Outlook::Free;
        }
    };
    if ports.is_empty() {
        return Outlook::Free;
    }
    prepare_ports(&ports).unwrap_or_else(|error| {
        debug!("{error:#}");
        Outlook::Busy(spelled(&ports))
    })
}

fn prepare_ports(ports: &[u16]) -> Result<Outlook> {
    let shown = spelled(ports);
    // Arm first: leftovers carry the option from then on.
    let arming = arm::arm(&Job {
        ports,
        alone: None,
        linger: false,
        dry_run: false,
    })?;
    let armed = arming
        .sockets
        .iter()
        .filter(|socket| socket.kind == SocketKind::Listener && !socket.set.is_empty())
        .count();
    if armed == 0 && arming.refused.is_empty() {
        // The listeners carry the option already, and so do their leftovers.
        return Ok(Outlook::Free);
    }
    let eviction = evict::evict(ports, Filter::default(), false)?;
    let mut done = Vec::new();
    if armed > 0 {
        done.push(format!(
            "SO_REUSEADDR is set on {} of the service that runs now (port {shown})",
            count(armed, "listener", "listeners")
        ));
    }
    let cleared = eviction.found.len().saturating_sub(eviction.left.len());
    if cleared > 0 {
        done.push(format!(
            "{} of earlier connections cleared",
            count(cleared, "leftover", "leftovers")
        ));
    }
    if !done.is_empty() {
        output::info(&format!("{}, for its first restart.", done.join("; ")));
    }
    let is_ready = eviction.left.is_empty() && arming.refused.is_empty() && arming.missed == 0;
    Ok(if is_ready {
        Outlook::Free
    } else {
        Outlook::Busy(shown)
    })
}

/// Lists the ports on which the service's processes listen. Processes in another network namespace
/// are skipped.
fn listening(properties: &Properties) -> Result<Vec<u16>> {
    let here = namespace_of("self");
    let inodes: BTreeSet<u64> = properties
        .processes()
        .into_iter()
        .filter(|pid| namespace_of(&pid.to_string()) == here)
        .filter_map(|pid| holders::sockets(pid).ok())
        .flatten()
        .map(|(_, inode)| inode)
        .collect();
    let ports: BTreeSet<u16> = sock_diag::listeners()?
        .iter()
        .filter(|entry| inodes.contains(&entry.inode))
        .map(|entry| entry.local.port())
        .collect();
    Ok(ports.into_iter().collect())
}
