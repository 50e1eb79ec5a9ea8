//! Runs another program for what it prints.

use log::debug;
use std::ffi::OsStr;
use std::fmt::Debug;
use std::process::{Command, Stdio};

/// Runs a program without input, and returns what it prints, without the space around it; `None` if
/// it can't be run, fails, or prints nothing.
pub(crate) fn output_of<T: AsRef<OsStr> + Debug>(program: &str, arguments: &[T]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    debug!(
        "{program} {arguments:?}: {}, {} bytes",
        output.status,
        output.stdout.len()
    );
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
