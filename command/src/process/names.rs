//! A process's command line, and the names that people have for its program.

use crate::sys::proc;
use procfs::process::Process;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Shells: what one starts is for its commands to say.
pub(crate) const SHELLS: [&str; 15] = [
    "ash", "bash", "csh", "dash", "fish", "ksh", "ksh93", "lksh", "mksh", "posh", "rbash", "sh",
    "tcsh", "yash", "zsh",
];

/// Interpreters of scripts in other languages; a version may follow.
const INTERPRETERS: [&str; 14] = [
    "bun", "deno", "expect", "lua", "node", "nodejs", "perl", "php", "pypy", "python", "raku",
    "ruby", "tclsh", "wish",
];

/// Whether a program of this name is such an interpreter.
pub(crate) fn is_interpreter(name: &str) -> bool {
    INTERPRETERS.contains(&without_version(name))
}

/// A process's command line as text: what is not UTF-8 in an argument becomes U+FFFD there.
pub(crate) fn arguments(pid: i32) -> Vec<String> {
    raw_arguments(pid)
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// A process's command line, byte by byte (proc_pid_cmdline(5)); empty for one that has cleared it.
fn raw_arguments(pid: i32) -> Vec<Vec<u8>> {
    let text = proc::bytes(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    // A program that has written a title over its arguments fills the rest with zeros.
    let length = text
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    let text = text.get(..length).unwrap_or_default();
    if text.is_empty() {
        return Vec::new();
    }
    text.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect()
}

/// Whether a program has this name: the one that it shows, of its file, or of its script.
pub(crate) fn is_called(
    arguments: &[String],
    executable: Option<&str>,
    shown: &str,
    wanted: &str,
) -> bool {
    let words = arguments.iter().map(String::as_str);
    // A program may write a title over its arguments: `nginx: worker`.
    let own = words
        .clone()
        .take(1)
        .map(|word| word.split(':').next().unwrap_or(word));
    // After -c and -e come commands, and no name of a script.
    let script = words
        .skip(1)
        .take_while(|word| !matches!(*word, "-c" | "-e"))
        .find(|word| !word.starts_with('-'));
    own.chain(script)
        .chain(executable)
        .map(|path| path.rsplit('/').next().unwrap_or(path))
        .chain([shown])
        // python is python3 and python3.11 as well.
        .any(|name| name == wanted || without_version(name) == wanted)
}

/// A program's name without a version at its end: python for python3.11.
pub(crate) fn without_version(name: &str) -> &str {
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.')
}

/// The names by which `LIBREUSE_PROGRAMS` may select it: the one it was started under (unless
/// changed since), its script's (the interpreter's first argument that is no option), and its
/// file's.
pub(crate) fn names(process: &Process, exe: Option<&Path>) -> Vec<Vec<u8>> {
    let mut arguments = raw_arguments(process.pid()).into_iter();
    let started_as = arguments.next();
    let script = arguments.find(|word| !word.starts_with(b"-"));
    [
        started_as
            .as_deref()
            .map(|word| Path::new(OsStr::from_bytes(word))),
        script
            .as_deref()
            .map(|word| Path::new(OsStr::from_bytes(word))),
        exe,
    ]
    .into_iter()
    .flatten()
    .filter_map(Path::file_name)
    .map(|name| {
        let name = name.as_bytes();
        // proc(5) adds this to the name of a deleted file.
        name.strip_suffix(b" (deleted)").unwrap_or(name).to_owned()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_the_names_that_people_have_for_them() {
        for (command, executable, shown, wanted, expected) in [
            (
                &["node", "server.js"][..],
                "node",
                "MainThread",
                "node",
                true,
            ),
            (
                &["/usr/bin/python3", "/srv/app.py"],
                "python3.11",
                "python3",
                "python",
                true,
            ),
            (
                &["/usr/bin/python3", "/srv/app.py"],
                "python3.11",
                "python3",
                "python3.11",
                true,
            ),
            (
                &["/usr/bin/python3", "/srv/app.py"],
                "python3.11",
                "python3",
                "app.py",
                true,
            ),
            (&["nginx: worker process"], "nginx", "nginx", "nginx", true),
            (
                &["/usr/bin/python3", "-m", "http.server"],
                "python3.11",
                "python3",
                "-m",
                false,
            ),
            (&["bash", "-c", "node"], "bash", "bash", "node", false),
        ] {
            let arguments: Vec<String> = command.iter().map(ToString::to_string).collect();
            assert_eq!(
                is_called(&arguments, Some(executable), shown, wanted),
                expected,
                "{wanted}: {command:?}"
            );
        }
    }
}
