//! What the unwind tables of 32-bit ARM name.
//!
//! The assembler notes beside each function's table which of the three routines of the ABI its
//! words are for, so that a static unwinder be linked. An unwinder knows them by their number in
//! the table, and calls its own; glibc has such stand-ins as well
//! (sysdeps/arm/aeabi_unwind_cpp_pr1.c).

use core::arch::global_asm;

global_asm!(
    ".hidden __aeabi_unwind_cpp_pr0",
    ".hidden __aeabi_unwind_cpp_pr1",
    ".globl __aeabi_unwind_cpp_pr0",
    ".globl __aeabi_unwind_cpp_pr1",
    "__aeabi_unwind_cpp_pr0:",
    "__aeabi_unwind_cpp_pr1:",
    "    udf #0",
);
