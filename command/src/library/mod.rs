//! The library: where it is, what it is, and its variables.

mod blocks;
pub(crate) mod elf;
mod embedded;
mod installed;
pub(crate) mod instructions;
pub(crate) mod layout;
pub(crate) mod ld_preload;
pub(crate) mod left;
pub(crate) mod libraries;
pub(crate) mod place;
pub(crate) mod store;
pub(crate) mod variables;
