//! Options for the library's variables: each row of `SETTINGS` becomes one, such as `--log-file`
//! for `LIBREUSE_LOG_FILE`, and its parser checks the value.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, builder::ValueParser};
use libreuse_rules::settings::{PREFIX, SETTINGS, Setting, Settings};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// The variables that were given as options.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables(Vec<(&'static str, OsString)>);

impl Variables {
    /// Reads them as the library will, on top of those in the environment, and returns their
    /// mistakes.
    pub(crate) fn read<'a>(
        &'a self,
        environment: impl Iterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> (Box<Settings>, Vec<String>) {
        let mut settings = Box::new(Settings::DEFAULT);
        let mut mistakes = Vec::new();
        for (name, value) in environment {
            let overridden = self.0.iter().any(|(given, _)| *given == name);
            if overridden || !name.as_bytes().starts_with(PREFIX) {
                continue;
            }
            if let Err(complaint) = settings.set(name.as_bytes(), value.as_bytes()) {
                mistakes.push(format!("in the environment, {complaint}"));
            }
        }
        for (name, value) in &self.0 {
            if let Err(complaint) = settings.set(name.as_bytes(), value.as_bytes()) {
                let complaint = complaint.to_string();
                let complaint = complaint.strip_prefix(name).unwrap_or(&complaint);
                mistakes.push(format!("--{}{complaint}", option(name)));
            }
        }
        (settings, mistakes)
    }

    /// As options on a command line, with their values.
    pub(crate) fn options(&self) -> impl Iterator<Item = (String, &OsStr)> {
        self.iter()
            .map(|(name, value)| (format!("--{}", option(name)), value))
    }

    /// Names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (*name, value.as_os_str()))
    }
}

/// The log file of a process: `LIBREUSE_LOG_FILE` with its pid for `%p`, and `%` for `%%`.
pub(crate) fn log_file(template: &[u8], pid: u32) -> PathBuf {
    let mut path = Vec::new();
    let mut bytes = template.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'%' if bytes.next() == Some(&b'p') => path.extend(pid.to_string().bytes()),
            other => path.push(other),
        }
    }
    OsString::from_vec(path).into()
}

/// `LIBREUSE_LOG_FILE` as an option, without its dashes.
fn option(name: &'static str) -> String {
    let name = name.as_bytes().strip_prefix(PREFIX).unwrap_or_default();
    String::from_utf8_lossy(name)
        .to_lowercase()
        .replace('_', "-")
}

/// Names the value in the help: `on|off`, or the last word of the option's name.
fn placeholder(setting: &Setting) -> String {
    if setting.default.starts_with('`') && setting.values.starts_with('`') {
        setting.values.replace("` `", "|").replace('`', "")
    } else {
        option(setting.name)
            .rsplit('-')
            .next()
            .unwrap_or_default()
            .to_uppercase()
    }
}

impl Args for Variables {
    fn augment_args(command: Command) -> Command {
        command
            .next_help_heading("Options of the library")
            .args(SETTINGS.iter().map(|setting| {
                let plain = |text: &str| text.replace('`', "");
                Arg::new(setting.name)
                    .long(option(setting.name))
                    .value_name(placeholder(setting))
                    .value_parser(ValueParser::os_string())
                    .help(format!(
                        "{} [{}]",
                        capitalised(&plain(setting.effect)),
                        plain(setting.default)
                    ))
                    .long_help(format!(
                        "{}.\n\nValues: {}. Default: {}. As {} in the environment.",
                        capitalised(&plain(setting.effect)),
                        plain(setting.values),
                        plain(setting.default),
                        setting.name,
                    ))
            }))
            .next_help_heading(None::<&str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Variables {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| {
            let value = matches.get_one::<OsString>(setting.name)?;
            Some((setting.name, value.clone()))
        };
        Ok(Self(SETTINGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The text with a capital at its beginning.
pub(crate) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
