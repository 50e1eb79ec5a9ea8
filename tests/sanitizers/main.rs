//! Programs that call every hook, under valgrind's memcheck and with `AddressSanitizer`: neither
//! may find anything. For control, both find the error in a shim that has one.
//!
//! Memcheck sees every instruction of the shim. `AddressSanitizer` sees the host, and what the shim
//! has libc do.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Finished, Folder, Program, compile_c, own_network, program, shim, succeed};

/// A program of this suite, in `tests`.
struct Host {
    source: &'static str,
    arguments: &'static [&'static str],
    prints: Prints,
    /// Which of the tools can run it.
    tools: &'static [Tool],
    /// What memcheck is to be told beside the usual.
    memcheck: &'static [&'static str],
}

/// What a program prints with the shim.
enum Prints {
    /// What it prints without.
    TheSame,
    /// Without the shim the first, with it the second.
    These(&'static str, &'static str),
    /// `zero` cuts the connection that it tells of.
    AsMuchAsLingerLets,
}

const BOTH: &[Tool] = &[Tool::Memcheck, Tool::AddressSanitizer];

impl Host {
    /// One that each tool can run, and that prints the same with the shim and without.
    const fn new(source: &'static str, arguments: &'static [&'static str]) -> Self {
        Self {
            source,
            arguments,
            prints: Prints::TheSame,
            tools: BOTH,
            memcheck: &[],
        }
    }
}

/// Headers are looked for beside them. Of the hostile programs those are left out that can't run
/// under either tool, shim or not (seccomp filters kill on the tools' own system calls, and who has
/// stderr as data has their reports in it), and those that are about what is loaded and set before
/// they start.
const HOSTS: &[Host] = &[
    Host {
        prints: Prints::These(
            "again on IPv4: EADDRINUSE\nagain on IPv6: EADDRINUSE\ndone\n",
            "again on IPv4: bound\nagain on IPv6: bound\ndone\n",
        ),
        ..Host::new("sanitizers/hooks.c", &[])
    },
    Host::new("hostile/every_hook.c", &[]),
    Host::new("hostile/errno.c", &[]),
    // Wild pointers, which memcheck reports as the program's own errors.
    Host::new("hostile/pointers.c", &[]),
    Host::new("hostile/stacks.c", &[]),
    Host::new("hostile/signal_storm.c", &[]),
    Host::new("hostile/jump.c", &["sig"]),
    Host::new("hostile/jump.c", &["plain"]),
    Host::new("hostile/signals.c", &["200"]),
    Host::new("hostile/wait.c", &[]),
    Host {
        // To a child, what its parent's other threads have allocated is lost.
        memcheck: &["--leak-check=no"],
        ..Host::new("hostile/forks.c", &["40"])
    },
    Host {
        // valgrind does not know clone().
        tools: &[Tool::AddressSanitizer],
        ..Host::new("hostile/children.c", &[])
    },
    Host {
        // The runtime of AddressSanitizer fails in cancelled threads.
        tools: &[Tool::Memcheck],
        ..Host::new("reach/cancel.c", &[])
    },
    Host::new("hostile/limits.c", &["descriptors"]),
    Host::new("hostile/limits.c", &["no file size"]),
    Host {
        // valgrind has descriptors of its own.
        tools: &[Tool::AddressSanitizer],
        ..Host::new("hostile/limits.c", &["three descriptors"])
    },
    Host {
        prints: Prints::AsMuchAsLingerLets,
        ..Host::new("hostile/shared_connection.c", &["forked"])
    },
    Host {
        prints: Prints::AsMuchAsLingerLets,
        ..Host::new("hostile/shared_connection.c", &["forked, worker first"])
    },
    Host {
        prints: Prints::AsMuchAsLingerLets,
        ..Host::new("hostile/shared_connection.c", &["forked, exits"])
    },
    Host {
        prints: Prints::AsMuchAsLingerLets,
        ..Host::new("hostile/shared_connection.c", &["passed"])
    },
    Host {
        prints: Prints::AsMuchAsLingerLets,
        ..Host::new("hostile/shared_connection.c", &["passed, worker first"])
    },
    Host {
        prints: Prints::AsMuchAsLingerLets,
        ..Host::new("hostile/shared_connection.c", &["activated"])
    },
];

/// What is set beside `LD_PRELOAD`: every linger mode, every place for the log, every variable.
const MODES: &[&[(&str, &str)]] = &[
    &[("LIBREUSE_LOG", "off")],
    &[
        ("LIBREUSE_LINGER", "graceful"),
        ("LIBREUSE_LOG", "trace"),
        // It looks for listeners.
        ("LIBREUSE_WAIT", "2ms"),
    ],
    &[
        ("LIBREUSE_LINGER", "zero"),
        ("LIBREUSE_LOG", "trace"),
        ("LIBREUSE_LOG_FILE", "{folder}/log.%p"),
    ],
    &[
        ("LIBREUSE_WAIT", "2ms,listeners"),
        ("LIBREUSE_REUSEPORT", "on"),
        ("LIBREUSE_PORTS", "5000-5001,1-65535"),
        ("LIBREUSE_PROGRAMS", "*hooks*,memcheck*,*"),
        ("LIBREUSE_LOG", "debug"),
        ("LIBREUSE_WRONG", "\u{1b}[31m%s%n"),
        // The live listener's port is shared now.
        ("SHARED", "yes"),
    ],
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tool {
    Memcheck,
    AddressSanitizer,
}

impl Tool {
    /// Compiles a program, for one test alone: others compile it at the same time.
    fn compile(self, source: &Path, owner: &str) -> PathBuf {
        let name = source
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name");
        let name = format!("{name}-{owner}-{self:?}");
        let text = fs::read_to_string(source).expect("the program is part of the repository");
        let include = format!("-I{}", source.parent().expect("a folder").display());
        match self {
            Self::Memcheck => compile_c(&name, &text, &["-D_GNU_SOURCE", &include]),
            Self::AddressSanitizer => compile_c(
                &name,
                &text,
                &["-D_GNU_SOURCE", "-fsanitize=address", &include],
            ),
        }
    }

    /// The program under the tool, which writes what it finds into the folder.
    fn around(
        self,
        binary: &Path,
        options: &[&str],
        preloaded: Option<&Path>,
        folder: &Folder,
    ) -> Program {
        let mut preload: Vec<OsString> = Vec::new();
        let reports = folder.join("report");
        let program = match self {
            Self::Memcheck => Program::new(program(&["valgrind"]))
                .arguments(["--quiet", "--leak-check=full", "--error-exitcode=99"])
                // Else one thread may starve the others.
                .argument("--fair-sched=try")
                .argument(format!("--log-file={}.%p", reports.display()))
                .arguments(options)
                .argument(binary),
            Self::AddressSanitizer => {
                // The tool insists on being the first library.
                preload.push(runtime().into());
                let options = format!("log_path={}:exitcode=99", reports.display());
                Program::new(binary).with("ASAN_OPTIONS", options)
            }
        };
        preload.extend(preloaded.map(|path| path.as_os_str().to_owned()));
        program.with("LD_PRELOAD", preload.join(":".as_ref()))
    }
}

/// The runtime library that the compiler's `-fsanitize=address` links.
fn runtime() -> PathBuf {
    let path = succeed(Command::new("cc").arg("-print-file-name=libasan.so"));
    let path = PathBuf::from(path.trim());
    assert!(path.is_absolute(), "cc comes without libasan");
    path
}

/// What the tool has found.
fn findings(folder: &Folder) -> String {
    let mut found = String::new();
    for entry in fs::read_dir(folder.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.file_stem().is_some_and(|name| name == "report") {
            found += &fs::read_to_string(&path).expect("the report");
        }
    }
    found
}

/// The errors in memcheck's findings, without where they are: `==123== Invalid read of size 1` and
/// not `==123==    at`. Of `AddressSanitizer`'s all but the heading.
fn errors(found: &str) -> Vec<&str> {
    let mut errors: Vec<_> = found
        .lines()
        .map(|line| line.rsplit_once("== ").map_or(line, |(_, text)| text))
        .filter(|text| !text.starts_with(' ') && !text.starts_with("==") && !text.is_empty())
        .collect();
    errors.sort_unstable();
    errors
}

fn run(
    tool: Tool,
    host: &Host,
    binary: &Path,
    preloaded: Option<&Path>,
    mode: &[(&str, &str)],
) -> (Finished, String) {
    own_network();
    let folder = Folder::new(&format!("sanitizers-{:?}", std::thread::current().id()));
    let mut program = tool
        .around(binary, host.memcheck, preloaded, &folder)
        .arguments(host.arguments);
    for (name, value) in mode {
        let value = value.replace("{folder}", &folder.path().display().to_string());
        program = program.with(name, value);
    }
    let finished = program.run();
    (finished, findings(&folder))
}

fn finds_nothing(tool: Tool) {
    for host in HOSTS.iter().filter(|host| host.tools.contains(&tool)) {
        let source = support::project().join("tests").join(host.source);
        let binary = tool.compile(&source, "shim");
        let (control, expected) = run(tool, host, &binary, None, &[]);
        let has_errors = host.source == "hostile/pointers.c" && tool == Tool::Memcheck;
        assert_eq!(!errors(&expected).is_empty(), has_errors, "{control:#?}");
        let expected_output = match host.prints {
            Prints::TheSame | Prints::AsMuchAsLingerLets => &control.stdout,
            Prints::These(without, with) => {
                assert_eq!(control.stdout, without, "{control:#?}");
                with
            }
        };
        for mode in MODES {
            let is_cut = mode.contains(&("LIBREUSE_LINGER", "zero"))
                && matches!(host.prints, Prints::AsMuchAsLingerLets);
            let (finished, found) = run(tool, host, &binary, Some(shim()), mode);
            assert_eq!(
                errors(&found),
                errors(&expected),
                "{mode:?}: {finished:#?}\n{found}"
            );
            assert!(
                finished.stdout == expected_output || is_cut,
                "{mode:?}: {finished:#?}\n{control:#?}"
            );
            assert_eq!(finished.status, control.status, "{mode:?}: {finished:#?}");
        }
    }
}

/// The tool sees into a preloaded library: it finds the error in one.
fn finds_a_planted_error(tool: Tool) {
    let folder = support::project().join("tests/sanitizers");
    let text = fs::read_to_string(folder.join("planted.c")).expect("part of the repository");
    let planted = compile_c(
        &format!("planted-{tool:?}"),
        &text,
        &["-shared", "-fPIC", "-fno-builtin"],
    );
    let host = &HOSTS[0];
    let binary = tool.compile(&folder.join("hooks.c"), "planted");
    let (finished, found) = run(tool, host, &binary, Some(&planted), &[]);
    assert!(!finished.status.success(), "{finished:#?}");
    assert!(
        found.contains("Invalid read of size 1") || found.contains("heap-buffer-overflow"),
        "{found}\n{finished:#?}"
    );
    assert!(found.contains("planted"), "{found}");
}

#[test]
fn memcheck_finds_nothing_in_the_shim() {
    finds_nothing(Tool::Memcheck);
}

#[test]
fn address_sanitizer_finds_nothing_in_the_shim() {
    finds_nothing(Tool::AddressSanitizer);
}

#[test]
fn memcheck_finds_a_planted_error() {
    finds_a_planted_error(Tool::Memcheck);
}

#[test]
fn address_sanitizer_finds_a_planted_error() {
    finds_a_planted_error(Tool::AddressSanitizer);
}
