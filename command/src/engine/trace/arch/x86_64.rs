//! x86-64, and the 32-bit programs of i386 on it.

use super::{Asked, Call, int};
use crate::engine::trace::ptrace::{Entry, Tid, read};

/// What an ELF file calls the machines whose system calls are known here, and their width: x32 programs are x86-64 and 32
/// bits wide, and number their calls otherwise.
pub(crate) const MACHINES: &[(&str, u8)] = &[("x86-64", 64), ("i386", 32)];

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// Which of the calls that matter this is.
pub(in crate::engine::trace) fn call(tid: Tid, entry: &Entry) -> Option<Call> {
    match entry.arch {
        AUDIT_ARCH_X86_64 => wide(entry),
        AUDIT_ARCH_I386 => narrow(tid, entry),
        _ => None,
    }
}

/// `arch/x86/entry/syscalls/syscall_64.tbl`. The numbers of x32 have another bit set, and are none of these.
fn wide(entry: &Entry) -> Option<Call> {
    let [a, b, c, ..] = entry.arguments;
    Some(match entry.number {
        15 => Call::SignalReturn,
        42 => Call::Connect { fd: int(a) },
        49 => Call::Bind {
            fd: int(a),
            address: b,
            length: c,
        },
        50 => Call::Listen { fd: int(a) },
        54 => set_option(entry),
        59 => Call::Exec {
            folder: libc::AT_FDCWD,
            path: a,
        },
        322 => Call::Exec {
            folder: int(a),
            path: b,
        },
        231 => Call::Exit,
        _ => return None,
    })
}

/// `arch/x86/entry/syscalls/syscall_32.tbl`.
fn narrow(tid: Tid, entry: &Entry) -> Option<Call> {
    let [a, b, c, ..] = entry.arguments;
    Some(match entry.number {
        11 => Call::Exec {
            folder: libc::AT_FDCWD,
            path: a,
        },
        358 => Call::Exec {
            folder: int(a),
            path: b,
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
        366 => set_option(entry),
        102 => return multiplexed(tid, a, b),
        _ => return None,
    })
}

/// `socketcall`, whose arguments are in memory (socketcall(2)).
fn multiplexed(tid: Tid, which: u64, arguments: u64) -> Option<Call> {
    let mut bytes = [0_u8; 20];
    let count = match which {
        2 | 3 => 3,
        4 => 2,
        14 => 5,
        _ => return None,
    };
    let bytes = bytes.get_mut(..count * 4)?;
    if read(tid, arguments, bytes) != bytes.len() {
        return None;
    }
    let mut words = bytes
        .chunks_exact(4)
        .map(|word| u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]])));
    let mut next = || words.next().unwrap_or(0);
    let fd = int(next());
    Some(match which {
        2 => Call::Bind {
            fd,
            address: next(),
            length: next(),
        },
        3 => Call::Connect { fd },
        4 => Call::Listen { fd },
        _ => Call::SetOption {
            fd,
            level: int(next()),
            name: int(next()),
            value: next(),
            length: next(),
        },
    })
}

fn set_option(entry: &Entry) -> Call {
    let [fd, level, name, value, length, _] = entry.arguments;
    Call::SetOption {
        fd: int(fd),
        level: int(level),
        name: int(name),
        value,
        length,
    }
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
