//! A process: whether it has the library, with which variables, and which of its sockets carry
//! `SO_REUSEADDR`.

use super::finding::{Finding, Note, Problem};
use super::report::{BoundSocket, Report};
use super::search::file_name;
use crate::engine::{Choice, Engine, bpf};
use crate::library::elf::{Elf, HOOKED};
use crate::library::ld_preload::{self, VARIABLE};
use crate::library::variables::Variables;
use crate::output::readable;
use crate::process::status::maps;
use crate::process::{info, names, sockets};
use anyhow::{Context, Result};
use libreuse_rules::settings::Settings;
use procfs::process::{MMapPath, MemoryMaps, Process};
use rustix::process::getuid;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Looks at a process.
pub(crate) fn process(pid: u32) -> Result<Report> {
    let process = info::process(pid)?;
    let maps = maps(&process).with_context(|| {
        if getuid().is_root() {
            format!(
                "even root may not inspect process {pid} here: CAP_SYS_PTRACE is missing, or a \
                 security module forbids it"
            )
        } else {
            format!(
                "you may not inspect process {pid}; root may: `sudo reuseaddr check --pid {pid}`"
            )
        }
    })?;
    let exe = process.exe().ok();
    let mut report = Report {
        program: exe.as_ref().map(|path| path.display().to_string()),
        pid: Some(pid),
        certain: true,
        ..Report::default()
    };
    // What it was started with: it may have changed its environment since.
    let environment = process.environ().unwrap_or_default();
    let given = environment
        .get(OsStr::new(VARIABLE))
        .map(OsString::as_os_str);
    for (name, value) in &environment {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("LIBREUSE_") {
            report.variables.insert(name, readable(value.as_bytes()));
        }
    }
    let elf = Elf::read(&PathBuf::from(format!("/proc/{pid}/exe")))
        .ok()
        .flatten();
    let mut acts_on: Box<dyn Fn(u16) -> bool> = Box::new(|_| true);
    if let Some(tracer) = info::tracer(pid).filter(|&tracer| info::is_our_tracer(tracer)) {
        // The tracer serves it, whatever else is there.
        let reason = format!("process {tracer} traces it until it listens");
        report.engine = Some(Choice::new(Engine::Trace, reason));
    } else {
        if elf.as_ref().is_some_and(|elf| elf.go) {
            let program = report.program.clone().unwrap_or_else(|| "it".into());
            report.add(Problem::Go { program });
        }
        if let Some(file) = mapped(&maps, given) {
            let settings = loaded(file, &process, &environment, &mut report);
            acts_on = Box::new(move |port| settings.reuse_address && settings.ports.contains(port));
        } else if let Some(record) = bpf::record::covering(pid) {
            report.findings.clear();
            let attached = Finding::from(Note::Attached {
                group: record.group.clone(),
            });
            report.engine = Some(Choice::new(Engine::Bpf, attached.to_string()));
            report.add(attached);
            acts_on = Box::new(move |port| record.serves(port));
        } else {
            not_loaded(elf.as_ref(), given, &mut report);
        }
    }
    look_at_sockets(&process, &mut report);
    by_its_listeners(&acts_on, &mut report);
    report.works = report.is_good();
    Ok(report)
}

/// The library's file, if it is mapped.
fn mapped(maps: &MemoryMaps, given: Option<&OsStr>) -> Option<String> {
    maps.iter().find_map(|map| match &map.pathname {
        MMapPath::Path(path) if is_ours(path, given) => Some(path.display().to_string()),
        _ => None,
    })
}

/// Reads the library's variables from the process's environment; returns its settings.
fn loaded(
    file: String,
    process: &Process,
    environment: &HashMap<OsString, OsString>,
    report: &mut Report,
) -> Box<Settings> {
    report.engine = Some(Choice::new(Engine::Preload, format!("{file} is mapped")));
    report.add(Note::Mapped { file });
    if report.variables.is_empty() {
        report.add(Note::NoVariables);
    }
    for (name, value) in report.variables.clone() {
        report.add(Note::Variable { name, value });
    }
    let borrowed = environment
        .iter()
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let (settings, mistakes) = Variables::default().read(borrowed);
    for mistake in mistakes {
        report.add(Note::WrongVariable(mistake));
    }
    let names = names::names(process, process.exe().ok().as_deref());
    if !settings.programs.all() && !names.iter().any(|name| settings.programs.contains(name)) {
        report.add(Problem::NotChosen);
    }
    settings
}

/// Finds why the library is not in the process.
fn not_loaded(elf: Option<&Elf>, given: Option<&OsStr>, report: &mut Report) {
    match elf {
        Some(elf) if elf.go => {}
        Some(elf) if elf.interpreter.is_none() => report.add(Problem::StaticAndUntraced),
        _ => report.add(Problem::NotLoaded {
            given: given.map(|value| readable(value.as_bytes())),
        }),
    }
}

fn look_at_sockets(process: &Process, report: &mut Report) {
    let mut found = Vec::new();
    let looked = sockets::each_socket(process, &mut HashSet::new(), |socket| {
        found.push(BoundSocket {
            local: socket.local.to_string(),
            port: socket.local.port(),
            listening: socket.listening,
            reuse_address: socket.reuses_address(),
        });
    });
    match looked {
        Ok(()) => {
            report.sockets = found;
            // A server may have thousands of connections; its listeners say what they inherit.
            if report.sockets.iter().any(|socket| socket.listening) {
                report.sockets.retain(|socket| socket.listening);
            }
        }
        Err(error) => report.add(Note::SocketsUnreadable(sockets::why_not(
            error,
            process.pid(),
        ))),
    }
}

/// Joins what is in the process with what its listeners carry: what was done shows there, whoever
/// did it.
fn by_its_listeners(acts_on: &dyn Fn(u16) -> bool, report: &mut Report) {
    let listeners = || report.sockets.iter().filter(|socket| socket.listening);
    if report.engine.is_none()
        && listeners().next().is_some()
        && listeners().all(|socket| socket.reuse_address)
    {
        report.findings.clear();
        report.add(Note::ListenersCarryOption);
        return;
    }
    if !report.is_loaded() || !report.is_good() {
        return;
    }
    let past = listeners().find(|socket| !socket.reuse_address && acts_on(socket.port));
    if let Some(past) = past {
        let finding = Problem::ListenerPastLibrary {
            local: past.local.clone(),
            port: past.port,
        };
        report.add(finding);
    }
}

/// Whether a file that is mapped is the library: by its name, or because LD_PRELOAD names it and it
/// interposes the same.
fn is_ours(mapped: &Path, preloaded: Option<&OsStr>) -> bool {
    if file_name(mapped).starts_with("libreuse.so") {
        return true;
    }
    let named = preloaded
        .is_some_and(|preloaded| ld_preload::entries(preloaded).any(|entry| entry == mapped));
    named
        && Elf::read(mapped)
            .ok()
            .flatten()
            .is_some_and(|elf| HOOKED.iter().all(|name| elf.exports.contains(name)))
}
