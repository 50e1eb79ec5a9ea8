//! The library: where it is, what it is, and how a program is given it.

pub(crate) mod elf;
pub(crate) mod installed;
pub(crate) mod preload;
pub(crate) mod variables;
