//! Decides which programs are not traced, or no longer: those that trace others or start
//! containers, those with more privileges than their caller, which the kernel takes from a traced
//! program, and those that the library serves.

use super::ptrace::{self, Tid};
use crate::library::elf::Elf;
use crate::library::instructions;
use crate::library::layout::PreloadPath;
use crate::library::ld_preload;
use crate::process::credentials::{Credentials, gains};
use crate::process::names;
use crate::process::script;
use crate::process::selinux::{self, Domain, StartDomain};
use crate::process::status::status;
use crate::sys::proc;
use procfs::process::Process;
use rustix::fs::{Access, access};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Programs that trace others, which one tracer alone can do.
const TRACERS: [&str; 8] = [
    "gdb",
    "gdbserver",
    "lldb",
    "lldb-server",
    "ltrace",
    "proot",
    "rr",
    "strace",
];

/// Programs that start containers: all of theirs would be traced as well.
const CONTAINERS: [&str; 9] = [
    "buildah",
    "containerd",
    "containerd-shim-runc-v2",
    "conmon",
    "crun",
    "dockerd",
    "podman",
    "runc",
    "youki",
];

/// Who makes the container tools that are written in Go: the path of a program's main package has
/// it.
const GO_OWNERS: [&str; 5] = [
    "containerd/",
    "containers/",
    "docker/",
    "moby/",
    "opencontainers/",
];

/// Why a program is not to be traced because of what it does with others, if that is so. The name
/// is a hint, and the file decides: a server may have the name of a debugger.
pub(crate) fn why_not(path: &Path, name: &str) -> Option<String> {
    let (is_evidence, why): (fn(&[u8]) -> bool, _) = if TRACERS.contains(&name) {
        let why = "traces programs itself, and a program has one tracer at a time";
        (may_trace, why)
    } else if CONTAINERS.contains(&name) {
        let why = "starts containers, and all of their programs would be traced as well";
        (may_contain, why)
    } else {
        return None;
    };
    let bytes = fs::read(path).ok()?;
    is_evidence(&bytes).then(|| format!("{name} {why}"))
}

/// Whether a file speaks of ptrace(2), as those that call it do. None of the tracers above is
/// written in Go.
fn may_trace(file: &[u8]) -> bool {
    !is_go(file) && (has(file, b"ptrace") || has(file, b"PTRACE"))
}

/// Whether a program's file has this in it.
pub(crate) fn mentions(path: &Path, word: &[u8]) -> bool {
    fs::read(path).is_ok_and(|file| has(&file, word))
}

/// Whether a program of such a name starts containers, or is a script that calls one that does, as
/// `docker` of the package podman-docker is.
pub(crate) fn starts_containers(path: &Path) -> bool {
    fs::read(path)
        .is_ok_and(|file| may_contain(&file) || (file.starts_with(b"#!") && has(&file, b"podman")))
}

/// Whether a file is one of the Go programs that start containers, or speaks of cgroups(7), as the
/// others do.
fn may_contain(file: &[u8]) -> bool {
    match main_package(file) {
        Some(package) => GO_OWNERS.iter().any(|owner| has(package, owner.as_bytes())),
        // The file does not say, so the name decides.
        None if is_go(file) => true,
        None => has(file, b"cgroup"),
    }
}

fn is_go(file: &[u8]) -> bool {
    has(file, b"\xff Go buildinf:")
}

/// The path of a Go program's main package, from the information that the toolchain puts into the
/// file.
fn main_package(file: &[u8]) -> Option<&[u8]> {
    // The last of the 16 bytes in front of the information (`infoStart` in
    // `cmd/go/internal/modload`).
    const MARK: &[u8] = b"\xe6\xd6\x18\xe6path\t";
    let begin = find(file, MARK)? + MARK.len();
    let rest = file.get(begin..)?;
    let line = rest.get(..rest.iter().position(|&byte| byte == b'\n')?)?;
    // A program that was built from single files does not name its package.
    (line != b"command-line-arguments").then_some(line)
}

fn has(file: &[u8], word: &[u8]) -> bool {
    find(file, word).is_some()
}

fn find(file: &[u8], word: &[u8]) -> Option<usize> {
    file.windows(word.len()).position(|bytes| bytes == word)
}

/// Whether a tracee has become a program that starts containers. One that traces others is
/// recognised when it does so.
pub(super) fn has_become_a_container_engine(tid: Tid) -> bool {
    let path = PathBuf::from(format!("/proc/{tid}/exe"));
    let file = fs::read_link(&path).ok();
    let file = file.as_deref().and_then(Path::file_name);
    // The first 15 bytes of the name that was executed, which may be a link.
    let called = proc::text(format!("/proc/{tid}/comm")).ok();
    let called = called.as_deref().map(str::trim_end);
    let is_called_so = [file.and_then(OsStr::to_str), called]
        .into_iter()
        .flatten()
        .any(|name| CONTAINERS.contains(&name));
    is_called_so && fs::read(&path).is_ok_and(|file| may_contain(&file))
}

/// The library that is in the program's environment: for which programs it is.
#[derive(Clone, Debug)]
pub(crate) struct Preloaded {
    /// Whether a program of this name, with these arguments in this folder, is there to start
    /// others: what those are is seen only when they are started.
    pub(crate) starts_others: fn(&str, &[String], &Path) -> bool,
    /// Width and machine, as an ELF file has them.
    pub(crate) kinds: Vec<(u8, String)>,
}

impl Preloaded {
    /// Whether the library is enough for what a tracee has just become.
    pub(super) fn is_enough_for(&self, tid: Tid) -> bool {
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let exe = fs::read_link(format!("/proc/{tid}/exe")).unwrap_or_default();
        let mut called = name(&exe).unwrap_or_default();
        let mut words = names::arguments(tid).into_iter();
        let first = words.next().and_then(|word| name(Path::new(&word)));
        // One file, and the first word says which of its programs it is.
        if called == "busybox" {
            called = match first.as_deref() {
                Some("busybox") => words.next(),
                _ => first,
            }
            .unwrap_or_default();
        }
        let arguments: Vec<String> = words.collect();
        let folder = PathBuf::from(format!("/proc/{tid}/cwd"));
        let starts_others = (self.starts_others)(&called, &arguments, &folder);
        // The tracer has to see when a debugger attaches to a program that stays traced.
        let is_debugger = || {
            TRACERS.contains(&called.as_str()) && fs::read(&exe).is_ok_and(|file| may_trace(&file))
        };
        !starts_others && self.serves(tid) && !is_debugger()
    }

    /// Whether the dynamic linker loads the library into the program that a tracee has just
    /// executed, and the program may call it.
    fn serves(&self, tid: Tid) -> bool {
        let exe = PathBuf::from(format!("/proc/{tid}/exe"));
        let Ok(Some(elf)) = Elf::read(&exe) else {
            return false;
        };
        // Free Pascal's programs with threads load libraries as well.
        let by_itself = || elf.loads_what_calls_bind() && instructions::serves_by_itself(&exe);
        let fits = self
            .kinds
            .iter()
            .any(|(class, machine)| *class == elf.class && *machine == elf.machine);
        let root = PathBuf::from(format!("/proc/{tid}/root"));
        fits && !elf.go
            && !elf.cannot_call_bind()
            && !elf.starts_and_binds_nothing()
            && !by_itself()
            && !is_secure(tid, elf.class)
            && is_in_environment_of(tid, |entry| match elf.libc() {
                // In another root or mount namespace it need not be there.
                Some("glibc") => {
                    PreloadPath::expansions(entry, elf.class).any(|path| exists_below(&root, &path))
                }
                // musl expands nothing.
                Some("musl") => exists_below(&root, entry),
                _ => false,
            })
    }
}

/// Whether a file is there below this root. One that is named without its folder is searched for,
/// and taken to be there.
fn exists_below(root: &Path, path: &Path) -> bool {
    path.strip_prefix("/")
        .map_or(true, |below_root| root.join(below_root).exists())
}

/// Whether the LD_PRELOAD of a tracee names the library in a way that its dynamic linker takes.
fn is_in_environment_of(tid: Tid, is_taken: impl Fn(&Path) -> bool) -> bool {
    let environment = Process::new(tid)
        .and_then(|process| process.environ())
        .unwrap_or_default();
    environment
        .get(OsStr::new(ld_preload::VARIABLE))
        .is_some_and(|value| {
            ld_preload::entries(value).any(|entry| ld_preload::is_ours(entry) && is_taken(entry))
        })
}

/// Whether a tracee has become a program in which the dynamic linker ignores LD_PRELOAD (AT_SECURE
/// in its auxiliary vector, whose numbers are as wide as the program's: procfs reads them as wide
/// as ours).
fn is_secure(tid: Tid, class: u8) -> bool {
    let vector = fs::read(format!("/proc/{tid}/auxv")).unwrap_or_default();
    let width = usize::from(class) / 8;
    let number = |bytes: &[u8]| {
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(number)
    };
    vector.chunks_exact(2 * width).any(|entry| {
        let (kind, value) = entry.split_at(width);
        number(kind) == libc::AT_SECURE && number(value) != 0
    })
}

/// Whether a tracee is about to execute a program that must not be traced: it would lose its
/// privileges, or not start. For a script, its interpreter counts.
pub(super) fn is_never_traced(tid: Tid, folder: i32, path: u64) -> bool {
    let Some(path) = read_path(tid, folder, path).and_then(|path| executed(tid, path)) else {
        return false;
    };
    // This exec will fail.
    if access(&path, Access::EXEC_OK).is_err() {
        return false;
    }
    let who = credentials(tid);
    (!may_trace_the_privileged() && gains(&path, &who).is_ok_and(|gains| !gains.is_empty()))
        || match selinux::start(&path, &who.domain, who.no_new_privileges) {
            StartDomain::OtherDomain(transition) => !transition.is_traceable(),
            StartDomain::SameDomain | StartDomain::Unknown => false,
        }
}

/// The file that the kernel executes in the end: the interpreter of a script, of which there may be
/// several one after the other (`exec_binprm` in `fs/exec.c`).
fn executed(tid: Tid, mut path: PathBuf) -> Option<PathBuf> {
    const MOST: usize = 5;
    for _ in 0..=MOST {
        // BINPRM_BUF_SIZE. What nobody may read is no script either.
        let start = script::beginning(&path, 256).unwrap_or_default();
        match script::shebang(&start) {
            None => return Some(path),
            Some((b"", _)) => return None,
            Some((interpreter, _)) => path = seen_by(tid, libc::AT_FDCWD, interpreter),
        }
    }
    None
}

/// The credentials of a tracee.
fn credentials(tid: Tid) -> Credentials {
    let ours = Credentials::own();
    let Some(status) = status(tid) else {
        return ours;
    };
    Credentials {
        uid: status.euid,
        gid: status.egid,
        no_new_privileges: status
            .nonewprivs
            .map_or(ours.no_new_privileges, |set| set != 0),
        domain: Domain::of_process(tid),
    }
}

/// The path that a tracee has at this address, as it is to be opened from here.
fn read_path(tid: Tid, folder: i32, address: u64) -> Option<PathBuf> {
    // PATH_MAX
    let mut bytes = [0; 4096];
    let length = ptrace::read(tid, address, &mut bytes);
    let bytes = bytes.get(..length)?;
    let path = bytes.get(..bytes.iter().position(|&byte| byte == 0)?)?;
    Some(seen_by(tid, folder, path))
}

/// A tracee's path, as it is to be opened from here.
fn seen_by(tid: Tid, folder: i32, path: &[u8]) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(path));
    let process = PathBuf::from(format!("/proc/{tid}"));
    for own in ["/proc/self", "/proc/thread-self", "/dev/fd"] {
        if let Ok(rest) = path.strip_prefix(own) {
            return if own == "/dev/fd" {
                process.join("fd").join(rest)
            } else {
                process.join(rest)
            };
        }
    }
    if let Ok(below_root) = path.strip_prefix("/") {
        process.join("root").join(below_root)
    } else if folder == libc::AT_FDCWD {
        process.join("cwd").join(path)
    } else if path.as_os_str().is_empty() {
        process.join(format!("fd/{folder}"))
    } else {
        process.join(format!("fd/{folder}")).join(path)
    }
}

/// Whether the kernel leaves a traced program the privileges that its file gives
/// (`cap_bprm_creds_from_file` in `security/commoncap.c`).
pub(crate) fn may_trace_the_privileged() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|ours| ours.effective.contains(CapabilitySet::SYS_PTRACE))
}
