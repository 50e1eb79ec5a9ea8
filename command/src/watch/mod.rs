//! `reuseaddr watch`: which program could not bind, and what is in its way.
//!
//! * `seen`: what is known of the program at that moment, before it exits.
//! * `finding`: what is in its way, looked at from its own network namespace.
//! * `repeats`: one line for what happens again and again.

pub(crate) mod finding;
pub(crate) mod repeats;
pub(crate) mod seen;
