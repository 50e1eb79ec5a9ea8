//! x86-64, and the 32-bit programs of i386 on it.

use super::{Asked, Call, Wait, Words, int, native_call, native_wait, set_option};
use crate::engine::trace::ptrace::{Entry, Tid, read};

/// What an ELF file calls the machines whose system calls are known here, and their width: x32 programs are x86-64 and 32
/// bits wide, and number their calls otherwise.
pub(crate) const MACHINES: &[(&str, u8)] = &[("x86-64", 64), ("i386", 32)];

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// Which of the calls that matter this is.
pub(in crate::engine::trace) fn call(tid: Tid, entry: &Entry) -> Option<Call> {
    match entry.arch {
        // The numbers of x32 have another bit set, and are none of these.
        AUDIT_ARCH_X86_64 => native_call(entry),
        AUDIT_ARCH_I386 => call_32(tid, entry),
        _ => None,
    }
}

/// `arch/x86/entry/syscalls/syscall_32.tbl`.
fn call_32(tid: Tid, entry: &Entry) -> Option<Call> {
    let [a, b, c, _, e, _] = entry.arguments;
    Some(match entry.number {
        11 => Call::Exec {
            folder: libc::AT_FDCWD,
            path: a,
            flags: 0,
        },
        358 => Call::Exec {
            folder: int(a),
            path: b,
            flags: int(e),
        },
        119 | 173 => Call::SignalReturn,
        252 => Call::Exit,
        361 => Call::Bind {
            fd: int(a),
            address: b,
            length: c,
        },
        362 => Call::Connect { fd: int(a) },
        363 => Call::Listen { fd: int(a) },
        364 => Call::Accept,
        366 => set_option(entry.arguments),
        102 => return multiplexed(tid, a, b),
        _ => return None,
    })
}

/// `socketcall`, whose arguments are in memory (socketcall(2)).
fn multiplexed(tid: Tid, which: u64, arguments: u64) -> Option<Call> {
    let count = match which {
        2 | 3 => 3,
        4 => 2,
        5 | 18 => return Some(Call::Accept),
        14 => 5,
        _ => return None,
    };
    let words = words(tid, arguments, count)?;
    let [fd, second, third, ..] = words;
    Some(match which {
        2 => Call::Bind {
            fd: int(fd),
            address: second,
            length: third,
        },
        3 => Call::Connect { fd: int(fd) },
        4 => Call::Listen { fd: int(fd) },
        _ => {
            let [fd, level, name, value, length] = words;
            set_option([fd, level, name, value, length, 0])
        }
    })
}

/// So many words of 32 bits of a tracee's memory, and zeroes.
fn words(tid: Tid, address: u64, count: usize) -> Option<[u64; 5]> {
    let mut bytes = [0_u8; 20];
    let bytes = bytes.get_mut(..count * 4)?;
    if read(tid, address, bytes) != bytes.len() {
        return None;
    }
    let mut words = [0; 5];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u64::from(u32::from_ne_bytes(bytes.try_into().ok()?));
    }
    Some(words)
}

/// How long a call waits, if it is one that a signal ends with `EINTR`.
pub(in crate::engine::trace) fn wait(tid: Tid, entry: &Entry) -> Option<Wait> {
    match entry.arch {
        AUDIT_ARCH_X86_64 => native_wait(tid, entry),
        AUDIT_ARCH_I386 => wait_32(tid, entry),
        _ => None,
    }
}

/// `arch/x86/entry/syscalls/syscall_32.tbl`; of `ipc` and `socketcall` the first argument says which
/// (`include/uapi/linux/ipc.h`, `include/uapi/linux/net.h`).
fn wait_32(tid: Tid, entry: &Entry) -> Option<Wait> {
    let [first, second, third, fourth, fifth, sixth] = entry.arguments;
    let again = -i64::from(libc::EAGAIN);
    Some(match (entry.number, first) {
        (256 | 319, _) => Wait::of_epoll(fourth),
        (441, _) => Wait::until(fourth, Words::Of64, 0),
        (3 | 145 | 337 | 364 | 371 | 372 | 417, _) => Wait::to_receive(first),
        (4 | 146 | 345 | 369 | 370, _) => Wait::to_send(first),
        (362, _) => Wait::to_connect(first),
        (102, 3) => Wait::to_connect(words(tid, second, 1)?[0]),
        (102, 5 | 10 | 12 | 17 | 18 | 19) => Wait::to_receive(words(tid, second, 1)?[0]),
        (102, 9 | 11 | 16 | 20) => Wait::to_send(words(tid, second, 1)?[0]),
        (426, _) => Wait::of_ring(tid, int(fourth), fifth),
        (117, 1) => Wait::UNLIMITED,
        (117, 4) => Wait::until(sixth, Words::Of32, again),
        (420, _) => Wait::until(fourth, Words::Of64, again),
        (177, _) => Wait::until(third, Words::Of32, again),
        (421, _) => Wait::until(third, Words::Of64, again),
        (247, _) => Wait::until(fifth, Words::Of32, 0),
        _ => return None,
    })
}

/// Whether this is close(2), which has closed the descriptor although it was interrupted.
pub(in crate::engine::trace) fn closes(entry: &Entry) -> bool {
    entry.number == if entry.arch == AUDIT_ARCH_I386 { 6 } else { 3 }
}

/// Has a call that the tracee stands behind return this.
pub(in crate::engine::trace) fn set_result(registers: &mut libc::user_regs_struct, result: i64) {
    registers.rax = u64::from_ne_bytes(result.to_ne_bytes());
}

/// Has the tracee make its call again, from the stop at its end: as the kernel does itself for calls that a signal has
/// interrupted (`arch_do_signal_or_restart` in `arch/x86/kernel/signal.c`). `syscall` and `int 0x80` are two bytes
/// long, and `sysenter` comes back behind an `int 0x80`.
pub(in crate::engine::trace) fn rewind(registers: &mut libc::user_regs_struct, _: &Entry) {
    registers.rax = registers.orig_rax;
    registers.rip = registers.rip.wrapping_sub(2);
}

/// Has the tracee make another call instead of its own, which it stands behind; `None` if the call is not known there.
pub(in crate::engine::trace) fn ask(
    registers: &mut libc::user_regs_struct,
    entry: &Entry,
    asked: Asked,
    arguments: [u64; 6],
) -> Option<()> {
    let (wide, narrow) = match asked {
        Asked::Map => (9, 192),
        Asked::Unmap => (11, 91),
        Asked::Option => (55, 365),
        Asked::SetOption => (54, 366),
        Asked::Local => (51, 367),
    };
    rewind(registers, entry);
    match entry.arch {
        AUDIT_ARCH_X86_64 => {
            registers.rax = wide;
            [
                registers.rdi,
                registers.rsi,
                registers.rdx,
                registers.r10,
                registers.r8,
                registers.r9,
            ] = arguments;
        }
        AUDIT_ARCH_I386 => {
            registers.rax = narrow;
            [
                registers.rbx,
                registers.rcx,
                registers.rdx,
                registers.rsi,
                registers.rdi,
                registers.rbp,
            ] = arguments.map(|argument| argument & u64::from(u32::MAX));
        }
        _ => return None,
    }
    Some(())
}
