//! What every test target shares: the library that ships, a network of the test's own, real
//! processes with bounded waits, and the kernel's table of TCP sockets.
#![allow(missing_docs)] // A vocabulary, whose words say what they mean.
#![allow(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use
)] // What panics here is a test that fails.

mod build;
mod compilers;
mod folder;
pub mod matrix;
mod network;
mod process;

pub use build::*;
pub use compilers::*;
pub use folder::*;
pub use network::*;
pub use process::*;
