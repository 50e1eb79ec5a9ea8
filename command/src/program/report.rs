//! What was found about a program or process.

use crate::engine::{Choice, Engine};
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
    /// Whether its listeners carry the option though no engine is at work.
    #[serde(skip)]
    pub(crate) needs_nothing: bool,
    /// What LD_PRELOAD has to be so that the dynamic linker takes the library into the program.
    pub(crate) preload: Option<PathBuf>,
    /// The file that it then takes.
    #[serde(skip)]
    pub(crate) library: Option<PathBuf>,
    /// Whether a `bind` of the program's reaches the library.
    #[serde(skip)]
    pub(crate) reach: Reach,
    /// Whether it starts something that could not be looked at beforehand.
    #[serde(skip)]
    pub(crate) starts_unseen: bool,
    /// Whether a process that runs already starts that.
    #[serde(skip)]
    pub(crate) starts_elsewhere: bool,
    /// Whether a tracer follows what it starts, and handles what the library can't enter.
    pub(crate) follows: bool,
    /// Whether all that the answer depends on could be looked at.
    pub(crate) certain: bool,
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
    /// Why it is better not traced, unless that is asked for.
    #[serde(skip)]
    pub(crate) deals_with_others: Option<String>,
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

/// How a program comes to libc's `bind`, which the library is in front of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Reach {
    /// It was not looked for.
    #[default]
    Unknown,
    /// The program calls it, or a library that is there for that.
    Calls,
    /// It may, and this is all that is known.
    May(String),
    /// By another program alone, which it may start.
    ByStarting,
    /// In no way: if it binds a port, it is by system calls of its own.
    InNoWay,
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
    #[serde(skip)]
    pub(crate) port: u16,
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

    /// Takes over what was found about the program that this one starts.
    pub(crate) fn take_over(&mut self, inner: Self) {
        self.findings.extend(inner.findings);
        self.untraceable.extend(inner.untraceable);
        self.deals_with_others = inner.deals_with_others;
        self.needs_library |= inner.needs_library;
        self.placeless |= inner.placeless;
        self.hopeless |= inner.hopeless;
        self.starts_unseen |= inner.starts_unseen;
        self.starts_elsewhere |= inner.starts_elsewhere;
        self.reach = inner.reach;
        self.preload = inner.preload.or(self.preload.take());
        self.library = inner.library.or(self.library.take());
        self.interpreters = inner.interpreters;
        self.format = inner.format;
        self.imports = inner.imports;
        self.has_asan_runtime = inner.has_asan_runtime;
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

    /// Whether this engine was chosen.
    pub(crate) fn engine_is(&self, engine: Engine) -> bool {
        self.engine
            .as_ref()
            .is_some_and(|choice| choice.name == engine)
    }

    /// Whether it is there to start something that was not looked at.
    pub(crate) fn starts_something(&self) -> bool {
        self.starts_unseen || self.reach == Reach::ByStarting
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
