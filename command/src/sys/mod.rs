//! The few calls that neither std nor rustix has, one purpose a file. Beside `engine/trace`, this
//! is the only unsafe code of the command.
#![allow(unsafe_code)]

pub(crate) mod descriptors;
pub(crate) mod exec;
pub(crate) mod kcmp;
pub(crate) mod localtime;
pub(crate) mod mmap;
pub(crate) mod proc;
pub(crate) mod scheduling;
pub(crate) mod signals;
pub(crate) mod sockopt;
