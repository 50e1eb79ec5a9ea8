//! Ports: what is on one, whether it can be bound, and what to do about it.

pub(crate) mod arm;
pub(crate) mod bindable;
mod cause;
pub(crate) mod diagnosis;
pub(crate) mod direction;
pub(crate) mod evict;
pub(crate) mod explain;
pub(crate) mod free;
pub(crate) mod free_plan;
pub(crate) mod hint;
pub(crate) mod listeners;
pub(crate) mod port_list;
mod respawn;
pub(crate) mod socket;
pub(crate) mod table;
pub(crate) mod terminate;
pub(crate) mod wait;
