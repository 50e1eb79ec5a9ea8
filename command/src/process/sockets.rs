//! The TCP sockets of another process, through copies of its descriptors (pidfd_getfd(2)).

use crate::process::holders;
use crate::sys::scheduling::without_preemption;
use procfs::process::Process;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::sockopt::{
    socket_acceptconn, socket_cookie, socket_domain, socket_protocol, socket_reuseaddr,
    socket_reuseport, socket_type,
};
use rustix::net::{AddressFamily, SocketType, getpeername, getsockname, ipproto};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getuid, pidfd_getfd, pidfd_open};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// A TCP socket of another process.
pub(crate) struct ProcessSocket {
    pub(crate) fd: OwnedFd,
    pub(crate) listening: bool,
    pub(crate) local: SocketAddr,
    pub(crate) peer: Option<SocketAddr>,
}

impl ProcessSocket {
    /// Whether it carries `SO_REUSEADDR`.
    pub(crate) fn reuses_address(&self) -> bool {
        socket_reuseaddr(&self.fd).unwrap_or(false)
    }
}

/// Shows each TCP socket of a process that has a port and was not seen yet, one copy after the
/// other: there may be more than this process may have descriptors. A connection that is closed
/// ends only when its copy is, and the port of a listener is free only then, so a copy is held for
/// microseconds alone. An error if we may not look at them at all.
pub(crate) fn each_socket(
    process: &Process,
    seen: &mut HashSet<u64>,
    mut show: impl FnMut(&ProcessSocket),
) -> Result<(), Errno> {
    let pid = Pid::from_raw(process.pid()).ok_or(Errno::SRCH)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let theirs = holders::sockets(process.pid()).map_err(|error| match error {
        // The errors of proc(5) for a process that may not be inspected or has exited.
        Errno::ACCESS => Errno::PERM,
        Errno::NOENT => Errno::SRCH,
        error => error,
    })?;
    for (number, inode) in theirs {
        if seen.contains(&inode) {
            continue;
        }
        without_preemption(|| {
            match pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()) {
                // The program may have closed it meanwhile, or opened something else in its place.
                Ok(fd) if fstat(&fd).is_ok_and(|it| it.st_ino == inode) => {
                    if let Some(socket) = tcp(fd) {
                        seen.insert(inode);
                        show(&socket);
                    }
                }
                Ok(_) | Err(Errno::BADF) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// The options of a socket, which the kernel reports through a descriptor alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
}

/// The flags of the socket that a process has under this number, if it is still the one with this
/// inode and cookie (`SO_COOKIE`), and we may look.
pub(crate) fn flags(pid: i32, number: i32, inode: u64, cookie: u64) -> Option<Flags> {
    // A socket that only another thread has open has no descriptor that could be copied.
    if number < 0 {
        return None;
    }
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    without_preemption(|| {
        let fd = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()).ok()?;
        // The program may have closed it meanwhile, and opened something else. An inode's number
        // has 32 bits and comes again, a cookie never does. What sock_diag(7) lists of an MPTCP
        // socket is a part of it, with a cookie of its own and the same inode.
        let is_it = fstat(&fd).ok()?.st_ino == inode
            && (socket_cookie(&fd) == Ok(cookie)
                || socket_protocol(&fd) == Ok(Some(ipproto::MPTCP)));
        if !is_it {
            return None;
        }
        Some(Flags {
            reuse_address: socket_reuseaddr(&fd).ok()?,
            reuse_port: socket_reuseport(&fd).ok()?,
        })
    })
}

fn tcp(fd: OwnedFd) -> Option<ProcessSocket> {
    let family = socket_domain(&fd).ok()?;
    let protocol = socket_protocol(&fd).ok()?;
    let is_tcp = matches!(family, AddressFamily::INET | AddressFamily::INET6)
        && socket_type(&fd) == Ok(SocketType::STREAM)
        && (protocol == Some(ipproto::TCP) || protocol == Some(ipproto::MPTCP));
    let local = SocketAddr::try_from(getsockname(&fd).ok()?).ok()?;
    let peer = getpeername(&fd)
        .ok()
        .and_then(|peer| SocketAddr::try_from(peer?).ok());
    let listening = socket_acceptconn(&fd).unwrap_or(false);
    (is_tcp && local.port() != 0).then_some(ProcessSocket {
        fd,
        listening,
        local,
        peer,
    })
}

/// Why a process's descriptors can't be copied, and what helps.
pub(crate) fn why_not(error: Errno, pid: i32) -> String {
    match error {
        Errno::PERM | Errno::ACCESS if getuid().is_root() => format!(
            "even root may not copy descriptors of process {pid} here: CAP_SYS_PTRACE is missing, \
             or a security module or a seccomp filter forbids it (pidfd_getfd(2))"
        ),
        Errno::PERM | Errno::ACCESS => format!(
            "you may not copy descriptors of process {pid}: that takes permission to trace it \
             (ptrace(2)), which root has (CAP_SYS_PTRACE). The same user has it where \
             kernel.yama.ptrace_scope is 0, unless the process is non-dumpable"
        ),
        Errno::NOSYS => {
            "pidfd_getfd(2) is missing: the kernel is older than Linux 5.6, or a seccomp filter \
                          hides it"
                .into()
        }
        Errno::SRCH => format!("process {pid} has ended"),
        error => format!("descriptors of process {pid} can't be copied: {error}"),
    }
}
