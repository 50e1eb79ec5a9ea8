//! Says which engine works for a program, or is at work in a process.

use super::{exit, options};
use crate::engine::Engine;
use crate::output::{self, BAD, GOOD, UNSURE, paragraph, readable, styled};
use crate::process::credentials::Credentials;
use crate::program::explain;
use crate::program::finding::Reach;
use crate::program::report::{BoundSocket, Report};
use crate::program::search::{file_name, find_program};
use crate::program::{inspect, process, select, wrapper};
use anstyle::Style;
use anyhow::{Result, bail};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Show how `run` would start a program, or whether libreuse is active in a process
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Arguments {
    /// Inspect a process: whether it is traced or has the library, its variables, and which sockets
    /// carry SO_REUSEADDR
    #[arg(long, group = "what", value_name = "PID", value_parser = options::pid)]
    pid: Option<u32>,

    #[command(flatten)]
    library: options::LibraryOption,

    #[command(flatten)]
    format: options::Format,

    /// A program, by path or name; with its arguments, if those name another program
    #[arg(group = "what", value_name = "PROGRAM", trailing_var_arg = true)]
    program: Vec<OsString>,
}

/// Answers `reuseaddr check`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let (report, shown) = match (arguments.pid, arguments.program.as_slice()) {
        (Some(pid), _) => (process::process(pid)?, format!("process {pid}")),
        (None, [name, rest @ ..]) => {
            let is_ours = |word: &&OsString| {
                ["--json", "--library", "--pid"]
                    .iter()
                    .any(|option| *word == option)
            };
            let is_starter = wrapper::start(&file_name(Path::new(name)), rest).is_some();
            if let Some(ours) = rest.iter().find(is_ours).filter(|_| !is_starter) {
                bail!(
                    "{} after PROGRAM is an argument of PROGRAM; put it in front",
                    readable(ours.as_bytes())
                );
            }
            let libraries = arguments.library.find();
            let path = locate(name)?;
            let report = inspect::program(
                &path,
                rest,
                libraries.as_ref().ok(),
                &Credentials::own(),
                inspect::Depth::Everything,
            );
            if report.needs_library() || arguments.library.library.is_some() {
                libraries?;
            }
            (report, readable(name.as_bytes()))
        }
        (None, []) => bail!("a PROGRAM or --pid is needed"),
    };
    if arguments.format.json {
        output::print_json(&report, output::json::USUAL)?;
    } else {
        output::print(&text(&report, &shown))?;
    }
    Ok(if report.works { exit::YES } else { exit::NO })
}

/// Finds a program, or says in words that help why not.
fn locate(name: &OsStr) -> Result<PathBuf> {
    let shown = readable(name.as_bytes());
    find_program(name).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{shown} is there and can't be executed; see `ls -l` on it")
        }
        _ if name.is_empty() => anyhow::anyhow!("PROGRAM is empty"),
        _ if Path::new(name).is_symlink() && shown.contains('/') => {
            anyhow::anyhow!("{shown} is a link to a file that is not there; see `ls -l` on it")
        }
        _ if shown.contains('/') => anyhow::anyhow!("there is no file {shown}"),
        _ => anyhow::anyhow!("there is no program {shown} in PATH; give its path"),
    })
}

/// The engine that works for certain, where the library works only probably.
fn advice(report: &Report, shown: &str) -> Option<String> {
    if report.pid.is_some() || report.certain || report.follows {
        return None;
    }
    let in_front = "put `reuseaddr run` in front of the program itself";
    Some(if report.starts_elsewhere() {
        format!("to be certain, {in_front}")
    } else if let Some(why) = select::untraceable(report) {
        format!("{why}; to be certain, {in_front}")
    } else if let Reach::ByLibrary(_) | Reach::ByLoading = &report.reach {
        let why = explain::of_reach(&report.reach);
        format!(
            "{why}; if a restart fails all the same, `reuseaddr run --engine trace {shown}` works"
        )
    } else {
        format!("to be certain, `reuseaddr run --engine trace {shown}`, or {in_front}")
    })
}

/// The answer's first word, in its colour, and the sentence that it begins, with `{}` for the
/// program.
fn verdict(report: &Report) -> (Style, &'static str, &'static str) {
    let engine = report.engine.as_ref().map(|choice| choice.name);
    match (report.pid, engine) {
        (None, Some(Engine::Preload)) if report.follows => (
            UNSURE,
            "probably",
            "the library works in {}, and a tracer follows what {} starts",
        ),
        (None, Some(Engine::Preload)) if report.starts_something() => (
            UNSURE,
            "not looked at",
            "the library works in {}, but what {} starts was not looked at",
        ),
        (None, Some(Engine::Preload)) if !report.certain => (
            UNSURE,
            "probably",
            "the library works in {}, if that calls libc's bind",
        ),
        (None, Some(Engine::Preload)) => (GOOD, "yes", "the library works in {}"),
        (None, Some(Engine::Trace)) => (GOOD, "yes", "`reuseaddr run` traces {} until it listens"),
        // It is never chosen by itself: `alternative` names it.
        (None, Some(Engine::Bpf)) => (GOOD, "yes", "BPF programs serve {}"),
        (None, Some(Engine::Wait)) => (
            UNSURE,
            "only waiting",
            "`reuseaddr run --ports PORT` starts {} when it can bind its port",
        ),
        (None, None) => (BAD, "no", "nothing can be done for {}"),
        (Some(_), Some(Engine::Bpf)) => (GOOD, "served", "BPF programs are attached for {}"),
        (Some(_), Some(Engine::Trace)) => (
            GOOD,
            "traced",
            "until it listens, a tracer is at work in {}",
        ),
        (Some(_), None) if report.needs_nothing() => (
            GOOD,
            "nothing to do",
            "what {} listens on carries SO_REUSEADDR",
        ),
        (Some(_), _) if report.works => (GOOD, "loaded", "the library is at work in {}"),
        (Some(_), _) if report.is_loaded() => {
            (BAD, "loaded in vain", "the library does nothing in {}")
        }
        (Some(_), _) => (BAD, "not loaded", "the library is not in {}"),
    }
}

fn text(report: &Report, shown: &str) -> String {
    let (style, verdict, sentence) = verdict(report);
    let verdict = styled(style, verdict);
    let sentence = sentence.replace("{}", shown);
    let mut text = paragraph("", "", &format!("{verdict}: {sentence}."));
    let facts = report
        .shown()
        .chain(advice(report, shown))
        .chain(engine(report, shown))
        .chain(report.sockets.iter().map(socket));
    for fact in facts {
        text += &paragraph("  - ", "    ", &fact);
    }
    text
}

/// The engine, why it is that one, and what it can't do.
fn engine(report: &Report, shown: &str) -> Vec<String> {
    let Some(choice) = &report.engine else {
        return Vec::new();
    };
    let is_known = report.shown().any(|finding| finding == choice.reason);
    let why = if is_known || choice.name == Engine::Preload {
        String::new()
    } else {
        format!(": {}", choice.reason)
    };
    let mut facts = vec![format!("the engine is {}{why}", choice.name)];
    facts.extend(
        choice
            .cannot
            .iter()
            .map(|limit| format!("it can't {limit}")),
    );
    facts.extend(report.as_root(shown));
    facts
}

fn socket(socket: &BoundSocket) -> String {
    let BoundSocket { local, .. } = socket;
    let what = if socket.listening {
        format!("the listener on {local}")
    } else {
        format!("the socket at {local}")
    };
    let carries = if socket.reuse_address {
        "carries"
    } else {
        "does not carry"
    };
    format!("{what} {carries} SO_REUSEADDR")
}
