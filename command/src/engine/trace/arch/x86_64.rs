//! x86-64, and the 32-bit programs of i386 on it.

use super::i386::{ipc, socketcall, syscall};
use super::{
    Call, Registers, RemoteCall, SystemCall, Wait, Words, has_no_sets, int, native_call,
    native_number, native_wait, set_option,
};
use crate::engine::trace::ptrace::{self, SyscallEntry, Tid, read};
use std::io;

/// The machines whose system calls are known here, by their names in ELF, and their width: x32
/// programs are x86-64 and 32 bits wide, and number their calls otherwise.
pub(crate) const MACHINES: &[(&str, u8)] = &[("x86-64", 64), ("i386", 32)];

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// Which of the calls that matter this is.
pub(in crate::engine::trace) fn call(tid: Tid, entry: &SyscallEntry) -> Option<Call> {
    match entry.arch {
        // The numbers of x32 have another bit set, and are none of these.
        AUDIT_ARCH_X86_64 => native_call(entry),
        AUDIT_ARCH_I386 => call_32(tid, entry),
        _ => None,
    }
}

/// Which of the calls that matter this is, of a 32-bit program.
fn call_32(tid: Tid, entry: &SyscallEntry) -> Option<Call> {
    let [a, b, c, ..] = entry.arguments;
    Some(match entry.number {
        syscall::EXECVE => Call::Exec {
            folder: libc::AT_FDCWD,
            path: a,
        },
        syscall::EXECVEAT => Call::Exec {
            folder: int(a),
            path: b,
        },
        syscall::PTRACE => Call::Trace {
            request: a,
            tid: int(b),
        },
        syscall::SIGRETURN | syscall::RT_SIGRETURN => Call::SignalReturn,
        syscall::EXIT_GROUP => Call::Exit,
        syscall::BIND => Call::Bind {
            fd: int(a),
            address: b,
            length: c,
        },
        syscall::CONNECT => Call::Connect { fd: int(a) },
        syscall::LISTEN => Call::Listen { fd: int(a) },
        syscall::ACCEPT4 => Call::Accept,
        syscall::SETSOCKOPT => set_option(entry.arguments),
        syscall::SOCKETCALL => return multiplexed(tid, a, b),
        _ => return None,
    })
}

/// `socketcall`, whose arguments are in memory (socketcall(2)).
fn multiplexed(tid: Tid, which: u64, arguments: u64) -> Option<Call> {
    let count = match which {
        socketcall::BIND | socketcall::CONNECT => 3,
        socketcall::LISTEN => 2,
        socketcall::ACCEPT | socketcall::ACCEPT4 => return Some(Call::Accept),
        socketcall::SETSOCKOPT => 5,
        _ => return None,
    };
    let words = words(tid, arguments, count)?;
    let [fd, second, third, ..] = words;
    Some(match which {
        socketcall::BIND => Call::Bind {
            fd: int(fd),
            address: second,
            length: third,
        },
        socketcall::CONNECT => Call::Connect { fd: int(fd) },
        socketcall::LISTEN => Call::Listen { fd: int(fd) },
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
pub(in crate::engine::trace) fn wait(tid: Tid, entry: &SyscallEntry) -> Option<Wait> {
    match entry.arch {
        AUDIT_ARCH_X86_64 => native_wait(tid, entry),
        AUDIT_ARCH_I386 => wait_32(tid, entry),
        _ => None,
    }
}

/// The same of a 32-bit program.
fn wait_32(tid: Tid, entry: &SyscallEntry) -> Option<Wait> {
    let [first, second, third, fourth, fifth, sixth] = entry.arguments;
    let again = -i64::from(libc::EAGAIN);
    Some(match (entry.number, first) {
        (syscall::EPOLL_WAIT | syscall::EPOLL_PWAIT, _) => Wait::of_epoll(fourth),
        (syscall::EPOLL_PWAIT2, _) => Wait::until(fourth, Words::Of64, 0),
        (
            syscall::READ
            | syscall::READV
            | syscall::PREADV2
            | syscall::RECVMMSG
            | syscall::ACCEPT4
            | syscall::RECVFROM
            | syscall::RECVMSG
            | syscall::RECVMMSG_TIME64,
            _,
        ) => Wait::to_receive(first),
        (
            syscall::WRITE
            | syscall::WRITEV
            | syscall::PWRITEV2
            | syscall::SENDFILE
            | syscall::SENDFILE64
            | syscall::SENDMMSG
            | syscall::SENDTO
            | syscall::SENDMSG,
            _,
        ) => Wait::to_send(first),
        (syscall::CONNECT, _) => Wait::to_connect(first),
        (syscall::SOCKETCALL, socketcall::CONNECT) => Wait::to_connect(words(tid, second, 1)?[0]),
        (
            syscall::SOCKETCALL,
            socketcall::ACCEPT
            | socketcall::RECV
            | socketcall::RECVFROM
            | socketcall::RECVMSG
            | socketcall::ACCEPT4
            | socketcall::RECVMMSG,
        ) => Wait::to_receive(words(tid, second, 1)?[0]),
        (
            syscall::SOCKETCALL,
            socketcall::SEND | socketcall::SENDTO | socketcall::SENDMSG | socketcall::SENDMMSG,
        ) => Wait::to_send(words(tid, second, 1)?[0]),
        (syscall::IO_URING_ENTER, _) => Wait::of_ring(tid, int(fourth), fifth),
        (syscall::IPC, ipc::SEMOP) => Wait::UNLIMITED,
        (syscall::IPC, ipc::SEMTIMEDOP) => Wait::until(sixth, Words::Of32, again),
        (syscall::SEMTIMEDOP_TIME64, _) => Wait::until(fourth, Words::Of64, again),
        (syscall::RT_SIGTIMEDWAIT, _) => Wait::until(third, Words::Of32, again),
        (syscall::RT_SIGTIMEDWAIT_TIME64, _) => Wait::until(third, Words::Of64, again),
        (syscall::PPOLL, _) => Wait::until(third, Words::Of32, 0),
        (syscall::PPOLL_TIME64, _) => Wait::until(third, Words::Of64, 0),
        (syscall::IO_GETEVENTS, _) => Wait::until(fifth, Words::Of32, 0),
        (syscall::PSELECT6, _) if has_no_sets(entry) => Wait::until(fifth, Words::Of32, 0),
        (syscall::PSELECT6_TIME64, _) if has_no_sets(entry) => Wait::until(fifth, Words::Of64, 0),
        _ => return None,
    })
}

/// Whether this is close(2), which has closed the descriptor although it was interrupted.
pub(in crate::engine::trace) fn closes(entry: &SyscallEntry) -> bool {
    if entry.arch == AUDIT_ARCH_I386 {
        entry.number == syscall::CLOSE
    } else {
        libc::c_long::try_from(entry.number) == Ok(libc::SYS_close)
    }
}

/// Sets the result of a call, at its syscall-exit-stop.
pub(in crate::engine::trace) fn set_result(registers: &mut libc::user_regs_struct, result: i64) {
    registers.rax = u64::from_ne_bytes(result.to_ne_bytes());
}

/// Restarts a system call, from its syscall-exit-stop: as the kernel does itself for
/// calls that a signal has interrupted (`arch_do_signal_or_restart` in `arch/x86/kernel/signal.c`).
/// `syscall` and `int 0x80` are two bytes long, and `sysenter` comes back behind an `int 0x80`.
pub(in crate::engine::trace) fn restart_syscall(
    registers: &mut libc::user_regs_struct,
    _: &SyscallEntry,
) {
    registers.rax = registers.orig_rax;
    registers.rip = registers.rip.wrapping_sub(2);
}

/// The other way round: from before a call that was to be restarted to behind it.
pub(in crate::engine::trace) fn step_over_syscall(registers: &mut Registers, _: &SyscallEntry) {
    registers.rip = registers.rip.wrapping_add(2);
}

/// Skips a system call, from its syscall-enter-stop, and goes on with this code.
pub(in crate::engine::trace) fn skip_syscall(
    tid: Tid,
    mut registers: Registers,
    code: u64,
) -> io::Result<()> {
    registers.rip = code;
    registers.orig_rax = u64::MAX;
    ptrace::set_registers(tid, registers)
}

/// Has a tracee at a syscall-exit-stop go on with this code, and not with a call that the kernel
/// restarts.
pub(in crate::engine::trace) fn go_to(registers: &mut Registers, code: u64) {
    registers.rip = code;
    registers.rax = 0;
    registers.orig_rax = u64::MAX;
}

/// The number of a call; `None` if it is not known.
pub(in crate::engine::trace) fn number(entry: &SyscallEntry, asked: RemoteCall) -> Option<u64> {
    match entry.arch {
        AUDIT_ARCH_X86_64 => native_number(asked),
        AUDIT_ARCH_I386 => Some(match asked {
            RemoteCall::Map => syscall::MMAP2,
            RemoteCall::Unmap => syscall::MUNMAP,
            RemoteCall::Option => syscall::GETSOCKOPT,
            RemoteCall::SetOption => syscall::SETSOCKOPT,
            RemoteCall::Local => syscall::GETSOCKNAME,
            RemoteCall::Mask => syscall::RT_SIGPROCMASK,
        }),
        _ => None,
    }
}

/// Code that makes these calls, gives the registers back what they are in `behind`, but for the
/// result of the program's `own` call, and goes there. It lies at `address`.
pub(in crate::engine::trace) fn code(
    entry: &SyscallEntry,
    address: u64,
    calls: &[SystemCall],
    own: Option<usize>,
    behind: &Registers,
) -> Option<Vec<u8>> {
    match entry.arch {
        AUDIT_ARCH_X86_64 => Some(code_64(calls, own, behind)),
        AUDIT_ARCH_I386 => code_32(address, calls, own, behind),
        _ => None,
    }
}

// The numbers of registers in instructions.
const AX: u8 = 0;
const CX: u8 = 1;
const DX: u8 = 2;
const BX: u8 = 3;
const BP: u8 = 5;
const SI: u8 = 6;
const DI: u8 = 7;
const R8: u8 = 8;
const R9: u8 = 9;
const R10: u8 = 10;

fn code_64(calls: &[SystemCall], own: Option<usize>, behind: &Registers) -> Vec<u8> {
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    const SAVE: [u8; 3] = [0x48, 0x89, 0xc3]; // mov rbx, rax
    const RESTORE: [u8; 3] = [0x48, 0x89, 0xd8]; // mov rax, rbx
    const JUMP: [u8; 6] = [0xff, 0x25, 0, 0, 0, 0]; // jmp [rip], to the address that follows
    let mut code = Vec::new();
    let load = |code: &mut Vec<u8>, register: u8, value: u64| {
        let high = u8::from(register >= R8);
        if let Ok(value) = u32::try_from(value) {
            // mov r32, imm32: the upper half is zero then.
            code.extend((high == 1).then_some(0x41));
            code.push(0xb8 + (register & 7));
            code.extend(value.to_le_bytes());
        } else {
            code.extend([0x48 + high, 0xb8 + (register & 7)]);
            code.extend(value.to_le_bytes());
        }
    };
    for (place, call) in calls.iter().enumerate() {
        for (register, value) in [DI, SI, DX, R10, R8, R9].into_iter().zip(call.arguments) {
            load(&mut code, register, value);
        }
        load(&mut code, AX, call.number);
        code.extend(SYSCALL);
        if own == Some(place) {
            code.extend(SAVE);
        }
    }
    if own.is_some() {
        code.extend(RESTORE);
        load(&mut code, BX, behind.rbx);
    } else {
        load(&mut code, AX, behind.rax);
    }
    for (register, value) in [
        (DI, behind.rdi),
        (SI, behind.rsi),
        (DX, behind.rdx),
        (R10, behind.r10),
        (R8, behind.r8),
        (R9, behind.r9),
    ] {
        load(&mut code, register, value);
    }
    code.extend(JUMP);
    code.extend(behind.rip.to_le_bytes());
    code
}

fn code_32(
    address: u64,
    calls: &[SystemCall],
    own: Option<usize>,
    behind: &Registers,
) -> Option<Vec<u8>> {
    const INT_80: [u8; 2] = [0xcd, 0x80];
    const SAVE: [u8; 2] = [0x89, 0xc5]; // mov ebp, eax: none of these calls has a sixth argument
    const RESTORE: [u8; 2] = [0x89, 0xe8]; // mov eax, ebp
    const JUMP: u8 = 0xe9; // jmp rel32
    // A 64-bit program that makes calls in this way has its vDSO out of their reach.
    u32::try_from(address).ok()?;
    let mut code = Vec::new();
    let load = |code: &mut Vec<u8>, register: u8, value: u64| {
        code.push(0xb8 + register);
        code.extend_from_slice(&value.to_le_bytes()[..4]);
    };
    for (place, call) in calls.iter().enumerate() {
        let registers = [BX, CX, DX, SI, DI, BP];
        // The sixth one is `mmap2`'s offset, which comes before anything is saved.
        let used = if own.is_some() { 5 } else { 6 };
        for (register, value) in registers.into_iter().zip(call.arguments).take(used) {
            load(&mut code, register, value);
        }
        load(&mut code, AX, call.number);
        code.extend(INT_80);
        if own == Some(place) {
            code.extend(SAVE);
        }
    }
    if own.is_some() {
        code.extend(RESTORE);
    } else {
        load(&mut code, AX, behind.rax);
    }
    for (register, value) in [
        (BX, behind.rbx),
        (CX, behind.rcx),
        (DX, behind.rdx),
        (SI, behind.rsi),
        (DI, behind.rdi),
        (BP, behind.rbp),
    ] {
        load(&mut code, register, value);
    }
    code.push(JUMP);
    let next = address + u64::try_from(code.len()).ok()? + 4;
    code.extend_from_slice(&behind.rip.wrapping_sub(next).to_le_bytes()[..4]);
    Some(code)
}
