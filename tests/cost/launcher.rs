//! System calls of `reuseaddr run` before PROGRAM is executed, as an ordinary user, counted by
//! strace: with a library that is given to it, and with the one that it carries.
//!
//! Not those that the command makes whatever it is to do, as `--version` tells: most of them are
//! the dynamic linker's, where the command is not static, and would leave room for others.

use crate::budget::Spent;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use support::{Folder, Program, program, reuseaddr_as_it_ships, shim};

/// A program that calls libc's `bind`: of one that does not, `run` has to look at the libraries.
const PROGRAM: &str = "/usr/bin/python3";
const NOBODY: u32 = 65534;

/// Which library the launcher takes.
#[derive(Clone, Copy)]
pub(crate) enum Library {
    Given,
    Carried,
}

pub(crate) fn spent() -> Vec<Spent> {
    let stage = Stage::new();
    [("given", Library::Given), ("carried", Library::Carried)]
        .into_iter()
        .map(|(name, library)| Spent {
            what: format!("run {name}"),
            number: stage.calls(library, &[]) - stage.calls_of_any_start(),
        })
        .collect()
}

/// The command and the library where an ordinary user reaches them, not beside each other, where
/// the one would find the other; and a folder that is that user's.
pub(crate) struct Stage {
    command: PathBuf,
    library: PathBuf,
    runtime: PathBuf,
    _folder: Folder,
}

impl Stage {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let folder = Folder::for_other_users(&format!("launcher-{number}"));
        for part in ["command", "library", "runtime"] {
            fs::create_dir(folder.join(part)).expect("the folder is ours");
        }
        let runtime = folder.join("runtime");
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).expect("it is ours");
        if is_root() {
            chown(&runtime, Some(NOBODY), Some(NOBODY)).expect("we are root");
        }
        Self {
            command: folder.copy(reuseaddr_as_it_ships(), "command/reuseaddr"),
            library: folder.copy(shim(), "library/libreuse.so"),
            runtime,
            _folder: folder,
        }
    }

    /// Those before PROGRAM is executed.
    pub(crate) fn calls(&self, library: Library, settings: &[(&str, &str)]) -> f64 {
        let mut words = vec!["run".to_owned()];
        if matches!(library, Library::Given) {
            words.extend(["--library".into(), self.library.display().to_string()]);
        }
        words.push(PROGRAM.into());
        // The first run puts the library in its place.
        self.launch(&words, settings, &[]);
        let lines = self.traced(&words, settings);
        let executed = format!("execve(\"{PROGRAM}\"");
        let last = lines
            .iter()
            .rposition(|line| line.contains(&executed))
            .expect("the program is executed");
        number_of(lines[..last].iter().map(String::as_str))
    }

    /// All of those that `--version` makes.
    pub(crate) fn calls_of_any_start(&self) -> f64 {
        let lines = self.traced(&["--version".to_owned()], &[]);
        number_of(lines.iter().map(String::as_str))
    }

    fn traced(&self, words: &[String], settings: &[(&str, &str)]) -> Vec<String> {
        let trace = self.runtime.join("trace");
        let strace = ["strace", "-f", "-o", &trace.display().to_string()].map(str::to_owned);
        self.launch(words, settings, &strace);
        let text = fs::read_to_string(trace).expect("strace writes it");
        text.lines().map(str::to_owned).collect()
    }

    fn launch(&self, arguments: &[String], settings: &[(&str, &str)], by: &[String]) {
        let command = self.command.display().to_string();
        let words = [by, &[command], arguments].concat();
        let mut launcher = if is_root() {
            Program::new(program(&["setpriv"]))
                .argument(format!("--reuid={NOBODY}"))
                .argument(format!("--regid={NOBODY}"))
                .argument("--clear-groups")
                .arguments(words)
        } else {
            Program::new(&words[0]).arguments(&words[1..])
        };
        launcher = launcher.with("XDG_RUNTIME_DIR", &self.runtime);
        for (name, value) in settings {
            launcher = launcher.with(name, value);
        }
        launcher.run().succeeded();
    }
}

/// The calls in lines of strace, each once.
pub(crate) fn number_of<'a>(lines: impl Iterator<Item = &'a str>) -> f64 {
    let calls = lines.filter(|line| {
        !["resumed>", "+++", "---"]
            .iter()
            .any(|other| line.contains(other))
    });
    f64::from(u32::try_from(calls.count()).expect("a small number"))
}

fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and can't fail.
    unsafe { libc::geteuid() == 0 }
}
