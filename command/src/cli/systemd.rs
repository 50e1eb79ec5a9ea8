//! Prints, installs or removes the drop-in that has a service served by an engine.

mod plan;

use self::plan::{Place, Plan};
use super::{exit, options};
use crate::engine::{Engine, bpf};
use crate::library::libraries::Libraries;
use crate::library::variables::Variables;
use crate::output;
use crate::port::port_list::{listed, spelled};
use crate::program::report::Report;
use crate::systemd::command::Lasting;
use crate::systemd::drop_in;
use crate::systemd::properties::Properties;
use crate::systemd::{start, unit};
use anyhow::{Context, Result, bail};
use libreuse_rules::settings::Settings;
use std::collections::BTreeSet;
use std::ffi::OsStr;
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
fn report_engines(reports: &[Report]) {
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
    let place = Place::of(arguments)?;
    if arguments.remove {
        drop_in::remove(&place.folder, &place.file)?;
        output::info(&format!(
            "{} is removed. Now:\n{}",
            place.file.display(),
            place.restart
        ));
        return Ok(exit::YES);
    }
    let service = Service::look(arguments, &place)?;
    let reasons = reasons_for_bpf(&service)?;
    service.warn(reasons.is_empty());
    if reasons.is_empty() {
        service.plan_with_library()
    } else {
        service.plan_with_bpf(&reasons)
    }
}

/// A service, and what serves it.
struct Service<'a> {
    arguments: &'a Arguments,
    place: &'a Place,
    settings: Box<Settings>,
    libraries: Libraries,
    /// The folder for the libraries that this command carries: what `run` puts elsewhere for the
    /// moment would be gone with the next boot.
    home: PathBuf,
    /// The unit's, if systemd answers.
    properties: Option<Properties>,
    /// The findings about the programs that it starts.
    reports: Vec<Report>,
}

impl<'a> Service<'a> {
    fn look(arguments: &'a Arguments, place: &'a Place) -> Result<Self> {
        let (settings, mut mistakes) = arguments.variables.read(std::iter::empty());
        if arguments.engine.is_some() {
            mistakes.extend(bpf::start::unsupported(&settings));
        }
        if !mistakes.is_empty() {
            bail!("{}", mistakes.join("\n"));
        }
        let libraries = arguments.library.find()?;
        let properties = Properties::ask(&place.unit, arguments.user);
        let reports = properties
            .as_ref()
            .map(|properties| properties.reports(&libraries, arguments.user))
            .unwrap_or_default();
        let home = if libraries.carried() {
            unit::library_folder(arguments.user)?
        } else {
            PathBuf::new()
        };
        Ok(Self {
            arguments,
            place,
            settings,
            libraries,
            home,
            properties,
            reports,
        })
    }

    /// The path under which a library is still there after a reboot.
    fn lasting(&self, path: &Path) -> PathBuf {
        let stays = self.libraries.lasting(path, &self.home);
        stays.unwrap_or_else(|| path.to_owned())
    }

    /// The library for programs that are not known.
    fn default_library(&self) -> Option<PathBuf> {
        self.libraries.for_any_program(&self.home)
    }

    /// Warns about what defeats the library, if it is the library that serves the service.
    fn warn(&self, by_library: bool) {
        let Some(properties) = &self.properties else {
            output::warn(&format!(
                "systemd could not be asked about {}, so whether its settings defeat the library \
                 is not known",
                self.place.unit
            ));
            return;
        };
        if let Some(why) = properties.without_effect(&self.place.unit, self.arguments.user) {
            output::warn(&why);
        }
        if !by_library {
            return;
        }
        let mut files: BTreeSet<PathBuf> = self
            .reports
            .iter()
            .filter_map(|report| report.library.as_deref())
            .map(|path| self.lasting(path))
            .collect();
        if files.is_empty() {
            files.extend(self.default_library());
        }
        let warnings: BTreeSet<String> = files
            .iter()
            .flat_map(|file| properties.warnings(file))
            .collect();
        let overridden = properties.overridden(&self.arguments.variables);
        for warning in warnings.iter().chain(&overridden) {
            output::warn(warning);
        }
        for problem in self.reports.iter().flat_map(Report::problems) {
            output::warn(&format!("ExecStart: {problem}"));
        }
        report_engines(&self.reports);
    }

    /// Has the engine bpf attached at each start.
    fn plan_with_bpf(&self, reasons: &[String]) -> Result<u8> {
        let command = Lasting::find(false)?;
        let ports = (!self.settings.ports.all()).then(|| spelled(&listed(&self.settings.ports)));
        let rooted = self
            .properties
            .as_ref()
            .is_some_and(Properties::has_root_directory);
        Plan {
            text: drop_in::text_of_bpf(&command.path, ports.as_deref(), reasons, rooted)?,
            place: self.place,
            command: Some(command),
            properties: self.properties.as_ref(),
            may_wait: false,
            waits: false,
        }
        .carry_out(self.arguments, None)
    }

    /// Has the library preloaded, or `reuseaddr run` put in front of what it can't serve by itself.
    fn plan_with_library(&self) -> Result<u8> {
        let works_in_none =
            !self.reports.is_empty() && !self.reports.iter().any(|report| report.works);
        if self.arguments.install && works_in_none {
            bail!(
                "no engine works for anything that {} starts, so nothing was written; without \
                 --install the drop-in is printed all the same",
                self.place.unit
            );
        }
        let library = self.preloaded_library()?;
        let of_ours = self.libraries.carried() && library.starts_with(&self.home);
        let (command, starts) = self.starts_by_run(&library, of_ours)?;
        let all_are_traced = !self.reports.is_empty() && self.reports.iter().all(is_traced);
        let before = self.properties.as_ref().and_then(Properties::preloaded);
        let text = drop_in::text(
            (!all_are_traced).then_some(library.as_path()),
            &before.unwrap_or_default(),
            &self.arguments.variables,
            &starts,
        )?;
        let is_carried = of_ours && !all_are_traced;
        Plan {
            text,
            place: self.place,
            command,
            properties: self.properties.as_ref(),
            may_wait: true,
            waits: self.settings.wait_ms > 0,
        }
        .carry_out(
            self.arguments,
            is_carried.then_some((&self.libraries, self.home.as_path())),
        )
    }

    /// The library that fits what the service starts.
    fn preloaded_library(&self) -> Result<PathBuf> {
        let mut preloads = self
            .reports
            .iter()
            .filter_map(|report| report.preload.as_deref())
            .map(|path| self.lasting(path));
        let library = preloads
            .next()
            .or_else(|| self.default_library())
            .context("there is no library")?;
        if let Some(other) = preloads.find(|other| *other != library) {
            output::warn(&format!(
                "ExecStart starts programs of two kinds: {} is for the first, and the other would \
                 need {}",
                library.display(),
                other.display()
            ));
        }
        Ok(library)
    }

    /// The `ExecStart=` lines in which `reuseaddr run` starts the program, if there are any, and
    /// the command that they name.
    fn starts_by_run(
        &self,
        library: &Path,
        of_ours: bool,
    ) -> Result<(Option<Lasting>, Vec<String>)> {
        // The library is already where `run` would put it; a named one is passed on.
        let named = of_ours || self.arguments.library.library.is_some();
        let by_run: Vec<(&str, Option<&Path>)> = self
            .reports
            .iter()
            .filter_map(|report| {
                let follows = report.follows && report.starts_unseen;
                let library = (follows && named).then_some(library);
                let is_it = follows || is_traced(report);
                Some((report.program.as_deref().filter(|_| is_it)?, library))
            })
            .collect();
        match &self.properties {
            Some(properties) if !by_run.is_empty() => {
                let command = Lasting::find(self.arguments.user)?;
                let starts = starts_by_run(properties, &by_run, &command.path)?;
                Ok((Some(command), starts))
            }
            _ => Ok((None, Vec::new())),
        }
    }
}

fn is_traced(report: &Report) -> bool {
    report.engine_is(Engine::Trace)
}

/// Why the engine has to be bpf; nothing if another one serves the service.
fn reasons_for_bpf(service: &Service) -> Result<Vec<String>> {
    let arguments = service.arguments;
    let properties = service.properties.as_ref();
    let reports = &service.reports;
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
        && bpf::start::unsupported(&service.settings).is_empty();
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
