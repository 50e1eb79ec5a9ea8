//! What neither std nor rustix has, one purpose a file: mostly calls that need unsafe code.
#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod exec;
pub(crate) mod kcmp;
pub(crate) mod mmap;
pub(crate) mod proc;
pub(crate) mod replace;
pub(crate) mod scheduling;
pub(crate) mod signals;
pub(crate) mod sockopt;
