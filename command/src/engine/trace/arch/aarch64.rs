//! arm64. Its 32-bit programs are left alone.

use super::{Call, int};
use crate::engine::trace::ptrace::{Entry, Tid};

/// What an ELF file calls the machines whose system calls are known here, and their width.
pub(crate) const MACHINES: &[(&str, u8)] = &[("arm64", 64)];

const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;

/// Which of the calls that matter this is (`include/uapi/asm-generic/unistd.h`).
pub(in crate::engine::trace) fn call(_: Tid, entry: &Entry) -> Option<Call> {
    if entry.arch != AUDIT_ARCH_AARCH64 {
        return None;
    }
    let [a, b, c, d, e, _] = entry.arguments;
    Some(match entry.number {
        94 => Call::Exit,
        200 => Call::Bind {
            fd: int(a),
            address: b,
            length: c,
        },
        201 => Call::Listen { fd: int(a) },
        203 => Call::Connect { fd: int(a) },
        208 => Call::SetOption {
            fd: int(a),
            level: int(b),
            name: int(c),
            value: d,
            length: e,
        },
        221 => Call::Exec {
            folder: libc::AT_FDCWD,
            path: a,
        },
        281 => Call::Exec {
            folder: int(a),
            path: b,
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
