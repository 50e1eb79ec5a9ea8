//! Programs: whether the library works in one, and starting it.

pub(crate) mod file;
pub(crate) mod judge;
mod loader;
pub(crate) mod report;
pub(crate) mod rights;
pub(crate) mod running;
mod script;
pub(crate) mod start;
pub(crate) mod starter;
