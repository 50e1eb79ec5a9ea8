//! Scripts in Python, Perl and the like: whether one may start other programs.

use super::wrapper;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What runs such scripts; a version may follow.
const INTERPRETERS: [&str; 14] = [
    "bun", "deno", "expect", "lua", "node", "nodejs", "perl", "php", "pypy", "python", "raku",
    "ruby", "tclsh", "wish",
];

/// Modules and functions that start programs, in one of these languages or another.
const NAMES: [&str; 17] = [
    "Bun.spawn",
    "Deno.Command",
    "IPC::Open",
    "IPC::Run",
    "Open3",
    "Popen",
    "child_process",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "passthru",
    "pcntl_exec",
    "popen",
    "proc_open",
    "shell_exec",
    "subprocess",
];

/// Words that do if something to be started follows.
const CALLS: [&str; 3] = ["exec", "spawn", "system"];

/// Whether a program of this name runs scripts of such a language.
pub(super) fn is_interpreter(name: &str) -> bool {
    let language = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    INTERPRETERS.contains(&language)
}

/// Whether a program of this name, with these arguments in this folder, is there to start others,
/// or runs a script that may.
pub(crate) fn starts_others<T: AsRef<OsStr>>(name: &str, arguments: &[T], folder: &Path) -> bool {
    wrapper::starts_others(name) || runs_a_starter(name, arguments, folder)
}

/// Whether a program of this name is an interpreter, and these arguments are a script, in a file or
/// in themselves, that may start programs.
pub(super) fn runs_a_starter<T: AsRef<OsStr>>(name: &str, arguments: &[T], folder: &Path) -> bool {
    if !is_interpreter(name) {
        return false;
    }
    let mut is_module = false;
    for argument in arguments.iter().map(AsRef::as_ref) {
        let text = argument.to_string_lossy();
        let path = folder.join(argument);
        if std::mem::replace(&mut is_module, text == "-m") {
            return text.split('.').any(wrapper::starts_others);
        }
        if !argument.as_bytes().starts_with(b"-") && path.is_file() {
            // What can't be read can't be run.
            return script_may_start(name, &path).unwrap_or(false);
        }
        if may_start(name, &text) {
            return true;
        }
    }
    false
}

/// Whether a script that this interpreter runs may start programs.
pub(super) fn script_may_start(interpreter: &str, path: &Path) -> io::Result<bool> {
    const LONGEST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(LONGEST)
        .read_to_end(&mut bytes)?;
    Ok(may_start(interpreter, &String::from_utf8_lossy(&bytes)))
}

/// Whether a text in an interpreter's language speaks of starting programs.
fn may_start(interpreter: &str, text: &str) -> bool {
    let is_tcl = ["expect", "tclsh", "wish"]
        .iter()
        .any(|it| interpreter.starts_with(it));
    let is_part = |letter: char| letter.is_alphanumeric() || "_.".contains(letter);
    let is_call = |(at, word): (usize, &str)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + word.len()..];
        let next = after.trim_start_matches([' ', '\t']).chars().next();
        !before.is_some_and(is_part)
            && if is_tcl {
                after.starts_with([' ', '\t'])
            } else {
                next.is_some_and(|letter| "([{'\"`$@%".contains(letter))
            }
    };
    NAMES.iter().any(|name| text.contains(name))
        || CALLS
            .iter()
            .any(|call| text.match_indices(call).any(is_call))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_scripts_that_start_programs_from_others() {
        for (name, text, expected) in [
            ("python3.11", "import subprocess", true),
            ("python3", "os.execv('/bin/x', ['x'])", true),
            ("python3", "# the operating system is asked", false),
            ("python3", "loop.run_in_executor(None, x)", false),
            ("perl", "exec '/bin/x', 7000", true),
            ("perl", "system(@words)", true),
            ("perl5.36.0", "use IPC::Run qw(start);", true),
            ("perl", "my $system = 1;", false),
            ("node", "require('child_process').spawn('x')", true),
            ("nodejs", "const found = /x/.exec(line)", false),
            ("ruby3.1", "spawn \"x\"", true),
            ("php8.2", "shell_exec('x');", true),
            ("lua5.4", "io.popen('x')", true),
            ("tclsh8.6", "spawn -noecho x", true),
            ("tclsh", "set spawned 1", false),
        ] {
            assert!(is_interpreter(name), "{name}");
            let says = starts_others(name, &["-c", text], Path::new("/"));
            assert_eq!(says, expected, "{name}: {text}");
        }
        let module = |name: &str| starts_others("python3", &["-m", name], Path::new("/"));
        assert!(module("honcho"));
        assert!(!module("http.server"));
        for name in ["node_exporter", "server", "perlbal"] {
            assert!(!is_interpreter(name), "{name}");
        }
    }
}
