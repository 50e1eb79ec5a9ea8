//! Decides what libreuse does at a `bind`, `listen`, `connect`, `setsockopt` or `close`. The shim
//! or the tracer makes the system calls.
#![no_std]
#![forbid(unsafe_code)]
// The shim is built for size, but the path of every call is inlined all the same.
#![allow(clippy::inline_always)]

pub mod calls;
pub mod diag;
pub mod endpoint;
mod guard;
pub mod policy;
pub mod report;
pub mod sequence;
pub mod settings;

#[cfg(test)]
extern crate std;
