//! Reads and sets options of the program's sockets where its descriptors can't be copied:
//! containers commonly forbid pidfd_getfd(2), and not ptrace(2). The program's own thread makes the
//! calls.
//!
//! It must be possible to kill the tracer in the middle of this. So what the thread is made to run
//! ends by itself where the thread was, with its registers and its signal mask: some instructions,
//! in `arch`, that make the calls and go back. They lie behind the end of the vDSO (vdso(7)), whose
//! last page has room, and the room is empty again afterwards.

use super::arch::{self, Registers, RemoteCall, SystemCall};
use super::ptrace::{self, Stop, Syscall, SyscallEntry, Tid};
use super::socket::calls_beside_the_socket;
use super::wait_timer::Clock;
use crate::net::spare::Spare;
use crate::sys::proc;
use crate::sys::sockopt::{NETWORK_COOKIE, RawOption};
use libreuse_rules::calls::{Connection, Facts, Kernel, SocketOption, State};
use libreuse_rules::endpoint::{self, Endpoint};
use rustix::fs::stat;
use std::fs;
use std::sync::OnceLock;

/// A query about a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Query {
    Option(RawOption),
    SetOption(RawOption, i32),
    Local,
}

/// The options that are set in one batch with the program's own call.
#[derive(Clone, Debug)]
pub(super) struct Around {
    pub(super) fd: i32,
    /// Set before the call.
    pub(super) before: Vec<(RawOption, i32)>,
    /// Set after the call.
    pub(super) after: Vec<(RawOption, i32)>,
}

/// The kernel's answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    bytes: [u8; endpoint::LONGEST],
    length: usize,
}

impl Reply {
    fn bytes(&self) -> Option<&[u8]> {
        self.bytes.get(..self.length)
    }
}

/// Has queries answered.
pub(super) trait RemoteCaller {
    /// `None`: the kernel refuses, or the program has exited.
    fn ask(&self, query: Query) -> Option<Reply>;

    /// Collects the options from now on, to set them in one batch with the call.
    fn begin_batch(&self);

    /// Sets an option in one batch with the call, before or after it; false if that is not begun.
    fn set_in_batch(&self, place: RawOption, value: i32) -> bool;

    fn end_batch(&self);
}

/// One of the program's sockets, through its own thread.
pub(super) struct Injected<'a, A> {
    pub(super) tid: Tid,
    pub(super) number: i32,
    pub(super) clock: &'a Clock,
    pub(super) who: &'a A,
}

impl<A: RemoteCaller> Injected<'_, A> {
    /// The cookie of its network namespace.
    fn network(&self) -> Option<u64> {
        let reply = self.who.ask(Query::Option(NETWORK_COOKIE))?;
        Some(u64::from_ne_bytes(*reply.bytes()?.first_chunk()?))
    }
}

impl<A: RemoteCaller> Facts for Injected<'_, A> {
    fn local(&self) -> Option<Endpoint> {
        Endpoint::decode(self.who.ask(Query::Local)?.bytes()?)
    }

    fn state(&self) -> Option<State> {
        let place = RawOption {
            level: libc::IPPROTO_TCP,
            name: libc::TCP_INFO,
        };
        let reply = self.who.ask(Query::Option(place))?;
        reply.bytes()?.first().copied().map(State::from_number)
    }

    /// Never needed: only `close` asks.
    fn connection(&self) -> Option<Connection> {
        None
    }
}

impl<A: RemoteCaller> Kernel for Injected<'_, A> {
    fn option(&self, option: SocketOption) -> Option<i32> {
        let reply = self.who.ask(Query::Option(option.into()))?;
        Some(i32::from_ne_bytes(*reply.bytes()?.first_chunk()?))
    }

    fn set_option(&self, option: SocketOption, value: i32) -> bool {
        let place = option.into();
        let may_be_put_back = option != SocketOption::Linger2;
        (may_be_put_back && self.who.set_in_batch(place, value))
            || self.who.ask(Query::SetOption(place, value)).is_some()
    }

    fn file(&self) -> Option<(u64, u64)> {
        let file = stat(format!("/proc/{}/fd/{}", self.tid, self.number)).ok()?;
        Some((file.st_dev, file.st_ino))
    }

    /// Begins a batch: what is set from now on is set with the call; no handler runs in between.
    fn block_signals(&self, (): &mut ()) -> bool {
        self.who.begin_batch();
        true
    }

    fn restore_signals(&self, (): &()) {
        self.who.end_batch();
    }

    calls_beside_the_socket!();
}

/// Why a tracee made no call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Failed {
    /// It can't, or the kernel refuses; it is where it was.
    Refused,
    /// It has exited or executed another program, which is handled next.
    Left(Stop),
}

/// Whether a tracee can make calls for us: a seccomp filter of its own might kill it for one, or
/// answer itself.
pub(super) fn is_possible(tid: Tid, entry: &SyscallEntry) -> bool {
    let ours = filters("self");
    filters(tid) == ours && arch::number(entry, RemoteCall::Map).is_some() && room(tid).is_some()
}

/// Has a tracee at a syscall-enter-stop make its call, and returns the result.
pub(super) fn make_now(tid: Tid) -> Result<i64, Failed> {
    ptrace::resume(tid, 0).map_err(|_| Failed::Refused)?;
    match ptrace::stop_of(tid).map_err(|_| Failed::Refused)? {
        Stop::Syscall => match ptrace::syscall(tid) {
            Some(Syscall::Exit(value)) => Ok(value),
            _ => Err(Failed::Refused),
        },
        left @ (Stop::Gone | Stop::Exec) => Err(Failed::Left(left)),
        _ => Err(Failed::Refused),
    }
}

/// The mode of seccomp(2), and the number of filters, which is shown since Linux 5.9.
fn filters(process: impl std::fmt::Display) -> Vec<String> {
    let status = proc::text(format!("/proc/{process}/status")).unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("Seccomp"));
    lines.map(str::to_owned).collect()
}

/// The empty end of a process's vDSO: its address and length. In an i386 program on Linux 6.12 that
/// is less than `LONGEST`: 459 bytes.
fn room(tid: Tid) -> Option<(u64, usize)> {
    /// More than any batch takes.
    const LONGEST: usize = 512;
    let maps = fs::read(format!("/proc/{tid}/maps")).ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let vdso = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (_, rest) = vdso.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let begin = end.checked_sub(u64::try_from(LONGEST).ok()?)?;
    let mut bytes = [0xff; LONGEST];
    if ptrace::read(tid, begin, &mut bytes) != LONGEST {
        return None;
    }
    let used = used_of(&bytes);
    Some((begin + u64::try_from(used).ok()?, LONGEST - used))
}

/// How many of these bytes are taken, in sixteens, with a margin for zeros that belong to them.
fn used_of(bytes: &[u8]) -> usize {
    const MARGIN: usize = 16;
    match bytes.iter().rposition(|&byte| byte != 0) {
        Some(last) => ((last + 1).next_multiple_of(16) + MARGIN).min(bytes.len()),
        None => 0,
    }
}

/// Has a tracee query or set an option of a descriptor, and return to where it is.
pub(super) fn ask(
    tid: Tid,
    entry: &SyscallEntry,
    fd: i32,
    query: Query,
    page: &mut Option<u64>,
) -> Result<Reply, Failed> {
    const READ_AND_WRITE: u64 = 3;
    const PRIVATE_AND_ANONYMOUS: u64 = 0x22;
    let here = ptrace::registers(tid).map_err(|_| Failed::Refused)?;
    let make = |call, arguments| make(tid, entry, &[(call, arguments)], None, &here);
    let fd = u64::from(fd.unsigned_abs());
    if let Query::SetOption(place, value) = query {
        let result = make(
            BatchedCall::SetOption(value),
            [fd, int(place.level), int(place.name), 0, 4, 0],
        )?;
        return answered(
            result == [0],
            Reply {
                bytes: [0; endpoint::LONGEST],
                length: 0,
            },
        );
    }
    let memory = if let Some(page) = *page {
        page
    } else {
        let arguments = [0, PAGE, READ_AND_WRITE, PRIVATE_AND_ANONYMOUS, u64::MAX, 0];
        let result = make(BatchedCall::Call(RemoteCall::Map), arguments)?;
        // An address that is an error's number is none (`IS_ERR_VALUE` in `include/linux/err.h`).
        let address = *result.first().ok_or(Failed::Refused)?;
        if (-4095..=0).contains(&address) {
            return Err(Failed::Refused);
        }
        *page.insert(u64::from_ne_bytes(address.to_ne_bytes()))
    };
    let length_at = memory + 512;
    let mut reply = Reply {
        bytes: [0; endpoint::LONGEST],
        length: 0,
    };
    let length = u32::try_from(reply.bytes.len()).map_err(|_| Failed::Refused)?;
    ptrace::write(tid, length_at, &length.to_ne_bytes()).ok_or(Failed::Refused)?;
    let result = match query {
        Query::Option(place) => {
            let arguments = [fd, int(place.level), int(place.name), memory, length_at, 0];
            make(BatchedCall::Call(RemoteCall::Option), arguments)?
        }
        _ => make(
            BatchedCall::Call(RemoteCall::Local),
            [fd, memory, length_at, 0, 0, 0],
        )?,
    };
    let mut length = [0; 4];
    ptrace::read(tid, length_at, &mut length);
    reply.length = usize::try_from(u32::from_ne_bytes(length)).map_err(|_| Failed::Refused)?;
    let bytes = reply.bytes.get_mut(..reply.length).ok_or(Failed::Refused)?;
    ptrace::read(tid, memory, bytes);
    answered(result == [0], reply)
}

const PAGE: u64 = 4096;

fn answered(is_ok: bool, reply: Reply) -> Result<Reply, Failed> {
    is_ok.then_some(reply).ok_or(Failed::Refused)
}

fn int(number: i32) -> u64 {
    u64::from(number.unsigned_abs())
}

/// Has a tracee unmap the page that `ask` has mapped.
pub(super) fn unmap(tid: Tid, entry: &SyscallEntry, page: u64) -> Result<(), Failed> {
    let here = ptrace::registers(tid).map_err(|_| Failed::Refused)?;
    let arguments = [page, PAGE, 0, 0, 0, 0];
    make(
        tid,
        entry,
        &[(BatchedCall::Call(RemoteCall::Unmap), arguments)],
        None,
        &here,
    )
    .map(drop)
}

/// Has a tracee make its own call, with the options around it, and stop at the syscall-exit-stop;
/// `behind` are the registers there.
pub(super) fn make_own(
    tid: Tid,
    entry: &SyscallEntry,
    around: &Around,
    behind: &Registers,
) -> Result<i64, Failed> {
    let fd = u64::from(around.fd.unsigned_abs());
    let set = |&(place, value): &(RawOption, i32)| {
        (
            BatchedCall::SetOption(value),
            [fd, int(place.level), int(place.name), 0, 4, 0],
        )
    };
    let mut calls: Vec<_> = around.before.iter().map(set).collect();
    let own = calls.len();
    calls.push((BatchedCall::Own, entry.arguments));
    calls.extend(around.after.iter().map(set));
    let results = make(tid, entry, &calls, Some(own), behind)?;
    results.get(own).copied().ok_or(Failed::Refused)
}

/// A call of a batch.
#[derive(Clone, Copy)]
enum BatchedCall {
    Call(RemoteCall),
    /// With this value, which lies beside the code.
    SetOption(i32),
    /// The program's own.
    Own,
}

/// Has a tracee make these calls with its signals blocked, and continue at `behind`, with the
/// result of one of them if it is the program's. If the tracer ends, the tracee gets there by
/// itself.
fn make(
    tid: Tid,
    entry: &SyscallEntry,
    batch: &[(BatchedCall, [u64; 6])],
    own: Option<usize>,
    behind: &Registers,
) -> Result<Vec<i64>, Failed> {
    let refused = |_| Failed::Refused;
    let here = ptrace::registers(tid).map_err(refused)?;
    let mask = ptrace::signal_mask(tid).map_err(refused)?;
    let code = Code::write(tid, entry, batch, own, behind, mask)?;
    let mut there = here;
    arch::go_to(&mut there, code.begin);
    // In this order: from the first of these on the code puts the mask back, with a tracer or
    // without one.
    let result = ptrace::set_registers(tid, there)
        .and_then(|()| ptrace::set_signal_mask(tid, u64::MAX))
        .map_err(refused)
        .and_then(|()| follow(tid, batch.len()));
    if matches!(result, Err(Failed::Left(_))) {
        return result;
    }
    let mut end = if result.is_ok() { *behind } else { here };
    if let (Ok(results), Some(own)) = (&result, own) {
        if let Some(&value) = results.get(own) {
            arch::set_result(&mut end, value);
        }
    }
    // As above: the mask first, and the way back last. What fails here fails because it has been
    // killed.
    let _ = ptrace::set_signal_mask(tid, mask);
    let _ = ptrace::set_registers(tid, end);
    code.erase(tid);
    result
}

/// Code in a tracee's memory: makes calls, sets the signal mask, and goes back.
struct Code {
    begin: u64,
    /// Where its data lie, which the code follows.
    data: u64,
    length: usize,
}

impl Code {
    fn write(
        tid: Tid,
        entry: &SyscallEntry,
        batch: &[(BatchedCall, [u64; 6])],
        own: Option<usize>,
        behind: &Registers,
        mask: u64,
    ) -> Result<Self, Failed> {
        const MASK_BYTES: u64 = 8;
        let (begin, length) = room(tid).ok_or(Failed::Refused)?;
        let number = |asked| arch::number(entry, asked).ok_or(Failed::Refused);
        let mut data = mask.to_ne_bytes().to_vec();
        let mut calls = Vec::new();
        for &(call, mut arguments) in batch {
            let number = match call {
                BatchedCall::Call(asked) => number(asked)?,
                BatchedCall::SetOption(value) => {
                    arguments[3] =
                        begin + u64::try_from(data.len()).map_err(|_| Failed::Refused)?;
                    data.extend(value.to_ne_bytes());
                    number(RemoteCall::SetOption)?
                }
                BatchedCall::Own => entry.number,
            };
            calls.push(SystemCall { number, arguments });
        }
        let how = u64::from(libc::SIG_SETMASK.unsigned_abs());
        calls.push(SystemCall {
            number: number(RemoteCall::Mask)?,
            arguments: [how, begin, 0, MASK_BYTES, 0, 0],
        });
        data.resize(data.len().next_multiple_of(16), 0);
        let code = begin + u64::try_from(data.len()).map_err(|_| Failed::Refused)?;
        data.extend(arch::code(entry, code, &calls, own, behind).ok_or(Failed::Refused)?);
        if data.len() > length {
            return Err(Failed::Refused);
        }
        ptrace::write(tid, begin, &data).ok_or(Failed::Refused)?;
        Ok(Self {
            begin: code,
            data: begin,
            length: data.len(),
        })
    }

    /// Empties its place, which fails only if the tracee has been killed.
    fn erase(self, tid: Tid) {
        let _ = ptrace::write(tid, self.data, &vec![0; self.length]);
    }
}

/// Follows a tracee through this many calls, and returns their results.
fn follow(tid: Tid, calls: usize) -> Result<Vec<i64>, Failed> {
    let mut results = Vec::new();
    let mut is_within = false;
    let mut was_stopped = false;
    let mut signal = 0;
    while results.len() < calls {
        ptrace::resume(tid, signal).map_err(|_| Failed::Refused)?;
        signal = 0;
        match (
            ptrace::stop_of(tid).map_err(|_| Failed::Refused)?,
            is_within,
        ) {
            (Stop::Syscall, false) => is_within = true,
            (Stop::Syscall, true) => {
                is_within = false;
                match ptrace::syscall(tid) {
                    Some(Syscall::Exit(value)) => results.push(value),
                    _ => return Err(Failed::Refused),
                }
            }
            (left @ (Stop::Gone | Stop::Exec), _) => return Err(Failed::Left(left)),
            // SIGSTOP, which nobody can block: the whole process is to stop.
            (Stop::Signal(number), _) => signal = number,
            _ => was_stopped = true,
        }
    }
    if was_stopped {
        // Its whole process was, and it is to stop as well when it goes on.
        let _ = ptrace::interrupt(tid);
    }
    Ok(results)
}

/// Whether a call can be skipped under this process's own seccomp filter: see
/// [`ptrace::may_make_no_call`].
pub(super) fn can_skip_syscalls() -> bool {
    static CAN_BE: OnceLock<bool> = OnceLock::new();
    let is_filtered = || filters("self").iter().any(|line| line == "Seccomp:\t2");
    *CAN_BE.get_or_init(|| !is_filtered() || ptrace::may_make_no_call())
}

/// Skips the system call that a tracee is about to make, and rewinds to before it.
///
/// Meanwhile the thread is at code that makes the call, and gets there by itself if the tracer is
/// killed. A seccomp filter (seccomp(2)) may have given the skipped call a result, so all registers
/// are set again.
pub(super) fn skip_syscall(tid: Tid, entry: &SyscallEntry) -> Result<(), Failed> {
    let refused = |_| Failed::Refused;
    let here = ptrace::registers(tid).map_err(refused)?;
    let mask = ptrace::signal_mask(tid).map_err(refused)?;
    let own = [(BatchedCall::Own, entry.arguments)];
    let code = Code::write(tid, entry, &own, Some(0), &here, mask)?;
    arch::skip_syscall(tid, here, code.begin).map_err(refused)?;
    ptrace::resume(tid, 0).map_err(refused)?;
    match ptrace::stop_of(tid).map_err(refused)? {
        Stop::Syscall => {}
        left @ (Stop::Gone | Stop::Exec) => return Err(Failed::Left(left)),
        _ => return Err(Failed::Refused),
    }
    let mut before = here;
    arch::restart_syscall(&mut before, entry);
    ptrace::set_registers(tid, before).map_err(refused)?;
    code.erase(tid);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_zeros_at_the_end_but_for_a_margin() {
        assert_eq!(used_of(&[0; 512]), 0);
        let mut bytes = [0; 512];
        bytes[511 - 459] = 7;
        assert_eq!(used_of(&bytes), 80);
        bytes[63] = 7;
        assert_eq!(used_of(&bytes), 80);
        bytes[64] = 7;
        assert_eq!(used_of(&bytes), 96);
        bytes[511] = 7;
        assert_eq!(used_of(&bytes), 512);
    }
}
