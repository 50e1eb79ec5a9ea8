//! systemd: a service's settings, and the drop-in that has it served by the library, or started by
//! `reuseaddr run`.

pub(crate) mod command;
pub(crate) mod drop_in;
pub(crate) mod first_restart;
pub(crate) mod properties;
pub(crate) mod start;
pub(crate) mod unit;
