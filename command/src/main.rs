//! `reuseaddr`: says why a port is busy, and starts programs so that it is not.
//!
//! * `run` starts a program with `libreuse.so` preloaded, after `check` has found that it can be.
//! * `status` shows who holds a port, and what to do about it.
//! * `watch` shows which programs can't bind, as it happens.
//! * `wait` waits until a port can be bound, `evict` ends what earlier runs left behind, and `free`
//!   whoever has it.
//! * `arm` prepares a running program for its next restart.
//! * `bpf` attaches the engine of that name to services and containers.
//! * `install` puts the library where programs find it by its bare name.
//! * `clean` removes what the others have left on the machine.
//! * `systemd` does for a service what `run` does for a command line.
//!
//! The command shares the rules with the library (`libreuse_rules`), and nothing else: a program
//! that linked the library would be hooked itself.

#![deny(unsafe_code)]
// Many of these comments are the help as well, where backticks would be seen.
#![allow(clippy::doc_markdown)]
#![allow(clippy::format_push_string)] // `write!` to a string returns a result that means nothing.

mod cli;
mod engine;
mod library;
mod net;
mod output;
mod port;
mod process;
mod program;
mod sys;
mod systemd;
mod watch;

use clap::{CommandFactory, Parser, Subcommand};
use cli::{
    arm, bpf, check, clean, complete, completions, evict, exit, free, install, man, next, parse,
    run, status, wait,
};
use log::{LevelFilter, Log, Metadata, Record};
use std::process::ExitCode;

/// Explain why a TCP port is busy, and start programs so that it is not.
///
/// A program that is restarted often finds its port busy with what its last run left behind
/// (TIME_WAIT). `reuseaddr run` starts it with libreuse.so, which lets it bind the port all the
/// same; `reuseaddr status` shows what holds a port, and what to do about it.
#[derive(Debug, Parser)]
#[command(
    name = "reuseaddr",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "Start with `reuseaddr status PORT`, or `reuseaddr PORT` for short: it says what \
                  to do."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Explain on stderr what is being done
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,

    /// When to use colour
    #[arg(long, value_name = "WHEN", default_value = "auto", global = true)]
    color: Color,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Status(status::Arguments),
    Wait(wait::Arguments),
    Watch(cli::watch::Arguments),
    Evict(evict::Arguments),
    Free(free::Arguments),
    Next(next::Arguments),
    Arm(arm::Arguments),
    Systemd(cli::systemd::Arguments),
    Bpf(bpf::Arguments),
    Install(install::Arguments),
    Clean(clean::Arguments),
    Completions(completions::Arguments),
    Complete(complete::Arguments),
    Man(man::Arguments),
}

/// Answers the command line.
fn main() -> ExitCode {
    let cli = match parse::parse::<Cli>() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    anstream::ColorChoice::from(cli.color).write_global();
    Logger::install(match cli.verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
    let (result, failed) = match cli.command {
        Command::Run(arguments) => (run::run(&arguments), exit::REFUSED),
        Command::Check(arguments) => (check::run(&arguments), exit::FAILED),
        Command::Status(arguments) => (status::run(&arguments), exit::FAILED),
        Command::Wait(arguments) => (wait::run(&arguments), exit::FAILED),
        Command::Watch(arguments) => (cli::watch::run(&arguments), exit::FAILED),
        Command::Evict(arguments) => (evict::run(&arguments), exit::FAILED),
        Command::Free(arguments) => (free::run(&arguments), exit::FAILED),
        Command::Next(arguments) => (next::run(&arguments), exit::FAILED),
        Command::Arm(arguments) => (arm::run(&arguments), exit::FAILED),
        Command::Systemd(arguments) => (cli::systemd::run(&arguments), exit::FAILED),
        Command::Bpf(arguments) => (bpf::run(&arguments), exit::FAILED),
        Command::Install(arguments) => (install::run(&arguments), exit::FAILED),
        Command::Clean(arguments) => (clean::run(&arguments), exit::FAILED),
        Command::Completions(arguments) => {
            (completions::run(&arguments, Cli::command()), exit::FAILED)
        }
        Command::Complete(arguments) => (complete::run(&arguments, Cli::command()), exit::FAILED),
        Command::Man(arguments) => (man::run(&arguments, Cli::command()), exit::FAILED),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        output::error(&format!("{error:#}"));
        failed
    }))
}

/// Writes what the command does to stderr; of a tracer, what it reports to where the library would
/// report it.
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
