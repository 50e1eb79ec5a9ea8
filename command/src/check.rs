//! Whether the library works in a program: everything that would make the dynamic linker leave it out in silence, or
//! that would keep the program's calls from it.

use super::elf::{Elf, HOOKED};
use super::library::{Libraries, Library, find_program};
use super::output::{self, BAD, GOOD, list, paragraph, readable, styled};
use super::script::{self, Shebang};
use super::variables::Variables;
use super::{arm, exit, network, starter};
use anyhow::{Context, Result, bail};
use log::debug;
use procfs::process::{MMapPath, Process};
use rustix::fs::{StatVfsMountFlags, getxattr, statvfs};
use rustix::process::{getgid, getuid};
use rustix::thread::no_new_privs;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Say whether the library works in a program, or in a process that runs
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(super) struct Arguments {
    /// A process: is the library loaded, with which variables, and which sockets carry SO_REUSEADDR
    #[arg(long, group = "what", value_name = "PID")]
    pid: Option<u32>,

    /// The library, if it is not beside this command or in a usual place
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,

    /// Answer in JSON (docs/json.md)
    #[arg(long)]
    json: bool,

    /// A program, by path or name, with its arguments if they name another program
    #[arg(group = "what", value_name = "PROGRAM", trailing_var_arg = true)]
    program: Vec<OsString>,
}

/// How much something matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// The library does not work.
    Problem,
    /// It works, and something about it should be known.
    Note,
}

/// One thing that was found.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) text: String,
}

/// What was found about a program or process.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// The program's file, or that of the process.
    program: Option<String>,
    pid: Option<u32>,
    /// Whether the library works in it.
    works: bool,
    /// Whether the process has it loaded.
    #[serde(skip)]
    loaded: bool,
    /// What LD_PRELOAD has to be so that the dynamic linker takes the library into the program.
    pub(super) preload: Option<PathBuf>,
    /// The file that it then takes.
    #[serde(skip)]
    pub(super) library: Option<PathBuf>,
    pub(super) findings: Vec<Finding>,
    /// Programs that run it, if it is a script.
    interpreters: Vec<String>,
    format: Option<Format>,
    /// Hooked functions, and the files that call them: the program's, or those of libraries that it loads at start.
    imports: BTreeMap<&'static str, Vec<String>>,
    /// `LIBREUSE_` variables of the process.
    variables: BTreeMap<String, String>,
    /// TCP sockets of the process that have a port.
    sockets: Vec<Socket>,
}

#[derive(Debug, Serialize)]
struct Format {
    class: u8,
    machine: String,
    /// `dynamic` or `static`.
    linkage: &'static str,
    interpreter: Option<String>,
    /// `glibc`, `musl` or `unknown`.
    libc: Option<&'static str>,
    go: bool,
}

#[derive(Debug, Serialize)]
struct Socket {
    local: String,
    listening: bool,
    reuse_address: bool,
}

impl Report {
    fn problem(&mut self, text: impl Into<String>) {
        self.findings.push(Finding {
            level: Level::Problem,
            text: text.into(),
        });
    }

    fn note(&mut self, text: impl Into<String>) {
        self.findings.push(Finding {
            level: Level::Note,
            text: text.into(),
        });
    }

    /// Whether nothing was found that keeps the library out.
    pub(super) fn is_good(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.level != Level::Problem)
    }

    /// Everything that keeps the library out.
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.findings
            .iter()
            .filter(|finding| finding.level == Level::Problem)
            .map(|finding| finding.text.as_str())
    }
}

/// Who would start the program: the kernel drops LD_PRELOAD where the file gives more rights than that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Setuid and setgid give nothing. File capabilities give nothing either, but count as if they did.
    pub(super) no_new_privileges: bool,
}

impl Credentials {
    /// Ours.
    pub(super) fn own() -> Self {
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            no_new_privileges: no_new_privs().unwrap_or(false),
        }
    }

    /// The number of a user or group. Of a name all that matters is whether it is root's: file capabilities give anybody
    /// else more than they have.
    pub(super) fn id(user: &OsStr) -> u32 {
        match user.to_string_lossy().as_ref() {
            "root" => 0,
            other => other.parse().unwrap_or(u32::MAX),
        }
    }
}

/// Answers `reuseaddr check`.
pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    let (report, shown) = match (arguments.pid, arguments.program.as_slice()) {
        (Some(pid), _) => (process(pid)?, format!("process {pid}")),
        (None, [name, rest @ ..]) => {
            let is_ours = |word: &&OsString| {
                ["--json", "--library", "--pid"]
                    .iter()
                    .any(|option| *word == option)
            };
            let is_starter = starter::start(&file_name(Path::new(name)), rest).is_some();
            if let Some(ours) = rest.iter().find(is_ours).filter(|_| !is_starter) {
                bail!(
                    "{} after PROGRAM is an argument of PROGRAM; put it in front",
                    readable(ours.as_bytes())
                );
            }
            let libraries = Libraries::find(arguments.library.as_deref())?;
            let path = locate(name)?;
            (
                program(&path, rest, &libraries, Credentials::own()),
                readable(name.as_bytes()),
            )
        }
        (None, []) => bail!("a PROGRAM or --pid is needed"),
    };
    if arguments.json {
        output::print_json(&report, false)?;
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
        _ if shown.contains('/') => anyhow::anyhow!("there is no file {shown}"),
        _ => anyhow::anyhow!("there is no program {shown} in PATH; give its path"),
    })
}

fn text(report: &Report, shown: &str) -> String {
    let (style, verdict, sentence) = match (report.pid, report.works, report.loaded) {
        (None, true, _) => (GOOD, "yes", "the library works in"),
        (None, false, _) => (BAD, "no", "the library does not work in"),
        (Some(_), true, _) => (GOOD, "loaded", "the library is at work in"),
        (Some(_), false, true) => (BAD, "loaded in vain", "the library does nothing in"),
        (Some(_), false, false) => (BAD, "not loaded", "the library is not in"),
    };
    let verdict = styled(style, verdict);
    let mut text = paragraph("", "", &format!("{verdict}: {sentence} {shown}."));
    for finding in &report.findings {
        text += &paragraph("  - ", "    ", &finding.text);
    }
    for socket in &report.sockets {
        text += &paragraph(
            "  - ",
            "    ",
            &format!(
                "{} {} SO_REUSEADDR",
                if socket.listening {
                    format!("the listener on {}", socket.local)
                } else {
                    format!("the socket at {}", socket.local)
                },
                if socket.reuse_address {
                    "carries"
                } else {
                    "does not carry"
                },
            ),
        );
    }
    text
}

/// Looks at a program that would be started with these arguments.
pub(super) fn program(
    path: &Path,
    arguments: &[OsString],
    libraries: &Libraries,
    who: Credentials,
) -> Report {
    let mut report = Report {
        program: Some(path.display().to_string()),
        ..Report::default()
    };
    if let Err(error) = look(path, libraries, who, &mut report) {
        report.problem(format!("{error:#}"));
    }
    by_name(path, arguments, who, &mut report);
    follow(path, arguments, libraries, who, &mut report);
    report.works = report.is_good();
    if !report.works {
        report.preload = None;
    }
    report
}

fn look(path: &Path, libraries: &Libraries, who: Credentials, report: &mut Report) -> Result<()> {
    // The kernel itself follows as many (BINPRM_MAX_RECURSION), and a script's interpreter may be one by way of env.
    const DEEPEST: usize = 8;
    let mut path = path.to_owned();
    for _ in 0..DEEPEST {
        if let Some(elf) = Elf::read(&path)? {
            return judge(&path, &elf, libraries, who, report);
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
            report.interpreters.push(path.display().to_string());
            continue;
        };
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
    libraries: &Libraries,
    who: Credentials,
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
    let Some(interpreter) = &elf.interpreter else {
        report.problem(format!(
            "{shown} is statically linked: there is no dynamic linker that would load the library. Build it dynamically, \
             or let it wait and use `sudo reuseaddr evict PORT` before it starts"
        ));
        return Ok(());
    };
    let Some(library) = libraries.fitting(elf) else {
        report.problem(format!(
            "{shown} is {}, and the library is here for {}. Install the one for that machine as well (docs/install.md), \
             or name it with --library",
            elf.kind(),
            libraries.described()
        ));
        return Ok(());
    };
    match elf.libc() {
        Some("glibc") => {}
        Some("musl") => {
            report.problem(format!(
                "{shown} is linked with musl ({}), and the library needs glibc",
                interpreter.display()
            ));
            return Ok(());
        }
        _ => {
            report.problem(format!(
                "{shown} asks for the dynamic linker {}, which is not glibc's",
                interpreter.display()
            ));
            return Ok(());
        }
    }
    more_rights(path, who, report)?;
    report.library = Some(library.path.clone());
    dry_run(
        path,
        elf,
        interpreter,
        library,
        &libraries.spellings(library),
        report,
    );
    Ok(())
}

fn of_go(program: &str) -> String {
    format!(
        "{program} is a Go program: Go calls the kernel without libc, so nothing can be interposed. Its net package sets \
         SO_REUSEADDR on listeners by itself; if the port is busy all the same, `reuseaddr status PORT` says why"
    )
}

/// Programs that start others with a new environment, or that have others started.
fn by_name(path: &Path, arguments: &[OsString], who: Credentials, report: &mut Report) {
    const OF_THE_SYSTEM: [&str; 4] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
    let name = file_name(path);
    let is_login = |argument: &OsString| ["-", "-l", "--login"].iter().any(|it| argument == it);
    match name.as_str() {
        "su" if who.uid == 0 && !arguments.iter().any(is_login) => report.note(
            "what su starts inherits the library and was not looked at. Check that one too",
        ),
        "sudo" | "doas" | "pkexec" | "su" => report.problem(format!(
            "{name} takes LD_PRELOAD away from what it starts. Write it in front: `{name} reuseaddr run PROGRAM`"
        )),
        // Anybody's own program may be called so.
        "at" | "batch"
            if !OF_THE_SYSTEM
                .iter()
                .any(|folder| path.parent() == Some(Path::new(folder))) => {}
        "systemd-run" | "systemctl" | "at" | "batch" | "docker" | "podman" | "ssh" => report.problem(format!(
            "{name} has the program started by somebody else, with another environment. Use `reuseaddr run` there{}",
            if name.starts_with("system") { ", or `reuseaddr systemd UNIT`" } else { "" }
        )),
        _ => {}
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default()
        .into_owned()
}

/// Whether the kernel will call the program more trusted than its caller (`AT_SECURE`), where ld.so takes no library.
fn more_rights(path: &Path, who: Credentials, report: &mut Report) -> Result<()> {
    const SETUID: u32 = 0o4000;
    const SETGID: u32 = 0o2000;
    const GROUP_EXECUTE: u32 = 0o010;
    let metadata = path.metadata()?;
    let nosuid = statvfs(path).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOSUID));
    if nosuid {
        return Ok(());
    }
    let shown = path.display();
    let mode = metadata.mode();
    if mode & SETUID != 0 && metadata.uid() != who.uid && !who.no_new_privileges {
        report.problem(format!(
            "{shown} is setuid, and the dynamic linker ignores LD_PRELOAD in it. Start it as uid {}",
            metadata.uid()
        ));
    }
    if mode & (SETGID | GROUP_EXECUTE) == SETGID | GROUP_EXECUTE
        && metadata.gid() != who.gid
        && !who.no_new_privileges
    {
        report.problem(format!(
            "{shown} is setgid, and the dynamic linker ignores LD_PRELOAD in it. Start it as gid {}",
            metadata.gid()
        ));
    }
    let mut capabilities = [0_u8; 64];
    let length = getxattr(path, c"security.capability", &mut capabilities[..]).unwrap_or(0);
    if length > 0 && who.uid != 0 {
        report.problem(format!(
            "{shown} has file capabilities, and the dynamic linker ignores LD_PRELOAD in it. Take them away (`setcap -r`) \
             and give the capability otherwise: AmbientCapabilities= in a unit, `setpriv --ambient-caps`, or \
             net.ipv4.ip_unprivileged_port_start for low ports"
        ));
    }
    Ok(())
}

/// Lets the dynamic linker load everything and start nothing, as ldd does: whether it takes the library is its own
/// answer, and so is what else it loads.
fn dry_run(
    path: &Path,
    elf: &Elf,
    interpreter: &Path,
    library: &Library,
    spellings: &[PathBuf],
    report: &mut Report,
) {
    let mut files = vec![(path.to_owned(), elf.imports.clone())];
    // The file says itself which linker is to be run; only root's is.
    if interpreter
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0)
    {
        let mut why = None;
        for spelling in spellings {
            match list_loaded(interpreter, path, spelling) {
                Ok((loaded, _)) if loaded.contains(&library.path) => {
                    report.preload = Some(spelling.clone());
                    let others = loaded
                        .into_iter()
                        .filter(|file| *file != library.path && !is_libc(file));
                    files.extend(others.filter_map(|file| {
                        let imports = Elf::read(&file).ok()??.imports;
                        Some((file, imports))
                    }));
                    break;
                }
                Ok((_, complaint)) => {
                    why = Some(format!(
                        "the dynamic linker leaves the library out{}{complaint}",
                        if complaint.is_empty() { "" } else { ": " }
                    ));
                }
                Err(error) => {
                    why = Some(format!("{} can't be run: {error}", interpreter.display()));
                }
            }
        }
        if let Some(why) = why.filter(|_| report.preload.is_none()) {
            report.problem(why);
        }
    } else {
        report.preload = Some(library.path.clone());
    }
    for (file, imports) in &files {
        for name in imports {
            report
                .imports
                .entry(name)
                .or_default()
                .push(file.display().to_string());
        }
    }
    describe_imports(report);
}

/// The files that the dynamic linker would load with this LD_PRELOAD, and what it complains of.
fn list_loaded(
    interpreter: &Path,
    program: &Path,
    preload: &Path,
) -> io::Result<(Vec<PathBuf>, String)> {
    let listing = Command::new(interpreter)
        .arg("--list")
        // The file itself, since $ORIGIN is its folder and not that of a link to it.
        .arg(
            program
                .canonicalize()
                .unwrap_or_else(|_| program.to_owned()),
        )
        .env("LD_PRELOAD", preload)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    let loaded = loaded(&listing.stdout);
    debug!(
        "{} --list with {}: {loaded:?}",
        interpreter.display(),
        preload.display()
    );
    Ok((loaded, readable(listing.stderr.trim_ascii())))
}

fn describe_imports(report: &mut Report) {
    if report.imports.contains_key("bind") {
        let names: Vec<String> = report
            .imports
            .keys()
            .map(|name| (*name).to_owned())
            .collect();
        report.note(format!(
            "it and the libraries that it loads at start call {}",
            list(&names)
        ));
    } else {
        report.note(
            "neither it nor a library that it loads at start calls bind; what it loads or starts later may",
        );
        return;
    }
    report.note(if report.imports.contains_key("setsockopt") {
        "it may set SO_REUSEADDR by itself: `reuseaddr check --pid` tells for a running one"
    } else {
        "nothing that it loads at start calls setsockopt, so it sets no SO_REUSEADDR by itself"
    });
}

/// The files in the output of `ld.so --list`: `name => path (address)` or `path (address)`.
fn loaded(listing: &[u8]) -> Vec<PathBuf> {
    listing
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let line = line.trim_ascii();
            let end = line.windows(4).rposition(|window| window == b" (0x")?;
            let line = line.get(..end)?;
            let path = match line.windows(4).position(|window| window == b" => ") {
                Some(arrow) => line.get(arrow + 4..)?,
                None => line,
            };
            path.starts_with(b"/")
                .then(|| PathBuf::from(OsStr::from_bytes(path)))
        })
        .collect()
}

/// The C library calls these functions for itself, past us, and is not what a program does.
fn is_libc(file: &Path) -> bool {
    let name = file_name(file);
    [
        "libc.so",
        "libc-",
        "ld-linux",
        "libpthread",
        "libresolv",
        "libnss",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

/// A program that starts the one named in its arguments: that one is what matters.
fn follow(
    path: &Path,
    arguments: &[OsString],
    libraries: &Libraries,
    who: Credentials,
    report: &mut Report,
) {
    let name = file_name(path);
    let Some(start) = starter::start(&name, arguments) else {
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
    let started = start.program.and_then(|position| {
        let (before, rest) = arguments.split_at(position + 1);
        Some((before.last()?, rest))
    });
    let Some((started, rest)) = started else {
        return;
    };
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
    };
    let inner = program(&path, rest, libraries, who);
    report.note(format!("{name} starts {}", path.display()));
    report.findings.extend(inner.findings);
    report.preload = inner.preload;
    report.library = inner.library;
    report.interpreters = inner.interpreters;
    report.format = inner.format;
    report.imports = inner.imports;
}

/// Looks at a process.
fn process(pid: u32) -> Result<Report> {
    let process = network::process(pid)?;
    let maps = process.maps().with_context(|| {
        format!("you may not look into process {pid}; root may: `sudo reuseaddr check --pid {pid}`")
    })?;
    let exe = process.exe().ok();
    let mut report = Report {
        program: exe.as_ref().map(|path| path.display().to_string()),
        pid: Some(pid),
        ..Report::default()
    };
    // What it was started with: it may have changed its environment since.
    let environment = process.environ().unwrap_or_default();
    let given = environment.get(OsStr::new("LD_PRELOAD"));
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
    let is_of_go = Elf::read(&PathBuf::from(format!("/proc/{pid}/exe")))
        .ok()
        .flatten()
        .is_some_and(|elf| elf.go);
    if is_of_go {
        report.problem(of_go(report.program.as_deref().unwrap_or("it")));
    }
    if let Some(path) = &mapped {
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
        let names = names(&process, exe.as_deref());
        if !settings.programs.all() && !names.iter().any(|name| settings.programs.contain(name)) {
            report.problem("LIBREUSE_PROGRAMS leaves this program out");
        }
    } else if !is_of_go {
        match given {
            None => report.problem("LD_PRELOAD was not set when it started. Start it with `reuseaddr run`"),
            Some(value) => report.problem(format!(
                "LD_PRELOAD was {} when it started, and the library was left out: `reuseaddr check` on its program may say why",
                readable(value.as_bytes())
            )),
        }
    }
    match arm::sockets_of(&process) {
        Ok(sockets) => {
            report.sockets = sockets
                .iter()
                .map(|(_, socket)| Socket {
                    local: socket.local.to_string(),
                    listening: socket.listening,
                    reuse_address: socket.reuses_address(),
                })
                .collect();
            // A server may have thousands of connections; its listeners say what they inherit.
            if report.sockets.iter().any(|socket| socket.listening) {
                report.sockets.retain(|socket| socket.listening);
            }
        }
        Err(error) => report.note(arm::why_not(error, process.pid())),
    }
    report.works = report.is_good();
    Ok(report)
}

/// Whether a file that is mapped is the library: by its name, or because LD_PRELOAD names it and it interposes the same.
fn is_ours(mapped: &Path, preloaded: Option<&OsStr>) -> bool {
    if file_name(mapped).starts_with("libreuse.so") {
        return true;
    }
    let named = preloaded.is_some_and(|preloaded| {
        let mut entries = preloaded.as_bytes().split(|byte| b" :".contains(byte));
        entries.any(|entry| entry == mapped.as_os_str().as_bytes())
    });
    named
        && Elf::read(mapped)
            .ok()
            .flatten()
            .is_some_and(|elf| HOOKED.iter().all(|name| elf.exports.contains(name)))
}

/// What LIBREUSE_PROGRAMS may call it: the name that it was started under, unless it has changed that since, and the
/// name of its file.
fn names(process: &Process, exe: Option<&Path>) -> Vec<Vec<u8>> {
    let started_as = process
        .cmdline()
        .ok()
        .and_then(|arguments| arguments.into_iter().next());
    [started_as.as_ref().map(Path::new), exe]
        .into_iter()
        .flatten()
        .filter_map(Path::file_name)
        .map(|name| {
            let name = name.as_bytes();
            // As proc(5) has it for a file that is gone.
            name.strip_suffix(b" (deleted)").unwrap_or(name).to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_dynamic_linker_lists() {
        let listing = b"\tlinux-vdso.so.1 (0x00007ffd)\n\t/opt/a b/libreuse.so (0x00007f)\n\
            \tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\tlibx.so => not found\n\t/lib64/ld-linux-x86-64.so.2 (0x1)\n";
        let paths: Vec<String> = loaded(listing)
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "/opt/a b/libreuse.so",
                "/lib/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }
}
