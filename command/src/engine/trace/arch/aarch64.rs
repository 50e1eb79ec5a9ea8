//! arm64. Its 32-bit programs are left alone.

use super::{
    Call, Registers, RemoteCall, SystemCall, Wait, native_call, native_number, native_wait,
};
use crate::engine::trace::ptrace::{self, SyscallEntry, Tid};
use std::io;

/// The machines whose system calls are known here, by their names in ELF, and their width.
pub(crate) const MACHINES: &[(&str, u8)] = &[("arm64", 64)];

const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;

/// Which of the calls that matter this is.
pub(in crate::engine::trace) fn call(_: Tid, entry: &SyscallEntry) -> Option<Call> {
    (entry.arch == AUDIT_ARCH_AARCH64)
        .then(|| native_call(entry))
        .flatten()
}

/// How long a call waits, if it is one that a signal ends with `EINTR`.
pub(in crate::engine::trace) fn wait(tid: Tid, entry: &SyscallEntry) -> Option<Wait> {
    (entry.arch == AUDIT_ARCH_AARCH64)
        .then(|| native_wait(tid, entry))
        .flatten()
}

/// Whether this is close(2), which has closed the descriptor although it was interrupted.
pub(in crate::engine::trace) fn closes(entry: &SyscallEntry) -> bool {
    libc::c_long::try_from(entry.number) == Ok(libc::SYS_close)
}

/// Sets the result of a call, at its syscall-exit-stop.
pub(in crate::engine::trace) fn set_result(registers: &mut libc::user_regs_struct, result: i64) {
    registers.regs[0] = u64::from_ne_bytes(result.to_ne_bytes());
}

/// Restarts a system call, from its syscall-exit-stop: as the kernel does itself for
/// calls that a signal has interrupted (`do_signal` in `arch/arm64/kernel/signal.c`). The result
/// has taken the first argument's place.
pub(in crate::engine::trace) fn restart_syscall(
    registers: &mut libc::user_regs_struct,
    entry: &SyscallEntry,
) {
    registers.regs[0] = entry.arguments[0];
    registers.pc = registers.pc.wrapping_sub(4);
}

/// The other way round: from before a call that was to be restarted to behind it.
pub(in crate::engine::trace) fn step_over_syscall(registers: &mut Registers, _: &SyscallEntry) {
    registers.pc = registers.pc.wrapping_add(4);
}

/// Skips a system call, from its syscall-enter-stop, and goes on with this code. Of the two
/// requests the second one may not come to be made: the call is then made, and once more by the
/// code.
pub(in crate::engine::trace) fn skip_syscall(
    tid: Tid,
    mut registers: Registers,
    code: u64,
) -> io::Result<()> {
    registers.pc = code;
    ptrace::set_registers(tid, registers)?;
    ptrace::make_no_call(tid)
}

/// Has a tracee at a syscall-exit-stop go on with this code.
pub(in crate::engine::trace) fn go_to(registers: &mut Registers, code: u64) {
    registers.pc = code;
    registers.regs[0] = 0;
}

/// The number of a call; `None` if it is not known.
pub(in crate::engine::trace) fn number(_: &SyscallEntry, asked: RemoteCall) -> Option<u64> {
    native_number(asked)
}

/// Code that makes these calls, gives the registers back what they are in `behind`, but for the
/// result of the program's `own` call, and goes there. The seventeenth register is for such ways
/// (IP1 in the procedure call standard).
pub(in crate::engine::trace) fn code(
    _: &SyscallEntry,
    _: u64,
    calls: &[SystemCall],
    own: Option<usize>,
    behind: &Registers,
) -> Option<Vec<u8>> {
    const SVC: u32 = 0xd400_0001;
    const SAVE: u32 = 0xaa00_03f3; // mov x19, x0
    const RESTORE: u32 = 0xaa13_03e0; // mov x0, x19
    const RETURN: u32 = 0xd65f_0220; // ret x17: to anywhere, where `br` wants a landing pad
    let mut code = Vec::new();
    let load = |code: &mut Vec<u32>, register: u32, value: u64| {
        for (place, bytes) in value.to_le_bytes().chunks_exact(2).enumerate() {
            // movz for the first 16 bits, and movk.
            let instruction = if place == 0 { 0xd280_0000 } else { 0xf280_0000 };
            let half = u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            let place = u32::try_from(place).unwrap_or(0);
            if place == 0 || half != 0 {
                code.push(instruction | place << 21 | half << 5 | register);
            }
        }
    };
    for (place, call) in calls.iter().enumerate() {
        for (register, value) in (0..).zip(call.arguments) {
            load(&mut code, register, value);
        }
        load(&mut code, 8, call.number);
        code.push(SVC);
        if own == Some(place) {
            code.push(SAVE);
        }
    }
    if own.is_some() {
        code.push(RESTORE);
        load(&mut code, 19, behind.regs[19]);
    } else {
        load(&mut code, 0, behind.regs[0]);
    }
    for register in [1_u32, 2, 3, 4, 5, 8] {
        load(&mut code, register, *behind.regs.get(register as usize)?);
    }
    load(&mut code, 17, behind.pc);
    code.push(RETURN);
    Some(code.into_iter().flat_map(u32::to_le_bytes).collect())
}
