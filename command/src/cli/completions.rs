//! Prints completion scripts. For bash, zsh and fish they ask the command itself; for others
//! clap_complete generates them from the options.

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
    let script = match arguments.shell {
        Shell::Bash => include_str!("completions/reuseaddr.bash").to_owned(),
        Shell::Zsh => include_str!("completions/reuseaddr.zsh").to_owned(),
        Shell::Fish => include_str!("completions/reuseaddr.fish").to_owned(),
        other => {
            let mut script = Vec::new();
            clap_complete::generate(other, &mut command, "reuseaddr", &mut script);
            String::from_utf8_lossy(&script).into_owned()
        }
    };
    output::print(&script)?;
    Ok(exit::YES)
}
