//! arm64. Its 32-bit programs are left alone.

use super::{Asked, Call, Wait, native_call, native_wait};
use crate::engine::trace::ptrace::{Entry, Tid};

/// What an ELF file calls the machines whose system calls are known here, and their width.
pub(crate) const MACHINES: &[(&str, u8)] = &[("arm64", 64)];

const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;

/// Which of the calls that matter this is.
pub(in crate::engine::trace) fn call(_: Tid, entry: &Entry) -> Option<Call> {
    (entry.arch == AUDIT_ARCH_AARCH64)
        .then(|| native_call(entry))
        .flatten()
}

/// How long a call waits, if it is one that a signal ends with `EINTR`.
pub(in crate::engine::trace) fn wait(tid: Tid, entry: &Entry) -> Option<Wait> {
    (entry.arch == AUDIT_ARCH_AARCH64)
        .then(|| native_wait(tid, entry))
        .flatten()
}

/// Whether this is close(2), which has closed the descriptor although it was interrupted.
pub(in crate::engine::trace) fn closes(entry: &Entry) -> bool {
    libc::c_long::try_from(entry.number) == Ok(libc::SYS_close)
}

/// Has a call that the tracee stands behind return this.
pub(in crate::engine::trace) fn set_result(registers: &mut libc::user_regs_struct, result: i64) {
    registers.regs[0] = u64::from_ne_bytes(result.to_ne_bytes());
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
    let number = match asked {
        Asked::Map => libc::SYS_mmap,
        Asked::Unmap => libc::SYS_munmap,
        Asked::Option => libc::SYS_getsockopt,
        Asked::SetOption => libc::SYS_setsockopt,
        Asked::Local => libc::SYS_getsockname,
    };
    registers.regs[8] = u64::try_from(number).ok()?;
    registers.regs.get_mut(..6)?.copy_from_slice(&arguments);
    Some(())
}
