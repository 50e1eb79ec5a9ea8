//! `reuseaddr`: says why a port is busy, and starts programs so that it is not.
//!
//! * `run` starts a program with `libreuse.so` preloaded, after `check` has found that it can be.
//! * `status` shows who holds a port, and what to do about it.
//! * `evict` ends what earlier runs left behind; `arm` prepares a running program for its next restart.
//! * `systemd` does for a service what `run` does for a command line.
//!
//! The command shares the rules with the library (`libreuse_rules`), and nothing else: a program that linked the library
//! would be hooked itself.

#![deny(unsafe_code)]
#![allow(clippy::doc_markdown)] // Many of these comments are the help as well, where backticks would be seen.
#![allow(clippy::format_push_string)] // `write!` to a string returns a result that means nothing.

mod commands;
mod engine;
mod kernel;
mod library;
mod output;
mod port;
mod program;
mod systemd;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use commands::{arm, check, completions, evict, exit, man, run, status};
use log::{LevelFilter, Log, Metadata, Record};
use std::env;
use std::process::ExitCode;

/// Say why a TCP port is busy, and start programs so that it is not.
///
/// A program that is restarted often finds its port busy with what its last run left behind (TIME_WAIT). `reuseaddr
/// run` starts it with libreuse.so, which lets it bind the port all the same; `reuseaddr status` shows what holds a
/// port, and what to do about it.
#[derive(Debug, Parser)]
#[command(
    name = "reuseaddr",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(after_help = "Start with `reuseaddr status PORT`, which says what to do.")]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say on stderr what is being done; twice for more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Status(status::Arguments),
    Evict(evict::Arguments),
    Arm(arm::Arguments),
    Systemd(commands::systemd::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// Answers the command line.
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    Logger::install(match cli.verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
    let (result, failed) = match cli.command {
        Command::Run(arguments) => (run::run(&arguments), exit::REFUSED),
        Command::Check(arguments) => (check::run(&arguments), exit::FAILED),
        Command::Status(arguments) => (status::run(&arguments), exit::FAILED),
        Command::Evict(arguments) => (evict::run(&arguments), exit::FAILED),
        Command::Arm(arguments) => (arm::run(&arguments), exit::FAILED),
        Command::Systemd(arguments) => (commands::systemd::run(&arguments), exit::FAILED),
        Command::Completions(arguments) => {
            (completions::run(&arguments, Cli::command()), exit::FAILED)
        }
        Command::Man(arguments) => (man::run(&arguments, Cli::command()), exit::FAILED),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        output::complain(&format!("{error:#}"));
        failed
    }))
}

/// Writes what the command does to stderr; of a tracer, what it reports to where the library would report it.
struct Logger(env_logger::Logger);

impl Logger {
    fn install(level: LevelFilter) {
        let ours = env_logger::Builder::new()
            .filter_level(level)
            .format_target(false)
            .format_timestamp(None)
            .build();
        // This is the only one.
        if log::set_boxed_logger(Box::new(Self(ours))).is_ok() {
            log::set_max_level(level);
        }
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if !engine::trace::log::report(record) {
            self.0.log(record);
        }
    }

    fn flush(&self) {}
}

/// Says what is wrong with the command line, or gives the help that it asks for.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // Nobody may be reading it; there is nobody else to tell.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    output::tell(&error.render().to_string());
    // Whoever starts a program with `run` has to tell our mistakes from the program's.
    let runs = env::args_os()
        .skip(1)
        .find(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    ExitCode::from(if runs.is_some_and(|name| name == "run") {
        exit::REFUSED
    } else {
        exit::FAILED
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
