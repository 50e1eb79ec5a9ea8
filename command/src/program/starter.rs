//! Programs such as `env` and `nice`, which start the one that their arguments name: which one that is, and what they do
//! to LD_PRELOAD and to who runs it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// What a starter is told to do.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Start {
    /// Where among the arguments the program's name is, if it is there.
    pub(crate) program: Option<usize>,
    /// Whether LD_PRELOAD is taken away or replaced.
    pub(crate) drops_library: bool,
    /// The user and group that the program is started as, if it is another one.
    pub(crate) user: Option<OsString>,
    pub(crate) group: Option<OsString>,
    pub(crate) no_new_privileges: bool,
}

struct Starter {
    name: &'static str,
    /// Options that have the next argument as their value.
    with_value: &'static [&'static str],
    /// How many arguments that are no options stand before the program's name.
    words: usize,
}

const fn starter(name: &'static str, with_value: &'static [&'static str], words: usize) -> Starter {
    Starter {
        name,
        with_value,
        words,
    }
}

/// From their manual pages: coreutils and util-linux.
const STARTERS: [Starter; 12] = [
    starter(
        "env",
        &["-u", "--unset", "-C", "--chdir", "-a", "--argv0"],
        0,
    ),
    starter("nice", &["-n", "--adjustment"], 0),
    starter("nohup", &[], 0),
    starter("timeout", &["-k", "--kill-after", "-s", "--signal"], 1),
    starter("setsid", &[], 0),
    starter(
        "stdbuf",
        &["-i", "--input", "-o", "--output", "-e", "--error"],
        0,
    ),
    starter("ionice", &["-c", "--class", "-n", "--classdata"], 0),
    starter("taskset", &[], 1),
    starter(
        "chrt",
        &[
            "-T",
            "--sched-runtime",
            "-P",
            "--sched-period",
            "-D",
            "--sched-deadline",
        ],
        1,
    ),
    starter("time", &["-f", "--format", "-o", "--output"], 0),
    starter("prlimit", &["-o", "--output"], 0),
    starter(
        "setpriv",
        &[
            "--ambient-caps",
            "--inh-caps",
            "--bounding-set",
            "--ruid",
            "--euid",
            "--rgid",
            "--egid",
            "--reuid",
            "--regid",
            "--groups",
            "--securebits",
            "--pdeathsig",
            "--selinux-label",
            "--apparmor-profile",
        ],
        0,
    ),
];

/// What a program of this name does with these arguments; `None` if it is no starter.
pub(crate) fn start<T: AsRef<OsStr>>(name: &str, arguments: &[T]) -> Option<Start> {
    let starter = STARTERS.iter().find(|starter| starter.name == name)?;
    let is_env = name == "env";
    let mut start = Start::default();
    let mut words = starter.words;
    let mut may_be_option = true;
    let mut arguments = arguments
        .iter()
        .map(|it| it.as_ref().as_bytes())
        .enumerate();
    while let Some((position, argument)) = arguments.next() {
        if may_be_option && argument == b"--" {
            may_be_option = false;
        } else if may_be_option && argument.starts_with(b"-") {
            let (option, value) = match argument.iter().position(|&byte| byte == b'=') {
                Some(equals) if argument.starts_with(b"--") => {
                    let (option, value) = argument.split_at(equals);
                    (option, value.get(1..))
                }
                _ => (argument, None),
            };
            let takes_next = value.is_none()
                && starter
                    .with_value
                    .iter()
                    .any(|known| known.as_bytes() == option);
            let value = if takes_next {
                arguments.next().map(|(_, value)| value)
            } else {
                value
            };
            start.note(option, value.unwrap_or_default());
        } else if is_env && argument.contains(&b'=') {
            may_be_option = false;
            start.drops_library |= argument.starts_with(b"LD_PRELOAD=");
        } else if words > 0 {
            may_be_option = false;
            words -= 1;
        } else {
            start.program = Some(position);
            break;
        }
    }
    Some(start)
}

impl Start {
    fn note(&mut self, option: &[u8], value: &[u8]) {
        let text = || Some(OsStr::from_bytes(value).to_owned());
        match option {
            b"-"
            | b"-i"
            | b"-iv"
            | b"-vi"
            | b"--ignore-environment"
            | b"--reset-env"
            | b"-uLD_PRELOAD" => self.drops_library = true,
            b"-u" | b"--unset" => self.drops_library |= value == b"LD_PRELOAD",
            b"--reuid" | b"--ruid" => self.user = text(),
            b"--regid" | b"--rgid" => self.group = text(),
            b"--no-new-privs" | b"--nnp" => self.no_new_privileges = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_program_that_is_started() {
        for (line, program, drops) in [
            ("env server", Some("server"), false),
            ("env A=b server C=d", Some("server"), false),
            ("env -i server", Some("server"), true),
            ("env - server", Some("server"), true),
            ("env -u HOME -i server", Some("server"), true),
            ("env -u LD_PRELOAD server", Some("server"), true),
            ("env --unset=LD_PRELOAD server", Some("server"), true),
            ("env LD_PRELOAD= server", Some("server"), true),
            ("env -C /tmp -- server -i", Some("server"), false),
            ("env", None, false),
            ("nice -n 5 server -n 6", Some("server"), false),
            ("nice -5 server", Some("server"), false),
            ("timeout -s kill 10 server", Some("server"), false),
            (
                "timeout --signal=kill 10 server -k 5",
                Some("server"),
                false,
            ),
            ("timeout -k 5 10", None, false),
            ("taskset -c 0,1 server", Some("server"), false),
            ("chrt -f 10 server", Some("server"), false),
            ("stdbuf -o L server", Some("server"), false),
            ("setpriv --reuid git server", Some("server"), false),
            ("setpriv --reset-env server", Some("server"), true),
            ("setsid --wait server", Some("server"), false),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let start = start(words[0], &words[1..]).expect("a starter");
            assert_eq!(
                start.program.map(|position| words[position + 1]),
                program,
                "{line}"
            );
            assert_eq!(start.drops_library, drops, "{line}");
        }
        assert_eq!(start("server", &["env"]), None);
        let start = start("setpriv", &["--reuid=7", "--nnp", "--regid", "8", "x"]);
        let start = start.expect("a starter");
        assert_eq!(start.user.as_deref(), Some(OsStr::new("7")));
        assert_eq!(start.group.as_deref(), Some(OsStr::new("8")));
        assert!(start.no_new_privileges);
    }
}
