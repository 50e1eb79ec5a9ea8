//! What was found about a program or process.

use crate::engine::Choice;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// How much something matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// The library does not work.
    Problem,
    /// It works, and something about it should be known.
    Note,
}

/// One thing that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// What was found about a program or process.
#[derive(Debug, Default, Serialize)]
#[allow(clippy::struct_excessive_bools)] // Independent findings, each asked for by name.
pub(crate) struct Report {
    /// The program's file, or that of the process.
    pub(crate) program: Option<String>,
    pub(crate) pid: Option<u32>,
    /// Whether the library works in it.
    pub(crate) works: bool,
    /// Whether the process has it loaded.
    #[serde(skip)]
    pub(crate) loaded: bool,
    /// What LD_PRELOAD has to be so that the dynamic linker takes the library into the program.
    pub(crate) preload: Option<PathBuf>,
    /// The file that it then takes.
    #[serde(skip)]
    pub(crate) library: Option<PathBuf>,
    /// Whether AddressSanitizer's shared runtime is in the program.
    #[serde(skip)]
    pub(crate) has_asan_runtime: bool,
    /// How `run` starts the program; `None` if it does not, and of a process that nobody attends to.
    pub(crate) engine: Option<Choice>,
    /// The engine that root can have for it, where the other one only waits.
    pub(crate) alternative: Option<Choice>,
    /// Why the program can't be traced.
    #[serde(skip)]
    pub(crate) untraceable: Vec<String>,
    /// Whether it could be served by the library, if there was one.
    #[serde(skip)]
    pub(crate) needs_library: bool,
    /// Whether the library could serve it, if there was a place for it: that is to be mended, and not to be got around.
    #[serde(skip)]
    pub(crate) placeless: bool,
    /// Whether nothing can be done for it.
    #[serde(skip)]
    pub(crate) hopeless: bool,
    pub(crate) findings: Vec<Finding>,
    /// Programs that run it, if it is a script.
    pub(crate) interpreters: Vec<String>,
    pub(crate) format: Option<Format>,
    /// Hooked functions, and the files that call them: the program's, or those of libraries that it loads at start.
    pub(crate) imports: BTreeMap<&'static str, Vec<String>>,
    /// `LIBREUSE_` variables of the process.
    pub(crate) variables: BTreeMap<String, String>,
    /// TCP sockets of the process that have a port.
    pub(crate) sockets: Vec<Socket>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Format {
    pub(crate) class: u8,
    pub(crate) machine: String,
    /// `dynamic` or `static`.
    pub(crate) linkage: &'static str,
    pub(crate) interpreter: Option<String>,
    /// `glibc`, `musl` or `unknown`.
    pub(crate) libc: Option<&'static str>,
    pub(crate) go: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Socket {
    pub(crate) local: String,
    pub(crate) listening: bool,
    pub(crate) reuse_address: bool,
}

impl Report {
    pub(crate) fn problem(&mut self, text: impl Into<String>) {
        self.findings.push(Finding {
            level: Level::Problem,
            text: text.into(),
        });
    }

    /// Something that keeps every engine from doing anything.
    pub(crate) fn hopeless(&mut self, text: impl Into<String>) {
        self.hopeless = true;
        self.problem(text);
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.findings.push(Finding {
            level: Level::Note,
            text: text.into(),
        });
    }

    /// What root can type where nothing else serves the program.
    pub(crate) fn as_root(&self, shown: &str) -> Option<String> {
        let choice = self.alternative.as_ref()?;
        Some(format!(
            "as root, `reuseaddr run --engine {} {shown}` serves it, by programs in the kernel",
            choice.name
        ))
    }

    /// Whether nothing was found that keeps the library out.
    pub(crate) fn is_good(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.level != Level::Problem)
    }

    /// Everything that keeps the library out.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &str> {
        self.findings
            .iter()
            .filter(|finding| finding.level == Level::Problem)
            .map(|finding| finding.text.as_str())
    }
}
