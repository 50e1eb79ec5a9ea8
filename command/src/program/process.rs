//! A process: whether it has the library, with which variables, and which of its sockets carry `SO_REUSEADDR`.

use super::inspect::of_go;
use super::report::{Report, Socket};
use crate::engine::{Choice, Engine, bpf};
use crate::library::elf::{Elf, HOOKED};
use crate::library::ld_preload::{self, VARIABLE};
use crate::library::variables::Variables;
use crate::output::readable;
use crate::process::{info, sockets};
use crate::program::search::file_name;
use anyhow::{Context, Result};
use procfs::process::MMapPath;
use rustix::process::getuid;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Looks at a process.
pub(crate) fn process(pid: u32) -> Result<Report> {
    let process = info::process(pid)?;
    let maps = process.maps().with_context(|| {
        if getuid().is_root() {
            format!("even root may not look into process {pid} here: CAP_SYS_PTRACE is missing, or a security module forbids it")
        } else {
            format!("you may not look into process {pid}; root may: `sudo reuseaddr check --pid {pid}`")
        }
    })?;
    let exe = process.exe().ok();
    let mut report = Report {
        program: exe.as_ref().map(|path| path.display().to_string()),
        pid: Some(pid),
        ..Report::default()
    };
    // What it was started with: it may have changed its environment since.
    let environment = process.environ().unwrap_or_default();
    let given = environment.get(OsStr::new(VARIABLE));
    let mapped = maps.iter().find_map(|map| match &map.pathname {
        MMapPath::Path(path) if is_ours(path, given.map(OsString::as_os_str)) => {
            Some(path.display().to_string())
        }
        _ => None,
    });
    for (name, value) in &environment {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("LIBREUSE_") {
            report.variables.insert(name, readable(value.as_bytes()));
        }
    }
    let elf = Elf::read(&PathBuf::from(format!("/proc/{pid}/exe")))
        .ok()
        .flatten();
    let is_of_go = elf.as_ref().is_some_and(|elf| elf.go);
    let is_static = elf.is_some_and(|elf| elf.interpreter.is_none());
    if let Some(tracer) = info::tracer(&process) {
        report.engine = Some(Choice::new(
            Engine::Trace,
            format!("process {tracer} traces it until it listens"),
        ));
    } else if is_of_go {
        report.problem(of_go(report.program.as_deref().unwrap_or("it")));
    }
    let mut acts_on: Box<dyn Fn(u16) -> bool> = Box::new(|_| true);
    if report.engine.is_some() {
        // What else there may be is of no account.
    } else if let Some(path) = &mapped {
        report.engine = Some(Choice::new(Engine::Preload, format!("{path} is mapped")));
        report.loaded = true;
        report.note(format!("{path} is mapped"));
        if report.variables.is_empty() {
            report.note("no LIBREUSE_ variable was set when it started, so the defaults hold");
        }
        for (name, value) in report.variables.clone() {
            report.note(format!("{name}={value}"));
        }
        let borrowed = environment
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let (settings, mistakes) = Variables::default().read(borrowed);
        for mistake in mistakes {
            report.note(format!("{mistake}. The default holds"));
        }
        let names = info::names(&process, exe.as_deref());
        if !settings.programs.all() && !names.iter().any(|name| settings.programs.contains(name)) {
            report.problem("LIBREUSE_PROGRAMS leaves this program out");
        }
        acts_on = Box::new(move |port| settings.reuse_address && settings.ports.contains(port));
    } else if let Some(record) = bpf::record::covering(pid) {
        let reason = format!("programs are attached at {}", record.group);
        report.findings.clear();
        report.note(reason.clone());
        report.engine = Some(Choice::new(Engine::Bpf, reason));
        acts_on = Box::new(move |port| record.serves(port));
    } else if is_static && !is_of_go {
        report.problem(
            "it is statically linked, and no tracer is there: `reuseaddr run` traces such a program until it listens, and \
             its listeners say whether that was so",
        );
    } else if !is_of_go {
        match given {
            None => report.problem("LD_PRELOAD was not set when it started. Start it with `reuseaddr run`"),
            Some(value) => report.problem(format!(
                "LD_PRELOAD was {} when it started, and the library was left out: `reuseaddr check` on its program may say why",
                readable(value.as_bytes())
            )),
        }
    }
    let mut found = Vec::new();
    let looked = sockets::each_socket(&process, |_, socket| {
        found.push(Socket {
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
        Err(error) => report.note(sockets::why_not(error, process.pid())),
    }
    by_its_listeners(&mut report, &acts_on);
    report.certain = true;
    report.works = report.is_good();
    Ok(report)
}

/// Joins what is in the process with what its listeners carry: what was done shows there, whoever did it.
fn by_its_listeners(report: &mut Report, acts_on: &dyn Fn(u16) -> bool) {
    let listeners = || report.sockets.iter().filter(|socket| socket.listening);
    if report.engine.is_none()
        && listeners().next().is_some()
        && listeners().all(|socket| socket.reuse_address)
    {
        report.findings.clear();
        report.note(
            "its listeners carry SO_REUSEADDR: it sets that itself, or a tracer did before it detached. The next start \
             can bind over what this one leaves behind",
        );
        report.needs_nothing = true;
        return;
    }
    let plain = listeners().find(|socket| !socket.reuse_address && acts_on(socket.port));
    let Some(local) = plain.filter(|_| report.loaded && report.is_good()) else {
        return;
    };
    let text = format!(
        "the listener on {} was opened past the library: by system calls that the program makes without libc, or by \
         another process. Start it with `reuseaddr run --engine trace`; until then `reuseaddr arm {}` prepares the next \
         start",
        local.local, local.port
    );
    report.problem(text);
}

/// Whether a file that is mapped is the library: by its name, or because LD_PRELOAD names it and it interposes the same.
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
