//! The mount that a program's file is on.

use rustix::fs::{StatVfsMountFlags, statvfs};
use std::path::Path;

/// Whether the program's file system is mounted nosuid (mount(8)).
pub(crate) fn is_on_nosuid_mount(path: &Path) -> bool {
    statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOSUID))
}
