//! The manual pages: the command's, made from the command line itself, and the library's, made from
//! the table of its variables.

mod command;
mod library;
mod page;

use super::exit;
use crate::output;
use anyhow::Result;

/// Print a manual page: `reuseaddr man | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The command's page, or the library's
    #[arg(value_enum, default_value = "reuseaddr", value_name = "PAGE")]
    page: Name,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Name {
    /// reuseaddr(1)
    Reuseaddr,
    /// libreuse.so(8)
    #[value(name = "libreuse.so")]
    Library,
}

/// Prints the page.
pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<u8> {
    command = command.disable_help_subcommand(true);
    command.build();
    output::print(&match arguments.page {
        Name::Reuseaddr => command::page(&command),
        Name::Library => library::page(),
    })?;
    Ok(exit::YES)
}
