//! Collects the findings about a program or process.

use super::explain;
use super::finding::{Finding, Hopeless, Note, Problem, Reach, Untraceable};
use crate::engine::{Choice, Engine};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The findings about a program or process.
#[derive(Debug, Default, Serialize)]
#[allow(clippy::struct_excessive_bools)] // Independent answers, each asked for by name.
pub(crate) struct Report {
    /// The program's file, or that of the process.
    pub(crate) program: Option<String>,
    pub(crate) pid: Option<u32>,
    /// Whether the library works in it.
    pub(crate) works: bool,
    /// The LD_PRELOAD with which the dynamic linker loads the library into the program.
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
    /// Whether a tracer follows what it starts, and handles what the library can't enter.
    pub(crate) follows: bool,
    /// Whether all that the answer depends on could be looked at.
    pub(crate) certain: bool,
    /// How `run` starts the program; `None` if it does not, or for a process without an engine.
    pub(crate) engine: Option<Choice>,
    /// The engine that root can have for it, where the other one only waits.
    pub(crate) alternative: Option<Choice>,
    #[serde(serialize_with = "explain::serialize")]
    pub(crate) findings: Vec<Finding>,
    /// Programs that run it, if it is a script.
    pub(crate) interpreters: Vec<String>,
    pub(crate) format: Option<FileFormat>,
    /// Hooked functions, and the files that call them: the program's, or those of libraries that it
    /// loads at start.
    pub(crate) imports: BTreeMap<&'static str, Vec<String>>,
    /// `LIBREUSE_` variables of the process.
    pub(crate) variables: BTreeMap<String, String>,
    /// TCP sockets of the process that have a port.
    pub(crate) sockets: Vec<BoundSocket>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FileFormat {
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
pub(crate) struct BoundSocket {
    pub(crate) local: String,
    #[serde(skip)]
    pub(crate) port: u16,
    pub(crate) listening: bool,
    pub(crate) reuse_address: bool,
}

impl Report {
    pub(crate) fn add(&mut self, finding: impl Into<Finding>) {
        self.findings.push(finding.into());
    }

    /// Takes over what was found about the program that this one, a wrapper, starts. What the
    /// wrapper itself calls is nobody's concern.
    pub(crate) fn take_over(&mut self, wrapper: &str, program: PathBuf, inner: Self) {
        self.findings
            .retain(|finding| !matches!(finding, Finding::Note(_)));
        self.add(Note::Starts {
            wrapper: wrapper.into(),
            program,
        });
        self.findings.extend(inner.findings);
        self.starts_unseen |= inner.starts_unseen;
        self.reach = inner.reach;
        self.preload = inner.preload.or(self.preload.take());
        self.library = inner.library.or(self.library.take());
        self.interpreters = inner.interpreters;
        self.format = inner.format;
        self.imports = inner.imports;
    }

    /// Forgets that a dynamic linker is not there: elsewhere it may be.
    pub(crate) fn forget_missing_linker(&mut self) {
        self.findings
            .retain(|it| !matches!(it, Finding::Hopeless(Hopeless::NoLinker { .. })));
    }

    fn has(&self, is_it: impl Fn(&Finding) -> bool) -> bool {
        self.findings.iter().any(is_it)
    }

    /// Whether nothing was found that keeps the library out.
    pub(crate) fn is_good(&self) -> bool {
        self.problems().next().is_none()
    }

    /// Everything that keeps the library out, in words.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let is_problem =
            |finding: &&Finding| matches!(finding, Finding::Problem(_) | Finding::Hopeless(_));
        self.findings
            .iter()
            .filter(is_problem)
            .map(ToString::to_string)
    }

    /// Everything about the program that keeps a tracer away, in words.
    pub(crate) fn untraceable(&self) -> impl Iterator<Item = String> {
        let keeps_away = |finding: &&Finding| match finding {
            Finding::Untraceable(why) => !matches!(why, Untraceable::Exempt(_)),
            _ => false,
        };
        self.findings
            .iter()
            .filter(keeps_away)
            .map(ToString::to_string)
    }

    /// Why it is better not traced, unless that is asked for.
    pub(crate) fn deals_with_others(&self) -> Option<String> {
        let is_exempt =
            |finding: &&Finding| matches!(finding, Finding::Untraceable(Untraceable::Exempt(_)));
        self.findings
            .iter()
            .find(is_exempt)
            .map(ToString::to_string)
    }

    /// The findings in words, without those against a tracer: they are the reason for an engine
    /// where they matter.
    pub(crate) fn shown(&self) -> impl Iterator<Item = String> {
        let is_shown = |finding: &&Finding| !matches!(finding, Finding::Untraceable(_));
        self.findings
            .iter()
            .filter(is_shown)
            .map(ToString::to_string)
    }

    /// Whether no engine can do anything, or something has to be mended first.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.has(|it| {
            matches!(
                it,
                Finding::Hopeless(_) | Finding::Problem(Problem::NoPlace(_))
            )
        })
    }

    /// Whether it could be served by the library, if there was one.
    pub(crate) fn needs_library(&self) -> bool {
        self.has(|it| matches!(it, Finding::Problem(Problem::NoLibrary)))
    }

    /// Whether AddressSanitizer's shared runtime is in the program.
    pub(crate) fn has_asan_runtime(&self) -> bool {
        self.has(|it| matches!(it, Finding::Note(Note::AddressSanitizer { .. })))
    }

    /// Whether it is there to start something that was not looked at.
    pub(crate) fn starts_something(&self) -> bool {
        self.starts_unseen || self.reach == Reach::ByStarting
    }

    /// Whether a process that runs already starts that.
    pub(crate) fn starts_elsewhere(&self) -> bool {
        self.has(|it| matches!(it, Finding::Note(Note::StartsElsewhere { .. })))
    }

    /// Whether there is nothing against the library, but that somebody else starts what matters:
    /// `--engine` overrides it.
    pub(crate) fn only_starts_elsewhere(&self) -> bool {
        self.findings.iter().all(|it| {
            matches!(
                it,
                Finding::Hopeless(Hopeless::StartedElsewhere { .. }) | Finding::Note(_)
            )
        })
    }

    /// Whether the process has the library loaded.
    pub(crate) fn is_loaded(&self) -> bool {
        self.has(|it| matches!(it, Finding::Note(Note::Mapped { .. })))
    }

    /// Whether the process's listeners carry the option though no engine is at work.
    pub(crate) fn needs_nothing(&self) -> bool {
        self.has(|it| matches!(it, Finding::Note(Note::ListenersCarryOption)))
    }

    /// The command for root, if nothing else serves the program.
    pub(crate) fn as_root(&self, shown: &str) -> Option<String> {
        let choice = self.alternative.as_ref()?;
        Some(format!(
            "as root, `reuseaddr run --engine {} {shown}` serves it, by BPF programs",
            choice.name
        ))
    }

    /// Whether this engine was chosen.
    pub(crate) fn engine_is(&self, engine: Engine) -> bool {
        self.engine
            .as_ref()
            .is_some_and(|choice| choice.name == engine)
    }
}
