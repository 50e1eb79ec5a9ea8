//! Whether the library works in a program: everything that would make the dynamic linker leave it out in silence, or
//! that would keep the program's calls from it.

use super::privileges::{in_another_domain, more_rights, without_environment};
use super::report::{Format, Level, Report};
use super::script::{self, Shebang};
use super::select;
use super::{ld_so, ld_so_predicted, wrapper};
use crate::engine::trace::{self, exempt};
use crate::engine::{Choice, Engine, bpf};
use crate::library::elf::Elf;
use crate::library::layout::Spelling;
use crate::library::ld_preload;
use crate::library::libraries::Libraries;
use crate::output::readable;
use crate::process::credentials::{Credentials, Gain, gains};
use crate::process::selinux::{self, Start};
use crate::program::search::{file_name, find_program};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is to be found out about a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Question {
    /// How to start it.
    HowToStart,
    /// And what there is to say of it.
    Everything,
}

/// Looks at a program that would be started with these arguments.
pub(crate) fn program(
    path: &Path,
    arguments: &[OsString],
    libraries: Option<&Libraries>,
    who: &Credentials,
    question: Question,
) -> Report {
    let mut report = Report {
        program: Some(path.display().to_string()),
        ..Report::default()
    };
    if let Err(error) = look(path, libraries, who, question, &mut report) {
        report.hopeless(format!("{error:#}"));
    }
    by_name(path, arguments, who, &mut report);
    follow(path, arguments, libraries, who, question, &mut report);
    report.engine = select::choose(&report);
    let engine = report.engine.as_ref().map(|choice| choice.name);
    if engine == Some(Engine::Wait) && bpf::start::is_likely() {
        let reason = "programs in the kernel serve what nobody can enter";
        report.alternative = Some(Choice::new(Engine::Bpf, reason));
    }
    report.works = matches!(engine, Some(Engine::Preload | Engine::Trace));
    if engine != Some(Engine::Preload) {
        report.preload = None;
    }
    report
}

fn look(
    path: &Path,
    libraries: Option<&Libraries>,
    who: &Credentials,
    question: Question,
    report: &mut Report,
) -> Result<()> {
    // The kernel itself follows as many (BINPRM_MAX_RECURSION), and a script's interpreter may be one by way of env.
    const DEEPEST: usize = 8;
    let mut path = path.to_owned();
    // Of a script and what runs it, the script's label decides.
    let mut start = selinux::start(&path, &who.domain, who.no_new_privileges);
    for _ in 0..DEEPEST {
        if let Some(elf) = Elf::read(&path)? {
            return judge(&path, &elf, libraries, who, &start, question, report);
        }
        let Some(shebang) = Shebang::read(&path)? else {
            if !script::is_text(&path)? {
                bail!("{} is neither an ELF file nor a script", path.display());
            }
            report.note(format!(
                "{} has no #! line: /bin/sh runs it, as shells do",
                path.display()
            ));
            shell_script(&path, report)?;
            path = PathBuf::from("/bin/sh");
            start = selinux::start(&path, &who.domain, who.no_new_privileges);
            report.interpreters.push(path.display().to_string());
            continue;
        };
        if shebang.has_carriage_return() {
            bail!(
                "the first line of {0} ends with a carriage return, as lines do on Windows, and so names no program; \
                 `sed -i 's/\\r$//' {0}` takes it away",
                path.display()
            );
        }
        let interpreter = shebang.program().with_context(|| {
            format!(
                "{} wants to be run by {}, which is not in PATH",
                path.display(),
                shebang
                    .by_env
                    .as_deref()
                    .unwrap_or_default()
                    .to_string_lossy()
            )
        })?;
        if shebang.drops_environment {
            report.problem(format!(
                "the first line of {} makes env drop LD_PRELOAD",
                path.display()
            ));
        }
        report.note(format!(
            "{} is a script, which {} runs",
            path.display(),
            interpreter.display()
        ));
        report.interpreters.push(interpreter.display().to_string());
        let name = file_name(&interpreter);
        if ["sh", "bash", "dash", "ash", "ksh", "zsh", "busybox"].contains(&name.as_str()) {
            shell_script(&path, report)?;
        }
        path = interpreter;
    }
    bail!("its interpreters are scripts without end")
}

/// Says what a shell script does to the library.
fn shell_script(path: &Path, report: &mut Report) -> Result<()> {
    let (starts, drops) = script::remarkable_lines(path)?;
    for line in drops {
        report.problem(format!("{} takes LD_PRELOAD away, {line}", path.display()));
    }
    if let Some(line) = starts.last() {
        report.note(format!(
            "it wraps another program, which inherits the library and was not looked at ({line}). Check that one too{}",
            if line.contains("pyenv") { ": `reuseaddr check \"$(pyenv which NAME)\"`" } else { "" }
        ));
    }
    Ok(())
}

/// Judges an ELF program.
fn judge(
    path: &Path,
    elf: &Elf,
    libraries: Option<&Libraries>,
    who: &Credentials,
    start: &Start,
    question: Question,
    report: &mut Report,
) -> Result<()> {
    report.format = Some(Format {
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
    let shown = path.display();
    if elf.go {
        report.problem(of_go(&shown.to_string()));
    }
    let gains = gains(path, who).with_context(|| shown.to_string())?;
    traceable(path, elf, who, &gains, report);
    in_another_domain(path, start, report);
    let Some(interpreter) = &elf.interpreter else {
        report.problem(format!(
            "{shown} is statically linked: there is no dynamic linker that would load the library"
        ));
        return Ok(());
    };
    let Some(libraries) = libraries else {
        report.needs_library = true;
        report.problem("the library is not installed");
        return Ok(());
    };
    let Some(library) = libraries.fitting(elf) else {
        report.problem(format!(
            "{shown} is {}, and the library is here for {}. Install the one for that machine as well (libreuse.so(8)), \
             or name it with --library",
            elf.kind(),
            libraries.described()
        ));
        return Ok(());
    };
    if !matches!(elf.libc(), Some("glibc" | "musl")) {
        report.problem(format!(
            "{shown} asks for the dynamic linker {}, which is neither glibc's nor musl's",
            interpreter.display()
        ));
        return Ok(());
    }
    report.has_asan_runtime = elf.needs_asan_runtime();
    if report.has_asan_runtime {
        report.note(format!(
            "{shown} is built with AddressSanitizer, whose runtime wants to come first: `run` sets \
             ASAN_OPTIONS=verify_asan_link_order=0"
        ));
    }
    // musl's reads no such file.
    let of_the_system = (elf.libc() == Some("glibc"))
        .then(ld_preload::system_wide)
        .flatten();
    if let Some(entry) = of_the_system {
        report.note(format!(
            "/etc/ld.so.preload has {} loaded into every program, setuid ones as well",
            entry.display()
        ));
        ld_so::dry_run(path, elf, interpreter, &[Spelling::plain(entry)], report);
        // It is there without LD_PRELOAD.
        report.preload = None;
        return Ok(());
    }
    more_rights(path, &gains, report);
    without_environment(path, start, report);
    let spellings = match libraries.spellings(library) {
        Ok(spellings) => spellings,
        Err(error) => {
            report.placeless = true;
            report.problem(error.to_string());
            return Ok(());
        }
    };
    report.library = spellings
        .last()
        .and_then(|by_path| by_path.files.first().cloned());
    let settled = match question {
        Question::HowToStart => ld_so_predicted::taken(elf, library.elf(), &spellings),
        Question::Everything => None,
    };
    if let Some((spelling, file)) = settled {
        report.preload = Some(spelling.preload.clone());
        report.library = Some(file.to_owned());
    } else {
        ld_so::dry_run(path, elf, interpreter, &spellings, report);
    }
    if let Some(file) = report.library.as_ref().filter(|_| library.is_embedded()) {
        report.note(format!(
            "the library is the one that this command carries, as {}",
            file.display()
        ));
    }
    Ok(())
}

/// Says why a program can't be traced, if it can't.
fn traceable(path: &Path, elf: &Elf, who: &Credentials, gains: &[Gain], report: &mut Report) {
    let shown = path.display();
    let is_known = trace::MACHINES
        .iter()
        .any(|&(machine, class)| machine == elf.machine && class == elf.class);
    if !is_known {
        report.untraceable.push(format!(
            "{shown} is {}, whose system calls the tracer does not know",
            elf.kind()
        ));
    }
    // Of somebody else's rights no more is known than who it is.
    let keeps_rights = || who.uid == Credentials::own().uid && exempt::may_trace_the_privileged();
    if !gains.is_empty() && !keeps_rights() {
        report.untraceable.push(format!(
            "{shown} gives whoever starts it more rights (setuid, setgid or file capabilities), and the kernel takes them \
             from a program that is traced"
        ));
    }
    report.untraceable.extend(exempt::why_not(&file_name(path)));
}

pub(crate) fn of_go(program: &str) -> String {
    format!(
        "{program} is a Go program: Go calls the kernel without libc, so that nothing can be interposed. Its net package \
         sets SO_REUSEADDR on listeners by itself; if the port is busy all the same, `reuseaddr status PORT` says why"
    )
}

/// Programs that start others with a new environment, or that have others started.
fn by_name(path: &Path, arguments: &[OsString], who: &Credentials, report: &mut Report) {
    const OF_THE_SYSTEM: [&str; 4] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
    let name = file_name(path);
    let is_login = |argument: &OsString| ["-", "-l", "--login"].iter().any(|it| argument == it);
    match name.as_str() {
        "su" if who.uid == 0 && !arguments.iter().any(is_login) => report.note(
            "what su starts inherits the library and was not looked at. Check that one too",
        ),
        "sudo" | "doas" | "pkexec" | "su" => report.hopeless(format!(
            "{name} takes LD_PRELOAD away from what it starts. Write it in front: `{name} reuseaddr run PROGRAM`"
        )),
        // Anybody's own program may be called so.
        "at" | "batch"
            if !OF_THE_SYSTEM
                .iter()
                .any(|folder| path.parent() == Some(Path::new(folder))) => {}
        "systemd-run" | "systemctl" | "at" | "batch" | "docker" | "podman" | "ssh" => report.hopeless(format!(
            "{name} has the program started by somebody else, with another environment. Use `reuseaddr run` there{}",
            if name.starts_with("system") { ", or `reuseaddr systemd UNIT`" } else { "" }
        )),
        _ => {}
    }
}

/// A program that starts the one named in its arguments: that one is what matters.
fn follow(
    path: &Path,
    arguments: &[OsString],
    libraries: Option<&Libraries>,
    who: &Credentials,
    question: Question,
    report: &mut Report,
) {
    let name = file_name(path);
    let Some(start) = wrapper::start(&name, arguments) else {
        return;
    };
    // What the starter itself calls is nobody's concern.
    report
        .findings
        .retain(|finding| finding.level == Level::Problem);
    if start.drops_library {
        report.problem(format!(
            "{name} is told to take LD_PRELOAD away from what it starts"
        ));
    }
    let Some((started, rest)) = start.program.split_first() else {
        return;
    };
    let by = path;
    let Ok(path) = find_program(started) else {
        report.note(format!(
            "{name} starts {}, which was not found and so not looked at",
            readable(started.as_bytes())
        ));
        return;
    };
    let who = Credentials {
        uid: start.user.map_or(who.uid, |user| Credentials::id(&user)),
        gid: start.group.map_or(who.gid, |group| Credentials::id(&group)),
        no_new_privileges: who.no_new_privileges || start.no_new_privileges,
        domain: who.domain.behind(
            selinux::start(by, &who.domain, who.no_new_privileges),
            start.context,
        ),
    };
    let inner = program(&path, rest, libraries, &who, question);
    report.note(format!("{name} starts {}", path.display()));
    report.findings.extend(inner.findings);
    report.untraceable.extend(inner.untraceable);
    report.needs_library |= inner.needs_library;
    report.placeless |= inner.placeless;
    report.hopeless |= inner.hopeless;
    report.preload = inner.preload;
    report.library = inner.library;
    report.interpreters = inner.interpreters;
    report.format = inner.format;
    report.imports = inner.imports;
    report.has_asan_runtime = inner.has_asan_runtime;
}
