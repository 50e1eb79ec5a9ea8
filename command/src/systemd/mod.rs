//! systemd: a service's settings, and the drop-in that makes it preload the library into the service.

pub(crate) mod drop_in;
pub(crate) mod manager;
pub(crate) mod properties;
pub(crate) mod unit;
