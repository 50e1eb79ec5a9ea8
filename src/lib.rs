//! `libreuse.so`: an unmodified program can bind its port again at once after a crash or restart,
//! and sees nothing else change.
//!
//! The dynamic linker puts this library in front of libc, so that the program's calls of `bind`,
//! `listen`, `connect`, `setsockopt` and `close` arrive here first. Linux lets a port be bound
//! again over what an earlier run left behind (`TIME_WAIT` and its relatives) when both the old
//! socket and the new one carry `SO_REUSEADDR`. What is done about a call, and in which order, is
//! in the package `libreuse-rules`; here is who makes the system calls:
//!
//! * `hooks` is everything that calls us: the loader once (`load`), then the program.
//! * `calls` is what a rule may ask of the kernel, by `socket` about the program's sockets, `spare`
//!   by one of our own, `file` about other descriptors, `listeners` about listeners, `clock` about
//!   the time; `signals` blocks signals where an interruption would leave something of ours behind.
//! * `real` finds the functions that we interpose, and `copies` other copies of this library, by a
//!   note that says its version too.
//! * `sink` writes what is reported, without disturbing the host.
//! * `memory` has what the compiler would call of libc by itself.
//!
//! The shim runs inside other people's processes: in signal handlers, in children of `vfork`, on
//! small stacks, before its own constructor. It therefore has no standard library, allocates
//! nothing, takes no lock and keeps no descriptor, and in the release build no panic can be reached
//! from anywhere in it.

#![no_std]
#![deny(unsafe_code)]
// The library is built for size, and what each call passes is to be in one piece all the same.
#![allow(clippy::inline_always)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used
)]

mod calls;
#[allow(unsafe_code)] // Calls out: the time.
mod clock;
#[allow(unsafe_code)] // Calls in: the loader's, with the files that are loaded.
mod copies;
#[allow(unsafe_code)] // libc gives out errno by its address.
mod errno;
#[allow(unsafe_code)] // Calls out: which file a descriptor stands for.
mod file;
#[allow(unsafe_code)] // Calls in: C gives us its arguments and trusts us with its return value.
mod hooks;
#[allow(unsafe_code)] // Calls out: the kernel's table of listeners.
mod listeners;
#[allow(unsafe_code)] // Calls in: the loader's; and the program's environment.
mod load;
#[allow(unsafe_code)] // Calls in, from what the compiler makes of our code.
#[cfg(not(any(debug_assertions, test)))]
mod memory;
#[allow(unsafe_code)] // Calls in, from code that went wrong; in the release build there is none.
#[cfg(not(test))] // Lints look at a test build too, which brings a handler of its own.
mod panic;
#[allow(unsafe_code)] // The functions behind ours are reached through addresses from dlsym.
mod real;
#[allow(unsafe_code)] // Calls out: the thread's signal mask.
mod signals;
#[allow(unsafe_code)] // Calls out: what is reported.
mod sink;
#[allow(unsafe_code)] // Calls out: the program's sockets.
mod socket;
#[allow(unsafe_code)] // Calls out: a socket of our own.
mod spare;
#[cfg(target_arch = "arm")]
#[allow(unsafe_code)] // Symbols for the linker.
mod unwind;
