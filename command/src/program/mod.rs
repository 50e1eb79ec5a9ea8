//! Programs: whether the library works in one, and starting it.

mod choice;
pub(crate) mod judge;
mod loader;
pub(crate) mod report;
mod rights;
pub(crate) mod running;
mod script;
mod settled;
pub(crate) mod start;
pub(crate) mod starter;
