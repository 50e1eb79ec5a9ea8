//! A line on the terminal that says what is waited for, and is gone afterwards.

use crate::output::readable;
use rustix::termios::tcgetwinsize;
use std::io::{self, IsTerminal, Write};

/// The line. Where stderr is no terminal there is none.
pub(crate) struct Progress {
    on_terminal: bool,
    shown: String,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            on_terminal: io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    /// Shows this in the place of what was shown before.
    pub(crate) fn show(&mut self, text: &str) {
        if !self.on_terminal || text == self.shown {
            return;
        }
        let columns = tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col));
        // A line that is wrapped could not be taken away again.
        let line: String = readable(text.as_bytes())
            .chars()
            .take(columns.saturating_sub(1).max(20))
            .collect();
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
        text.clone_into(&mut self.shown);
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if !self.shown.is_empty() {
            let _ = write!(io::stderr(), "\r\x1b[K");
            self.shown.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
