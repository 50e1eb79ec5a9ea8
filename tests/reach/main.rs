//! Where `libreuse.so` loads: on old and new libc, into 64-bit and 32-bit programs and those of
//! another processor, installed in each of the ways that the documentation names.
//!
//! The library is the one out of `scripts/build/release`, and what a test needs for other systems
//! comes from `scripts/build/toolchains`.

mod alone;
mod alpine;
mod channels;
mod containers;
mod floor;
mod hostile;
mod install;
mod layouts;
mod linkers;
mod package;
mod release;
mod restart;
mod systems;
