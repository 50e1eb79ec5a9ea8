//! The library: where it is, what it is, and its variables.

pub(crate) mod elf;
pub(crate) mod installed;
pub(crate) mod variables;
