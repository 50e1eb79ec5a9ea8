//! Who starts a program, and whether the kernel will call it more trusted than that.

use crate::process::mount::is_on_nosuid_mount;
use crate::process::selinux::Domain;
use rustix::fs::getxattr;
use rustix::process::{getgid, getuid};
use rustix::thread::no_new_privs;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Who would start the program: the kernel drops LD_PRELOAD where the file gives more rights than
/// that.
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
    /// Ours.
    pub(crate) fn own() -> Self {
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            no_new_privileges: no_new_privs().unwrap_or(false),
            domain: Domain::own(),
        }
    }

    /// The number of a user or group. Of a name all that matters is whether it is root's: file
    /// capabilities give anybody else more than they have.
    pub(crate) fn id(user: &OsStr) -> u32 {
        match user.to_string_lossy().as_ref() {
            "root" => 0,
            other => other.parse().unwrap_or(u32::MAX),
        }
    }
}

/// What a program's file gives to whoever executes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gain {
    /// The rights of another user.
    User(u32),
    /// The rights of another group.
    Group(u32),
    Capabilities,
}

/// Which rights the program's file gives that this caller does not have: the kernel then calls the
/// program more trusted than its caller (`AT_SECURE`), and takes the rights away again if an
/// unprivileged process traces it.
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
