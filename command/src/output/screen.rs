//! The screen of `--watch`: the terminal's alternate one, which leaves what was there before as it
//! was.

use super::keys::Keys;
use crate::output::{on_terminal, size};
use crate::sys::signals::{Signals, WaitResult};
use anstream::ColorChoice;
use std::env;
use std::io::{self, Write};
use std::time::Duration;

/// A screen's content: a table, of which rows may be left out, and the text below it.
pub(crate) struct Frame<'a> {
    pub(crate) title: &'a str,
    pub(crate) table: &'a str,
    pub(crate) below: &'a str,
}

/// The alternate screen, until it is dropped.
pub(crate) struct Screen {
    signals: Signals,
    keys: Keys,
    /// The last frame, so that an equal one is not written again.
    shown: String,
}

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

impl Screen {
    /// Takes the terminal, if stdout is one with a cursor. From now on signals and keys are noticed
    /// in [`Screen::pause`] alone.
    pub(crate) fn take() -> Option<Self> {
        // A terminal that can't move its cursor shows one frame after another.
        if !on_terminal() || env::var_os("TERM").is_some_and(|name| name == "dumb") {
            return None;
        }
        let signals = Signals::block().ok()?;
        let mut keys = Keys::default();
        keys.take();
        write(ENTER);
        Some(Self {
            signals,
            keys,
            shown: String::new(),
        })
    }

    /// Shows a frame in place of the one before.
    pub(crate) fn show(&mut self, frame: &Frame<'_>) {
        let rows = size().map_or(24, |(_, rows)| rows.max(2));
        let mut text = String::from("\x1b[H");
        for line in fitted(frame, rows) {
            text += &line;
            text += "\x1b[K\r\n";
        }
        // Not a new line after the last one: it would scroll the first away.
        text.truncate(text.len() - 2);
        text += "\x1b[J";
        if text != self.shown {
            write(&text);
            self.shown = text;
        }
    }

    /// Waits until the time is up or the terminal is resized. A signal that asks for it stops or
    /// ends the process. False if `q` was pressed.
    pub(crate) fn pause(&mut self, time: Duration) -> bool {
        self.keys.take();
        match self.signals.wait(time, self.keys.are_read()) {
            WaitResult::None => {}
            WaitResult::Input => return !self.keys.quit(),
            WaitResult::Signal(libc::SIGWINCH) => self.shown.clear(),
            WaitResult::Signal(libc::SIGTSTP) => {
                self.leave();
                self.signals.stop();
                self.keys.take();
                write(ENTER);
                self.shown.clear();
            }
            WaitResult::Signal(signal) => {
                self.leave();
                self.signals.end_by(signal);
            }
        }
        true
    }

    /// Gives the terminal back as it was.
    fn leave(&mut self) {
        write(LEAVE);
        self.keys.give_back();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The lines that fit: title and the table's header always, then the text below it, then rows
/// of the table.
fn fitted(frame: &Frame<'_>, rows: usize) -> Vec<String> {
    let mut lines = vec![frame.title.to_owned(), String::new()];
    let mut table = frame.table.lines().map(ToOwned::to_owned);
    lines.extend(table.next());
    let table: Vec<String> = table.collect();
    let below: Vec<&str> = frame.below.lines().collect();
    let room = rows.saturating_sub(lines.len());
    // One row says more than none.
    let for_table = room.saturating_sub(below.len()).max(2).min(room);
    if table.len() <= for_table {
        lines.extend(table);
    } else {
        let shown = for_table.saturating_sub(1);
        let more = table.len() - shown;
        lines.extend(table.into_iter().take(shown));
        lines.push(format!("… {more} more"));
    }
    lines.extend(below.into_iter().map(ToOwned::to_owned));
    if lines.len() > rows {
        lines.truncate(rows);
        // That something is missing is seen.
        if let Some(last) = lines.last_mut().filter(|last| !last.starts_with('…')) {
            "… (the terminal is too low for the rest)".clone_into(last);
        }
    }
    lines
}

/// Writes to the terminal, which is asked for colours as `print` asks.
fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    let colourless = anstream::AutoStream::choice(&stdout) == ColorChoice::Never;
    let text = if colourless {
        without_colours(text)
    } else {
        text.to_owned()
    };
    // A terminal that has gone tells by SIGHUP.
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Takes out the sequences that set colours (ECMA-48's SGR), and leaves those that move the cursor.
fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(start);
        plain += before;
        let end = sequence
            .char_indices()
            .skip(2)
            .find(|(_, letter)| ('@'..='~').contains(letter))
            .map_or(sequence.len(), |(position, letter)| {
                position + letter.len_utf8()
            });
        let (sequence, after) = sequence.split_at(end);
        if !sequence.ends_with('m') {
            plain += sequence;
        }
        rest = after;
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_terminal_keeps_the_header_and_what_is_said() {
        let frame = Frame {
            title: "title",
            table: "STATE\none\ntwo\nthree\nfour\n",
            below: "\nPort 1 is busy.\n",
        };
        assert_eq!(
            fitted(&frame, 24),
            [
                "title",
                "",
                "STATE",
                "one",
                "two",
                "three",
                "four",
                "",
                "Port 1 is busy."
            ]
        );
        assert_eq!(
            fitted(&frame, 8),
            [
                "title",
                "",
                "STATE",
                "one",
                "two",
                "… 2 more",
                "",
                "Port 1 is busy."
            ]
        );
        assert_eq!(fitted(&frame, 5), ["title", "", "STATE", "one", "… 3 more"]);
        assert_eq!(
            fitted(&frame, 2),
            ["title", "… (the terminal is too low for the rest)"]
        );
        let frame = Frame {
            title: "title",
            table: "STATE\none\n",
            below: "\nPort 1 is busy.\nWhat to do:\n    one\n    two\n",
        };
        assert_eq!(
            fitted(&frame, 7).last().unwrap(),
            "… (the terminal is too low for the rest)"
        );
    }

    #[test]
    fn colours_go_and_movements_stay() {
        assert_eq!(
            without_colours("\x1b[H\x1b[1;31mbusy\x1b[0m\x1b[K"),
            "\x1b[Hbusy\x1b[K"
        );
    }
}
