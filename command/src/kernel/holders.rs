//! Who holds a socket: every process that has a descriptor of it, by its inode. A child that inherited a listener and
//! was forgotten holds the port as well as the parent did.

use procfs::process::{FDTarget, Process, all_processes};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// A process that has a descriptor of a socket.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Holder {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) name: String,
}

/// Who holds what, as far as we may see.
#[derive(Debug, Default)]
pub(crate) struct Holders(HashMap<u64, Vec<Holder>>);

impl Holders {
    /// Looks through all processes for these sockets.
    pub(crate) fn find(inodes: impl IntoIterator<Item = u64>) -> Self {
        let wanted: HashSet<u64> = inodes.into_iter().filter(|&inode| inode != 0).collect();
        let mut found = HashMap::<u64, Vec<Holder>>::new();
        if wanted.is_empty() {
            return Self(found);
        }
        // A process may end while we look at it, and another user's can't be looked at: both hold nothing for us.
        for process in all_processes().into_iter().flatten().flatten() {
            let mut held: Vec<u64> = sockets(&process)
                .map(|(_, inode)| inode)
                .filter(|inode| wanted.contains(inode))
                .collect();
            held.sort_unstable();
            held.dedup();
            for inode in held {
                found.entry(inode).or_default().push(describe(&process));
            }
        }
        for holders in found.values_mut() {
            holders.sort();
        }
        Self(found)
    }

    /// Every process that holds the socket.
    pub(crate) fn of(&self, inode: u64) -> &[Holder] {
        self.0.get(&inode).map_or(&[], Vec::as_slice)
    }
}

/// A process's sockets: descriptors and inodes.
pub(crate) fn sockets(process: &Process) -> impl Iterator<Item = (i32, u64)> + use<> {
    process
        .fd()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|info| match info.target {
            FDTarget::Socket(inode) => Some((info.fd, inode)),
            _ => None,
        })
}

fn describe(process: &Process) -> Holder {
    let stat = process.stat().ok();
    Holder {
        pid: process.pid(),
        parent: stat.as_ref().map_or(0, |stat| stat.ppid),
        name: stat.map_or_else(
            || "?".into(),
            |stat| crate::output::readable(stat.comm.as_bytes()),
        ),
    }
}
