//! systemd: a service's settings, and the drop-in that preloads the library into it, or starts it
//! by `reuseaddr run`.

pub(crate) mod command;
mod conflicts;
pub(crate) mod drop_in;
pub(crate) mod first_restart;
mod programs;
pub(crate) mod properties;
pub(crate) mod start;
pub(crate) mod unit;
