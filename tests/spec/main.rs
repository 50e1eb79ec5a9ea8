//! The specification of `libreuse.so`: real processes on the real kernel, each effect with its
//! control.

mod beside;
mod bind;
mod close;
mod connect;
mod cost;
mod late;
mod library;
mod log;
mod musl;
mod programs;
mod restart;
mod settings;
mod wait;

mod server;
