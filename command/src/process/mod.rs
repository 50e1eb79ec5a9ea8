//! Processes: who they are, which sockets they hold, who manages them, and what they may do.

pub(crate) mod cgroup;
pub(crate) mod credentials;
pub(crate) mod holders;
pub(crate) mod info;
pub(crate) mod manager;
pub(crate) mod mount;
pub(crate) mod names;
pub(crate) mod pidfd;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod selinux;
pub(crate) mod signal;
pub(crate) mod sockets;
pub(crate) mod status;
pub(crate) mod tree;
pub(crate) mod unit;
pub(crate) mod users;
