//! Programs such as `env` and `nice`, which start the one that their arguments name: which one that is, and what they do
//! to LD_PRELOAD and to who runs it.

use lexopt::{Arg, Parser};
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What a starter is told to do.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Start {
    /// The program that is started, and its arguments; empty if none is named.
    pub(crate) program: Vec<OsString>,
    /// Whether LD_PRELOAD is taken away or replaced.
    pub(crate) drops_library: bool,
    /// The user and group that the program is started as, if it is another one.
    pub(crate) user: Option<OsString>,
    pub(crate) group: Option<OsString>,
    pub(crate) no_new_privileges: bool,
    /// The context of SELinux that is asked for.
    pub(crate) context: Option<String>,
}

/// A program that reads its options up to the first argument that is none, as getopt(3) does where it is told `+`.
struct Starter {
    name: &'static str,
    /// The letters whose value follows.
    short: &'static str,
    /// The long options, `=` behind those whose value follows. Any may be cut short, as long as it is no other's
    /// beginning, so all of them are here.
    long: &'static [&'static str],
    /// How many arguments stand before the program's name.
    words: usize,
}

/// From their manual pages: coreutils 9.7, util-linux 2.41 and time 1.9.
const STARTERS: [Starter; 12] = [
    Starter {
        name: "env",
        short: "uCSa",
        long: &[
            "ignore-environment",
            "null",
            "unset=",
            "chdir=",
            "split-string=",
            "argv0=",
            "block-signal",
            "default-signal",
            "ignore-signal",
            "list-signal-handling",
            "debug",
        ],
        words: 0,
    },
    Starter {
        name: "nice",
        short: "n",
        long: &["adjustment="],
        words: 0,
    },
    Starter {
        name: "nohup",
        short: "",
        long: &[],
        words: 0,
    },
    Starter {
        name: "timeout",
        short: "ks",
        long: &[
            "kill-after=",
            "signal=",
            "foreground",
            "preserve-status",
            "verbose",
        ],
        words: 1,
    },
    Starter {
        name: "setsid",
        short: "",
        long: &["ctty", "fork", "wait"],
        words: 0,
    },
    Starter {
        name: "stdbuf",
        short: "ioe",
        long: &["input=", "output=", "error="],
        words: 0,
    },
    Starter {
        name: "ionice",
        short: "cnpPu",
        long: &["class=", "classdata=", "pid=", "pgid=", "uid=", "ignore"],
        words: 0,
    },
    Starter {
        name: "taskset",
        short: "",
        long: &["all-tasks", "cpu-list", "pid"],
        words: 1,
    },
    Starter {
        name: "chrt",
        short: "TPD",
        long: &[
            "sched-runtime=",
            "sched-period=",
            "sched-deadline=",
            "all-tasks",
            "batch",
            "deadline",
            "ext",
            "fifo",
            "idle",
            "max",
            "other",
            "pid",
            "reset-on-fork",
            "rr",
            "verbose",
        ],
        words: 1,
    },
    Starter {
        name: "time",
        short: "fo",
        long: &[
            "format=",
            "output=",
            "append",
            "portability",
            "quiet",
            "verbose",
        ],
        words: 0,
    },
    Starter {
        name: "prlimit",
        short: "po",
        long: &["pid=", "output=", "noheadings", "raw", "verbose"],
        words: 0,
    },
    Starter {
        name: "setpriv",
        short: "",
        long: &[
            "ambient-caps=",
            "apparmor-profile=",
            "bounding-set=",
            "clear-groups",
            "dump",
            "egid=",
            "euid=",
            "groups=",
            "inh-caps=",
            "init-groups",
            "keep-groups",
            "landlock-access=",
            "landlock-rule=",
            "list-caps",
            "nnp",
            "no-new-privs",
            "pdeathsig=",
            "ptracer=",
            "regid=",
            "reset-env",
            "reuid=",
            "rgid=",
            "ruid=",
            "seccomp-filter=",
            "securebits=",
            "selinux-label=",
        ],
        words: 0,
    },
];

/// What a program of this name does with these arguments; `None` if it is no starter.
pub(crate) fn start<T: AsRef<OsStr>>(name: &str, arguments: &[T]) -> Option<Start> {
    let starter = STARTERS.iter().find(|starter| starter.name == name)?;
    let arguments = arguments.iter().map(|it| it.as_ref().to_owned());
    let mut start = Start::default();
    starter.read(arguments.collect(), &mut start);
    Some(start)
}

impl Starter {
    /// Reads arguments as the program does. It refuses what can't be read, and then starts nothing.
    fn read(&self, arguments: Vec<OsString>, start: &mut Start) {
        let mut parser = Parser::from_args(arguments);
        // getopt(3) takes the equals sign of `-u=x` for a part of the value.
        parser.set_short_equals(false);
        loop {
            let (option, takes_value) = match parser.next() {
                Ok(Some(Arg::Short(letter))) => (letter.to_string(), self.short.contains(letter)),
                Ok(Some(Arg::Long(name))) => self.whole(name),
                Ok(Some(Arg::Value(word))) => {
                    let Ok(rest) = parser.raw_args() else { return };
                    return self.started(std::iter::once(word).chain(rest), start);
                }
                Ok(None) | Err(_) => return,
            };
            let value = if takes_value {
                let Ok(value) = parser.value() else { return };
                value
            } else if option.len() > 1 {
                // Behind an equals sign.
                parser.optional_value().unwrap_or_default()
            } else {
                OsString::new()
            };
            match (self.name, option.as_str()) {
                ("env", "i" | "ignore-environment") | ("setpriv", "reset-env") => {
                    start.drops_library = true;
                }
                ("env", "u" | "unset") => start.drops_library |= value == "LD_PRELOAD",
                ("env", "S" | "split-string") => {
                    let (Some(words), Ok(rest)) = (split(&value), parser.raw_args()) else {
                        return;
                    };
                    return self.read(words.into_iter().chain(rest).collect(), start);
                }
                ("setpriv", "reuid" | "ruid") => start.user = Some(value),
                ("setpriv", "regid" | "rgid") => start.group = Some(value),
                ("setpriv", "no-new-privs" | "nnp") => start.no_new_privileges = true,
                ("setpriv", "selinux-label") => {
                    start.context = Some(value.to_string_lossy().into_owned());
                }
                _ => {}
            }
        }
    }

    /// A long option, which may have been cut short, and whether its value follows.
    fn whole(&self, name: &str) -> (String, bool) {
        let is = |long: &&&str| long.trim_end_matches('=') == name;
        let mut begun = self.long.iter().filter(|long| long.starts_with(name));
        let only = begun.next().filter(|_| begun.next().is_none());
        match self.long.iter().find(is).or(only) {
            Some(long) => match long.strip_suffix('=') {
                Some(long) => (long.to_owned(), true),
                None => ((*long).to_owned(), false),
            },
            None => (name.to_owned(), false),
        }
    }

    /// Reads what follows the options.
    fn started(&self, words: impl Iterator<Item = OsString>, start: &mut Start) {
        let mut words = words.skip(self.words).peekable();
        if self.name == "env" {
            if words.next_if(|word| word == "-").is_some() {
                start.drops_library = true;
            }
            while let Some(assignment) = words.next_if(|word| word.as_bytes().contains(&b'=')) {
                start.drops_library |= assignment.as_bytes().starts_with(b"LD_PRELOAD=");
            }
        }
        start.program = words.collect();
    }
}

/// The words of the value of `env -S`, which are split and quoted nearly as in a shell. `${NAME}` is what the
/// environment has.
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
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        let words = shell_words::split(line).expect("a line");
        words.into_iter().map(OsString::from).collect()
    }

    #[test]
    fn finds_the_program_that_is_started() {
        // The line, what is started, and whether that is without the library.
        for (line, started, drops) in [
            ("env server", "server", false),
            ("env A=b server C=d", "server C=d", false),
            ("env -i server", "server", true),
            ("env - server", "server", true),
            ("env - A=b server", "server", true),
            ("env A=b - server", "- server", false),
            ("env -u HOME -i server", "server", true),
            ("env -u LD_PRELOAD server", "server", true),
            ("env -uLD_PRELOAD server", "server", true),
            ("env -vuLD_PRELOAD server", "server", true),
            ("env -u=LD_PRELOAD server", "server", false),
            ("env --unset=LD_PRELOAD server", "server", true),
            ("env --unset LD_PRELOAD server", "server", true),
            ("env --un LD_PRELOAD server", "server", true),
            ("env LD_PRELOAD= server", "server", true),
            ("env -C /tmp -- server -i", "server -i", false),
            ("env -C/tmp server", "server", false),
            ("env -iC /tmp server", "server", true),
            ("env -iC/tmp server", "server", true),
            ("env -iv server", "server", true),
            ("env -i0 server", "server", true),
            ("env -ia name server", "server", true),
            ("env -Ci server", "server", false),
            ("env -ui server", "server", false),
            ("env --ignore-environment server", "server", true),
            ("env --ignore-env server", "server", true),
            ("env --ignore-signal=HUP server", "server", false),
            ("env --ignore-signal server", "server", false),
            ("env --ignore-s server", "server", false),
            ("env --chdir=/tmp server", "server", false),
            ("env --chdir /tmp server", "server", false),
            ("env --default-signal=PIPE server", "server", false),
            ("env -S server", "server", false),
            ("env -S 'A=b server -x' y", "server -x y", false),
            ("env '-SA=b server'", "server", false),
            ("env -S '-i server'", "server", true),
            ("env -iS 'A=b server'", "server", true),
            ("env -vS 'server' -i", "server -i", false),
            ("env --split-string='-u LD_PRELOAD server'", "server", true),
            ("env --split 'A=b' LD_PRELOAD= server", "server", true),
            ("env -S \"A='b c' server\"", "server", false),
            ("env -S '-S \"-i server\"'", "server", true),
            ("env -S 'server ${NOBODY_SETS_THIS}x'", "server x", false),
            ("env -S \"server 'x\"", "", false),
            ("env -S 'server ${x'", "", false),
            ("env", "", false),
            ("env -u", "", false),
            ("env -C /tmp", "", false),
            ("nice -n 5 server -n 6", "server -n 6", false),
            ("nice -n5 server", "server", false),
            ("nice -5 server", "server", false),
            ("nice -15 server", "server", false),
            ("nice --adjust 5 server", "server", false),
            ("nohup server -i", "server -i", false),
            ("timeout -s kill 10 server", "server", false),
            ("timeout -vk5 10 server", "server", false),
            ("timeout --signal=kill 10 server -k 5", "server -k 5", false),
            ("timeout --kill 5 10 server", "server", false),
            ("timeout --foreground 10 server", "server", false),
            ("timeout -k 5 10", "", false),
            ("taskset -c 0,1 server", "server", false),
            ("taskset -ac 0,1 server", "server", false),
            ("chrt -f 10 server", "server", false),
            ("chrt -bT 5 0 server", "server", false),
            ("stdbuf -o L server", "server", false),
            ("stdbuf -oL -eL server", "server", false),
            ("ionice -c2 -n 0 server", "server", false),
            ("ionice -tc 3 server", "server", false),
            ("time -vo /dev/null server", "server", false),
            ("prlimit -n100:200 server", "server", false),
            ("prlimit --nofile=100 server", "server", false),
            ("setpriv --reuid git server", "server", false),
            ("setpriv --reset-env server", "server", true),
            ("setpriv --reset server", "server", true),
            ("setsid --wait server", "server", false),
            ("setsid -fw server", "server", false),
        ] {
            let line_words = words(line);
            let start =
                start(line_words[0].to_str().unwrap(), &line_words[1..]).expect("a starter");
            assert_eq!(start.program, words(started), "{line}");
            assert_eq!(start.drops_library, drops, "{line}");
        }
        assert_eq!(start("server", &["env"]), None);
    }

    #[test]
    fn finds_who_it_is_started_as() {
        for line in ["--reuid=7 --nnp --regid 8 x", "--reu 7 --no-new --regi=8 x"] {
            let start = start("setpriv", &words(line)).expect("a starter");
            assert_eq!(start.user.as_deref(), Some(OsStr::new("7")), "{line}");
            assert_eq!(start.group.as_deref(), Some(OsStr::new("8")), "{line}");
            assert!(start.no_new_privileges, "{line}");
            assert_eq!(start.program, ["x"], "{line}");
        }
    }
}
