//! The specification of `libreuse.so`: real processes on the real kernel, each effect with its control.

#[path = "../support/mod.rs"]
mod support;

mod bind;
