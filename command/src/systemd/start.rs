//! Reads a unit's `ExecStart=` lines, and puts `reuseaddr run` in front of the program.

use anyhow::{Result, bail};
use std::path::Path;

/// The prefixes of a program's path (systemd.service(5)).
const PREFIXES: &[char] = &['-', ':', '+', '!', '|'];

/// The `ExecStart=` lines in force after these files are read in their order.
pub(crate) fn lines(files: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines = Vec::new();
    for text in files {
        let mut in_service = false;
        for line in whole_lines(&text) {
            if line.starts_with('[') {
                in_service = line == "[Service]";
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| in_service) else {
                continue;
            };
            match (name.trim_end(), value.trim()) {
                ("ExecStart", "") => lines.clear(),
                ("ExecStart", value) => lines.push(value.to_owned()),
                _ => {}
            }
        }
    }
    lines
}

/// Splits a file into lines: a backslash at the end continues a line, and comments are skipped
/// (systemd.syntax(7)).
fn whole_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            begun.push_str(part);
            begun.push(' ');
        } else {
            begun.push_str(line);
            lines.push(std::mem::take(&mut begun));
        }
    }
    lines.push(begun);
    lines
}

/// The program of a line, as it is written there.
pub(crate) fn program(line: &str) -> &str {
    let rest = line.trim_start_matches(PREFIXES).trim_start_matches('@');
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    rest[..end].trim_matches(['"', '\''])
}

/// Puts `reuseaddr run` in front of the program, with this library if it has to be named. All else
/// stays as written, so that systemd reads it as before.
pub(crate) fn by(command: &Path, library: Option<&Path>, line: &str) -> Result<String> {
    let rest = line.trim_start_matches(PREFIXES);
    let prefix = &line[..line.len() - rest.len()];
    if rest.starts_with('@') {
        bail!(
            "ExecStart={line} starts the program under another name, which `reuseaddr run` can't \
             do: take the @ away"
        );
    }
    let command = plain(command)?;
    let library = match library {
        Some(library) => format!(" --library {}", plain(library)?),
        None => String::new(),
    };
    Ok(format!(
        "ExecStart={prefix}{command} run{library} -- {rest}"
    ))
}

/// One of our paths as text, if a unit can name it without quotes.
pub(crate) fn plain(command: &Path) -> Result<&str> {
    let plain = command.to_str().filter(|path| {
        path.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "/._-+".contains(letter))
    });
    let Some(plain) = plain else {
        bail!(
            "{} is no path for a unit: install the command and its library in /usr/local",
            command.display()
        );
    };
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_holds_in_the_end() {
        let files = [
            "[Unit]\nExecStart=/no\n[Service]\n# ExecStart=/no\nExecStart=/bin/a \\\n  \
             -x %i\nExecStart = -/bin/b\n",
            "[Service]\nExecStart=\nExecStart=!/opt/c \"a b\"",
        ];
        assert_eq!(lines([files[0].to_owned()]), ["/bin/a  -x %i", "-/bin/b"]);
        assert_eq!(lines(files.map(str::to_owned)), ["!/opt/c \"a b\""]);
    }

    #[test]
    fn puts_the_command_in_front() {
        for (line, path, expected) in [
            (
                "/bin/a -x %i",
                "/bin/a",
                "ExecStart=/usr/bin/reuseaddr run -- /bin/a -x %i",
            ),
            (
                "-!/bin/a",
                "/bin/a",
                "ExecStart=-!/usr/bin/reuseaddr run -- /bin/a",
            ),
            (
                "\"/bin/a\" b",
                "/bin/a",
                "ExecStart=/usr/bin/reuseaddr run -- \"/bin/a\" b",
            ),
        ] {
            assert_eq!(program(line), path);
            let by = by(Path::new("/usr/bin/reuseaddr"), None, line);
            assert_eq!(by.unwrap(), expected);
        }
        let command = Path::new("/usr/bin/reuseaddr");
        assert_eq!(
            by(command, Some(Path::new("/opt/libreuse.so")), "/bin/a").unwrap(),
            "ExecStart=/usr/bin/reuseaddr run --library /opt/libreuse.so -- /bin/a"
        );
        assert!(by(command, None, "-@/bin/a b").is_err());
        assert!(by(Path::new("/usr/my bin/reuseaddr"), None, "/bin/a").is_err());
        assert!(by(command, Some(Path::new("/a b")), "/bin/a").is_err());
    }
}
