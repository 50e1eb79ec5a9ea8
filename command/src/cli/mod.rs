//! One file for each command: its arguments, and its answer.

pub(crate) mod arm;
pub(crate) mod bpf;
pub(crate) mod check;
pub(crate) mod clean;
pub(crate) mod complete;
pub(crate) mod completions;
pub(crate) mod evict;
pub(crate) mod exit;
pub(crate) mod free;
pub(crate) mod install;
pub(crate) mod man;
mod mistake;
pub(crate) mod next;
mod options;
pub(crate) mod parse;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod systemd;
pub(crate) mod wait;
pub(crate) mod watch;
