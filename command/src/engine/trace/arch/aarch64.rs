//! arm64. Its 32-bit programs are left alone.

use super::{Asked, Call, int};
use crate::engine::trace::ptrace::{Entry, Tid};

/// What an ELF file calls the machines whose system calls are known here, and their width.
pub(crate) const MACHINES: &[(&str, u8)] = &[("arm64", 64)];

const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;

/// Which of the calls that matter this is (`include/uapi/asm-generic/unistd.h`).
pub(in crate::engine::trace) fn call(_: Tid, entry: &Entry) -> Option<Call> {
    if entry.arch != AUDIT_ARCH_AARCH64 {
        return None;
    }
    let [fd, second, third, fourth, fifth, _] = entry.arguments;
    let first = int(fd);
    Some(match entry.number {
        94 => Call::Exit,
        139 => Call::SignalReturn,
        200 => Call::Bind {
            fd: first,
            address: second,
            length: third,
        },
        201 => Call::Listen { fd: first },
        203 => Call::Connect { fd: first },
        208 => Call::SetOption {
            fd: first,
            level: int(second),
            name: int(third),
            value: fourth,
            length: fifth,
        },
        221 => Call::Exec {
            folder: libc::AT_FDCWD,
            path: fd,
        },
        281 => Call::Exec {
            folder: first,
            path: second,
        },
        _ => return None,
    })
}

/// Has the tracee make its call again, from the stop at its end: as the kernel does itself for calls that a signal has
/// interrupted (`do_signal` in `arch/arm64/kernel/signal.c`). The result has taken the first argument's place.
pub(in crate::engine::trace) fn rewind(registers: &mut libc::user_regs_struct, entry: &Entry) {
    registers.regs[0] = entry.arguments[0];
    registers.pc = registers.pc.wrapping_sub(4);
}

/// Has the tracee make another call instead of its own, which it stands behind; `None` if the call is not known there.
pub(in crate::engine::trace) fn ask(
    registers: &mut libc::user_regs_struct,
    entry: &Entry,
    asked: Asked,
    arguments: [u64; 6],
) -> Option<()> {
    rewind(registers, entry);
    registers.regs[8] = match asked {
        Asked::Map => 222,
        Asked::Unmap => 215,
        Asked::Option => 209,
        Asked::SetOption => 208,
        Asked::Local => 204,
    };
    registers.regs.get_mut(..6)?.copy_from_slice(&arguments);
    Some(())
}
