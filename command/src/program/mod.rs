//! Programs: whether the library works in one, and starting it.

pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod finding;
pub(crate) mod inspect;
pub(crate) mod interpreter;
mod ld_so;
mod ld_so_predicted;
mod modules;
mod privileges;
pub(crate) mod process;
pub(crate) mod report;
mod script;
pub(crate) mod search;
pub(crate) mod select;
mod started;
pub(crate) mod wrapper;
