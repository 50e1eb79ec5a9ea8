//! The specification of `libreuse.so`: real processes on the real kernel, each effect with its control.

/// `bind`: what an earlier run left behind is no obstacle, and everything else still is.
mod bind;
/// `close` and `LIBREUSE_LINGER`: how connections end, and what they leave behind.
mod close;
/// `connect`: sockets that the program bound itself.
mod connect;
/// What a call costs, in system calls.
mod cost;
/// `graceful`, and peers that look late.
mod late;
/// What the shared object exports, needs and contains.
mod library;
/// `LIBREUSE_LOG`: what is reported, and where.
mod log;
/// Programs of musl, by the same file.
mod musl;
/// Real programs, unmodified.
mod programs;
/// A second run of a program, over whatever the first one left behind.
mod restart;
/// The variables: right values, wrong values, and who obeys them.
mod settings;
/// `LIBREUSE_WAIT`.
mod wait;

mod server;
