//! `reuseaddr`: says why a port is busy, and starts programs so that it is not.
//!
//! * `run` starts a program with `libreuse.so` preloaded, after `check` has found that it can be.
//! * `status` shows who holds a port, and what to do about it.
//! * `evict` ends what earlier runs left behind; `arm` prepares a running program for its next restart.
//! * `systemd` does for a service what `run` does for a command line.
//!
//! The command shares the table of variables with the library (`config`), and nothing else: a program that linked the
//! library would be hooked itself.

#![deny(unsafe_code)]

mod cli;
#[allow(dead_code)]
// The library reads the settings; the command asks only whether they can be read.
mod config;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
