//! Programs that call every hook, under valgrind's memcheck and with `AddressSanitizer`: neither may find
//! anything. For control, both find the error in a shim that has one.
//!
//! Memcheck sees every instruction of the shim. `AddressSanitizer` sees the host, and what the shim has libc do.

#[path = "../support/mod.rs"]
mod support;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Finished, Folder, Program, compile_c, own_network, program, shim};

/// A program of this suite, in `tests`.
struct Host {
    source: &'static str,
    /// What it prints without the shim and with it, if that is not the same.
    prints: Option<[&'static str; 2]>,
}

/// Each of them is without errors of its own. Headers are looked for beside them. Of the hostile programs those that
/// valgrind can run: the others are out to break limits that it needs itself.
const HOSTS: &[Host] = &[
    Host {
        source: "sanitizers/hooks.c",
        prints: Some([
            "again on IPv4: EADDRINUSE\nagain on IPv6: EADDRINUSE\ndone\n",
            "again on IPv4: bound\nagain on IPv6: bound\ndone\n",
        ]),
    },
    Host {
        source: "hostile/plain.c",
        prints: None,
    },
    Host {
        source: "hostile/errno.c",
        prints: None,
    },
    Host {
        source: "hostile/stacks.c",
        prints: None,
    },
    Host {
        source: "hostile/storm.c",
        prints: None,
    },
];

/// What is set beside `LD_PRELOAD`: every linger mode, every place for the log, every variable.
const MODES: &[&[(&str, &str)]] = &[
    &[("LIBREUSE_LOG", "off")],
    &[("LIBREUSE_LINGER", "graceful"), ("LIBREUSE_LOG", "trace")],
    &[
        ("LIBREUSE_LINGER", "zero"),
        ("LIBREUSE_LOG", "trace"),
        ("LIBREUSE_LOG_FILE", "{folder}/log.%p"),
    ],
    &[
        ("LIBREUSE_WAIT", "20ms"),
        ("LIBREUSE_REUSEPORT", "on"),
        ("LIBREUSE_PORTS", "5000-5001,1-65535"),
        ("LIBREUSE_PROGRAMS", "*hooks*,memcheck*,*"),
        ("LIBREUSE_LOG", "debug"),
        ("LIBREUSE_WRONG", "\u{1b}[31m%s%n"),
        // The live listener's port is shared now.
        ("SHARED", "yes"),
    ],
];

#[derive(Clone, Copy, Debug)]
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
    fn around(self, binary: &Path, preloaded: Option<&Path>, folder: &Folder) -> Program {
        let mut preload: Vec<OsString> = Vec::new();
        let reports = folder.join("report");
        let program = match self {
            Self::Memcheck => Program::new(program(&["valgrind"]))
                .arguments(["--quiet", "--leak-check=full", "--error-exitcode=99"])
                .argument(format!("--log-file={}.%p", reports.display()))
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
    let output = Command::new("cc")
        .arg("-print-file-name=libasan.so")
        .output()
        .expect("cc runs");
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
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

fn run(
    tool: Tool,
    binary: &Path,
    preloaded: Option<&Path>,
    mode: &[(&str, &str)],
) -> (Finished, String) {
    own_network();
    let folder = Folder::new(&format!("sanitizers-{:?}", std::thread::current().id()));
    let mut program = tool.around(binary, preloaded, &folder);
    for (name, value) in mode {
        let value = value.replace("{folder}", &folder.path().display().to_string());
        program = program.with(name, value);
    }
    let finished = program.run();
    (finished, findings(&folder))
}

fn finds_nothing(tool: Tool) {
    for host in HOSTS {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(host.source);
        let binary = tool.compile(&source, "shim");
        let (control, found) = run(tool, &binary, None, &[]);
        assert_eq!(found, "", "{control:#?}");
        let [without, with] = host.prints.unwrap_or([&control.stdout; 2]);
        assert_eq!(control.stdout, without, "{control:#?}");
        for mode in MODES {
            let (finished, found) = run(tool, &binary, Some(shim()), mode);
            assert_eq!(found, "", "{mode:?}: {finished:#?}");
            assert_eq!(finished.stdout, with, "{mode:?}: {finished:#?}");
            assert_eq!(finished.status, control.status, "{mode:?}: {finished:#?}");
        }
    }
}

/// The tool sees into a preloaded library: it finds the error in one.
fn finds_a_planted_error(tool: Tool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sanitizers");
    let text = fs::read_to_string(folder.join("planted.c")).expect("part of the repository");
    let planted = compile_c(
        &format!("planted-{tool:?}"),
        &text,
        &["-shared", "-fPIC", "-fno-builtin"],
    );
    let binary = tool.compile(&folder.join("hooks.c"), "planted");
    let (finished, found) = run(tool, &binary, Some(&planted), &[]);
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
