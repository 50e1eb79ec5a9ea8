//! Defines the personality routines to which the unwind tables of 32-bit ARM refer.
//!
//! For each function's table the assembler emits a reference to one of the ABI's three routines, so
//! that a static unwinder is linked. An unwinder finds the routine by its number in the table, and
//! calls its own. These are never called; glibc has such stubs too
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
