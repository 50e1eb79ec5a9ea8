//! The specification of `libreuse.so`: real processes on the real kernel, each effect with its control.

#[path = "../support/mod.rs"]
mod support;

/// `bind`: what an earlier run left behind is no obstacle, and everything else still is.
mod bind;
/// A second run of a program, over whatever the first one left behind.
mod restart;

mod server;
