//! Explains what is wrong with a command line: what was typed, and what is accepted.

use crate::output::{either, list, readable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};
use std::error::Error as _;
use std::ffi::OsString;

/// What other tools call what a command of ours does.
const SYNONYMS: [(&str, &[&str]); 4] = [
    ("free", &["close", "kill", "release", "stop"]),
    ("status", &["list", "ls", "port", "ps", "show", "who"]),
    ("run", &["exec", "restart", "start"]),
    ("--version", &["version"]),
];

/// The options that need another one, which clap does not name.
const NEEDS: [(&str, &str); 2] = [("--evict", "--unit "), ("--established", "--peer ")];

/// A command line that clap could not read.
pub(super) struct Mistake<'a> {
    pub(super) error: &'a Error,
    /// `reuseaddr` itself, built.
    pub(super) top: &'a Command,
    /// Everything that was typed, and the command that it is for.
    pub(super) words: &'a [OsString],
    pub(super) command: &'a Command,
}

impl Mistake<'_> {
    /// Names what is wrong, and what is accepted.
    pub(super) fn explain(&self) -> String {
        readable(self.sentence().as_bytes())
    }

    fn sentence(&self) -> String {
        let wrong = self.context(ContextKind::InvalidArg).join(", ");
        match self.error.kind() {
            ErrorKind::InvalidSubcommand => self.unknown_command(),
            ErrorKind::MissingSubcommand => {
                format!("a command is missing; {}", self.help("the commands"))
            }
            ErrorKind::UnknownArgument if wrong.starts_with('-') => self.unknown_option(&wrong),
            ErrorKind::UnknownArgument => {
                format!("unexpected argument {}; {}", shown(&wrong), self.usage())
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => self.wrong_value(&wrong),
            ErrorKind::TooManyValues => format!("{} takes no value", plain(&wrong)),
            ErrorKind::ArgumentConflict => self.conflict(&wrong),
            ErrorKind::MissingRequiredArgument => self.missing(&wrong),
            _ => format!("this command line can't be read; {}", self.usage()),
        }
    }

    fn unknown_command(&self) -> String {
        let typed = self.context(ContextKind::InvalidSubcommand).join(" ");
        let word = shown(&typed);
        let name = self.command.get_name();
        if name == "help" {
            return format!("unknown command {word}; `reuseaddr --help` lists the commands");
        }
        let list = self.help("the commands");
        if name != self.top.get_name() {
            return format!("`{}` has no command {word}; {list}", self.called());
        }
        let rest = self.words.iter().skip_while(|it| **it != *typed).skip(1);
        let line = |first: &str| {
            let rest = rest.map(|word| word.to_string_lossy().into_owned());
            shell_words::join([first.to_owned()].into_iter().chain(rest))
        };
        let synonym = SYNONYMS
            .iter()
            .find(|(_, others)| others.contains(&typed.as_str()))
            .map(|(name, _)| (*name).to_owned());
        let alike = || is_alike(&self.context(ContextKind::SuggestedSubcommand), &typed);
        let instead = if let Some(name) = synonym.or_else(alike) {
            format!("did you mean `reuseaddr {}`? ", line(&name))
        } else if typed.contains('/') {
            format!("to start a program: `reuseaddr run {}`; ", line(&typed))
        } else if typed.ends_with(".service") {
            format!("to set up a service: `reuseaddr systemd {typed}`; ")
        } else if typed.starts_with(char::is_alphanumeric) {
            let status = shows_ports_of(&typed);
            format!(
                "{status}, and `reuseaddr run {}` starts one; ",
                line(&typed)
            )
        } else {
            String::new()
        };
        format!("unknown command {word}; {instead}{list}")
    }

    fn unknown_option(&self, option: &str) -> String {
        // Of `-8080` clap names the first digit.
        let typed = self.words.iter().map(|word| word.to_string_lossy());
        let mut negative = typed.filter(|word| word.starts_with(option));
        let is_number = option[1..].starts_with(|digit: char| digit.is_ascii_digit());
        let option = negative
            .next()
            .filter(|_| is_number)
            .unwrap_or(option.into());
        let mut text = format!("`{}` has no option {}", self.called(), shown(&option));
        let name = option.strip_prefix("--").unwrap_or_default();
        let has_it = |command: &&Command| {
            command
                .get_arguments()
                .any(|it| it.get_long() == Some(name))
        };
        let owners = self.top.get_subcommands().filter(has_it);
        let owners: Vec<String> = owners.map(|it| format!("`{}`", it.get_name())).collect();
        if self.command.get_name() == self.top.get_name() && !owners.is_empty() {
            text += &format!(
                "; it is an option of {}: put it after that word",
                either(&owners)
            );
        }
        let named = self
            .top
            .find_subcommand(name)
            .filter(|it| !it.is_hide_set());
        if named.is_some() {
            text += &format!("; `reuseaddr {name}` is a command of its own");
        } else if let Some(alike) = is_alike(&self.context(ContextKind::SuggestedArg), &option) {
            return format!("{text}; did you mean {alike}? {}", self.help("its options"));
        }
        format!("{text}; {}", self.help("its options"))
    }

    fn wrong_value(&self, argument: &str) -> String {
        let value = self.context(ContextKind::InvalidValue).join(" ");
        let valid = self.context(ContextKind::ValidValue);
        let option = argument.split(' ').next().unwrap_or_default();
        let option = option.trim_end_matches('=');
        let is_option = option.starts_with("--");
        let why = match self.error.source() {
            Some(source) => source.to_string(),
            None if valid.is_empty() => {
                return format!("{option} needs a value: {}", plain(argument));
            }
            None => format!("expected {}", either(&valid)),
        };
        if is_option {
            return format!("{option}={value}: {why}");
        }
        let mut text = format!("{}: {why}", shown(&value));
        let is_name = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
        let is_a_port = ["PORT", "FROM"].contains(&plain(argument).as_str());
        if is_a_port && value.starts_with(char::is_alphabetic) && value.chars().all(is_name) {
            text += &format!("; {}", shows_ports_of(&value));
        }
        text
    }

    fn missing(&self, arguments: &str) -> String {
        let missing: Vec<String> = arguments.split('|').map(plain).collect();
        let missing = either(&missing);
        let needs_it = |(option, needed): &&(&str, &str)| {
            missing.starts_with(needed) && self.words.iter().any(|word| word == option)
        };
        if let Some((option, _)) = NEEDS.iter().find(needs_it) {
            return format!("{option} needs {missing}");
        }
        let since = self
            .last_value()
            .map_or_else(String::new, |(option, value)| {
                format!(
                    ", since {} is taken as the value of {option}",
                    shown(&value)
                )
            });
        format!("{missing} is missing{since}; {}", self.usage())
    }

    /// The last option and its value, if nothing follows them.
    fn last_value(&self) -> Option<(&str, String)> {
        let [.., option, value] = self.words else {
            return None;
        };
        let option = option.to_str()?;
        let name = option.strip_prefix("--")?;
        let mut arguments = self.command.get_arguments();
        let argument = arguments.find(|it| it.get_long() == Some(name))?;
        let takes_it = argument.get_action().takes_values();
        takes_it.then(|| (option, value.to_string_lossy().into_owned()))
    }

    fn conflict(&self, argument: &str) -> String {
        let others = self.context(ContextKind::PriorArg);
        let (one, others) = (plain(argument), others.iter().map(|other| plain(other)));
        let others: Vec<String> = others.collect();
        match others.as_slice() {
            [same] if *same == one => format!("{one} was given twice"),
            [] => format!("{one} can't be combined with the others; {}", self.usage()),
            _ => format!("{one} can't be combined with {}", list(&others)),
        }
    }

    /// What clap knows about the mistake.
    fn context(&self, kind: ContextKind) -> Vec<String> {
        match self.error.get(kind) {
            Some(ContextValue::String(one)) => vec![one.clone()],
            Some(ContextValue::Strings(all)) => all.clone(),
            _ => Vec::new(),
        }
    }

    fn called(&self) -> &str {
        self.command.get_bin_name().unwrap_or(self.top.get_name())
    }

    fn help(&self, what: &str) -> String {
        format!("`{} --help` lists {what}", self.called())
    }

    fn usage(&self) -> String {
        let usage = self.command.clone().render_usage().to_string();
        let usage: Vec<&str> = usage.split_whitespace().skip(1).collect();
        let usage = usage.join(" ");
        // One of many options is better found in the help.
        if usage.contains('|') {
            return self.help("what is accepted");
        }
        format!("expected `{usage}`")
    }
}

/// The first of these that begins like the word: of what is merely similar, most is not meant.
fn is_alike(suggestions: &[String], word: &str) -> Option<String> {
    let start = |text: &str| {
        text.trim_start_matches('-')
            .chars()
            .take(2)
            .collect::<String>()
    };
    let mut suggestions = suggestions.iter();
    suggestions.find(|it| start(it) == start(word)).cloned()
}

fn shows_ports_of(program: &str) -> String {
    format!("`reuseaddr status {program}` shows the ports of programs of that name")
}

/// A word as it was typed, in quotes where its end could not be seen without them.
fn shown(word: &str) -> String {
    if word.ends_with(char::is_alphanumeric) && !word.contains(char::is_whitespace) {
        word.to_owned()
    } else {
        format!("\"{word}\"")
    }
}

/// An argument without its brackets: `--pid PID`, `PORT`. Of several words the first is enough.
fn plain(argument: &str) -> String {
    let words = argument
        .replace(['<', '>', '[', ']'], "")
        .replace("...", "");
    match words.split_once(' ') {
        Some((first, _)) if !first.starts_with('-') => first.to_owned(),
        _ => words,
    }
}
