//! The engine `bpf`: BPF programs, at the bind and listen of everything in a control group.
//!
//! For what nobody can enter: setuid programs and those with file capabilities, io_uring, system
//! calls without libc, listeners that are opened late, containers that nobody may touch. It takes
//! root, Linux 6.1 and cgroup v2.
//!
//! * `asm`, `sys`: an assembler, and bpf(2). Nothing is compiled, and no crate is needed.
//! * `maps`, `programs`: what the programs remember, and the programs.
//! * `instance`: attaches them to a group; `pins` and `record` remember that, for us and for
//!   everybody.
//! * `seed`: what listens already, and what is left behind.
//! * `start`, `oci`: for a program that `run` starts, and for a container.
//! * `selftest`: whether the kernel can do it.

mod asm;
pub(crate) mod failures;
pub(crate) mod hierarchy;
pub(crate) mod instance;
pub(crate) mod maps;
pub(crate) mod oci;
pub(crate) mod own;
pub(crate) mod pins;
pub(crate) mod place;
mod programs;
pub(crate) mod record;
mod ring;
pub(crate) mod seed;
pub(crate) mod selftest;
pub(crate) mod start;
mod sys;
mod tracepoint;
