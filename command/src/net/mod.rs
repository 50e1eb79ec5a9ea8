//! The network as the kernel has it: its sockets, its settings, and what a bind would say.

pub(crate) mod namespace;
pub(crate) mod probe;
pub(crate) mod reset;
pub(crate) mod sock_diag;
pub(crate) mod spare;
pub(crate) mod sysctl;
mod tcp;
