//! Finds the processes that hold a socket, by the inode of their descriptors. A child that
//! inherited a listener and was forgotten holds the port as well as the parent did.

use crate::output::readable;
use crate::process::info::{self, ProcCache, ProcessInfo};
use crate::sys::kcmp;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::Errno;
use rustix::thread::sched_getaffinity;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

/// A process that has a descriptor of a socket.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Holder {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) name: Arc<str>,
    /// One of its descriptors of the socket.
    #[serde(skip)]
    pub(crate) descriptor: i32,
    /// A holder of thousands of sockets is read once.
    #[serde(flatten)]
    pub(crate) info: Arc<ProcessInfo>,
}

/// The processes that hold sockets, as far as we may see them.
#[derive(Debug, Default)]
pub(crate) struct Holders(HashMap<u64, Vec<Holder>>);

impl Holders {
    /// Searches all processes for these sockets.
    pub(crate) fn find(inodes: impl IntoIterator<Item = u64>) -> Self {
        let mut wanted: HashSet<u64> = inodes.into_iter().filter(|&inode| inode != 0).collect();
        let mut found = HashMap::<u64, Vec<Holder>>::with_capacity(wanted.len());
        // A thread may have a table of descriptors of its own, or live on when the main one has
        // ended. To look at every thread's takes long, so that is for what nobody else holds.
        for sockets in [sockets as Sockets, sockets_of_threads] {
            if wanted.is_empty() {
                break;
            }
            for (holder, held) in search(&wanted, sockets) {
                for (descriptor, inode) in held {
                    found.entry(inode).or_default().push(Holder {
                        descriptor,
                        ..holder.clone()
                    });
                }
            }
            wanted.retain(|inode| !found.contains_key(inode));
        }
        for holders in found.values_mut() {
            holders.sort_by_key(|holder| holder.pid);
        }
        Self(found)
    }

    /// Every process that holds the socket, in the order of their numbers.
    pub(crate) fn of(&self, inode: u64) -> &[Holder] {
        self.0.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// The processes that hold any of these sockets, each once, by their numbers.
    pub(crate) fn of_any(&self, inodes: impl IntoIterator<Item = u64>) -> BTreeMap<i32, &Holder> {
        inodes
            .into_iter()
            .flat_map(|inode| self.of(inode))
            .map(|holder| (holder.pid, holder))
            .collect()
    }
}

/// How the sockets of a process are found: descriptors and inodes.
type Sockets = fn(i32) -> rustix::io::Result<Vec<(i32, u64)>>;

/// The sought sockets that a process holds: a descriptor and inode of each.
type Held = Vec<(i32, u64)>;

/// Looks through all processes, with all processors where there are many: nearly all of the time is
/// the kernel's, which composes a line for each descriptor.
fn search(wanted: &HashSet<u64>, sockets: Sockets) -> Vec<(Holder, Held)> {
    /// How many processes are read before another thread starts.
    const FEW: usize = 50;
    const MOST_THREADS: usize = 8;
    let pids: Vec<i32> = pids().collect();
    let threads = match pids.len().div_ceil(FEW).min(MOST_THREADS) {
        0 | 1 => 1,
        // std asks the control groups too, by twenty system calls.
        most => sched_getaffinity(None)
            .map_or(1, |processors| processors.count() as usize)
            .min(most),
    };
    let (next, cache) = (AtomicUsize::new(0), ProcCache::default());
    let look = || look_through(&pids, &next, wanted, &cache, sockets);
    thread::scope(|scope| {
        // Where there may be no more threads, those that there are do it.
        let others: Vec<_> = (1..threads)
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, look).ok())
            .collect();
        let mut found = look();
        for other in others {
            found.extend(other.join().unwrap_or_default());
        }
        found
    })
}

/// Looks through the processes that nobody has taken yet.
fn look_through(
    pids: &[i32],
    next: &AtomicUsize,
    wanted: &HashSet<u64>,
    cache: &ProcCache,
    sockets: Sockets,
) -> Vec<(Holder, Held)> {
    let mut found = Vec::new();
    // A process may end while we look at it, and another user's can't be looked at: both hold
    // nothing for us.
    while let Some(&pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
        let mut held = sockets(pid).unwrap_or_default();
        held.retain(|(_, inode)| wanted.contains(inode));
        held.sort_unstable_by_key(|&(_, inode)| inode);
        held.dedup_by_key(|&mut (_, inode)| inode);
        if !held.is_empty() {
            found.push((describe(pid, cache), held));
        }
    }
    found
}

/// Every process.
pub(crate) fn pids() -> impl Iterator<Item = i32> {
    numbers_in("/proc").unwrap_or_default().into_iter()
}

/// A process's sockets: descriptors and inodes. A server may have tens of thousands, so each costs
/// one call.
pub(crate) fn sockets(pid: i32) -> Result<Vec<(i32, u64)>, Errno> {
    sockets_in(&format!("/proc/{pid}/fd"))
}

/// The sockets of a process's threads that do not share the main thread's descriptors: none of them
/// is under the process's own number.
fn sockets_of_threads(pid: i32) -> Result<Vec<(i32, u64)>, Errno> {
    let mut found = Vec::new();
    let threads = numbers_in(&format!("/proc/{pid}/task")).map_err(|_| Errno::SRCH)?;
    for thread in threads {
        if thread != pid && kcmp::share_descriptors(pid, thread) != Some(true) {
            let theirs = sockets_in(&format!("/proc/{pid}/task/{thread}/fd")).unwrap_or_default();
            found.extend(theirs.into_iter().map(|(_, inode)| (NOT_COPIED, inode)));
        }
    }
    Ok(found)
}

/// Stands for a descriptor that pidfd_getfd(2) can't copy, such as another thread's.
const NOT_COPIED: i32 = -1;

/// Whether a process has one of these sockets open.
pub(crate) fn holds_one(pid: i32, inodes: &[u64]) -> Result<bool, Errno> {
    let has = |sockets: &[(i32, u64)]| sockets.iter().any(|(_, inode)| inodes.contains(inode));
    // A main thread that has ended has no descriptors, and no directory of them.
    match sockets(pid) {
        Ok(sockets) if has(&sockets) => return Ok(true),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    Ok(has(&sockets_of_threads(pid)?))
}

/// Whether this PID namespace is the first one, in which every process is seen.
pub(crate) fn sees_all() -> bool {
    /// From include/linux/proc_ns.h (PROC_PID_INIT_INO).
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST)
}

/// Lists the entries of a directory that are numbers.
fn numbers_in(path: &str) -> Result<Vec<i32>, Errno> {
    let folder = open(path)?;
    let mut room = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(&folder, &mut room);
    let mut found = Vec::new();
    while let Some(entry) = entries.next() {
        found.extend(number(entry?.file_name()));
    }
    Ok(found)
}

fn sockets_in(path: &str) -> Result<Vec<(i32, u64)>, Errno> {
    let folder = open(path)?;
    let mut found = Vec::new();
    let mut room = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(&folder, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(number) = number(entry.file_name()) else {
            continue;
        };
        let mut room = [MaybeUninit::uninit(); 64];
        let Ok((target, _)) = readlinkat_raw(&folder, entry.file_name(), &mut room) else {
            continue;
        };
        let inode = target
            .strip_prefix(b"socket:[")
            .and_then(|rest| rest.strip_suffix(b"]"))
            .and_then(decimal);
        found.extend(inode.map(|inode| (number, inode)));
    }
    Ok(found)
}

fn open(folder: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, folder, flags, Mode::empty())
}

/// A file's name, if it is a number. Neither . nor .. is one.
fn number(name: &CStr) -> Option<i32> {
    decimal(name.to_bytes())?.try_into().ok()
}

/// A number as the kernel writes it. There are tens of thousands, and none is UTF-8 otherwise.
fn decimal(digits: &[u8]) -> Option<u64> {
    let add = |number: u64, digit: &u8| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    };
    let first = (!digits.is_empty()).then_some(0)?;
    digits.iter().try_fold(first, add)
}

fn describe(pid: i32, cache: &ProcCache) -> Holder {
    let stat = info::stat(pid);
    let info = stat.as_ref().map(|stat| ProcessInfo::of(pid, stat, cache));
    Holder {
        pid,
        parent: stat.as_ref().map_or(0, |stat| stat.ppid),
        name: stat.map_or_else(|| "?".into(), |stat| readable(stat.comm.as_bytes()).into()),
        descriptor: -1,
        info: Arc::new(info.unwrap_or_default()),
    }
}
