//! Whether the library works in a program: everything that would make the dynamic linker leave it out in silence, or
//! that would keep the program's calls from it.

use super::privileges::{in_another_domain, more_rights, without_environment};
use super::report::{Format, Level, Reach, Report};
use super::script::{self, Shebang};
use super::select;
use super::{ld_so, ld_so_predicted, wrapper};
use crate::engine::trace::{self, exempt};
use crate::library::elf::Elf;
use crate::library::layout::Spelling;
use crate::library::ld_preload;
use crate::library::libraries::Libraries;
use crate::output::readable;
use crate::process::credentials::{Credentials, Gain, gains};
use crate::process::selinux::{self, Start};
use crate::program::search::{file_name, find_program};
use anyhow::{Context, Result, bail};
use log::trace;
use std::ffi::{OsStr, OsString};
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
    if !by_name(path, arguments, who, &mut report) {
        follow(path, arguments, libraries, who, question, &mut report);
    }
    select::choose(&mut report);
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
            report.starts_unseen = true;
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
        if wrapper::is_shell(&name) {
            shell_script(&path, report)?;
            report.starts_unseen = true;
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
    trace!("{shown}: {elf:?}");
    if elf.go {
        report.problem(of_go(&shown.to_string()));
    }
    let gains = gains(path, who).with_context(|| shown.to_string())?;
    traceable(path, elf, who, &gains, report);
    in_another_domain(path, start, report);
    let Some(interpreter) = &elf.interpreter else {
        report.problem(of_static(&shown.to_string()));
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
    // Who starts others need not call it.
    let is_clear = elf.imports.contains("bind") || wrapper::starts_others(&file_name(path));
    if let Some((spelling, file)) = settled.filter(|_| is_clear) {
        report.preload = Some(spelling.preload.clone());
        report.library = Some(file.to_owned());
        if elf.imports.contains("bind") {
            report.reach = Reach::Calls;
        }
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
    report.deals_with_others = exempt::why_not(path, &file_name(path));
}

pub(crate) fn of_go(program: &str) -> String {
    format!(
        "{program} is a Go program: Go calls the kernel without libc, so that nothing can be interposed. Its net package \
         sets SO_REUSEADDR on listeners by itself; if the port is busy all the same, `reuseaddr status PORT` says why"
    )
}

/// Reports whether a program of this name has others started by somebody else, or without the library whatever its arguments
/// are: then there is nothing to be done for it.
fn by_name(path: &Path, arguments: &[OsString], who: &Credentials, report: &mut Report) -> bool {
    const OF_THE_SYSTEM: [&str; 4] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
    let name = file_name(path);
    let is_login = |argument: &OsString| ["-", "-l", "--login"].iter().any(|it| argument == it);
    let of_the_system = OF_THE_SYSTEM
        .iter()
        .any(|folder| path.parent() == Some(Path::new(folder)));
    let text = match name.as_str() {
        "su" if who.uid == 0 && !arguments.iter().any(is_login) => return false,
        "su" => "su takes LD_PRELOAD away from what it starts. Write `run` behind it: `su USER -c 'reuseaddr run PROGRAM'`"
            .to_owned(),
        "sudo" | "doas" | "pkexec" => format!(
            "{name} takes LD_PRELOAD away from what it starts. Write it in front: `{name} reuseaddr run PROGRAM`"
        ),
        // Anybody's own program may be called so.
        "at" | "batch" | "service" if !of_the_system => return false,
        "systemd-run" | "systemctl" | "service" | "invoke-rc.d" | "at" | "batch" | "docker" | "podman" | "ssh" => format!(
            "{name} has the program started by somebody else, with another environment. Use `reuseaddr run` there{}",
            if ["at", "batch", "docker", "podman", "ssh"].contains(&name.as_str()) {
                ""
            } else {
                ", or `reuseaddr systemd UNIT`"
            }
        ),
        _ => return false,
    };
    // What else was found, as that it is setuid, is advice to start it otherwise.
    report.findings.clear();
    report.hopeless(text);
    true
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
    if start.drops_library {
        report.problem(format!(
            "{name} is told to take LD_PRELOAD away from what it starts"
        ));
    }
    report.starts_unseen |= start.other_files;
    report.starts_elsewhere = start.elsewhere;
    let Some((started, rest)) = start.program.split_first() else {
        report.starts_unseen = true;
        if start.elsewhere {
            report.note(format!(
                "{name} has a server that runs already start it, with that one's environment. Put `reuseaddr run` in \
                 front of the program itself"
            ));
        }
        return;
    };
    let found = match &start.root {
        Some(root) => Ok(in_root(root, started)),
        None => find_program(started),
    };
    let Ok(inner_path) = found else {
        report.starts_unseen = true;
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
            selinux::start(path, &who.domain, who.no_new_privileges),
            start.context,
        ),
    };
    let inner = match &start.root {
        Some(root) => below_root(&inner_path, root, libraries),
        None => program(&inner_path, rest, libraries, &who, question),
    };
    // What the wrapper itself calls is nobody's concern.
    report
        .findings
        .retain(|finding| finding.level == Level::Problem);
    report.note(format!("{name} starts {}", inner_path.display()));
    report.take_over(inner);
}

/// A program of a new root, as it is found from here. The first folder of the usual PATH that has it is taken.
fn in_root(root: &Path, program: &OsStr) -> PathBuf {
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    if program.as_bytes().contains(&b'/') {
        return below(Path::new(program));
    }
    [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .iter()
    .map(|folder| below(&Path::new(folder).join(program)))
    .find(|path| path.exists())
    .unwrap_or_else(|| below(Path::new(program)))
}

/// Looks at a program that has another root.
fn below_root(path: &Path, root: &Path, libraries: Option<&Libraries>) -> Report {
    let mut report = Report {
        starts_unseen: true,
        ..Report::default()
    };
    let shown = path.display();
    let is_there = |elf: &Elf| {
        let entry = libraries.and_then(Libraries::for_children);
        entry.is_some_and(|entry| {
            Spelling::expansions(&entry, elf.class)
                .any(|file| root.join(file.strip_prefix("/").unwrap_or(&file)).exists())
        })
    };
    match Elf::read(path) {
        Ok(Some(elf)) if elf.go => report.problem(of_go(&shown.to_string())),
        Ok(Some(elf)) if elf.interpreter.is_none() => report.problem(of_static(&shown.to_string())),
        Ok(Some(elf)) if !is_there(&elf) => report.problem(format!(
            "{} becomes the root of {shown}, and the library is not in there",
            root.display()
        )),
        Ok(_) => {}
        Err(error) => report.note(format!("{error:#}")),
    }
    report
}

fn of_static(program: &str) -> String {
    format!(
        "{program} is statically linked: there is no dynamic linker that would load the library"
    )
}
