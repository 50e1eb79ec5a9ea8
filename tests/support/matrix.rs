//! Compares a program with and without the shim, in every linger mode with every place for the log.

use super::{Finished, Folder, Program, own_network};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

/// The values of `LIBREUSE_LINGER`.
pub const LINGERS: [&str; 3] = ["off", "graceful", "zero"];

/// Where the log goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Log {
    Off,
    Stderr,
    File,
}

/// One setting of the matrix, ready to run.
pub struct Setting {
    pub linger: &'static str,
    pub log: Log,
    folder: Folder,
}

impl Setting {
    /// Every linger mode with every place for the log.
    pub fn all() -> Vec<Self> {
        LINGERS
            .into_iter()
            .flat_map(|linger| [Log::Off, Log::Stderr, Log::File].map(|log| Self::new(linger, log)))
            .collect()
    }

    pub fn new(linger: &'static str, log: Log) -> Self {
        static NUMBER: Mutex<u32> = Mutex::new(0);
        let mut number = NUMBER.lock().expect("the lock");
        *number += 1;
        Self {
            linger,
            log,
            folder: Folder::new(&format!("hostile-{number}")),
        }
    }

    pub fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Sets the shim's variables, but not `LD_PRELOAD`.
    pub fn applied_to(&self, program: Program) -> Program {
        let program = program.with("LIBREUSE_LINGER", self.linger).with(
            "LIBREUSE_LOG",
            if self.log == Log::Off { "off" } else { "trace" },
        );
        if self.log == Log::File {
            program.with("LIBREUSE_LOG_FILE", self.log_file())
        } else {
            program
        }
    }

    /// Returns the lines that the shim has logged, and removes them from the program's stderr. Each
    /// line must be whole.
    fn logged(&self, finished: &mut Finished) -> Vec<String> {
        let (ours, theirs): (Vec<String>, Vec<String>) = match self.log {
            Log::Off => (Vec::new(), lines(&finished.stderr)),
            Log::Stderr => lines(&finished.stderr)
                .into_iter()
                .partition(|line| line.starts_with("libreuse[")),
            Log::File => (
                lines(&fs::read_to_string(self.log_file()).expect("the log file")),
                lines(&finished.stderr),
            ),
        };
        for line in &ours {
            assert!(is_whole(line), "a broken line in the log: {line:?}");
        }
        finished.stderr = theirs.concat();
        ours
    }
}

/// The lines of a text, with their ends.
fn lines(text: &str) -> Vec<String> {
    text.split_inclusive('\n').map(String::from).collect()
}

/// Whether this is one line of the log and nothing else: `libreuse[123]: bind ...` and the newline.
fn is_whole(line: &str) -> bool {
    let Some((pid, text)) = line
        .strip_prefix("libreuse[")
        .and_then(|rest| rest.split_once("]: "))
    else {
        return false;
    };
    pid.bytes().all(|byte| byte.is_ascii_digit())
        && text.ends_with('\n')
        && !text.contains("libreuse[")
}

/// Asserts that the shim changes neither the program's output nor its exit status, with any
/// settings.
pub fn changes_nothing(control: &Program) {
    changes_nothing_when(control, &control.clone().shimmed(), Setting::all());
}

/// The same for a program that preloads the shim in another way, with these settings.
pub fn changes_nothing_when(control: &Program, shimmed: &Program, settings: Vec<Setting>) {
    own_network();
    let expected = control.run();
    // A control that fails early proves nothing about the shim.
    assert!(
        !expected.stdout.contains(": not so: ") && expected.signal().is_none(),
        "the control fails: {expected:#?}"
    );
    for setting in settings {
        // A new network namespace, without the leftovers of the run before.
        own_network();
        let mut finished = setting.applied_to(shimmed.clone()).run();
        let log = setting.logged(&mut finished);
        assert_eq!(
            (&finished.stdout, finished.status, &finished.stderr),
            (&expected.stdout, expected.status, &expected.stderr),
            "with linger {} and log {:?}; the log's end: {:#?}",
            setting.linger,
            setting.log,
            &log[log.len().saturating_sub(20)..],
        );
        assert_eq!(
            log.is_empty(),
            setting.log == Log::Off,
            "the shim at work is seen in its log"
        );
    }
}
