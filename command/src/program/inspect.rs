//! Whether the library works in a program: everything that would make the dynamic linker leave it
//! out in silence, or that would keep the program's calls from it.

use super::finding::{Hopeless, Note, Problem, Reach, Untraceable};
use super::privileges::{report_gains, report_secure_domain, report_untraceable_domain};
use super::report::{FileFormat, Report};
use super::script::{self, Shebang};
use super::{interpreter, ld_so, ld_so_predicted, select, started, wrapper};
use crate::engine::trace::{self, exempt};
use crate::library::elf::Elf;
use crate::library::layout::PreloadPath;
use crate::library::ld_preload;
use crate::library::libraries::{Libraries, Library};
use crate::process::credentials::{Credentials, Gain, gains};
use crate::process::names::is_interpreter;
use crate::process::selinux::{self, StartDomain};
use crate::program::search::file_name;
use anyhow::{Context, Result, bail};
use log::trace;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How much to find out about a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Depth {
    /// How to start it.
    HowToStart,
    /// And every finding about it.
    Everything,
}

/// Looks at a program that would be started with these arguments.
pub(crate) fn program(
    path: &Path,
    arguments: &[OsString],
    libraries: Option<&Libraries>,
    who: &Credentials,
    depth: Depth,
) -> Report {
    let mut report = Report {
        program: Some(path.display().to_string()),
        ..Report::default()
    };
    if let Err(error) = look(path, libraries, who, depth, &mut report) {
        report.add(Hopeless::NoProgram(format!("{error:#}")));
    }
    if !started::elsewhere(path, arguments, who, &mut report) {
        if let Some(next) = started::follow(path, arguments, who, &mut report) {
            let mut inner = match &next.root {
                Some(root) => started::below_root(&next.program, root, libraries),
                None => program(&next.program, &next.arguments, libraries, &next.who, depth),
            };
            if next.other_files {
                inner.forget_missing_linker();
            }
            report.take_over(&file_name(path), next.program, inner);
        } else if interpreter::runs_a_starter(&file_name(path), arguments, Path::new("")) {
            may_start(&file_name(path), &mut report);
        }
    }
    select::choose(&mut report);
    report
}

/// Adds that a script starts what was not looked at.
fn may_start(interpreter: &str, report: &mut Report) {
    report.starts_unseen = true;
    report.add(Note::MayStart {
        interpreter: interpreter.into(),
    });
}

fn look(
    path: &Path,
    libraries: Option<&Libraries>,
    who: &Credentials,
    depth: Depth,
    report: &mut Report,
) -> Result<()> {
    // The kernel itself follows as many (BINPRM_MAX_RECURSION), and a script's interpreter may be
    // one by way of env.
    const DEEPEST: usize = 8;
    let mut path = path.to_owned();
    // The label of a script decides, and not its interpreter's.
    let mut start = selinux::start(&path, &who.domain, who.no_new_privileges);
    for _ in 0..DEEPEST {
        if let Some(elf) = Elf::read(&path)? {
            return judge(&path, &elf, libraries, who, &start, depth, report);
        }
        if let Some(shebang) = Shebang::read(&path)? {
            path = interpreter_of(&path, &shebang, report)?;
        } else {
            path = shell_of(&path, report)?;
            start = selinux::start(&path, &who.domain, who.no_new_privileges);
        }
        report.interpreters.push(path.display().to_string());
    }
    bail!("its interpreters are scripts without end")
}

/// Looks at a script without a first line that names its interpreter; returns the shell.
fn shell_of(script: &Path, report: &mut Report) -> Result<PathBuf> {
    if !script::is_text(script)? {
        bail!("{} is neither an ELF file nor a script", script.display());
    }
    report.add(Note::NoShebang {
        script: script.to_owned(),
    });
    shell_script(script, report)?;
    Ok(PathBuf::from("/bin/sh"))
}

/// Looks at a script, and returns its interpreter.
fn interpreter_of(script: &Path, shebang: &Shebang, report: &mut Report) -> Result<PathBuf> {
    let shown = script.display();
    if shebang.has_carriage_return() {
        bail!(
            "the first line of {shown} ends with a carriage return, as lines do on Windows, and so \
             names no program; `sed -i 's/\\r$//' {shown}` takes it away"
        );
    }
    let interpreter = shebang.program().with_context(|| {
        let name = shebang.by_env.as_deref().unwrap_or_default();
        format!(
            "{shown} wants to be run by {}, which is not in PATH",
            name.to_string_lossy()
        )
    })?;
    if shebang.drops_environment {
        report.add(Problem::ShebangDropsLibrary {
            script: script.to_owned(),
        });
    }
    report.add(Note::Script {
        script: script.to_owned(),
        interpreter: interpreter.clone(),
    });
    let name = file_name(&interpreter);
    if wrapper::is_shell(&name) {
        shell_script(script, report)?;
    } else if !is_interpreter(&name) || interpreter::script_may_start(&name, script)? {
        may_start(&name, report);
    }
    Ok(interpreter)
}

/// Says what a shell script does to the library.
fn shell_script(path: &Path, report: &mut Report) -> Result<()> {
    let (starts, drops) = script::remarkable_lines(path)?;
    for line in drops {
        report.add(Problem::ScriptDropsLibrary {
            script: path.to_owned(),
            line,
        });
    }
    if let Some(line) = starts.into_iter().last() {
        report.add(Note::Wraps { line });
    }
    report.starts_unseen = true;
    Ok(())
}

/// Judges an ELF program.
fn judge(
    path: &Path,
    elf: &Elf,
    libraries: Option<&Libraries>,
    who: &Credentials,
    start: &StartDomain,
    depth: Depth,
    report: &mut Report,
) -> Result<()> {
    report.format = Some(FileFormat {
        class: elf.class,
        machine: elf.machine.clone(),
        linkage: if elf.interpreter.is_some() {
            "dynamic"
        } else {
            "static"
        },
        interpreter: elf
            .interpreter
            .as_ref()
            .map(|path| path.display().to_string()),
        libc: elf.libc(),
        go: elf.go,
    });
    let shown = path.display().to_string();
    trace!("{shown}: {elf:?}");
    if elf.go {
        report.add(Problem::Go {
            program: shown.clone(),
        });
    }
    if let Some(linker) = &elf.interpreter {
        if matches!(linker.try_exists(), Ok(false)) {
            report.add(Hopeless::NoLinker {
                program: shown,
                linker: linker.clone(),
            });
            return Ok(());
        }
    }
    let gains = gains(path, who).with_context(|| shown.clone())?;
    traceable(path, elf, who, &gains, report);
    report_untraceable_domain(&shown, start, report);
    let Some((interpreter, libraries, library)) = fitting(&shown, elf, libraries, report) else {
        return Ok(());
    };
    if elf.needs_asan_runtime() {
        report.add(Note::AddressSanitizer {
            program: shown.clone(),
        });
    }
    // musl's reads no such file.
    let of_the_system = (elf.libc() == Some("glibc"))
        .then(ld_preload::system_wide)
        .flatten();
    if let Some(entry) = of_the_system {
        let preload_path = PreloadPath::plain(entry.clone());
        report.add(Note::SystemWide { entry });
        ld_so::dry_run(path, elf, interpreter, &[preload_path], report);
        // It is there without LD_PRELOAD.
        report.preload = None;
        return Ok(());
    }
    report_gains(&shown, &gains, report);
    report_secure_domain(&shown, start, report);
    match libraries.preload_paths(library) {
        Ok(preload_paths) => take_library(path, elf, library, &preload_paths, depth, report),
        Err(error) => report.add(Problem::NoPlace(error.to_string())),
    }
    Ok(())
}

/// The program's dynamic linker, and the library for its kind; what is wrong is added to the
/// report.
fn fitting<'a>(
    shown: &str,
    elf: &'a Elf,
    libraries: Option<&'a Libraries>,
    report: &mut Report,
) -> Option<(&'a Path, &'a Libraries, &'a Library)> {
    let program = shown.to_owned();
    let Some(linker) = &elf.interpreter else {
        report.add(Problem::Static { program });
        return None;
    };
    let Some(libraries) = libraries else {
        report.add(Problem::NoLibrary);
        return None;
    };
    let Some(library) = libraries.fitting(elf) else {
        report.add(Problem::NoLibraryOfItsKind {
            program,
            kind: elf.kind(),
            there: libraries.described(),
        });
        return None;
    };
    if !matches!(elf.libc(), Some("glibc" | "musl")) {
        report.add(Problem::OtherLinker {
            program,
            linker: linker.clone(),
        });
        return None;
    }
    Some((linker, libraries, library))
}

/// Finds by which path the dynamic linker takes the library into the program: from the files where
/// they leave no doubt, and else by asking it.
fn take_library(
    path: &Path,
    elf: &Elf,
    library: &Library,
    preload_paths: &[PreloadPath],
    depth: Depth,
    report: &mut Report,
) {
    report.library = preload_paths
        .last()
        .and_then(|by_path| by_path.files.first().cloned());
    let settled = match depth {
        Depth::HowToStart => ld_so_predicted::taken(elf, library.elf(), preload_paths),
        Depth::Everything => None,
    };
    let with_reach = |taken| {
        let reach = if elf.imports.contains("bind") {
            Reach::Calls
        } else if wrapper::starts_others(&file_name(path)) {
            // It need not call it.
            Reach::Unknown
        } else if elf.cannot_call_bind() && !ld_preload::is_there_for_all() {
            Reach::InNoWay
        } else {
            return None;
        };
        Some((taken, reach))
    };
    if let Some(((preload_path, file), reach)) = settled.and_then(with_reach) {
        report.preload = Some(preload_path.preload.clone());
        report.library = Some(file.to_owned());
        report.reach = reach;
    } else if let Some(interpreter) = &elf.interpreter {
        ld_so::dry_run(path, elf, interpreter, preload_paths, report);
    }
    let by_itself = matches!(report.reach, Reach::ByItself | Reach::InNoWay);
    report.starts_unseen |= elf.starts_and_binds_nothing() && !by_itself;
    if let Some(file) = report.library.clone().filter(|_| library.is_embedded()) {
        report.add(Note::Carried { file });
    }
}

/// Finds what keeps a tracer away from a program.
fn traceable(path: &Path, elf: &Elf, who: &Credentials, gains: &[Gain], report: &mut Report) {
    let program = path.display().to_string();
    let is_known = trace::MACHINES
        .iter()
        .any(|&(machine, class)| machine == elf.machine && class == elf.class);
    if !is_known {
        report.add(Untraceable::UnknownMachine {
            program: program.clone(),
            kind: elf.kind(),
        });
    }
    // Of another user no more is known than the number.
    let keeps_them = || who.uid == Credentials::own().uid && exempt::may_trace_the_privileged();
    if !gains.is_empty() && !keeps_them() {
        report.add(Untraceable::LosesPrivileges { program });
    }
    if let Some(why) = exempt::why_not(path, &file_name(path)) {
        // The library is no help to what is static there, and nobody follows.
        report.starts_unseen = true;
        report.add(Untraceable::Exempt(why));
    }
}
