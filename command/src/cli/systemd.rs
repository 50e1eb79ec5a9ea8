//! Prints, installs or removes the drop-in that has a service served by an engine.

use super::{exit, options};
use crate::engine::Engine;
use crate::library::variables::Variables;
use crate::output;
use crate::program::report::Report;
use crate::systemd::drop_in::{self, FILE};
use crate::systemd::properties::Properties;
use crate::systemd::{start, unit};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Print, install or remove the drop-in that has a service served by the library or traced
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("action"))]
pub(crate) struct Arguments {
    /// Write the drop-in where systemd finds it
    #[arg(long, group = "action")]
    install: bool,

    /// Remove the drop-in that --install wrote
    #[arg(long, group = "action")]
    remove: bool,

    /// A unit of the user's own manager
    #[arg(long)]
    user: bool,

    #[command(flatten)]
    library: options::Library,

    #[command(flatten)]
    variables: Variables,

    /// The service: `myd`, `myd.service`, `myd@.service` for all instances of a template
    #[arg(value_name = "UNIT")]
    unit: String,
}

impl Arguments {
    /// The command line that writes what this one prints.
    fn to_install(&self, unit: &str) -> Result<String> {
        let mut words: Vec<String> = if self.user {
            ["reuseaddr", "systemd", "--user", "--install"]
        } else {
            ["sudo", "reuseaddr", "systemd", "--install"]
        }
        .map(str::to_owned)
        .to_vec();
        if let Some(library) = &self.library.library {
            let library = std::path::absolute(library)?;
            words.extend(["--library".into(), library.display().to_string()]);
        }
        for (option, value) in self.variables.options() {
            words.extend([option, value.to_string_lossy().into_owned()]);
        }
        words.push(unit.into());
        Ok(shell_words::join(words))
    }
}

/// Answers `reuseaddr systemd`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let unit = unit::service(&arguments.unit)?;
    let folder = unit::folder(arguments.user)?.join(format!("{unit}.d"));
    let file = folder.join(FILE);
    let user = if arguments.user { " --user" } else { "" };
    let shown = shell_words::quote(&unit);
    let restart = format!("    systemctl{user} daemon-reload\n    systemctl{user} restart {shown}");
    if arguments.remove {
        drop_in::remove(&folder, &file)?;
        output::tell(&format!("{} is removed. Now:\n{restart}", file.display()));
        return Ok(exit::YES);
    }

    let (_, mistakes) = arguments.variables.read(std::iter::empty());
    if !mistakes.is_empty() {
        bail!("{}", mistakes.join("\n"));
    }
    let libraries = arguments.library.find()?;
    let properties = Properties::ask(&unit, arguments.user);
    let reports = properties
        .as_ref()
        .map(|properties| properties.reports(&libraries, arguments.user))
        .unwrap_or_default();
    // What run puts there for the moment would be gone with the next boot.
    let home = if libraries.carried() {
        unit::library_folder(arguments.user)?
    } else {
        PathBuf::new()
    };
    let to_stay = |path: &Path| {
        let stays = libraries.lasting(path, &home);
        stays.unwrap_or_else(|| path.to_owned())
    };
    let by_default = libraries.for_any_program(&home);
    match &properties {
        Some(properties) => {
            let mut files: BTreeSet<PathBuf> = reports
                .iter()
                .filter_map(|report| report.library.as_deref())
                .map(to_stay)
                .collect();
            if files.is_empty() {
                files.extend(by_default.clone());
            }
            let warnings: BTreeSet<String> = files
                .iter()
                .flat_map(|file| properties.warnings(file))
                .collect();
            let overridden = properties.overridden(&arguments.variables);
            for warning in warnings.iter().chain(&overridden) {
                output::warn(warning);
            }
            for problem in reports.iter().flat_map(Report::problems) {
                output::warn(&format!("ExecStart: {problem}"));
            }
            for choice in reports.iter().filter_map(|report| report.engine.as_ref()) {
                if choice.name != Engine::Preload {
                    output::tell(&format!("ExecStart: the engine is {}", choice.name));
                }
            }
        }
        None => output::warn(&format!(
            "systemd could not be asked about {unit}, so whether its settings defeat the library is not known"
        )),
    }
    let before = properties
        .as_ref()
        .and_then(Properties::preloaded)
        .unwrap_or_default();
    let works_in_none = !reports.is_empty() && !reports.iter().any(|report| report.works);
    if arguments.install && works_in_none {
        bail!(
            "no engine works for anything that {unit} starts, so nothing was written; without --install the drop-in is \
             printed all the same"
        );
    }
    let is_traced = |report: &Report| {
        report
            .engine
            .as_ref()
            .is_some_and(|choice| choice.name == Engine::Trace)
    };
    let starts = match &properties {
        Some(properties) if reports.iter().any(is_traced) => {
            let traced: Vec<&str> = reports
                .iter()
                .filter(|report| is_traced(report))
                .filter_map(|report| report.program.as_deref())
                .collect();
            traced_starts(properties, &traced)?
        }
        _ => Vec::new(),
    };
    let all_are_traced = !reports.is_empty() && reports.iter().all(is_traced);
    let mut preloads = reports
        .iter()
        .filter_map(|report| report.preload.as_deref())
        .map(to_stay);
    let library = preloads
        .next()
        .or(by_default)
        .context("there is no library")?;
    if let Some(other) = preloads.find(|other| *other != library) {
        output::warn(&format!(
            "ExecStart starts programs of two kinds: {} is for the first, and the other would need {}",
            library.display(),
            other.display()
        ));
    }
    let is_carried = libraries.carried() && library.starts_with(&home) && !all_are_traced;
    let preloaded = (!all_are_traced).then_some(library.as_path());
    let text = drop_in::text(preloaded, &before, &arguments.variables, &starts)?;
    if arguments.install {
        if is_carried {
            libraries.put_to_stay(&home)?;
            let home = home.display();
            output::tell(&format!(
                "The library that this command carries is put into {home}."
            ));
        }
        drop_in::install(&folder, &file, &text)?;
        output::tell(&format!("{} is written. Now:\n{restart}", file.display()));
    } else {
        output::print(&text)?;
        output::tell(&format!(
            "This would be {}. To write it{}:\n    {}",
            file.display(),
            if is_carried {
                ", and to put the library there"
            } else {
                ""
            },
            arguments.to_install(&unit)?,
        ));
    }
    Ok(exit::YES)
}

/// The unit's `ExecStart=` lines, with `reuseaddr run` in front of the programs that are to be traced.
fn traced_starts(properties: &Properties, traced: &[&str]) -> Result<Vec<String>> {
    let command = std::env::current_exe()?;
    if properties.filters_calls() {
        output::warn(
            "SystemCallFilter= has to allow ptrace, process_vm_readv, pidfd_open and pidfd_getfd, or the tracer can't work",
        );
    }
    properties
        .start_lines()
        .iter()
        .map(|line| {
            let program = start::program(line);
            let is_traced = |path: &&str| {
                *path == program
                    || (!program.contains('/')
                        && Path::new(path).file_name() == Some(OsStr::new(program)))
            };
            if traced.iter().any(is_traced) {
                start::by(&command, line)
            } else {
                Ok(format!("ExecStart={line}"))
            }
        })
        .collect()
}
