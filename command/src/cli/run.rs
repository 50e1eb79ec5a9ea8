//! Starts a program by an engine that works for it: everything that could go wrong is found first,
//! and nothing is started if anything does.

use super::{exit, options};
use crate::engine::preload::{Environment, Inherited};
use crate::engine::trace::exempt::Preloaded;
use crate::engine::trace::{self, DetachPolicy};
use crate::engine::{Engine, bpf, wait};
use crate::library::elf::Elf;
use crate::library::libraries::Libraries;
use crate::library::variables::{Variables, log_file};
use crate::output::{self, readable};
use crate::port::evict::{self, Filter};
use crate::port::free;
use crate::port::port_list;
use crate::process::credentials::Credentials;
use crate::program::exec::become_it;
use crate::program::report::Report;
use crate::program::search::find_program;
use crate::program::{inspect, interpreter, select};
use anyhow::Result;
use libreuse_rules::settings::Settings;
use log::{LevelFilter, debug};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Start a program so that it can bind its port again at once
#[derive(Debug, clap::Args)]
#[command(
    mut_arg(options::PORTS, options::as_the_library_reads_ports),
    after_help = "`run` becomes PROGRAM: same process, same descriptors, its own exit code. If \
                  nothing can be done for PROGRAM, or an option is wrong, it says why, starts \
                  nothing and exits with 125.\n\
                  Example: reuseaddr run --wait 60s python3 server.py"
)]
pub(crate) struct Arguments {
    /// Start PROGRAM even if libreuse can't help it
    #[arg(long)]
    anyway: bool,

    /// Which engine to use (default: the first that works for PROGRAM)
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,

    /// trace: detach when no new listener has appeared for this long, unless --ports lists every
    /// port
    #[arg(long, value_name = "DURATION", default_value = "250ms")]
    trace_quiet: options::Span,

    /// trace: detach after this long, unless a bind waits (--wait)
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    trace_limit: options::Span,

    /// First clear what earlier runs left on the ports of --ports; no privileges are needed for
    /// peers on this host
    #[arg(long)]
    evict: bool,

    /// First ask your own processes that hold the ports of --ports to exit, and clear what they
    /// leave
    #[arg(long)]
    free: bool,

    #[command(flatten)]
    library: options::LibraryOption,

    #[command(flatten)]
    variables: Variables,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    program: Vec<OsString>,
}

/// Answers `reuseaddr run`: returns only if nothing was started.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let Some((name, rest)) = arguments.program.split_first() else {
        return Ok(exit::REFUSED);
    };
    let shown = readable(name.as_bytes());
    let environment = Environment::own();
    let (settings, mut mistakes) = arguments.variables.read(environment.pairs());
    mistakes.extend(impossible(arguments, &settings));
    let path = find_program(name);
    let libraries = arguments.library.find();
    let report = path.as_ref().ok().map(|path| {
        let who = Credentials::own();
        let depth = inspect::Depth::HowToStart;
        inspect::program(path, rest, libraries.as_ref().ok(), &who, depth)
    });
    if let Err(error) = &libraries {
        let may_be_preload = matches!(arguments.engine, None | Some(Engine::Preload));
        let is_needed = report.as_ref().is_none_or(Report::needs_library);
        if arguments.library.library.is_some() || (may_be_preload && is_needed) {
            mistakes.push(format!("{error:#}"));
        }
    }
    for mistake in &mistakes {
        output::error(mistake);
    }
    let (path, report) = match (path, report) {
        (Ok(path), Some(report)) => (path, report),
        (Err(error), _) => {
            let code = not_found(&error, &shown);
            return Ok(if mistakes.is_empty() {
                code
            } else {
                exit::REFUSED
            });
        }
        (Ok(_), None) => return Ok(exit::REFUSED),
    };
    if !mistakes.is_empty() {
        return Ok(exit::REFUSED);
    }
    if report.engine.is_none() && !path.exists() {
        output::error(&format!("{shown} is not there any more"));
        return Ok(exit::NOT_FOUND);
    }
    if let Some(problem) = unwritable_log(&settings) {
        output::warn(&problem);
    }
    let start = Prepared {
        arguments,
        settings,
        libraries: libraries.ok(),
        path,
        report,
        shown,
    };
    start.run(environment)
}

/// The requests that can't be met.
fn impossible(arguments: &Arguments, settings: &Settings) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (option, needed) in [
        ("--evict", arguments.evict),
        ("--free", arguments.free),
        ("--engine wait", arguments.engine == Some(Engine::Wait)),
    ] {
        if needed && settings.ports.all() {
            mistakes.push(format!(
                "{option} needs to know the ports: add --ports PORT"
            ));
        }
    }
    match arguments.engine {
        Some(Engine::Trace) => mistakes.extend(select::not_while_traced(settings)),
        Some(Engine::Bpf) => mistakes.extend(bpf::start::unsupported(settings)),
        _ => {}
    }
    mistakes
}

/// Why nothing can be written to the log file, if it is certain. Whatever the program does later,
/// its messages would be dropped in silence.
fn unwritable_log(settings: &Settings) -> Option<String> {
    if settings.log == LevelFilter::Off || settings.log_file.as_bytes().is_empty() {
        return None;
    }
    // `run` becomes the program, whose pid is this one.
    let path = log_file(settings.log_file.as_bytes(), std::process::id());
    let folder = path.parent().unwrap_or(&path);
    // The library opens it to write, and follows no link at its end. A FIFO may get a reader yet.
    let kind = fs::symlink_metadata(&path).map(|file| file.file_type());
    // As `open` sees it, with the capabilities that a service may be given.
    let may = |path: &Path, what| accessat(CWD, path, what, AtFlags::EACCESS);
    let cannot = |what: &str, path: &Path, error: Errno| {
        let error = io::Error::from(error);
        format!("{what} {} can't be written to: {error}", path.display())
    };
    let why = match (kind, may(&path, Access::WRITE_OK)) {
        (Ok(kind), _) if kind.is_symlink() => {
            format!(
                "file {} is a symbolic link, which is not followed",
                path.display()
            )
        }
        (Ok(kind), _) if kind.is_dir() => format!("file {} is a directory", path.display()),
        (Ok(kind), _) if kind.is_socket() => format!("file {} is a socket", path.display()),
        (_, Err(Errno::NOENT)) => match may(folder, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => return None,
            Err(Errno::NOENT) => format!("file's directory {} does not exist", folder.display()),
            Err(error) => cannot("file's directory", folder, error),
        },
        (_, written) => cannot("file", &path, written.err()?),
    };
    Some(readable(format!("the log {why}").as_bytes()))
}

/// Says that there is no such program, and returns the exit code that a shell has for that.
fn not_found(error: &io::Error, shown: &str) -> u8 {
    if shown.is_empty() {
        output::error("PROGRAM is empty");
        return exit::NOT_FOUND;
    }
    let (code, what) = if error.kind() == ErrorKind::PermissionDenied {
        (exit::NOT_EXECUTABLE, "can't be executed; see `ls -l` on it")
    } else if shown.contains('/') {
        (exit::NOT_FOUND, "was not found")
    } else {
        (exit::NOT_FOUND, "was not found in PATH")
    };
    output::error(&format!("{shown} {what}"));
    let is_assignment = shown
        .split_once('=')
        .is_some_and(|(name, _)| !name.contains('/'));
    if is_assignment {
        output::error("a variable is set by env: `reuseaddr run env NAME=VALUE PROGRAM`");
    } else if shown.contains(' ') {
        output::error(
            "pass PROGRAM and its arguments as separate words; to run a shell command line: \
             `reuseaddr run sh -c 'exec PROGRAM ARGS'`",
        );
    }
    code
}

/// A program that is there, and what is known before it is started.
struct Prepared<'a> {
    arguments: &'a Arguments,
    settings: Box<Settings>,
    libraries: Option<Libraries>,
    path: PathBuf,
    report: Report,
    /// Its name, as it was typed.
    shown: String,
}

/// How a program is started.
#[derive(Clone, Copy)]
enum Way {
    By(Engine),
    /// Unchanged, as asked for.
    Plain,
}

impl Prepared<'_> {
    fn run(mut self, mut environment: Environment) -> Result<u8> {
        let Some(way) = self.choose() else {
            return Ok(exit::REFUSED);
        };
        let ports = port_list::listed(&self.settings.ports);
        if self.arguments.free {
            free::for_program(&ports)?;
        }
        if self.arguments.evict {
            clear(&ports)?;
        }
        let library = self.library(way);
        let is_ready = match way {
            Way::By(Engine::Preload) => {
                self.follow_children(library.is_some());
                true
            }
            Way::By(Engine::Trace) => self.trace(library.is_some()),
            Way::By(Engine::Bpf) => self.attach(),
            Way::By(Engine::Wait) => {
                wait::until_free(&ports, patience(&self.settings));
                true
            }
            Way::Plain => true,
        };
        if !is_ready {
            return Ok(exit::REFUSED);
        }
        let inherited = match (&library, way) {
            (Some(library), _) => Inherited::With(library),
            (None, Way::By(Engine::Trace | Engine::Bpf)) => Inherited::Without,
            (None, _) => Inherited::Unchanged,
        };
        environment.prepare(&self.arguments.variables, inherited);
        if library.is_some() && self.report.has_asan_runtime() {
            environment.allow_before_asan();
        }
        let error = become_it(&self.path, &self.arguments.program, environment.entries());
        output::error(&format!(
            "{} can't be executed: {error}",
            self.path.display()
        ));
        Ok(if error.kind() == ErrorKind::NotFound {
            exit::NOT_FOUND
        } else {
            exit::NOT_EXECUTABLE
        })
    }

    /// Chooses the way, or says why there is none.
    fn choose(&self) -> Option<Way> {
        let shown = &self.shown;
        let against =
            match select::decide(self.arguments.engine, &self.report, &self.settings, shown) {
                Ok((engine, reason)) => {
                    debug!("engine {engine}: {reason}");
                    return Some(Way::By(engine));
                }
                Err(against) => against,
            };
        for problem in &against {
            output::error(problem);
        }
        if self.arguments.anyway {
            output::warn(&format!("{shown} is started anyway"));
            return Some(Way::Plain);
        }
        output::error(&format!(
            "so {shown} was not started; `reuseaddr run --anyway` starts it unchanged"
        ));
        None
    }

    /// How LD_PRELOAD is to name the library, if it is to be there.
    fn library(&self, way: Way) -> Option<PathBuf> {
        match way {
            Way::By(Engine::Preload) => self.report.preload.clone(),
            // It may start dynamic programs, which the library then serves. What is traced itself
            // gets none.
            Way::By(Engine::Trace)
                if is_static(&self.path) || select::is_past_libc(&self.report) =>
            {
                self.libraries.as_ref().and_then(Libraries::for_children)
            }
            _ => None,
        }
    }

    /// Has a tracer follow what a preloaded program starts, where that can't be known yet. If there
    /// can be no tracer, it starts all the same.
    fn follow_children(&mut self, has_library: bool) {
        if self.report.certain || !self.report.starts_something() {
            return;
        }
        let may_follow = self.arguments.engine.is_none()
            && self.report.follows
            && select::not_while_traced(&self.settings).is_none();
        if !may_follow {
            debug!("what it starts was not looked at; with --engine trace that is served too");
            return;
        }
        debug!("what it starts was not looked at: a tracer follows it");
        if let Err(error) = self.begin_to_trace(has_library) {
            debug!("{}", trace::explain(&error, &self.shown));
        }
    }

    /// Has this process traced, or else waits for its ports; false if nothing is to be started.
    fn trace(&mut self, has_library: bool) -> bool {
        if let Some(tracer) = trace::traced_by_run() {
            output::warn(&format!(
                "reuseaddr (pid {tracer}) traces {} already, with the options of the first `run`",
                self.shown
            ));
            return true;
        }
        if self.report.has_asan_runtime() {
            debug!(
                "LeakSanitizer fails under a tracer: {} ends with an error if it ends before the \
                 tracer detaches, unless ASAN_OPTIONS has detect_leaks=0",
                self.shown
            );
        }
        let ports = port_list::listed(&self.settings.ports);
        let (is_known, longest) = (!self.settings.ports.all(), patience(&self.settings));
        let Err(error) = self.begin_to_trace(has_library) else {
            return true;
        };
        let why = trace::explain(&error, &self.shown);
        // It may have nothing to be served.
        if self.arguments.engine.is_none() && select::is_past_libc(&self.report) {
            debug!("{why}");
            return true;
        }
        if self.arguments.engine.is_none() && is_known {
            output::warn(&format!("{why}; so `run` waits for its ports"));
            wait::until_free(&ports, longest);
            return true;
        }
        // A service is not to fail because of a line that was put in front of its program.
        let is_of_the_service = trace::is_forbidden_by_filter(&error) || trace::lacks_room(&error);
        if self.arguments.engine.is_none() && is_of_the_service {
            output::warn(&format!("{why}; so {} is started unchanged", self.shown));
            return true;
        }
        output::error(&why);
        self.starts_anyway("; with --ports PORT `run` waits until it can bind its port")
    }

    fn begin_to_trace(&mut self, has_library: bool) -> io::Result<()> {
        /// Up to this many ports are each expected to listen; of more, only some will.
        const MOST_PORTS: usize = 16;
        let ports = port_list::listed(&self.settings.ports);
        let policy = DetachPolicy {
            ports: (ports.len() <= MOST_PORTS).then(|| ports.iter().copied().collect()),
            quiet: self.arguments.trace_quiet.0,
            limit: self.arguments.trace_limit.0,
        };
        let libraries = self.libraries.as_ref().filter(|_| has_library);
        let preloaded = libraries.map(|libraries| Preloaded {
            starts_others: interpreter::starts_others::<String>,
            kinds: libraries.kinds(),
        });
        // The tracer has them for as long as it lives; nothing here asks for them again.
        let settings = mem::replace(&mut self.settings, Box::new(Settings::DEFAULT));
        trace::begin(settings, policy, preloaded)
    }

    /// Attaches BPF programs; false if nothing is to be started.
    fn attach(&self) -> bool {
        let Err(error) = bpf::start::begin(&self.settings) else {
            return true;
        };
        output::error(&format!("bpf: {error:#}"));
        self.starts_anyway("")
    }

    /// Reports whether the program is started all the same, and returns that.
    fn starts_anyway(&self, otherwise: &str) -> bool {
        let shown = &self.shown;
        if self.arguments.anyway {
            output::warn(&format!("{shown} is started anyway"));
        } else {
            output::error(&format!("so {shown} was not started{otherwise}"));
        }
        self.arguments.anyway
    }
}

/// Whether a file is a program without a dynamic linker.
fn is_static(path: &Path) -> bool {
    Elf::read(path).is_ok_and(|elf| elf.is_some_and(|elf| elf.interpreter.is_none()))
}

/// How long `wait` waits.
fn patience(settings: &Settings) -> Duration {
    match settings.wait_ms {
        0 => wait::LONGEST,
        milliseconds => Duration::from_millis(milliseconds.into()),
    }
}

/// Clears what earlier runs left. Where that fails it warns, and the program is started all the
/// same: it may bind over it.
fn clear(ports: &[u16]) -> Result<()> {
    let eviction = evict::evict(ports, Filter::default(), false)?;
    if eviction.left.is_empty() {
        debug!("{} leftovers evicted", eviction.found.len());
    } else {
        output::warn(&format!(
            "{} of {} leftovers are still there",
            eviction.left.len(),
            eviction.found.len()
        ));
        output::warn(&evict::explain(&eviction, &port_list::spelled(ports)));
    }
    Ok(())
}
