//! Shows progress in one line, on a terminal alone, once something has taken a second.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line of progress, which is erased when it is dropped.
pub(crate) struct Progress {
    begun: Instant,
    shown: Option<Instant>,
}

const PATIENCE: Duration = Duration::from_secs(1);
const OFTEN: Duration = Duration::from_millis(100);

impl Progress {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            shown: None,
        }
    }

    /// Shows the progress, after the first second and at most ten times a second.
    pub(crate) fn show(&mut self, how_far: impl FnOnce() -> String) {
        let is_early = self.begun.elapsed() < PATIENCE;
        if is_early
            || self.shown.is_some_and(|shown| shown.elapsed() < OFTEN)
            || !io::stderr().is_terminal()
        {
            return;
        }
        self.shown = Some(Instant::now());
        write(&format!("\r{}\x1b[K", cut(&how_far())));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            write("\r\x1b[K");
        }
    }
}

/// Cuts a text to one line: wrapped lines could not be erased.
fn cut(text: &str) -> String {
    let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| size.ws_col);
    let columns = if columns == 0 {
        80
    } else {
        usize::from(columns)
    };
    super::shortened(text, columns.saturating_sub(1))
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // A failed write does not matter.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
