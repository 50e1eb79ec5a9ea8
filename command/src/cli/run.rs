//! Starts a program by an engine that works for it: everything that could go wrong is found first, and nothing is started
//! if anything does.

use super::{exit, options};
use crate::engine::preload::{Environment, Inherited};
use crate::engine::trace::exempt::Preloaded;
use crate::engine::trace::{self, Terms};
use crate::engine::{Engine, bpf, wait};
use crate::library::elf::Elf;
use crate::library::libraries::Libraries;
use crate::library::variables::Variables;
use crate::output::{self, readable};
use crate::port::evict::{self, Choice};
use crate::port::free;
use crate::port::port_list;
use crate::process::credentials::Credentials;
use crate::program::exec::become_it;
use crate::program::inspect;
use crate::program::report::{Reach, Report};
use crate::program::search::find_program;
use crate::program::wrapper;
use anyhow::Result;
use libreuse_rules::settings::{Linger, Settings};
use log::debug;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Start a program so that it can bind its port again at once
#[derive(Debug, clap::Args)]
#[command(
    after_help = "`run` becomes PROGRAM: same process, same descriptors, its own exit code. If nothing can be done for \
    PROGRAM, or an option is wrong, it says why, starts nothing and exits with 125.\n\
    Example: reuseaddr run --wait 60s python3 server.py"
)]
pub(crate) struct Arguments {
    /// Start PROGRAM even if libreuse can't help it
    #[arg(long)]
    anyway: bool,

    /// Which engine to use (default: the first that works for PROGRAM)
    #[arg(long, value_name = "ENGINE")]
    engine: Option<Engine>,

    /// trace: detach when no new listener has appeared for this long, unless --ports lists every port
    #[arg(long, value_name = "DURATION", default_value = "250ms")]
    trace_quiet: options::Span,

    /// trace: detach after this long in any case
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    trace_limit: options::Span,

    /// First clear what earlier runs left on the ports of --ports; no privileges are needed for peers on this host
    #[arg(long)]
    evict: bool,

    /// First ask your own processes that hold the ports of --ports to exit, and clear what they leave
    #[arg(long)]
    free: bool,

    #[command(flatten)]
    library: options::Library,

    #[command(flatten)]
    variables: Variables,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    program: Vec<OsString>,
}

/// Answers `reuseaddr run`, which it survives only if nothing was started.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let Some((name, rest)) = arguments.program.split_first() else {
        return Ok(exit::REFUSED);
    };
    let mut environment = Environment::own();
    let (settings, mut mistakes) = arguments.variables.read(environment.pairs());
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
    if arguments.engine == Some(Engine::Trace) {
        mistakes.extend(not_while_traced(&settings));
    }
    if arguments.engine == Some(Engine::Bpf) {
        mistakes.extend(bpf::start::unsupported(&settings));
    }
    let path = find_program(name);
    let libraries = arguments.library.find();
    let report = path.as_ref().ok().map(|path| {
        inspect::program(
            path,
            rest,
            libraries.as_ref().ok(),
            &Credentials::own(),
            inspect::Question::HowToStart,
        )
    });
    if let Err(error) = &libraries {
        let may_be_preload = matches!(arguments.engine, None | Some(Engine::Preload));
        let is_needed = report.as_ref().is_none_or(|report| report.needs_library);
        if arguments.library.library.is_some() || (may_be_preload && is_needed) {
            mistakes.push(format!("{error:#}"));
        }
    }
    for mistake in &mistakes {
        output::complain(mistake);
    }
    let shown = readable(name.as_bytes());
    let path = match path {
        Ok(path) => path,
        Err(error) => {
            let (code, what) = if error.kind() == ErrorKind::PermissionDenied {
                (exit::NOT_EXECUTABLE, "can't be executed; see `ls -l` on it")
            } else if shown.contains('/') {
                (exit::NOT_FOUND, "was not found")
            } else {
                (exit::NOT_FOUND, "was not found in PATH")
            };
            output::complain(&format!("{shown} {what}"));
            if shown
                .split_once('=')
                .is_some_and(|(name, _)| !name.contains('/'))
            {
                output::complain(
                    "a variable is set by env: `reuseaddr run env NAME=VALUE PROGRAM`",
                );
            }
            return Ok(if mistakes.is_empty() {
                code
            } else {
                exit::REFUSED
            });
        }
    };
    if !mistakes.is_empty() {
        return Ok(exit::REFUSED);
    }
    let is_hopeless = |report: &Report| report.engine.is_none();
    if report.as_ref().is_none_or(is_hopeless) && !path.exists() {
        output::complain(&format!("{shown} is not there any more"));
        return Ok(exit::NOT_FOUND);
    }
    let libraries = libraries.ok();
    let Some(way) = choose(arguments, &settings, report.as_ref(), &shown) else {
        return Ok(exit::REFUSED);
    };
    if arguments.free {
        free::for_program(&port_list::listed(&settings.ports))?;
    }
    if arguments.evict {
        clear(&port_list::listed(&settings.ports))?;
    }
    let in_environment = match (&way, &report) {
        (Way::By(Engine::Preload), Some(report)) => report.preload.clone(),
        // What it starts may be dynamic, and the library then serves that. No library is for what is traced itself.
        (Way::By(Engine::Trace), report) if is_static(&path) || is_past_libc(report.as_ref()) => {
            libraries.as_ref().and_then(Libraries::for_children)
        }
        _ => None,
    };
    let preloaded = in_environment.as_ref().and(libraries.as_ref());
    let preloaded = preloaded.map(|libraries| Preloaded {
        starts_others: wrapper::starts_others,
        kinds: libraries.kinds(),
    });
    match way {
        Way::By(Engine::Preload) => {
            follow_children(arguments, settings, report.as_ref(), preloaded);
        }
        Way::By(Engine::Trace) => {
            if arguments.engine.is_none() && is_past_libc(report.as_ref()) {
                begin_to_trace(arguments, settings, preloaded);
            } else if !traced(arguments, settings, preloaded, &shown) {
                return Ok(exit::REFUSED);
            }
        }
        Way::By(Engine::Bpf) => {
            if let Err(error) = bpf::start::begin(&settings) {
                output::complain(&format!("bpf: {error:#}"));
                if !arguments.anyway {
                    output::complain(&format!("so {shown} was not started"));
                    return Ok(exit::REFUSED);
                }
                output::warn(&format!("{shown} is started anyway"));
            }
        }
        Way::By(Engine::Wait) => {
            wait::until_free(&port_list::listed(&settings.ports), patience(&settings));
        }
        Way::Plain => {}
    }
    environment.prepare(
        &arguments.variables,
        match (&in_environment, way) {
            (Some(library), _) => Inherited::With(library),
            (None, Way::By(Engine::Trace | Engine::Bpf)) => Inherited::Without,
            (None, _) => Inherited::Unchanged,
        },
    );
    if report.is_some_and(|report| report.has_asan_runtime) && in_environment.is_some() {
        environment.allow_before_asan();
    }
    let error = become_it(&path, &arguments.program, environment.entries());
    output::complain(&format!("{} can't be executed: {error}", path.display()));
    Ok(if error.kind() == ErrorKind::NotFound {
        exit::NOT_FOUND
    } else {
        exit::NOT_EXECUTABLE
    })
}

/// Whether a file is a program without a dynamic linker.
fn is_static(path: &Path) -> bool {
    Elf::read(path).is_ok_and(|elf| elf.is_some_and(|elf| elf.interpreter.is_none()))
}

/// Whether a program is one that the dynamic linker takes the library into, in vain: it never calls libc's `bind`.
fn is_past_libc(report: Option<&Report>) -> bool {
    report.is_some_and(|report| report.reach == Reach::InNoWay && report.is_good())
}

/// Has a tracer see to what a preloaded program starts, where that was not looked at. Without one it starts all the same.
fn follow_children(
    arguments: &Arguments,
    settings: Box<Settings>,
    report: Option<&Report>,
    preloaded: Option<Preloaded>,
) {
    let Some(report) = report.filter(|report| !report.certain && report.starts_something()) else {
        return;
    };
    if arguments.engine.is_some() || !report.follows || not_while_traced(&settings).is_some() {
        debug!("what it starts was not looked at; with --engine trace that is served too");
        return;
    }
    debug!("what it starts was not looked at: a tracer follows it");
    begin_to_trace(arguments, settings, preloaded);
}

/// Begins to trace, if the kernel lets it.
fn begin_to_trace(arguments: &Arguments, settings: Box<Settings>, preloaded: Option<Preloaded>) {
    let terms = terms(arguments, &settings);
    if let Err(error) = trace::begin(settings, terms, preloaded) {
        debug!("the kernel lets nobody trace here: {error}");
    }
}

/// How a program is started.
#[derive(Clone, Copy)]
enum Way {
    By(Engine),
    /// As it is: that was asked for.
    Plain,
}

/// Chooses the way for a program, or says why there is none.
fn choose(
    arguments: &Arguments,
    settings: &Settings,
    report: Option<&Report>,
    shown: &str,
) -> Option<Way> {
    let found = report.and_then(|report| report.engine.as_ref());
    let mut against = Vec::new();
    match (arguments.engine, found, report) {
        (Some(Engine::Preload), found, Some(report))
            if found.is_none_or(|choice| choice.name != Engine::Preload) && !report.is_good() =>
        {
            against.extend(report.problems().map(str::to_owned));
        }
        (Some(Engine::Trace), _, Some(report)) if !report.untraceable.is_empty() => {
            against.clone_from(&report.untraceable);
        }
        (Some(engine), _, _) => {
            debug!("engine {engine}: it was asked for");
            return Some(Way::By(engine));
        }
        (None, Some(choice), report) => {
            let missing = match choice.name {
                // It is served in no other way, and may have nothing to be served.
                Engine::Trace if is_past_libc(report) => None,
                Engine::Trace => not_while_traced(settings),
                Engine::Wait if settings.ports.all() => Some(format!(
                    "with --ports PORT `run` waits until {shown} can bind its port"
                )),
                _ => None,
            };
            let Some(missing) = missing else {
                debug!("engine {}: {}", choice.name, choice.reason);
                return Some(Way::By(choice.name));
            };
            against.extend(
                report
                    .into_iter()
                    .flat_map(Report::problems)
                    .map(str::to_owned),
            );
            if choice.name == Engine::Wait {
                against.push(choice.reason.clone());
                against.extend(report.and_then(|report| report.as_root(shown)));
            }
            against.push(missing);
        }
        (None, None, report) => {
            against.extend(
                report
                    .into_iter()
                    .flat_map(Report::problems)
                    .map(str::to_owned),
            );
        }
    }
    for problem in &against {
        output::complain(problem);
    }
    if arguments.anyway {
        output::warn(&format!("{shown} is started anyway"));
        return Some(Way::Plain);
    }
    output::complain(&format!(
        "so {shown} was not started; `reuseaddr run --anyway` starts it as it is"
    ));
    None
}

/// What of the settings can't be had from a tracer.
fn not_while_traced(settings: &Settings) -> Option<String> {
    (settings.linger == Linger::Zero).then(|| {
        "linger zero is for the engine preload: it resets connections when they are closed, and by then the tracer has let \
         go. --linger graceful works"
            .into()
    })
}

/// How long `wait` waits.
fn patience(settings: &Settings) -> Duration {
    match settings.wait_ms {
        0 => wait::LONGEST,
        milliseconds => Duration::from_millis(milliseconds.into()),
    }
}

/// When a tracer is to detach.
fn terms(arguments: &Arguments, settings: &Settings) -> Terms {
    /// So many ports and no more are each expected to listen: of a wide range, some will.
    const MOST_PORTS: usize = 16;
    let ports = port_list::listed(&settings.ports);
    Terms {
        ports: (ports.len() <= MOST_PORTS).then(|| ports.iter().copied().collect()),
        quiet: arguments.trace_quiet.0,
        limit: arguments.trace_limit.0,
    }
}

/// Has this process traced, or else waits for its ports; false if nothing is to be started.
fn traced(
    arguments: &Arguments,
    settings: Box<Settings>,
    preloaded: Option<Preloaded>,
    shown: &str,
) -> bool {
    if let Some(tracer) = trace::traced_by_run() {
        output::warn(&format!(
            "reuseaddr (pid {tracer}) traces {shown} already, with the options of the first `run`"
        ));
        return true;
    }
    let ports = port_list::listed(&settings.ports);
    let longest = patience(&settings);
    let terms = terms(arguments, &settings);
    let known = !settings.ports.all();
    let Err(error) = trace::begin(settings, terms, preloaded) else {
        return true;
    };
    let why = trace::explain(&error, shown);
    if arguments.engine.is_none() && known {
        output::warn(&format!("{why}; so `run` waits for its ports"));
        wait::until_free(&ports, longest);
        return true;
    }
    output::complain(&why);
    if arguments.anyway {
        output::warn(&format!("{shown} is started anyway"));
        return true;
    }
    output::complain(&format!(
        "so {shown} was not started; with --ports PORT `run` waits until it can bind its port"
    ));
    false
}

/// Ends what earlier runs left. Where that can't be, it says so, and the program is started all the same: it may bind
/// over it.
fn clear(ports: &[u16]) -> Result<()> {
    let eviction = evict::evict(ports, Choice::default(), false)?;
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
