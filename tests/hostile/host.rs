//! The programs of the suite.

use std::collections::BTreeMap;
use std::mem;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use support::matrix::{Log, Setting, changes_nothing_when};
use support::{Folder, Program};

/// A C library that programs are linked with. The shim is the same file for each.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Libc {
    Glibc,
    Musl,
}

impl Libc {
    pub(crate) const BOTH: [Self; 2] = [Self::Glibc, Self::Musl];

    /// A program of the suite, compiled on first use.
    pub(crate) fn host(self, source: &str) -> Program {
        Program::new(self.compiled(source, &[]))
    }

    /// The settings that its programs run under: for musl each of linger and each place for the
    /// log, but not with one another. What the shim decides is the same there.
    pub(crate) fn settings(self) -> Vec<Setting> {
        match self {
            Self::Glibc => Setting::all(),
            Self::Musl => [
                ("off", Log::Off),
                ("graceful", Log::Stderr),
                ("zero", Log::File),
            ]
            .map(|(linger, log)| Setting::new(linger, log))
            .into(),
        }
    }

    /// A C or C++ file of the suite, compiled on first use with these flags; `-shared` makes it a
    /// library.
    pub(crate) fn compiled(self, source: &str, flags: &[&str]) -> PathBuf {
        type Key = (Libc, String);
        static DONE: Mutex<BTreeMap<Key, PathBuf>> = Mutex::new(BTreeMap::new());
        let mut done = DONE.lock().expect("no compilation failed before");
        let number = done.len();
        done.entry((self, format!("{source} {flags:?}")))
            .or_insert_with(|| self.compile(number, source, flags))
            .clone()
    }

    fn compile(self, number: usize, source: &str, flags: &[&str]) -> PathBuf {
        let source = support::project().join("tests/hostile").join(source);
        let stem = source.file_stem().expect("a name").to_string_lossy();
        // The Folder is never dropped: the programs are needed until the last test has ended.
        let folder = Folder::new(&format!("hostile-{stem}-{number}"));
        let binary = folder.join(if flags.contains(&"-shared") {
            format!("lib{stem}.so")
        } else {
            stem.clone().into_owned()
        });
        mem::forget(folder);
        let is_cpp = source.extension().is_some_and(|kind| kind == "cpp");
        let mut compiler = match (self, is_cpp) {
            (Self::Glibc, false) => Command::new("cc"),
            (Self::Glibc, true) => Command::new("c++"),
            (Self::Musl, _) => support::musl_gcc(),
        };
        if self == Self::Musl && is_cpp {
            // Debian has no C++ library for musl, and no program of the suite is C++ alone.
            compiler.args(["-x", "c"]);
        }
        compiler
            .args(["-O1", "-g", "-D_GNU_SOURCE", "-fPIC", "-pthread"])
            .arg(format!("-DPATIENCE={}", support::patience().as_secs() / 30))
            .args(["-Wall", "-Wextra", "-Werror", "-o"])
            .args([&binary, &source])
            .args(flags);
        support::succeed(&mut compiler);
        binary
    }
}

/// Asserts that the shim changes nothing in a program of the suite, with either libc.
pub(crate) fn changes_nothing_in(
    libcs: impl IntoIterator<Item = Libc>,
    source: &str,
    arguments: &[&str],
) {
    for libc in libcs {
        let program = libc.host(source).arguments(arguments);
        changes_nothing_when(&program, &program.clone().shimmed(), libc.settings());
    }
}

/// A C or C++ program of the suite for glibc.
pub(crate) fn compiled(source: &str) -> PathBuf {
    Libc::Glibc.compiled(source, &[])
}

/// The same with flags of its own.
pub(crate) fn compiled_with(source: &str, flags: &[&str]) -> PathBuf {
    Libc::Glibc.compiled(source, flags)
}

/// A program of the suite for glibc, to be run.
pub(crate) fn host(source: &str) -> Program {
    Libc::Glibc.host(source)
}
