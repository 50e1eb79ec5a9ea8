//! What libreuse does about a `bind`, `listen`, `connect`, `setsockopt` or `close`, apart from who
//! makes the system calls.
#![no_std]
#![forbid(unsafe_code)]
// The library is built for size, and what each call passes is to be in one piece all the same.
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
