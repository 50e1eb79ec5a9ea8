//! Ports: what is on one, whether it can be bound, and what to do about it.

pub(crate) mod advice;
pub(crate) mod arming;
pub(crate) mod direction;
pub(crate) mod ending;
pub(crate) mod eviction;
pub(crate) mod family;
pub(crate) mod freeing;
pub(crate) mod list;
pub(crate) mod listing;
pub(crate) mod model;
mod obstacle;
pub(crate) mod verdict;
pub(crate) mod waiting;
