//! Ports: what is on one, whether it can be bound, and what to do about it.

pub(crate) mod arm;
mod cause;
pub(crate) mod diagnosis;
pub(crate) mod direction;
pub(crate) mod evict;
pub(crate) mod free_plan;
pub(crate) mod hint;
pub(crate) mod port_list;
pub(crate) mod socket;
pub(crate) mod table;
pub(crate) mod terminate;
pub(crate) mod wait;
