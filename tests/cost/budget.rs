//! The recorded budget, `benches/budget`: a line for each thing that is counted.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::{project, succeed};

/// What was counted, and how much of it there was.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    pub(crate) what: String,
    pub(crate) number: f64,
}

pub(crate) struct Budget(Vec<Spent>);

fn file() -> PathBuf {
    project().join("benches/budget")
}

impl Budget {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(file()).expect("there is a budget");
        let rows = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            rows.map(|row| {
                let words: Vec<&str> = row.split_whitespace().collect();
                let [call, how, number] = words[..] else {
                    panic!("three words: {row}")
                };
                Spent {
                    what: format!("{call} {how}"),
                    number: number.parse().expect("a number"),
                }
            })
            .collect(),
        )
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn of(&self, what: &str) -> f64 {
        let row = self.0.iter().find(|row| row.what == what);
        row.unwrap_or_else(|| panic!("benches/budget has no {what}: scripts/check/budget --record"))
            .number
    }

    /// Writes it anew. The commit that does so gives the reason.
    pub(crate) fn record(spent: &[Spent]) {
        let compiler = succeed(Command::new("rustc").arg("--version"));
        let compiler = compiler.split(" (").next().unwrap_or_default().trim();
        let mut text = format!(
            "# What scripts/check/budget --record counts, with {compiler} on {}:\n\
             # instructions of libreuse.so per call, by call and linger;\n\
             # what a preloaded start of /bin/true takes beyond a plain one;\n\
             # system calls of `reuseaddr run` before PROGRAM is executed, by library, of `status PORT`\n\
             # among four processes, and of `check PROGRAM`, each beyond what `reuseaddr --version`\n\
             # makes.\n",
            std::env::consts::ARCH
        );
        for Spent { what, number } in spent {
            let (call, how) = what.split_once(' ').expect("two words");
            writeln!(text, "{call:<12}{how:<14}{number}").expect("a string");
        }
        fs::write(file(), text).expect("the budget can be written");
    }
}
