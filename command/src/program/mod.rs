//! Programs: whether the library works in one, and starting it.

mod choice;
pub(crate) mod judge;
pub(crate) mod loader;
pub(crate) mod report;
mod rights;
pub(crate) mod running;
mod script;
pub(crate) mod start;
pub(crate) mod starter;
