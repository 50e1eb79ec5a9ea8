//! Attaches programs to control groups, and queries what is attached.

use super::attributes::{Attributes, Command};
use std::io;
use std::os::fd::BorrowedFd;

/// How programs are attached: others may be there as well.
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Attaches a program to a cgroup beside others, or in the place of another.
pub(crate) fn attach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    attach_type: u32,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attributes = Attributes::new()
        .fd(0, cgroup)
        .fd(4, program)
        .number(8, attach_type)
        .number(12, ALLOW_MULTI | replaced.map_or(0, |_| REPLACE));
    if let Some(replaced) = replaced {
        attributes = attributes.fd(16, replaced);
    }
    attributes.call(Command::Attach).map(drop)
}

/// Detaches a program from a cgroup.
pub(crate) fn detach(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<()> {
    Attributes::new()
        .fd(0, cgroup)
        .fd(4, program)
        .number(8, attach_type)
        .call(Command::Detach)
        .map(drop)
}

/// The programs that are attached to a cgroup.
#[derive(Debug)]
pub(crate) struct CgroupPrograms {
    /// How: 0 if it is the only one, and others are kept out below.
    pub(crate) flags: u32,
    pub(crate) programs: Vec<u32>,
}

/// Asks what is attached to a cgroup itself.
pub(crate) fn query(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<CgroupPrograms> {
    // The kernel allows no more than this many (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0_u32; 64];
    let room = u32::try_from(ids.len()).unwrap_or_default();
    let mut attributes = Attributes::new()
        .fd(0, cgroup)
        .number(4, attach_type)
        .into(16, &mut ids)
        .number(24, room);
    attributes.call(Command::Query)?;
    let (flags, number) = (attributes.number_at(12), attributes.number_at(24));
    let number = usize::try_from(number).unwrap_or_default().min(ids.len());
    Ok(CgroupPrograms {
        flags,
        programs: ids[..number].to_vec(),
    })
}
