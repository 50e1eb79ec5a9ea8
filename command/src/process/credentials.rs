//! The credentials of a program's starter, and whether the program has more (credentials(7)).

use crate::process::mount::is_on_nosuid_mount;
use crate::process::selinux::Domain;
use rustix::fs::getxattr;
use rustix::process::{getgid, getuid};
use rustix::thread::no_new_privs;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The starter of a program: ld.so ignores LD_PRELOAD if the file gives more privileges than these.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Setuid and setgid give nothing. File capabilities give nothing either, but count as if they
    /// did.
    pub(crate) no_new_privileges: bool,
    pub(crate) domain: Domain,
}

impl Credentials {
    /// The credentials of this process.
    pub(crate) fn own() -> Self {
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            no_new_privileges: no_new_privs().unwrap_or(false),
            domain: Domain::own(),
        }
    }

    /// The number of a user or group. Root's is the only name that matters: file capabilities give
    /// every other user more privileges.
    pub(crate) fn id(user: &OsStr) -> u32 {
        match user.to_string_lossy().as_ref() {
            "root" => 0,
            other => other.parse().unwrap_or(u32::MAX),
        }
    }
}

/// The privileges that a program's file gives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gain {
    /// Those of another user (setuid).
    User(u32),
    /// Those of another group (setgid).
    Group(u32),
    Capabilities,
}

/// Finds the privileges that the program's file gives and its starter lacks. The kernel then sets
/// `AT_SECURE`, and gives none of them if an unprivileged process traces the program.
pub(crate) fn gains(path: &Path, who: &Credentials) -> io::Result<Vec<Gain>> {
    const SETUID: u32 = 0o4000;
    const SETGID: u32 = 0o2000;
    const GROUP_EXECUTE: u32 = 0o010;
    let metadata = path.metadata()?;
    let mut gains = Vec::new();
    let mode = metadata.mode();
    if mode & SETUID != 0 && metadata.uid() != who.uid && !who.no_new_privileges {
        gains.push(Gain::User(metadata.uid()));
    }
    if mode & (SETGID | GROUP_EXECUTE) == SETGID | GROUP_EXECUTE
        && metadata.gid() != who.gid
        && !who.no_new_privileges
    {
        gains.push(Gain::Group(metadata.gid()));
    }
    let mut capabilities = [0_u8; 64];
    let length = getxattr(path, c"security.capability", &mut capabilities[..]).unwrap_or(0);
    if length > 0 && who.uid != 0 {
        gains.push(Gain::Capabilities);
    }
    if !gains.is_empty() && is_on_nosuid_mount(path) {
        gains.clear();
    }
    Ok(gains)
}
