//! Scripts: which program runs one, and what it may do to the environment.

use super::wrapper;
use crate::process::script::{beginning, shebang};
use crate::program::search::{file_name, find_program};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A script's first line, taken apart.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Shebang {
    /// The interpreter that the kernel starts.
    pub(crate) interpreter: PathBuf,
    /// The program that `env` runs the script with, if the interpreter is `env`: a path, or a name
    /// to search for.
    pub(crate) by_env: Option<OsString>,
    /// Whether `env` drops the environment, and LD_PRELOAD with it.
    pub(crate) drops_environment: bool,
}

impl Shebang {
    /// Reads the first line of a file; `None` if it is no script with one.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        Ok(Self::parse(&beginning(path, 4096)?))
    }

    fn parse(start: &[u8]) -> Option<Self> {
        let (interpreter, rest) = shebang(start).filter(|(name, _)| !name.is_empty())?;
        let mut shebang = Self {
            by_env: None,
            drops_environment: false,
            interpreter: PathBuf::from(OsStr::from_bytes(interpreter)),
        };
        if shebang
            .interpreter
            .file_name()
            .is_some_and(|name| name == "env")
        {
            // The kernel hands it over as one argument (execve(2)), which `-S` has env split.
            let start = wrapper::start("env", &[OsStr::from_bytes(rest)])?;
            shebang.drops_environment = start.drops_library;
            shebang.by_env = start
                .program
                .into_iter()
                .next()
                .or_else(|| Some(OsStr::from_bytes(rest).to_owned()))
                .filter(|name| !name.is_empty());
        }
        Some(shebang)
    }

    /// Whether the line ends as lines do on Windows, so that the kernel or `env` looks for a
    /// program of such a name.
    pub(crate) fn has_carriage_return(&self) -> bool {
        let name = self
            .by_env
            .as_deref()
            .unwrap_or(self.interpreter.as_os_str());
        name.as_bytes().ends_with(b"\r")
    }

    /// The program that runs the script in the end, if it is there.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        match &self.by_env {
            Some(name) => find_program(name).ok(),
            None => Some(self.interpreter.clone()),
        }
    }
}

/// Whether a file is text, which shells run where the kernel does not know it.
pub(crate) fn is_text(path: &Path) -> io::Result<bool> {
    Ok(!beginning(path, 512)?.contains(&0))
}

/// Finds the lines of a shell script that start the program it wraps, and those that remove
/// LD_PRELOAD.
pub(crate) fn remarkable_lines(path: &Path) -> io::Result<(Vec<String>, Vec<String>)> {
    const LONGEST: u64 = 1 << 20;
    let bytes = beginning(path, LONGEST)?;
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
            // The old value may stay, behind something else.
            ["export", value, ..] | [value]
                if value.starts_with("LD_PRELOAD=")
                    && !line.contains("$LD_PRELOAD")
                    && !line.contains("${LD_PRELOAD") =>
            {
                drops.push(where_and_what());
            }
            ["exec", program, arguments @ ..] | [program, arguments @ ..]
                if wrapper::start(&file_name(Path::new(program)), arguments)
                    .is_some_and(|start| start.drops_library) =>
            {
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
            (
                "#!/usr/bin/env -S 'my python' -u\n",
                "/usr/bin/env",
                Some("my python"),
                false,
            ),
            (
                "#!/usr/bin/env -i python3\n",
                "/usr/bin/env",
                Some("-i python3"),
                true,
            ),
            ("#!/opt/my env/x\n", "/opt/my", None, false),
            ("#!/bin/sh\r\n", "/bin/sh\r", None, false),
            (
                "#!/usr/bin/env python3\r\n",
                "/usr/bin/env",
                Some("python3\r"),
                false,
            ),
            (
                "#!/usr/bin/env -S python3\r\n",
                "/usr/bin/env",
                Some("python3"),
                false,
            ),
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
