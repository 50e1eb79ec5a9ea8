//! Programs such as `env` and `flock`, which start the one that their arguments name: which one
//! that is, and what they do to LD_PRELOAD, to the files that it finds and to who runs it.

mod table;

use crate::process::names::SHELLS;
use lexopt::{Arg, Parser};
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use table::{OTHERS, WRAPPERS, Wrapper};

/// A wrapper's command line, parsed.
#[derive(Debug, Default, Eq, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // Independent facts, each asked for by name.
pub(crate) struct Wrapped {
    /// The program that is started, and its arguments; empty if none is named.
    pub(crate) program: Vec<OsString>,
    /// Whether LD_PRELOAD is taken away or replaced.
    pub(crate) drops_library: bool,
    /// The folder that becomes its root.
    pub(crate) root: Option<PathBuf>,
    /// Whether it may find other files than we do: in a mount namespace of its own, or another's.
    pub(crate) other_files: bool,
    /// The user and group that the program is started as, if it is another one.
    pub(crate) user: Option<OsString>,
    pub(crate) group: Option<OsString>,
    pub(crate) no_new_privileges: bool,
    /// The context of SELinux that is asked for.
    pub(crate) context: Option<String>,
    /// Whether a process that runs already starts it, with the environment that it has.
    pub(crate) elsewhere: bool,
}

fn has_name(names: &str, name: &str) -> bool {
    names.split_ascii_whitespace().any(|it| it == name)
}

/// Whether a program of this name is a shell.
pub(crate) fn is_shell(name: &str) -> bool {
    SHELLS.contains(&name) || name == "busybox"
}

/// Whether a program of this name is there to start others.
pub(crate) fn starts_others(name: &str) -> bool {
    is_shell(name)
        || has_name(OTHERS, name)
        || WRAPPERS.iter().any(|wrapper| has_name(wrapper.names, name))
}

/// Reads how a program starts another, from its name and arguments; `None` if it does not start
/// others.
pub(crate) fn start<T: AsRef<OsStr>>(name: &str, arguments: &[T]) -> Option<Wrapped> {
    let arguments: Vec<OsString> = arguments.iter().map(|it| it.as_ref().to_owned()).collect();
    if name == "busybox" {
        let (applet, rest) = arguments.split_first()?;
        return start(applet.to_str()?, rest);
    }
    let mut start = Wrapped::default();
    if is_shell(name) {
        if let Some(command) = shell_command(&arguments) {
            start.by_shell(&command);
        }
    } else if let Some(wrapper) = WRAPPERS.iter().find(|it| has_name(it.names, name)) {
        start.other_files = wrapper.other_files;
        let mut arguments = arguments;
        // An architecture may stand in front.
        if name == "setarch" && arguments.first().is_some_and(|it| !is_option(it)) {
            arguments.remove(0);
        }
        wrapper.read(name, arguments, &mut start);
    } else if name == "tmux" {
        start.elsewhere = tmux_runs(&arguments);
    } else if !has_name(OTHERS, name) {
        return None;
    }
    Some(start)
}

fn is_option(word: &OsStr) -> bool {
    word.as_bytes().starts_with(b"-")
}

/// The command of `sh -c COMMAND`, where these are the arguments.
fn shell_command(arguments: &[OsString]) -> Option<OsString> {
    let mut is_command = false;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            return words.next().filter(|_| is_command).cloned();
        }
        if !matches!(bytes, [b'-' | b'+', _, ..]) {
            return Some(word.clone()).filter(|_| is_command);
        }
        let letters = !bytes.starts_with(b"--");
        is_command |= letters && bytes.contains(&b'c');
        // `-o NAME`, and bash's options that take a file.
        if letters && bytes.ends_with(b"o") || matches!(bytes, b"--rcfile" | b"--init-file") {
            words.next();
        }
    }
    None
}

/// Whether the server is there that tmux would ask with these arguments.
fn tmux_runs(arguments: &[OsString]) -> bool {
    let value = |letter: &str| {
        let position = arguments.iter().position(|word| word == letter)?;
        arguments.get(position + 1)
    };
    let inside = env::var_os("TMUX").and_then(|value| {
        let path = value.as_bytes().split(|&byte| byte == b',').next()?;
        Some(PathBuf::from(OsStr::from_bytes(path)))
    });
    let label = value("-L").map_or(OsStr::new("default"), OsString::as_os_str);
    let folder = env::var_os("TMUX_TMPDIR").unwrap_or_else(|| "/tmp".into());
    let uid = rustix::process::getuid().as_raw();
    let by_label = || Path::new(&folder).join(format!("tmux-{uid}")).join(label);
    let socket = match (value("-S"), value("-L"), inside) {
        (Some(path), ..) => PathBuf::from(path),
        (None, None, Some(inside)) => inside,
        _ => by_label(),
    };
    UnixStream::connect(socket).is_ok()
}

impl Wrapped {
    /// Reads the program from the command of a shell, if that is a simple command (POSIX, 2.9.1):
    /// nothing is looked up or expanded.
    fn by_shell(&mut self, command: &OsStr) {
        let simple = |text: &&str| !text.contains(|letter| ";|&<>`$(){}*?[]!#~\n".contains(letter));
        let words = command.to_str().filter(simple).map(shell_words::split);
        let Some(Ok(words)) = words else { return };
        let mut words = words.into_iter().peekable();
        let is_assignment = |word: &String| {
            let name = word.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| {
                name.bytes()
                    .all(|it| it.is_ascii_alphanumeric() || it == b'_')
                    && !name.is_empty()
            })
        };
        while let Some(word) = words.next_if(|word| is_assignment(word) || word == "exec") {
            self.drops_library |= word.starts_with("LD_PRELOAD=");
        }
        self.program = words.map(OsString::from).collect();
    }
}

impl Wrapper {
    /// Reads arguments as the program does. It refuses what can't be read, and then starts nothing.
    fn read(&self, name: &str, arguments: Vec<OsString>, start: &mut Wrapped) {
        let mut parser = Parser::from_args(arguments);
        // getopt(3) takes the equals sign of `-u=x` for a part of the value.
        parser.set_short_equals(false);
        // The command that a shell is to run.
        let mut command = None;
        // Whom runuser asks for by an option, and what start-stop-daemon starts.
        let mut named = None;
        let mut words = Vec::new();
        loop {
            let (option, values) = match parser.next() {
                Ok(Some(Arg::Short(letter))) => {
                    (letter.to_string(), usize::from(self.short.contains(letter)))
                }
                Ok(Some(Arg::Long(name))) => self.whole(name),
                // These look for options behind it as well, up to `--`.
                Ok(Some(Arg::Value(word))) if ["runuser", "su", "script"].contains(&name) => {
                    words.push(word);
                    continue;
                }
                Ok(Some(Arg::Value(word))) => {
                    let Ok(rest) = parser.raw_args() else { return };
                    words.extend(std::iter::once(word).chain(rest));
                    return self.started(name, words, command, named, start);
                }
                Ok(None) => return self.started(name, words, command, named, start),
                Err(_) => return,
            };
            let value = if values > 0 {
                let Ok(value) = parser.value() else { return };
                for _ in 1..values {
                    if parser.value().is_err() {
                        return;
                    }
                }
                value
            } else if option.len() > 1 {
                // Behind an equals sign.
                parser.optional_value().unwrap_or_default()
            } else {
                OsString::new()
            };
            match (name, option.as_str()) {
                ("env", "i" | "ignore-environment")
                | ("setpriv", "reset-env")
                | ("bwrap", "clearenv")
                | ("runuser" | "su", "l" | "login") => start.drops_library = true,
                ("env", "u" | "unset") | ("bwrap", "unsetenv" | "setenv") => {
                    start.drops_library |= value == "LD_PRELOAD";
                }
                ("env", "S" | "split-string") => {
                    let (Some(words), Ok(rest)) = (split(&value), parser.raw_args()) else {
                        return;
                    };
                    return self.read(name, words.into_iter().chain(rest).collect(), start);
                }
                ("setpriv", "reuid" | "ruid") | ("start-stop-daemon", "c" | "chuid") => {
                    start.user = Some(value);
                }
                ("setpriv", "regid" | "rgid") | ("runuser", "g" | "group") => {
                    start.group = Some(value);
                }
                ("setpriv", "no-new-privs" | "nnp") => start.no_new_privileges = true,
                ("setpriv", "selinux-label") => {
                    start.context = Some(value.to_string_lossy().into_owned());
                }
                ("runuser" | "su" | "script", "c" | "command" | "session-command") => {
                    command = Some(value);
                }
                ("runuser", "u" | "user") => {
                    named = Some(value.clone());
                    start.user = Some(value);
                }
                ("start-stop-daemon", "a" | "startas") => named = Some(value),
                ("start-stop-daemon", "x" | "exec") => named = named.or(Some(value)),
                ("start-stop-daemon", "r" | "chroot")
                | ("unshare", "R" | "root")
                | ("chpst", "/") => start.root = Some(value.into()),
                _ => {}
            }
        }
    }

    /// A long option, which may have been cut short, and how many values follow.
    fn whole(&self, name: &str) -> (String, usize) {
        let long = || self.long.split_ascii_whitespace();
        let is = |long: &&str| long.trim_end_matches('=') == name;
        let mut begun = long().filter(|long| long.starts_with(name));
        let only = begun.next().filter(|_| begun.next().is_none());
        match long().find(is).or(only) {
            Some(long) => {
                let name = long.trim_end_matches('=');
                (name.to_owned(), long.len() - name.len())
            }
            None => (name.to_owned(), 0),
        }
    }

    /// Reads what follows the options.
    fn started(
        &self,
        name: &str,
        words: Vec<OsString>,
        command: Option<OsString>,
        named: Option<OsString>,
        start: &mut Wrapped,
    ) {
        let mut words = words.into_iter().peekable();
        match name {
            "env" => {
                if words.next_if(|word| word == "-").is_some() {
                    start.drops_library = true;
                }
                while let Some(assignment) = words.next_if(|word| word.as_bytes().contains(&b'=')) {
                    start.drops_library |= assignment.as_bytes().starts_with(b"LD_PRELOAD=");
                }
            }
            "chroot" => start.root = words.next().map(PathBuf::from),
            "flock" => {
                words.next();
                if words
                    .next_if(|word| word == "-c" || word == "--command")
                    .is_some()
                {
                    if let Some(command) = words.next() {
                        start.by_shell(&command);
                    }
                    return;
                }
            }
            // It puts a library of its own in the place of others.
            "mptcpize" => {
                start.drops_library = true;
                words.next();
                while words.next_if(|word| is_option(word)).is_some() {}
            }
            "start-stop-daemon" => {
                start.program = named.into_iter().chain(words).collect();
                return;
            }
            // Without a command they start an interactive shell.
            "script" | "su" => {
                if words.next_if(|word| word == "-").is_some() {
                    start.drops_library = true;
                }
                if name == "su" {
                    start.user = words.next();
                }
                if let Some(command) = command {
                    start.by_shell(&command);
                }
                return;
            }
            "runuser" if named.is_none() => {
                if words.next_if(|word| word == "-").is_some() {
                    start.drops_library = true;
                }
                start.user = words.next();
                if let Some(command) = command {
                    start.by_shell(&command);
                }
                return;
            }
            "gosu" | "su-exec" | "setuidgid" | "s6-setuidgid" => start.user = words.next(),
            _ => {
                for _ in 0..self.words {
                    words.next();
                }
            }
        }
        start.program = words.collect();
    }
}

/// The words of the value of `env -S`, which are split and quoted nearly as in a shell. `${NAME}`
/// is what the environment has.
fn split(value: &OsStr) -> Option<Vec<OsString>> {
    let words = shell_words::split(&value.to_str()?.replace(['\r', '\x0b', '\x0c'], " ")).ok()?;
    words.iter().map(|word| expand(word)).collect()
}

fn expand(word: &str) -> Option<OsString> {
    let mut expanded = Vec::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}')?;
        expanded.extend_from_slice(before.as_bytes());
        expanded.extend(env::var_os(name).unwrap_or_default().into_vec());
        rest = after;
    }
    expanded.extend_from_slice(rest.as_bytes());
    Some(OsString::from_vec(expanded))
}

#[cfg(test)]
mod tests;
