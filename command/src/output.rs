//! Prints answers: wrapped to the terminal, prose never wider than a hundred columns, coloured
//! for a terminal only, as text for people and JSON for programs.

pub(crate) mod json;
mod keys;
pub(crate) mod progress;
pub(crate) mod screen;
pub(crate) mod table;
pub(crate) mod typed;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;
use textwrap::core::display_width;
use textwrap::{Options, WordSplitter};

const WIDEST: usize = 100;

pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const UNSURE: Style = AnsiColor::Yellow.on_default().bold();

/// Text in a colour; `print` and `complain` drop the colour where it is not wanted.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// How wide prose is: lines that are too long are hard to read on any terminal.
fn width() -> usize {
    terminal_width().min(WIDEST)
}

/// How wide the terminal is, if stdout is one.
fn terminal_width() -> usize {
    size().map_or(WIDEST, |(columns, _)| columns.max(30))
}

/// Columns and rows of the terminal, if stdout is one.
pub(crate) fn size() -> Option<(usize, usize)> {
    if !on_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)))
        .filter(|&(columns, _)| columns > 0)
}

/// Whether stdout is a terminal.
pub(crate) fn on_terminal() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| io::stdout().is_terminal())
}

/// Wraps a paragraph. Words stay whole: a path or command that was cut in two could not be copied.
pub(crate) fn paragraph(first: &str, rest: &str, text: &str) -> String {
    let options = Options::new(width())
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation);
    textwrap::fill(text, options) + "\n"
}

/// A command to type, and what it is good for; on two lines where one is too short.
pub(crate) fn command(command: &str, purpose: &str) -> String {
    const COLUMN: usize = 44;
    let command = typed::command_line(command);
    let one_line = format!("    {command:<COLUMN$} {purpose}\n");
    if command.len() <= COLUMN && one_line.trim_end().chars().count() <= width() {
        one_line
    } else {
        format!(
            "    {command}\n{}",
            paragraph("        ", "        ", purpose)
        )
    }
}

/// One line that is cut where the terminal ends. Where there is none, it is whole.
pub(crate) fn line(prefix: &str, text: &str) -> String {
    let room = if on_terminal() {
        terminal_width().saturating_sub(display_width(prefix))
    } else {
        usize::MAX
    };
    format!("{prefix}{}\n", shortened(text, room))
}

/// One line that is cut at its beginning, for a chain of words whose end matters most.
pub(crate) fn line_from_the_end(prefix: &str, text: &str) -> String {
    let room = terminal_width().saturating_sub(display_width(prefix));
    if !on_terminal() || display_width(text) <= room {
        return format!("{prefix}{text}\n");
    }
    let mut start = text.len();
    let mut width = 1;
    for (position, letter) in text.char_indices().rev() {
        width += display_width(letter.encode_utf8(&mut [0; 4]));
        if width > room {
            break;
        }
        start = position;
    }
    let end = text.get(start..).unwrap_or_default();
    // No half of a word, if there is a whole one.
    let whole = end.find(" > ").map_or(end, |at| &end[at..]);
    format!("{prefix}…{whole}\n")
}

/// A text of no more than this width, with a mark where it was cut.
fn shortened(text: &str, room: usize) -> String {
    if display_width(text) <= room {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut width = 1;
    for letter in text.chars() {
        width += display_width(letter.encode_utf8(&mut [0; 4]));
        if width > room {
            break;
        }
        short.push(letter);
    }
    short + "…"
}

/// Prints an answer. A reader that has gone, such as `head`, has seen enough: that is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = anstream::AutoStream::auto(io::stdout()).lock();
    tolerate(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    )
}

/// Prints an answer as JSON. Down to this depth each item has a line, and what is deeper is all on
/// the line of what it is in.
pub(crate) fn print_json(answer: &impl Serialize, depth: usize) -> anyhow::Result<()> {
    let mut text = json::text(answer, depth)?;
    text.push(b'\n');
    let mut stdout = io::stdout().lock();
    tolerate(stdout.write_all(&text).and_then(|()| stdout.flush()))
}

/// Whether the reader of stdout has gone, which `--watch` asks.
pub(crate) fn reader_has_gone() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok()
        && fds
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

fn tolerate(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("the answer could not be written to stdout"))
        }
        _ => Ok(()),
    }
}

/// Reports an error on stderr. Nothing is left to do if stderr is closed.
pub(crate) fn error(text: &str) {
    say("reuseaddr: ", text);
}

/// Reports on stderr what may go wrong.
pub(crate) fn warn(text: &str) {
    say("reuseaddr: warning: ", text);
}

/// Reports on stderr what has been done.
pub(crate) fn info(text: &str) {
    say("", text);
}

fn say(prefix: &str, text: &str) {
    let indent = " ".repeat(prefix.len().min(11));
    let wrapped: String = text
        .lines()
        .enumerate()
        .map(|(position, line)| {
            if line.starts_with("    ") {
                // A command to type: it is not wrapped.
                typed::command_line(line) + "\n"
            } else {
                let first = if position == 0 { prefix } else { &indent };
                paragraph(first, &indent, &typed::sentence(line))
            }
        })
        .collect();
    let mut stderr = anstream::AutoStream::auto(io::stderr()).lock();
    let _ = stderr.write_all(wrapped.as_bytes());
}

/// Asks on the terminal; where there is none, the error says what to type in place of an answer.
pub(crate) fn ask(question: &str, instead: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        anyhow::bail!("without a terminal to ask on, {instead}");
    }
    // In one write: an answer that is typed ahead is echoed between two.
    io::stderr().write_all(format!("{question} [y/N] ").as_bytes())?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// `1 socket`, `3 sockets`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A time in seconds: `0.3 s`, `9.5 s`, `65 s`.
pub(crate) fn seconds(time: Duration) -> String {
    /// From here on tenths of a second do not matter.
    const LONG: Duration = Duration::from_secs(10);
    if time < LONG && time.subsec_millis() >= 50 {
        format!("{:.1} s", time.as_secs_f64())
    } else if time.as_secs() == 0 && !time.is_zero() {
        format!("{} ms", time.as_millis())
    } else {
        format!("{} s", time.as_secs())
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    enumerated(items, "and")
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn either(items: &[String]) -> String {
    enumerated(items, "or")
}

fn enumerated(items: &[String], conjunction: &str) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} {conjunction} {last}", first.join(", ")),
    }
}

/// Bytes as a person can read them: without what would confuse a terminal, and without letters that
/// are not seen and change the order or the lines of others.
pub(crate) fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|letter| if is_deceptive(letter) { '?' } else { letter })
        .collect()
}

/// Whether a letter is a control character, breaks a line, overrides the direction of writing or
/// has no width (Unicode's classes Cc, Zl, Zp and Cf, as far as they are in use).
fn is_deceptive(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn shows_no_letter_that_deceives() {
        for (bytes, expected) in [
            (&b"caf\xe9"[..], "caf\u{fffd}"),
            ("naïve 名".as_bytes(), "naïve 名"),
            (b"a\x1b[31mb", "a?[31mb"),
            ("exe.\u{202e}gpj".as_bytes(), "exe.?gpj"),
            ("a\u{2066}b\u{2069}c".as_bytes(), "a?b?c"),
            ("one\u{2028}two\u{85}three".as_bytes(), "one?two?three"),
            ("man\u{200d}woman".as_bytes(), "man\u{200d}woman"),
        ] {
            assert_eq!(readable(bytes), expected);
        }
    }
}
