//! Scripts: which program runs one, and what it may do to the environment.

use super::library::find_program;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A script's first line, taken apart.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Shebang {
    /// What the kernel starts.
    pub(super) interpreter: PathBuf,
    /// What runs the script in the end, where the interpreter is `env`: a path, or a name to be searched for.
    pub(super) by_env: Option<OsString>,
    /// Whether `env` is told to drop the environment, and LD_PRELOAD with it.
    pub(super) drops_environment: bool,
}

impl Shebang {
    /// Reads the first line of a file; `None` if it is no script with one.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut start = Vec::new();
        fs::File::open(path)?.take(4096).read_to_end(&mut start)?;
        Ok(Self::parse(&start))
    }

    fn parse(start: &[u8]) -> Option<Self> {
        let line = start
            .strip_prefix(b"#!")?
            .split(|&byte| byte == b'\n')
            .next()?
            .trim_ascii();
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
        let mut by_env = None;
        let mut drops_environment = false;
        if interpreter.file_name().is_some_and(|name| name == "env") {
            let mut unset = false;
            for word in words {
                match word {
                    // The name that follows is taken away.
                    b"-u" => unset = true,
                    _ if unset => {
                        drops_environment |= word == b"LD_PRELOAD";
                        unset = false;
                    }
                    b"-" | b"-i" | b"--ignore-environment" | b"-iS" => drops_environment = true,
                    _ if word.starts_with(b"-S") && word.len() > 2 => {
                        by_env = word.get(2..).map(|name| OsStr::from_bytes(name).to_owned());
                        break;
                    }
                    _ if word.starts_with(b"-") || word.contains(&b'=') => {
                        drops_environment |= word == b"-uLD_PRELOAD"
                            || word == b"--unset=LD_PRELOAD"
                            || word.starts_with(b"LD_PRELOAD=");
                    }
                    name => {
                        by_env = Some(OsStr::from_bytes(name).to_owned());
                        break;
                    }
                }
            }
        }
        Some(Self {
            interpreter,
            by_env,
            drops_environment,
        })
    }

    /// The program that runs the script in the end, if it is there.
    pub(super) fn program(&self) -> Option<PathBuf> {
        match &self.by_env {
            Some(name) => find_program(name).ok(),
            None => Some(self.interpreter.clone()),
        }
    }
}

/// Whether a file is text, which shells run where the kernel does not know it.
pub(super) fn is_text(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(512).read_to_end(&mut start)?;
    Ok(!start.contains(&0))
}

/// What a shell script does that the library should know of: lines that start the program it wraps, or that take
/// LD_PRELOAD away.
pub(super) fn remarkable_lines(path: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    const LONGEST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(LONGEST)
        .read_to_end(&mut bytes)?;
    let mut starts = Vec::new();
    let mut drops = Vec::new();
    for (number, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line.trim_ascii()).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        let where_and_what = || {
            format!(
                "line {}: {}",
                number + 1,
                super::output::readable(line.as_bytes())
            )
        };
        match words.as_slice() {
            ["unset", names @ ..] if names.contains(&"LD_PRELOAD") => drops.push(where_and_what()),
            // What was there may stay, behind something else.
            ["export", value, ..] | [value]
                if value.starts_with("LD_PRELOAD=")
                    && !line.contains("$LD_PRELOAD")
                    && !line.contains("${LD_PRELOAD") =>
            {
                drops.push(where_and_what());
            }
            ["env" | "/usr/bin/env", "-i" | "-", ..]
            | ["exec", "env" | "/usr/bin/env", "-i" | "-", ..] => {
                drops.push(where_and_what());
            }
            ["exec", program, ..]
                if !program.starts_with(['<', '>', '&']) && !program.contains(['<', '>']) =>
            {
                starts.push(where_and_what());
            }
            _ => {}
        }
    }
    Ok((starts, drops))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<(String, Option<String>, bool)> {
        let shebang = Shebang::parse(line.as_bytes())?;
        Some((
            shebang.interpreter.display().to_string(),
            shebang
                .by_env
                .map(|name| name.to_string_lossy().into_owned()),
            shebang.drops_environment,
        ))
    }

    #[test]
    fn takes_the_first_line_apart() {
        for (line, interpreter, by_env, drops) in [
            ("#!/bin/sh\n", "/bin/sh", None, false),
            ("#! /bin/sh -e\nbind", "/bin/sh", None, false),
            (
                "#!/usr/bin/env python3\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
            (
                "#!/usr/bin/env -S python3 -u\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
            (
                "#!/usr/bin/env -Spython3 -u\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
            (
                "#!/usr/bin/env A=b python3\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
            (
                "#!/usr/bin/env -i python3\n",
                "/usr/bin/env",
                Some("python3"),
                true,
            ),
            (
                "#!/usr/bin/env -u LD_PRELOAD python3\n",
                "/usr/bin/env",
                Some("python3"),
                true,
            ),
            (
                "#!/usr/bin/env -u HOME python3\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
            ("#!/opt/my env/x\n", "/opt/my", None, false),
        ] {
            assert_eq!(
                parsed(line),
                Some((interpreter.into(), by_env.map(Into::into), drops)),
                "{line}"
            );
        }
        for line in ["", "#", "#!", "#!\n", "# !/bin/sh", "\x7fELF"] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }
}
