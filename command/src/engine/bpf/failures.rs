//! Reports every bind(2) and listen(2) of the machine that fails with EADDRINUSE, by BPF programs
//! at the system calls' tracepoints.
//!
//! A program at the entry stores the arguments, and one at the exit reports them if the call failed
//! so. It also reports when the same thread then binds the socket after all, as with libreuse.
//! Of a process that fails a thousand times a second on one address most are only counted, so that
//! it leaves room for the others. The programs never take a number back that they have counted, and
//! report it unchanged: the reader remembers how much of it was reported. So a failure that comes
//! while the numbers are read is reported once. Dropping `Failures` removes everything.

use super::asm::{
    Arithmetic, Assembler, Helper, Instruction, Jump, R0, R1, R2, R3, R4, R6, R7, R8, R9, STACK,
    Size,
};
use super::ring::Ring;
use super::sys::{self, MapKind, Program};
use super::tracepoint::{open_tracepoint, set_program};
use anyhow::{Context, Result, bail};
use libreuse_rules::endpoint::Endpoint;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Which call has failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum FailedCall {
    Bind,
    Listen,
}

impl FailedCall {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Listen => "listen",
        }
    }
}

/// A call that failed, or its later success.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) call: FailedCall,
    /// Whether it has succeeded now, after a failure.
    pub(crate) succeeded: bool,
    pub(crate) pid: i32,
    pub(crate) tid: i32,
    pub(crate) uid: u32,
    /// The thread's name (PR_SET_NAME(2const)).
    pub(crate) name: String,
    /// The program's descriptor of the socket.
    pub(crate) descriptor: i32,
    /// The address that was passed to `bind`.
    pub(crate) address: Option<Endpoint>,
    /// How many failures of this process on this address were counted, and not reported, before it.
    pub(crate) unreported: u64,
    /// Whether those that follow at once are only counted.
    pub(crate) is_last: bool,
}

/// The process and the address of failures that are counted together; `listen` has no address.
pub(crate) type Counted = (i32, Option<(IpAddr, u16)>);

impl Failure {
    pub(crate) fn counted(&self) -> Counted {
        (self.pid, self.address.map(ip_and_port))
    }
}

/// An address without its flow and scope.
fn ip_and_port(address: Endpoint) -> (IpAddr, u16) {
    let address = SocketAddr::from(address);
    (address.ip(), address.port())
}

/// The attached programs; dropping it detaches them.
pub(crate) struct Failures {
    ring: Ring,
    rates: OwnedFd,
    told: Told,
    /// Their perf events; closing them detaches the programs.
    _events: Vec<OwnedFd>,
}

/// The maps that the programs share.
#[derive(Clone, Copy)]
struct Maps<'a> {
    /// Each thread's call, by thread number.
    calls: BorrowedFd<'a>,
    /// The descriptors that a thread could not bind.
    failed: BorrowedFd<'a>,
    /// How often each process has failed lately on each address.
    rates: BorrowedFd<'a>,
    ring: BorrowedFd<'a>,
}

/// How many calls may be in progress at once; beyond that the oldest are forgotten.
const UNDER_WAY: u32 = 10_240;

// Offsets in the stored arguments.
const DESCRIPTOR: i16 = 0;
const ADDRESS: i16 = 8;
const KEPT: u32 = 16;

// What is reported.
const REPORT: u32 = 96;
const THREAD: usize = 0;
const USER: usize = 8;
const NAME: usize = 16;
const OF_DESCRIPTOR: usize = 32;
const OUTCOME: usize = 40;
const OF_ADDRESS: usize = 48;
const ADDRESS_ROOM: usize = 32;
const COUNTED: usize = 80;
const NUMBER_IN_WINDOW: usize = 88;

// The stack, downwards.
const KEY: i16 = -16;
/// Behind the thread: both are the key of `failed`.
const KEY_DESCRIPTOR: i16 = KEY + 8;
const VALUE: i16 = -32;
const EVENT: i16 = -136;
/// The process, and the address, which is 0 for `listen`.
const RATE_KEY: i16 = EVENT - 32;
const RATE_KEY_LENGTH: u32 = 32;
const RATE: i16 = RATE_KEY - 24;
const RATE_LENGTH: u32 = 24;

/// How many failures of one process on one address are reported in each window; the others are only
/// counted, and told with the next one, or after the window.
const EACH: i32 = 100;
const WINDOW_NS: i32 = 1_000_000_000;

// Offsets in what is kept of that.
const WINDOW_BEGIN: i16 = 0;
const IN_WINDOW: i16 = 8;
const ONLY_COUNTED: i16 = 16;

/// Values of `OUTCOME`.
const BIND_FAILED: i32 = 1;
const LISTEN_FAILED: i32 = 2;
const SUCCEEDED: i32 = 3;

/// Offset in the context of the first argument at the entry, and of the result at the exit. Each
/// has eight bytes.
const FIRST: i16 = 16;

const IN_USE: i32 = -libc::EADDRINUSE;

const OUT: &str = "out";

impl Failures {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    ///
    /// In words, with what is needed.
    pub(crate) fn watch() -> Result<Self> {
        // Before tracefs is mounted: it is empty there, and Linux 6.12 has a bug for which it stops
        // when it is unmounted again (tracefs_destroy_inode).
        if is_confidential() {
            bail!(
                "this kernel is locked down to confidentiality, under which nobody may trace it: \
                 `watch` takes lockdown=integrity, or none, on the kernel's command line \
                 (kernel_lockdown(7)). The engine bpf and `reuseaddr status` still work"
            );
        }
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        // Before Linux 5.11 maps count as locked memory. A process that may not raise the limit may
        // not load programs either.
        let _ = setrlimit(Resource::Memlock, unlimited);
        let ring = Ring::new("reuse_events", REPORT)
            .map_err(|error| refused(error, "Linux 5.8 or later"))?;
        let kept = |name, key_size, value_size| {
            sys::create_map(&MapKind {
                name,
                kind: sys::MAP_LRU_HASH,
                key_size,
                value_size,
                max_entries: UNDER_WAY,
                flags: 0,
                types: None,
            })
            .map_err(|error| refused(error, "Linux 5.8 or later"))
        };
        let calls = kept("reuse_calls", 8, KEPT)?;
        let failed = kept("reuse_failed", 16, 4)?;
        let rates = kept("reuse_rates", RATE_KEY_LENGTH, RATE_LENGTH)?;
        let tracefs = tracefs().map_err(|error| refused(error, "tracefs (CONFIG_FTRACE)"))?;
        let maps = Maps {
            calls: calls.as_fd(),
            failed: failed.as_fd(),
            rates: rates.as_fd(),
            ring: ring.as_fd(),
        };
        let mut events = Vec::new();
        // The reporting programs come last: no call that was seen to begin is missed.
        for (point, name, code) in [
            (
                "sys_enter_bind",
                "reuse_bind_in",
                entry(maps, FailedCall::Bind)?,
            ),
            (
                "sys_enter_listen",
                "reuse_listen_in",
                entry(maps, FailedCall::Listen)?,
            ),
            ("sys_exit_bind", "reuse_bind_out", exit(maps, BIND_FAILED)?),
            (
                "sys_exit_listen",
                "reuse_listen_out",
                exit(maps, LISTEN_FAILED)?,
            ),
        ] {
            events.push(attach(&tracefs, point, name, &code)?);
        }
        Ok(Self {
            ring,
            rates,
            told: Told::default(),
            _events: events,
        })
    }

    /// Takes what was only counted of processes that have not failed since, as those that have
    /// exited. Everything that was reported has to be taken before.
    pub(crate) fn take_counted(&mut self) -> Vec<(Counted, u64)> {
        let map = self.rates.as_fd();
        let Ok(entries) = sys::entries(map) else {
            return Vec::new();
        };
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec * i64::from(WINDOW_NS) + now.tv_nsec;
        let (mut there, mut ended) = (HashSet::new(), Vec::new());
        for (key, value) in entries {
            let (Some(whose), Some(rate)) = (whose(&key), rate(&value)) else {
                continue;
            };
            there.insert(whose);
            if now - rate.begin > i64::from(WINDOW_NS) {
                // Whoever fails again begins anew, and at 0. It may have gone by itself.
                let _ = sys::delete(map, &key);
                ended.push((whose, rate.counted));
            }
        }
        // Of those that went the last time, everything that was reported has been taken by now.
        self.told.0.retain(|key, _| there.contains(key));
        ended
            .into_iter()
            .map(|(whose, counted)| (whose, self.told.more(whose, counted)))
            .filter(|&(_, times)| times > 0)
            .collect()
    }

    /// Whether it remembers what has been told.
    pub(crate) fn has_counted(&self) -> bool {
        !self.told.0.is_empty()
    }

    /// Whether some may have been lost since this was last asked: they came faster than they were
    /// taken.
    pub(crate) fn may_have_lost_some(&mut self) -> bool {
        self.ring.was_full()
    }

    /// Takes the next failure, if there is one.
    pub(crate) fn take(&mut self) -> Option<Failure> {
        while let Some(record) = self.ring.next() {
            if let Some((mut failure, counted)) = decode(&record) {
                if !failure.succeeded {
                    failure.unreported = self.told.more(failure.counted(), counted);
                }
                return Some(failure);
            }
        }
        None
    }
}

impl AsFd for Failures {
    /// Readable when there is something to take.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The message where the kernel refuses.
fn refused(error: io::Error, needed: &str) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if geteuid().is_root() => anyhow::anyhow!(
            "root may not watch the kernel here: CAP_BPF, CAP_PERFMON or CAP_SYS_ADMIN is \
             missing, or a seccomp filter forbids it, as in containers. On the host: `sudo \
             reuseaddr watch`"
        ),
        Some(libc::EPERM | libc::EACCES) => anyhow::anyhow!(
            "only root may watch the kernel, with CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN: try \
             `sudo reuseaddr watch`"
        ),
        // Nothing is missing but room.
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
            anyhow::Error::new(error).context("the kernel can't be watched")
        }
        _ => anyhow::Error::new(error)
            .context(format!("the kernel can't be watched: it takes {needed}")),
    }
}

/// Whether the kernel is locked down so far that it lets nobody read what it knows
/// (`kernel_lockdown(7)`).
fn is_confidential() -> bool {
    match fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(modes) => modes.contains("[confidentiality]"),
        // securityfs may not be mounted.
        Err(_) => fs::read_to_string("/proc/cmdline").is_ok_and(|line| {
            line.split_whitespace()
                .any(|word| word == "lockdown=confidentiality")
        }),
    }
}

/// Opens tracefs, without mounting it anywhere.
fn tracefs() -> io::Result<OwnedFd> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let mounted = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    Ok(mounted)
}

fn attach(tracefs: &OwnedFd, point: &str, name: &str, code: &[Instruction]) -> Result<OwnedFd> {
    let path = format!("events/syscalls/{point}/id");
    let id = openat(
        tracefs,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(io::Error::from)
    .and_then(|file| {
        let mut text = String::new();
        File::from(file).read_to_string(&mut text)?;
        text.trim().parse().map_err(io::Error::other)
    })
    .map_err(|error| {
        refused(
            error,
            "tracepoints of system calls (CONFIG_FTRACE_SYSCALLS)",
        )
    })?;
    let program = match sys::load(&Program {
        name,
        kind: sys::PROGRAM_TRACEPOINT,
        attach_type: 0,
        code,
    }) {
        Ok(program) => program,
        Err(refusal) if refusal.verifier.is_empty() => {
            return Err(refused(refusal.error, "programs at tracepoints"));
        }
        Err(refusal) => bail!("the kernel refuses {name}: {}", refusal.verifier),
    };
    // An event on one processor suffices: the program runs on all.
    let event = open_tracepoint(id, 0).map_err(|error| refused(error, "tracepoints"))?;
    set_program(event.as_fd(), program.as_fd())
        .with_context(|| format!("{name} can't be attached"))?;
    Ok(event)
}

/// Stores the arguments of the thread's call.
fn entry(maps: Maps<'_>, call: FailedCall) -> Result<Vec<Instruction>> {
    let mut a = Assembler::new();
    a.copy(R6, R1);
    a.load(Size::Double, R7, R6, FIRST);
    match call {
        FailedCall::Bind => a.load(Size::Double, R8, R6, FIRST + 8),
        FailedCall::Listen => a.set(R8, 0),
    }
    a.store(Size::Double, STACK, VALUE + DESCRIPTOR, R7);
    a.store(Size::Double, STACK, VALUE + ADDRESS, R8);
    a.call(Helper::GetThread);
    a.store(Size::Double, STACK, KEY, R0);
    update(&mut a, maps.calls);
    end(a)
}

/// Reports the thread's call if it failed with EADDRINUSE, or if it succeeded after such a failure.
fn exit(maps: Maps<'_>, outcome: i32) -> Result<Vec<Instruction>> {
    let mut a = Assembler::new();
    a.copy(R6, R1);
    a.call(Helper::GetThread);
    a.store(Size::Double, STACK, KEY, R0);
    find(&mut a, maps.calls);
    a.jump_if(R0, Jump::Equal, 0, OUT);
    a.copy(R7, R0);
    a.load(Size::Double, R3, R7, DESCRIPTOR);
    a.store(Size::Double, STACK, KEY_DESCRIPTOR, R3);
    a.load(Size::Double, R8, R6, FIRST);
    a.jump_if(R8, Jump::Equal, IN_USE, "failed");
    a.jump_if(R8, Jump::NotEqual, 0, OUT);
    find(&mut a, maps.failed);
    a.jump_if(R0, Jump::Equal, 0, OUT);
    a.map(R1, maps.failed);
    a.address(R2, KEY);
    a.call(Helper::MapDelete);
    a.set(R9, SUCCEEDED);
    a.jump_if(R9, Jump::Equal, SUCCEEDED, "report");
    a.label("failed");
    a.set(R9, outcome);
    a.label("report");
    report(&mut a, maps);
    a.jump_if(R9, Jump::Equal, SUCCEEDED, OUT);
    a.store_number(Size::Double, STACK, VALUE, 1);
    update(&mut a, maps.failed);
    end(a)
}

/// Stores the value under the key.
fn update(a: &mut Assembler, map: BorrowedFd<'_>) {
    a.map(R1, map);
    a.address(R2, KEY);
    a.address(R3, VALUE);
    a.set(R4, 0);
    a.call(Helper::MapUpdate);
}

/// `R0 = ` the address of the key's value, or 0.
fn find(a: &mut Assembler, map: BorrowedFd<'_>) {
    a.map(R1, map);
    a.address(R2, KEY);
    a.call(Helper::MapLookup);
}

/// Writes a report about the call that `R7` points to, with the outcome in `R9`; none for another
/// address family.
fn report(a: &mut Assembler, maps: Maps<'_>) {
    a.load(Size::Double, R3, STACK, KEY);
    a.store(Size::Double, STACK, at(THREAD), R3);
    a.call(Helper::GetUser);
    a.store(Size::Double, STACK, at(USER), R0);
    a.address(R1, at(NAME));
    a.set(R2, 16);
    a.call(Helper::GetName);
    a.load(Size::Double, R3, R7, DESCRIPTOR);
    a.store(Size::Double, STACK, at(OF_DESCRIPTOR), R3);
    a.store(Size::Double, STACK, at(OUTCOME), R9);
    for word in (0..ADDRESS_ROOM).step_by(8) {
        a.store_number(Size::Double, STACK, at(OF_ADDRESS + word), 0);
    }
    a.load(Size::Double, R6, R7, ADDRESS);
    // listen has none.
    a.jump_if(R6, Jump::Equal, 0, "write");
    // A sockaddr_in6, one of RFC 2133's length, or a sockaddr_in: the longest that can be read.
    for length in [28, 24, 16] {
        a.address(R1, at(OF_ADDRESS));
        a.set(R2, length);
        a.copy(R3, R6);
        a.call(Helper::ReadFromUser);
        a.jump_if(R0, Jump::Equal, 0, "read");
    }
    a.jump_if(R0, Jump::NotEqual, 0, OUT);
    a.label("read");
    a.load(Size::Half, R3, STACK, at(OF_ADDRESS));
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_UNSPEC] {
        a.jump_if(R3, Jump::Equal, family, "write");
    }
    a.jump_if(R3, Jump::NotEqual, libc::AF_INET, OUT);
    a.label("write");
    a.store_number(Size::Double, STACK, at(COUNTED), 0);
    a.store_number(Size::Double, STACK, at(NUMBER_IN_WINDOW), 0);
    a.jump_if(R9, Jump::Equal, SUCCEEDED, "output");
    limit(a, maps.rates);
    a.label("output");
    a.map(R1, maps.ring);
    a.address(R2, EVENT);
    a.set(R3, i32::try_from(REPORT).unwrap_or(i32::MAX));
    a.set(R4, 0);
    a.call(Helper::RingOutput);
}

/// Goes on only if not too many failures of this process on this address were reported in this
/// window, with the number of all that were only counted in the report.
fn limit(a: &mut Assembler, rates: BorrowedFd<'_>) {
    a.load(Size::Double, R3, STACK, KEY);
    a.compute(Arithmetic::ShiftRight, R3, 32);
    a.store(Size::Double, STACK, RATE_KEY, R3);
    // Family, port and IPv4's address; of IPv6 its address, and not the flow.
    a.load(Size::Double, R3, STACK, at(OF_ADDRESS));
    a.store(Size::Double, STACK, RATE_KEY + 8, R3);
    a.store_number(Size::Double, STACK, RATE_KEY + 16, 0);
    a.store_number(Size::Double, STACK, RATE_KEY + 24, 0);
    a.load(Size::Half, R3, STACK, at(OF_ADDRESS));
    a.jump_if(R3, Jump::NotEqual, libc::AF_INET6, "counted");
    a.store_number(Size::Word, STACK, RATE_KEY + 12, 0);
    for word in [8, 16] {
        a.load(Size::Double, R3, STACK, at(OF_ADDRESS + word));
        a.store(
            Size::Double,
            STACK,
            RATE_KEY + 8 + i16::try_from(word).unwrap_or(i16::MAX),
            R3,
        );
    }
    a.label("counted");
    a.call(Helper::GetTime);
    a.copy(R8, R0);
    a.map(R1, rates);
    a.address(R2, RATE_KEY);
    a.call(Helper::MapLookup);
    a.jump_if(R0, Jump::NotEqual, 0, "known");
    a.store(Size::Double, STACK, RATE + WINDOW_BEGIN, R8);
    a.store_number(Size::Double, STACK, RATE + IN_WINDOW, 1);
    a.store_number(Size::Double, STACK, RATE + ONLY_COUNTED, 0);
    a.map(R1, rates);
    a.address(R2, RATE_KEY);
    a.address(R3, RATE);
    a.set(R4, 0);
    a.call(Helper::MapUpdate);
    a.jump("output");
    a.label("known");
    a.load(Size::Double, R1, R0, WINDOW_BEGIN);
    a.copy(R2, R8);
    a.compute_by(Arithmetic::Subtract, R2, R1);
    a.jump_if(R2, Jump::Greater, WINDOW_NS, "window");
    a.load(Size::Double, R1, R0, IN_WINDOW);
    a.jump_if(R1, Jump::Greater, EACH - 1, "count");
    a.jump("reported");
    a.label("count");
    a.set(R1, 1);
    a.add_to(R0, ONLY_COUNTED, R1);
    a.jump(OUT);
    a.label("window");
    a.store(Size::Double, R0, WINDOW_BEGIN, R8);
    a.set(R1, 0);
    a.label("reported");
    a.compute(Arithmetic::Add, R1, 1);
    a.store(Size::Double, R0, IN_WINDOW, R1);
    a.store(Size::Double, STACK, at(NUMBER_IN_WINDOW), R1);
    a.load(Size::Double, R1, R0, ONLY_COUNTED);
    a.store(Size::Double, STACK, at(COUNTED), R1);
}

/// Where this part of a report is on the stack.
fn at(part: usize) -> i16 {
    EVENT + i16::try_from(part).unwrap_or(i16::MAX)
}

fn end(mut a: Assembler) -> Result<Vec<Instruction>> {
    a.label(OUT);
    a.set(R0, 0);
    a.exit();
    a.finish()
}

/// A failure that tells of no others yet, and how many were only counted before it since the kernel
/// began to.
fn decode(record: &[u8]) -> Option<(Failure, u64)> {
    let wide = |at: usize| {
        let bytes = record.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    let thread = wide(THREAD)?;
    let name = record.get(NAME..NAME + 16)?;
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    let outcome = i32::try_from(wide(OUTCOME)?).ok()?;
    let address = record.get(OF_ADDRESS..OF_ADDRESS + ADDRESS_ROOM)?;
    let is_bind = address.iter().any(|&byte| byte != 0);
    let failure = Failure {
        call: if outcome == LISTEN_FAILED {
            FailedCall::Listen
        } else {
            FailedCall::Bind
        },
        succeeded: outcome == SUCCEEDED,
        pid: i32::try_from(thread >> 32).ok()?,
        tid: i32::try_from(low(thread)).ok()?,
        uid: low(wide(USER)?),
        name: crate::output::readable(&name[..end]),
        descriptor: i32::try_from(low(wide(OF_DESCRIPTOR)?)).ok()?,
        address: if is_bind {
            Endpoint::decode(address)
        } else {
            None
        },
        unreported: 0,
        is_last: wide(NUMBER_IN_WINDOW)? >= u64::from(EACH.unsigned_abs()),
    };
    Some((failure, wide(COUNTED)?))
}

/// How many of those that were only counted have been told.
#[derive(Debug, Default)]
struct Told(HashMap<Counted, u64>);

impl Told {
    /// How many more of these have been counted now than were told, which are told by that. The
    /// kernel counts up; at 0 it has begun anew. Of two processors one may report late, and less.
    fn more(&mut self, whose: Counted, counted: u64) -> u64 {
        if counted == 0 {
            self.0.remove(&whose);
            return 0;
        }
        let told = self.0.entry(whose).or_default();
        let more = counted.saturating_sub(*told);
        *told += more;
        more
    }
}

/// What is kept of one process's failures on one address.
struct Rate {
    begin: i64,
    counted: u64,
}

fn rate(value: &[u8]) -> Option<Rate> {
    let [begin, counted] = [WINDOW_BEGIN, ONLY_COUNTED].map(|at| {
        let bytes = value.get(usize::try_from(at).ok()?..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*bytes))
    });
    Some(Rate {
        begin: i64::try_from(begin?).ok()?,
        counted: counted?,
    })
}

/// Whose rate this is the key of.
fn whose(key: &[u8]) -> Option<Counted> {
    let (process, address) = key.split_first_chunk::<8>()?;
    let address = if address.iter().all(|&byte| byte == 0) {
        None
    } else {
        Some(ip_and_port(Endpoint::decode(address)?))
    };
    let process = i32::try_from(u64::from_ne_bytes(*process)).ok()?;
    Some((process, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_each_once_whoever_reads_first() {
        let (one, other) = ((1, None), (2, None));
        let mut told = Told::default();
        let mut more = |whose, counted| told.more(whose, counted);
        assert_eq!([more(one, 0), more(other, 3)], [0, 3]);
        // A look at the map and a report of the same number, in either order.
        assert_eq!([more(one, 7), more(one, 7)], [7, 0]);
        assert_eq!([more(one, 9), more(other, 3)], [2, 0]);
        // One that comes late has been told.
        assert_eq!([more(one, 8), more(one, 9)], [0, 0]);
        // It has gone from the map.
        assert_eq!([more(one, 0), more(one, 9)], [0, 9]);
    }
}
