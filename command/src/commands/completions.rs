//! The completions, made from the command line itself.

use super::exit;
use crate::output;
use anyhow::Result;
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the completion script.
pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "reuseaddr", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(exit::YES)
}
