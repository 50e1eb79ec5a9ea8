//! Ports: what is on one, whether it can be bound, and what to do about it.

pub(crate) mod advice;
pub(crate) mod direction;
pub(crate) mod eviction;
pub(crate) mod list;
pub(crate) mod model;
mod obstacle;
pub(crate) mod verdict;
