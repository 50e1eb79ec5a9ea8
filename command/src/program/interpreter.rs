//! Scripts in Python, Perl and the like: whether one may start other programs.

use super::modules::Modules;
use super::wrapper;
use crate::process::names::is_interpreter;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Modules and functions that start programs, in one of these languages or another.
const NAMES: [&str; 30] = [
    "Bun.spawn",
    "Deno.Command",
    "Deno.run",
    "IPC::Open",
    "IPC::Run",
    "Kernel.exec",
    "Open3",
    "PTY.spawn",
    "Popen",
    "Process.exec",
    "Process.spawn",
    "__import__",
    "child_process",
    "execl",
    "execv",
    "import os as",
    "os.exec",
    "os.spawn",
    "os.startfile",
    "passthru",
    "pcntl_exec",
    "pexpect",
    "popen",
    "posix_spawn",
    "proc_open",
    "pty.spawn",
    "shell_exec",
    "spawnl",
    "spawnv",
    "subprocess",
];

/// Words that do if something to be started follows.
const CALLS: [&str; 3] = ["exec", "spawn", "system"];

/// How some languages start programs by a sign.
const SIGNS: [(&str, &[&str]); 5] = [
    ("lua", &["os.execute"]),
    ("perl", &["`", "qx"]),
    ("php", &["`"]),
    ("raku", &["qx", "qqx", "Proc", "shell", "run "]),
    ("ruby", &["`", "%x"]),
];

/// Variables that name folders of modules.
const FOLDERS: [&str; 6] = [
    "LUA_PATH",
    "NODE_PATH",
    "PERL5LIB",
    "PERLLIB",
    "PYTHONPATH",
    "RUBYLIB",
];

/// Options whose argument may be a file, and which the script follows: of Node, PHP and Lua.
const BEFORE_A_FILE: [&str; 7] = [
    "--env-file",
    "--import",
    "--loader",
    "--require",
    "-c",
    "-l",
    "-r",
];

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
    let mut modules = of_the_environment(name, folder);
    let mut line = String::new();
    let mut is_module = false;
    let mut is_of_option = false;
    for argument in arguments.iter().map(AsRef::as_ref) {
        let text = argument.to_string_lossy();
        let path = folder.join(argument);
        if std::mem::replace(&mut is_module, text == "-m") {
            line += &text;
            modules.add_folder(folder);
            return text.split('.').any(wrapper::starts_others)
                || modules.any(&line, |text| may_start(name, text));
        }
        let is_option = argument.as_bytes().starts_with(b"-");
        if !is_option && path.is_file() {
            let starts = modules.any(&line, |text| may_start(name, text))
                || modules
                    .any_of_file(&path, |text| may_start(name, text))
                    .unwrap_or(true);
            if starts || !is_of_option {
                return starts;
            }
        }
        is_of_option = BEFORE_A_FILE.contains(&&*text);
        // From standard input.
        if text == "-" {
            return true;
        }
        // `-MName`, `-I/folder`
        let value = text.get(2..).filter(|_| is_option).unwrap_or_default();
        if is_option && (text.starts_with("-I") || text.starts_with("-r")) {
            modules.add_folder(folder);
        }
        line += &format!("{text}\n{value}\n");
    }
    if line.is_empty() {
        return false;
    }
    // A script on the command line loads from the current folder.
    modules.add_folder(folder);
    modules.any(&line, |text| may_start(name, text))
}

/// Whether a script that this interpreter runs may start programs, or something that it loads.
pub(super) fn script_may_start(interpreter: &str, path: &Path) -> io::Result<bool> {
    let mut modules = of_the_environment(interpreter, Path::new(""));
    modules.any_of_file(path, |text| may_start(interpreter, text))
}

/// The folders that an interpreter looks into for any script: by its own default in the current
/// one, and by variables.
fn of_the_environment(interpreter: &str, current: &Path) -> Modules {
    let mut modules = Modules::default();
    if ["lua", "php", "tclsh"]
        .iter()
        .any(|it| interpreter.starts_with(it))
    {
        modules.add_folder(current);
    }
    for value in FOLDERS.iter().filter_map(env::var_os) {
        for folder in value.as_bytes().split(|byte| b":;".contains(byte)) {
            let folder = current.join(OsStr::from_bytes(folder));
            if folder.is_dir() {
                modules.add_folder(&folder);
            } else if let Some(folder) = folder.parent().filter(|it| it.is_dir()) {
                // Lua's have a pattern at their end.
                modules.add_folder(folder);
            }
        }
    }
    modules
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
    let by_sign = SIGNS
        .iter()
        .filter(|(language, _)| interpreter.starts_with(language))
        .flat_map(|(_, signs)| *signs)
        .any(|sign| text.contains(sign));
    // `open(my $pipe, "server |")`
    let by_pipe = ["perl", "tclsh", "wish"]
        .iter()
        .any(|it| interpreter.starts_with(it))
        && text
            .lines()
            .any(|line| line.contains("open") && line.replace("||", "").contains('|'));
    by_sign
        || by_pipe
        || NAMES.iter().any(|name| text.contains(name))
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
            ("perl", "my $text = `x`;", true),
            ("perl", "open(my $pipe, 'x |');", true),
            ("perl", "open(my $file, '<', 'x') || die;", false),
            ("python3", "from os import execvp\nexecvp('x', [])", true),
            ("python3", "import os as system", true),
            ("python3", "print(platform.system())", false),
            ("php", "`x`;", true),
            ("ruby", "%x(x)", true),
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
