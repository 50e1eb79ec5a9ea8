//! A line about what takes long, on a terminal alone: a second without a word is as long as people
//! wait.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What is being done. Its line goes when it is done.
pub(crate) struct Progress {
    begun: Instant,
    told: Option<Instant>,
}

const PATIENCE: Duration = Duration::from_secs(1);
const OFTEN: Duration = Duration::from_millis(100);

impl Progress {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            told: None,
        }
    }

    /// Says how far it is, if it takes longer than a second and not more than ten times a second.
    pub(crate) fn tell(&mut self, how_far: impl FnOnce() -> String) {
        let is_early = self.begun.elapsed() < PATIENCE;
        if is_early
            || self.told.is_some_and(|told| told.elapsed() < OFTEN)
            || !io::stderr().is_terminal()
        {
            return;
        }
        self.told = Some(Instant::now());
        write(&format!("\r{}\x1b[K", cut(&how_far())));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            write("\r\x1b[K");
        }
    }
}

/// As much of a text as fits on one line: what is wrapped could not be taken away again.
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
    // Nobody has to see it.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
