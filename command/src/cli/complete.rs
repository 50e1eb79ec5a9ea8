//! Completes a command line for the completion scripts. Options and values come from the command
//! line's definition; ports, processes and units from the machine.

use super::exit;
use crate::net::sock_diag::{self, Which};
use crate::output;
use crate::process::holders::{Holders, pids};
use crate::process::names;
use anyhow::Result;
use clap::{Arg, Command};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

/// Print what may stand at the end of a command line
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Arguments {
    /// The words after `reuseaddr`, the unfinished one last
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// The possible completions.
#[derive(Debug, Eq, PartialEq)]
enum Completions {
    /// Words, each with what it means.
    Words(Vec<(String, String)>),
    Files,
    /// Another program's command line begins with this word, counted from `reuseaddr`, which is 0.
    Command(usize),
}

/// Answers the completion scripts: a line for each word, a tab and what it means; or `:files`, or
/// `:command N`.
pub(crate) fn run(arguments: &Arguments, mut command: Command) -> Result<u8> {
    command.build();
    let text = match completions(&command, &arguments.words) {
        Completions::Files => ":files\n".into(),
        Completions::Command(position) => format!(":command {position}\n"),
        Completions::Words(words) => {
            let lines = words
                .iter()
                .map(|(word, meaning)| format!("{word}\t{meaning}\n"));
            lines.collect::<Vec<_>>().concat()
        }
    };
    output::print(&text)?;
    Ok(exit::YES)
}

fn completions(top: &Command, words: &[String]) -> Completions {
    let Some((current, before)) = words.split_last() else {
        return Completions::Words(Vec::new());
    };
    let mut command = top;
    let mut given: Vec<&str> = Vec::new();
    let mut value_of = None;
    for (position, word) in before.iter().enumerate() {
        if value_of.take().is_some() {
            continue;
        }
        if let Some(option) = word.strip_prefix("--").filter(|option| !option.is_empty()) {
            let name = option.split('=').next().unwrap_or(option);
            given.push(name);
            value_of = option_called(command, name)
                .filter(|option| option.get_action().takes_values() && !word.contains('='));
        } else if word.starts_with('-') && word != "-" {
            // None of the short ones takes a value.
        } else if let Some(subcommand) = command.find_subcommand(word) {
            command = subcommand;
        } else if takes_a_program(command) {
            // The words start with `reuseaddr` itself, which is not among ours.
            return Completions::Command(position + 1);
        } else if command.has_subcommands() {
            // A port stands for `status`, and nothing else may.
            command = top.find_subcommand("status").unwrap_or(command);
        }
    }
    if let Some(option) = value_of {
        return values(option, current, "");
    }
    if let Some((name, value)) = current
        .strip_prefix("--")
        .and_then(|option| option.split_once('='))
    {
        return option_called(command, name).map_or(Completions::Words(Vec::new()), |option| {
            values(option, value, &format!("--{name}="))
        });
    }
    if current.starts_with('-') {
        return beginning(current, options(command, &given));
    }
    if command.has_subcommands() && !current.starts_with(|letter: char| letter.is_ascii_digit()) {
        let subcommands = command
            .get_subcommands()
            .filter(|subcommand| !subcommand.is_hide_set())
            .map(|subcommand| {
                (
                    subcommand.get_name().to_owned(),
                    meaning(subcommand.get_about()),
                )
            });
        return beginning(current, subcommands.collect());
    }
    if takes_a_program(command) {
        return Completions::Command(words.len());
    }
    let status = top
        .find_subcommand("status")
        .filter(|_| command.has_subcommands());
    match status.unwrap_or(command).get_positionals().next() {
        Some(positional) => values(positional, current, ""),
        None => Completions::Words(Vec::new()),
    }
}

fn option_called<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|option| option.get_long() == Some(name))
}

fn takes_a_program(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

fn options(command: &Command, given: &[&str]) -> Vec<(String, String)> {
    command
        .get_arguments()
        .filter(|option| !option.is_hide_set())
        .filter_map(|option| Some((option.get_long()?, option)))
        .filter(|(name, _)| !given.contains(name))
        .map(|(name, option)| (format!("--{name}"), meaning(option.get_help())))
        .collect()
}

/// The possible values of an option or argument, by its value's name in the help.
fn values(argument: &Arg, current: &str, before: &str) -> Completions {
    let possible: Vec<(String, String)> = argument
        .get_possible_values()
        .iter()
        .map(|value| (value.get_name().to_owned(), meaning(value.get_help())))
        .collect();
    let name = argument
        .get_value_names()
        .and_then(<[_]>::first)
        .map(ToString::to_string)
        .unwrap_or_default();
    let plain = |words: &[&str]| {
        words
            .iter()
            .map(|word| ((*word).to_owned(), String::new()))
            .collect()
    };
    let words = match name.as_str() {
        _ if !possible.is_empty() => possible,
        "PATH" | "FILE" => return Completions::Files,
        "PID" => processes(),
        "PORT" | "PORTS" => ports(),
        "UNIT" => units(),
        _ if argument.get_id() == "peer" => peers(),
        "ADDRESS" => plain(&["127.0.0.1", "0.0.0.0", "::1", "::"]),
        "WAIT" => plain(&["10s", "60s", "2m"]),
        name if name.contains('|') => plain(&name.split('|').collect::<Vec<_>>()),
        _ => Vec::new(),
    };
    let words = words
        .into_iter()
        .map(|(word, meaning)| (format!("{before}{word}"), meaning))
        .collect();
    beginning(&format!("{before}{current}"), words)
}

fn beginning(start: &str, mut words: Vec<(String, String)>) -> Completions {
    words.retain(|(word, _)| word.starts_with(start));
    Completions::Words(words)
}

/// The first line of a help text.
fn meaning(help: Option<&clap::builder::StyledStr>) -> String {
    help.map_or_else(String::new, |help| {
        let text = help.to_string();
        text.lines().next().unwrap_or_default().to_owned()
    })
}

fn processes() -> Vec<(String, String)> {
    pids()
        .filter_map(|pid| {
            let command = names::arguments(pid);
            // A process without a command line is a thread of the kernel.
            (!command.is_empty()).then(|| {
                let command = output::readable(command.join(" ").as_bytes());
                (pid.to_string(), command)
            })
        })
        .collect()
}

/// Every port that something is on, and who has it.
fn ports() -> Vec<(String, String)> {
    let entries = sock_diag::dump(Which::All).unwrap_or_default();
    let holders = Holders::find(entries.iter().map(|entry| entry.inode));
    let mut found = BTreeMap::<u16, String>::new();
    for entry in &entries {
        let held_by = holders.of(entry.inode).first();
        let meaning = held_by.map_or_else(
            || entry.state.name().to_owned(),
            |holder| format!("{} {}", entry.state.name(), holder.name),
        );
        found.entry(entry.local.port()).or_insert(meaning);
    }
    found
        .into_iter()
        .map(|(port, meaning)| (port.to_string(), meaning))
        .collect()
}

/// The addresses that connections are with, and how many there are.
fn peers() -> Vec<(String, String)> {
    let entries = sock_diag::dump(Which::All).unwrap_or_default();
    let mut found = BTreeMap::<IpAddr, usize>::new();
    for entry in entries.iter().filter(|entry| entry.peer.port() != 0) {
        *found.entry(entry.peer.ip().to_canonical()).or_default() += 1;
    }
    found
        .into_iter()
        .map(|(peer, number)| {
            let meaning = output::count(number, "connection", "connections");
            (peer.to_string(), meaning)
        })
        .collect()
}

fn units() -> Vec<(String, String)> {
    let mut found = BTreeMap::new();
    for folder in [
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(unit) = name
                .strip_suffix(".service")
                .filter(|unit| !unit.ends_with('@'))
            {
                found.insert(unit.to_owned(), String::new());
            }
        }
    }
    found.into_iter().collect()
}
