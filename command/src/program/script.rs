//! Scripts: which program runs one, and what it may do to the environment.

use super::file::find_program;
use super::starter;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A script's first line, taken apart.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Shebang {
    /// What the kernel starts.
    pub(crate) interpreter: PathBuf,
    /// What runs the script in the end, where the interpreter is `env`: a path, or a name to be searched for.
    pub(crate) by_env: Option<OsString>,
    /// Whether `env` is told to drop the environment, and LD_PRELOAD with it.
    pub(crate) drops_environment: bool,
}

impl Shebang {
    /// Reads the first line of a file; `None` if it is no script with one.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
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
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (interpreter, rest) = line.split_at(end.unwrap_or(line.len()));
        if interpreter.is_empty() {
            return None;
        }
        let interpreter = PathBuf::from(OsStr::from_bytes(interpreter));
        let rest = rest.trim_ascii();
        let mut shebang = Self {
            by_env: None,
            drops_environment: false,
            interpreter,
        };
        if shebang
            .interpreter
            .file_name()
            .is_some_and(|name| name == "env")
        {
            if let Some(words) = split_by_env(rest) {
                let start = starter::start("env", &words)?;
                shebang.drops_environment = start.drops_library;
                shebang.by_env = start
                    .program
                    .and_then(|position| words.into_iter().nth(position));
            } else if !rest.is_empty() {
                shebang.by_env = Some(OsStr::from_bytes(rest).to_owned());
            }
        }
        Some(shebang)
    }

    /// The program that runs the script in the end, if it is there.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        match &self.by_env {
            Some(name) => find_program(name).ok(),
            None => Some(self.interpreter.clone()),
        }
    }
}

/// The words of the rest of a first line, if `env` is told to split it by `-S`, which may stand behind other letters
/// (env(1)). The kernel hands it over as one argument (execve(2)), and otherwise that is the name of a program.
fn split_by_env(rest: &[u8]) -> Option<Vec<OsString>> {
    let option = rest.split(u8::is_ascii_whitespace).next()?;
    if !option.starts_with(b"-") || option.starts_with(b"--") {
        return None;
    }
    let (before, after) = rest.split_at(option.iter().position(|&byte| byte == b'S')?);
    let before = (before.len() > 1).then_some(before);
    let words = after.get(1..)?.split(u8::is_ascii_whitespace);
    Some(
        before
            .into_iter()
            .chain(words.filter(|word| !word.is_empty()))
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect(),
    )
}

/// Whether a file is text, which shells run where the kernel does not know it.
pub(crate) fn is_text(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(512).read_to_end(&mut start)?;
    Ok(!start.contains(&0))
}

/// What a shell script does that the library should know of: lines that start the program it wraps, or that take
/// LD_PRELOAD away.
pub(crate) fn remarkable_lines(path: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
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
                crate::output::readable(line.as_bytes())
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
                "#!/usr/bin/env -S A=b python3\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
            (
                "#!/usr/bin/env -S -i python3\n",
                "/usr/bin/env",
                Some("python3"),
                true,
            ),
            (
                "#!/usr/bin/env -iS python3\n",
                "/usr/bin/env",
                Some("python3"),
                true,
            ),
            (
                "#!/usr/bin/env -S -u LD_PRELOAD python3\n",
                "/usr/bin/env",
                Some("python3"),
                true,
            ),
            (
                "#!/usr/bin/env -S -u HOME python3\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
            // One word, and so the name of no program.
            (
                "#!/usr/bin/env python3 -u\n",
                "/usr/bin/env",
                Some("python3 -u"),
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
