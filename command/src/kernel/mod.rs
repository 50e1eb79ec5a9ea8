//! What the kernel knows of ports, sockets and processes, and the calls that ask it.

pub(crate) mod calls;
pub(crate) mod cgroup;
pub(crate) mod descriptors;
pub(crate) mod file;
pub(crate) mod handle;
pub(crate) mod holders;
pub(crate) mod network;
pub(crate) mod probe;
pub(crate) mod reset;
pub(crate) mod rights;
pub(crate) mod selinux;
pub(crate) mod sock_diag;
pub(crate) mod who;
