//! The library: where it is, what it is, and how a program is given it.

pub(crate) mod elf;
mod embedded;
mod installed;
pub(crate) mod layout;
pub(crate) mod libraries;
pub(crate) mod preload;
mod store;
pub(crate) mod variables;
