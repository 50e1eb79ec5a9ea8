//! Prints, installs or removes the drop-in that has a service served by an engine.

use super::{exit, options};
use crate::engine::{Engine, bpf};
use crate::library::libraries::Libraries;
use crate::library::variables::Variables;
use crate::output;
use crate::port::port_list::{listed, spelled};
use crate::program::report::Report;
use crate::systemd::command::Lasting;
use crate::systemd::drop_in::{self, FILE};
use crate::systemd::first_restart::{self, Outlook};
use crate::systemd::properties::Properties;
use crate::systemd::{start, unit};
use anyhow::{Context, Result, bail};
use libreuse_rules::settings::Settings;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Print, install or remove a drop-in that runs a service with libreuse
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("action"),
    mut_arg(options::PORTS, options::as_the_library_reads_ports),
)]
pub(crate) struct Arguments {
    /// Write the drop-in where systemd finds it
    #[arg(long, group = "action")]
    install: bool,

    /// Remove the drop-in that --install wrote
    #[arg(long, group = "action")]
    remove: bool,

    /// A unit of your own user manager (systemctl --user)
    #[arg(long)]
    user: bool,

    /// `bpf`: BPF programs (Linux 6.1); the default where no other engine works
    #[arg(long, value_name = "bpf", value_parser = ["bpf"], conflicts_with = "user")]
    engine: Option<String>,

    #[command(flatten)]
    library: options::LibraryOption,

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
        if let Some(engine) = &self.engine {
            words.extend(["--engine".into(), engine.clone()]);
        }
        for (option, value) in self.variables.options() {
            words.extend([option, value.to_string_lossy().into_owned()]);
        }
        words.push(unit.into());
        Ok(shell_words::join(words))
    }
}

/// Names each engine that is not the library.
fn tell_engines(reports: &[Report]) {
    for report in reports {
        match &report.engine {
            Some(choice) if choice.name != Engine::Preload => {
                output::info(&format!("ExecStart: the engine is {}", choice.name));
            }
            Some(_) if report.follows && report.starts_unseen => output::info(
                "ExecStart: what it starts can't be known beforehand, so `reuseaddr run` \
                 follows that",
            ),
            _ => {}
        }
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
        output::info(&format!("{} is removed. Now:\n{restart}", file.display()));
        return Ok(exit::YES);
    }

    let (settings, mut mistakes) = arguments.variables.read(std::iter::empty());
    if arguments.engine.is_some() {
        mistakes.extend(bpf::start::unsupported(&settings));
    }
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
    let reasons = reasons_for_bpf(arguments, &settings, properties.as_ref(), &reports)?;
    match &properties {
        Some(_) if !reasons.is_empty() => {}
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
            tell_engines(&reports);
        }
        None => output::warn(&format!(
            "systemd could not be asked about {unit}, so whether its settings defeat the library \
             is not known"
        )),
    }
    let before = properties
        .as_ref()
        .and_then(Properties::preloaded)
        .unwrap_or_default();
    if !reasons.is_empty() {
        let command = Lasting::find(false)?;
        let ports = (!settings.ports.all()).then(|| spelled(&listed(&settings.ports)));
        let rooted = properties
            .as_ref()
            .is_some_and(Properties::has_root_directory);
        let text = drop_in::text_of_bpf(&command.path, ports.as_deref(), &reasons, rooted)?;
        return Plan {
            text,
            folder: &folder,
            file: &file,
            restart: &restart,
            command: Some(command),
            properties: properties.as_ref(),
            may_wait: false,
            waits: false,
        }
        .carry_out(arguments, &unit, None);
    }
    let works_in_none = !reports.is_empty() && !reports.iter().any(|report| report.works);
    if arguments.install && works_in_none {
        bail!(
            "no engine works for anything that {unit} starts, so nothing was written; without \
             --install the drop-in is printed all the same"
        );
    }
    let is_traced = |report: &Report| report.engine_is(Engine::Trace);
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
            "ExecStart starts programs of two kinds: {} is for the first, and the other would need \
             {}",
            library.display(),
            other.display()
        ));
    }
    let of_ours = libraries.carried() && library.starts_with(&home);
    // The library is already where `run` would put it; a named one is passed on.
    let named = of_ours || arguments.library.library.is_some();
    let by_run: Vec<(&str, Option<&Path>)> = reports
        .iter()
        .filter_map(|report| {
            let follows = report.follows && report.starts_unseen;
            let library = (follows && named).then_some(library.as_path());
            let is_it = follows || is_traced(report);
            Some((report.program.as_deref().filter(|_| is_it)?, library))
        })
        .collect();
    let (command, starts) = match &properties {
        Some(properties) if !by_run.is_empty() => {
            let command = Lasting::find(arguments.user)?;
            let starts = starts_by_run(properties, &by_run, &command.path)?;
            (Some(command), starts)
        }
        _ => (None, Vec::new()),
    };
    let is_carried = of_ours && !all_are_traced;
    let preloaded = (!all_are_traced).then_some(library.as_path());
    let text = drop_in::text(preloaded, &before, &arguments.variables, &starts)?;
    Plan {
        text,
        folder: &folder,
        file: &file,
        restart: &restart,
        command,
        properties: properties.as_ref(),
        may_wait: true,
        waits: settings.wait_ms > 0,
    }
    .carry_out(
        arguments,
        &unit,
        is_carried.then_some((&libraries, home.as_path())),
    )
}

/// An orphan's FIN_WAIT2 and the TIME_WAIT after it.
const LONGEST: &str = "125s";
const WAITS: &str = "Environment=\"LIBREUSE_WAIT=125s\"\n";

/// A drop-in that is ready to be written.
struct Plan<'a> {
    text: String,
    folder: &'a Path,
    file: &'a Path,
    /// The command to type then.
    restart: &'a str,
    /// The command that the drop-in names, if it names it.
    command: Option<Lasting>,
    properties: Option<&'a Properties>,
    /// Whether the engine can wait.
    may_wait: bool,
    /// Whether that was asked for.
    waits: bool,
}

impl Plan<'_> {
    /// Text for a first restart that finds a port busy: it waits if it can, otherwise a warning.
    fn waits_for(&self, port: &str) -> &'static str {
        if self.waits {
            return "";
        }
        if self.may_wait {
            output::info(&format!(
                "What the service leaves behind on port {port} may keep it busy for a minute, \
                 once: the drop-in has LIBREUSE_WAIT={LONGEST}, so that the restart waits for \
                 that. Later restarts don't wait."
            ));
            return WAITS;
        }
        output::warn(&format!(
            "the first restart may find port {port} busy for a minute: `systemctl stop`, then \
             `reuseaddr wait {port}`, then `systemctl start`"
        ));
        ""
    }

    /// Writes it, with what it names, or prints it.
    fn carry_out(
        &self,
        arguments: &Arguments,
        unit: &str,
        carried: Option<(&Libraries, &Path)>,
    ) -> Result<u8> {
        if arguments.install {
            if let Some((libraries, home)) = carried {
                libraries.put_to_stay(home)?;
                let home = home.display();
                output::info(&format!(
                    "The library that this command carries is put into {home}."
                ));
            }
            if let Some(place) = self
                .command
                .as_ref()
                .map(Lasting::put)
                .transpose()?
                .flatten()
            {
                output::info(&format!(
                    "This command is copied to {}, where it stays.",
                    place.display()
                ));
            }
            let mut text = self.text.clone();
            let outlook = self.properties.map(first_restart::prepare);
            // Of one that was installed before, it was seen then whether it has to wait.
            if let Ok(before) = fs::read_to_string(self.file) {
                if self.may_wait && !self.waits && before.contains(WAITS) {
                    text += WAITS;
                }
            } else if let Some(Outlook::Busy(port)) = outlook {
                text += self.waits_for(&port);
            }
            drop_in::install(self.folder, self.file, &text)?;
            output::info(&format!(
                "{} is written. Now:\n{}",
                self.file.display(),
                self.restart
            ));
            return Ok(exit::YES);
        }
        output::print(&self.text)?;
        let mut puts = String::new();
        if carried.is_some() {
            puts += ", and to put the library there";
        }
        if let Some(command) = self.command.as_ref().filter(|command| command.is_copied()) {
            puts += &format!(", and to copy this command to {}", command.path.display());
        }
        output::info(&format!(
            "This would be {}. To write it{puts}:\n    {}",
            self.file.display(),
            arguments.to_install(unit)?,
        ));
        Ok(exit::YES)
    }
}

/// Why the engine has to be bpf; nothing if another one serves the service.
fn reasons_for_bpf(
    arguments: &Arguments,
    settings: &Settings,
    properties: Option<&Properties>,
    reports: &[Report],
) -> Result<Vec<String>> {
    let kept_out = properties
        .filter(|properties| properties.has_commands_in_its_root())
        .map(|properties| {
            format!(
                "systemd starts ExecStartPre= and the like in RootDirectory= as well, where this \
                 command is not; what serves everything in the unit's slice:\n    \
                 sudo reuseaddr bpf attach --unit {}",
                properties.slice()
            )
        });
    if arguments.engine.is_some() {
        if let Some(why) = kept_out {
            bail!("the engine bpf can't be attached by a drop-in: {why}");
        }
        if let Err(error) = bpf::start::try_here() {
            output::warn(&format!("the engine bpf does not work here: {error:#}"));
        }
        return Ok(vec!["it was asked for".into()]);
    }
    let is_possible = !arguments.user
        && arguments.library.library.is_none()
        && bpf::start::unsupported(settings).is_empty();
    if !is_possible {
        return Ok(Vec::new());
    }
    let is_left = |report: &Report| report.alternative.is_some();
    let reasons: BTreeSet<String> = if properties.is_some_and(Properties::has_another_root) {
        ["the service has another root directory, where no library of ours is".to_owned()].into()
    } else if reports.iter().all(is_left) {
        reports
            .iter()
            .filter_map(|report| report.engine.as_ref())
            .map(|choice| choice.reason.clone())
            .collect()
    } else {
        BTreeSet::new()
    };
    if reasons.is_empty() || !bpf::start::is_likely() {
        return Ok(Vec::new());
    }
    if let Some(why) = kept_out {
        output::warn(&format!(
            "the engine bpf would serve it, and can't be attached by a drop-in: {why}"
        ));
        return Ok(Vec::new());
    }
    if let Err(error) = bpf::start::try_here() {
        output::warn(&format!(
            "the engine bpf would serve it, and does not work here: {error:#}"
        ));
        return Ok(Vec::new());
    }
    Ok(reasons.into_iter().collect())
}

/// The unit's `ExecStart=` lines, with `reuseaddr run` in front of the programs that are to be
/// traced.
fn starts_by_run(
    properties: &Properties,
    programs: &[(&str, Option<&Path>)],
    command: &Path,
) -> Result<Vec<String>> {
    if properties.filters_calls() {
        output::warn(
            "SystemCallFilter= has to allow ptrace(2), or nothing is traced and the program starts \
             unchanged: add SystemCallFilter=@debug",
        );
    }
    properties
        .start_lines()
        .iter()
        .map(|line| {
            let program = start::program(line);
            let is_it = |(path, _): &&(&str, Option<&Path>)| {
                *path == program
                    || (!program.contains('/')
                        && Path::new(path).file_name() == Some(OsStr::new(program)))
            };
            match programs.iter().find(is_it) {
                Some((_, library)) => start::by(command, *library, line),
                None => Ok(format!("ExecStart={line}")),
            }
        })
        .collect()
}
