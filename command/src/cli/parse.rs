//! Reads the command line: where the command is, when a port stands in its place, and whether there
//! is to be colour, which clap has to know before it reads anything.

use super::exit;
use super::mistake::Mistake;
use crate::output;
use crate::port::port_list::PortList;
use clap::error::ErrorKind;
use clap::{Arg, ColorChoice, Command, Parser};
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

/// The global option that has a value.
const COLOR: &str = "--color";

/// Reads the command line.
///
/// # Errors
///
/// The exit code, after what is wrong, or the help, was printed.
pub(crate) fn parse<Cli: Parser>() -> Result<Cli, ExitCode> {
    // Building it takes a good part of a start: once is enough.
    let command = Cli::command();
    let words = with_status(&command, env::args_os().collect()).map_err(|mistake| {
        output::error(&mistake);
        ExitCode::from(exit::FAILED)
    })?;
    let mut command = command.color(color(&words));
    command
        .try_get_matches_from_mut(&words)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| usage(&error, &mut command, &words))
}

/// The position of the subcommand: the first word that is neither an option nor an option's value.
fn place(words: &[OsString]) -> Option<usize> {
    let mut place = 1;
    loop {
        let word = words.get(place)?;
        if !word.as_encoded_bytes().starts_with(b"-") {
            return Some(place);
        }
        place += if word == COLOR { 2 } else { 1 };
    }
}

/// The command that a command line is for: `reuseaddr bpf attach`, for example.
fn innermost<'a>(top: &'a Command, words: &[OsString]) -> &'a Command {
    let Some(place) = place(words) else {
        return top;
    };
    let mut command = top;
    for word in words.iter().skip(place) {
        let Some(inner) = command.find_subcommand(word) else {
            break;
        };
        command = inner;
    }
    command
}

/// `reuseaddr 8080` is `reuseaddr status 8080`: a port where a command is expected.
///
/// # Errors
///
/// The command comes after the port.
fn with_status(command: &Command, mut words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    // The image's entry point is this command, and who runs an image often names its command all
    // the same.
    if words.get(1).is_some_and(|word| word == "reuseaddr") {
        words.remove(1);
    }
    if let Some(place) = place(&words) {
        let word = words[place].to_string_lossy();
        if command.find_subcommand(word.as_ref()).is_none()
            && is_meant_as_port(&word)
            && words[1..place].iter().all(|it| is_for_status(command, it))
        {
            let next = words.get(place + 1);
            let misplaced = next.and_then(|next| command.find_subcommand(next));
            if let Some(misplaced) = misplaced.filter(|it| takes_ports(it)) {
                let name = misplaced.get_name();
                return Err(format!(
                    "the command comes before the port: `reuseaddr {name} {}`",
                    output::readable(word.as_bytes())
                ));
            }
            // In front of options that are those of `status`.
            words.insert(1, "status".into());
        }
    }
    Ok(words)
}

fn takes_ports(command: &Command) -> bool {
    let names = command.get_positionals().filter_map(Arg::get_value_names);
    names
        .flatten()
        .any(|name| ["PORT", "FROM"].contains(&name.as_str()))
}

/// Whether a word in front of a port may be an option of `status`. If not, as in `reuseaddr --wait
/// 60s run`, the next word is its value.
fn is_for_status(command: &Command, word: &OsStr) -> bool {
    let Some(option) = word.to_str().and_then(|word| word.strip_prefix("--")) else {
        return true;
    };
    let name = option.split('=').next();
    let status = command.find_subcommand("status").into_iter();
    let mut options = command
        .get_arguments()
        .chain(status.flat_map(Command::get_arguments));
    ["", "help", "version"].contains(&option) || options.any(|it| it.get_long() == name)
}

/// Whether a word is a port, or meant as one: what is wrong with it is then for `status` to say.
fn is_meant_as_port(word: &str) -> bool {
    let word = word.trim_start_matches([' ', '+', ',']);
    word.starts_with(char::is_numeric)
        || word.contains(':')
        || word
            .split_once('/')
            .is_some_and(|(one, other)| is_protocol(one) || is_protocol(other))
        || word.parse::<PortList>().is_ok()
}

fn is_protocol(word: &str) -> bool {
    ["tcp", "udp"]
        .iter()
        .any(|protocol| word.eq_ignore_ascii_case(protocol))
}

/// Reads `--color`, which clap has to know for the help. clap itself reports a wrong value.
fn color(words: &[OsString]) -> ColorChoice {
    let mut choice = ColorChoice::Auto;
    let mut words = words.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let value = if word == COLOR {
            words.next().map(OsString::as_os_str)
        } else {
            let word = word.to_str().and_then(|word| word.strip_prefix(COLOR));
            word.and_then(|rest| rest.strip_prefix('=')).map(OsStr::new)
        };
        choice = match value.and_then(OsStr::to_str) {
            Some("always") => ColorChoice::Always,
            Some("never") => ColorChoice::Never,
            _ => choice,
        };
    }
    choice
}

/// Says what is wrong with the command line, or prints the help that it asks for.
fn usage(error: &clap::Error, top: &mut Command, words: &[OsString]) -> ExitCode {
    if !matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let odd = words.iter().find(|word| word.to_str().is_none());
        match (error.kind(), odd) {
            (ErrorKind::InvalidUtf8, Some(word)) => output::error(&format!(
                "{} is not UTF-8; only paths, and PROGRAM with its arguments, need not be",
                output::readable(word.as_bytes())
            )),
            (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
                output::info(&error.render().to_string());
            }
            _ => {
                // It takes as long as all else of a start, and the help does without.
                top.build();
                let command = innermost(top, words);
                let mistake = Mistake {
                    error,
                    top,
                    words,
                    command,
                };
                output::error(&mistake.explain());
            }
        }
        // A caller of `run` has to distinguish our errors from the program's.
        let runs = place(words).is_some_and(|place| words[place] == "run");
        return ExitCode::from(if runs { exit::REFUSED } else { exit::FAILED });
    }
    match error.print().and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            output::error(&format!("stdout can't be written to: {error}"));
            ExitCode::from(exit::FAILED)
        }
        // A reader that has gone has seen enough.
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn finds_the_command() {
        for (line, expected) in [
            ("reuseaddr status", Some("status")),
            ("reuseaddr -v --color always 8080", Some("8080")),
            ("reuseaddr --color=always run -v", Some("run")),
            ("reuseaddr --color", None),
            ("reuseaddr -v", None),
        ] {
            let words = words(line);
            let found = place(&words).map(|place| words[place].clone());
            assert_eq!(found, expected.map(OsString::from), "{line}");
        }
    }

    #[test]
    fn knows_what_is_meant_as_a_port() {
        for (word, expected) in [
            ("8080", true),
            ("70000", true),
            ("90-80", true),
            ("8080/udp", true),
            ("http://localhost:8080/", true),
            (":x", true),
            (" 80", true),
            ("+80", true),
            ("٨٠", true),
            ("udp/53", true),
            ("http", true),
            ("statsu", false),
        ] {
            assert_eq!(is_meant_as_port(word), expected, "{word}");
        }
    }

    #[test]
    fn knows_early_whether_there_is_to_be_colour() {
        for (line, expected) in [
            ("reuseaddr --help", ColorChoice::Auto),
            ("reuseaddr --color never --help", ColorChoice::Never),
            ("reuseaddr --help --color=always", ColorChoice::Always),
            ("reuseaddr run -- x --color never", ColorChoice::Auto),
        ] {
            assert_eq!(color(&words(line)), expected, "{line}");
        }
    }
}
