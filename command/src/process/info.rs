//! Describes a process: its user, command line, age, unit and container, and its ancestors.

use crate::output::readable;
use crate::process::cgroup::{self, Container};
use crate::process::{names, users};
use crate::sys::{clock, proc};
use anyhow::{Context, Result};
use procfs::FromRead;
use procfs::process::{Process, Stat};
use rustix::process::{Pid, test_kill_process};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A process, as a person would ask about it.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct ProcessInfo {
    pub(crate) uid: Option<u32>,
    /// The name that /etc/passwd has for the uid.
    pub(crate) user: Option<String>,
    /// Program and arguments; empty for one that has cleared them.
    pub(crate) command_line: Vec<String>,
    /// The file name of what is executed, if we may know it.
    pub(crate) executable: Option<String>,
    /// The working directory, if we may know it.
    pub(crate) directory: Option<String>,
    pub(crate) state: ProcessState,
    pub(crate) age_s: Option<u64>,
    /// When it started, in ticks since the machine did. Its pid may be another process's later.
    #[serde(skip)]
    pub(crate) start: Option<u64>,
    /// Its session (setsid(2)).
    #[serde(skip)]
    pub(crate) session: i32,
    /// The systemd unit, if it is a service.
    pub(crate) unit: Option<String>,
    /// Whether the unit belongs to a user's own manager.
    pub(crate) user_unit: bool,
    /// Its path in systemd's tree of control groups.
    #[serde(skip)]
    pub(crate) group: String,
    pub(crate) container: Option<Container>,
    /// Its ancestors, the parent first, up to process 1.
    pub(crate) ancestors: Vec<Ancestor>,
    /// The tracer of `reuseaddr run`, as long as it is there.
    pub(crate) tracer: Option<i32>,
}

/// Whether a process can act (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProcessState {
    #[default]
    Running,
    /// Stopped by SIGSTOP, SIGTSTP (Ctrl-Z), SIGTTIN or SIGTTOU: it acts on nothing but SIGCONT and
    /// SIGKILL.
    Stopped,
    /// Stopped by its tracer, such as a debugger.
    TracingStop,
    /// Its main thread has ended, and other threads live on (pthread_exit(3)).
    MainThreadEnded,
}

impl ProcessState {
    fn of(stat: &Stat) -> Self {
        match stat.state {
            'T' => Self::Stopped,
            't' => Self::TracingStop,
            // A zombie holds no descriptor any more; of one that does, threads are left.
            'Z' | 'X' => Self::MainThreadEnded,
            _ => Self::Running,
        }
    }

    /// The state in a few words, where it is worth one.
    pub(crate) fn words(self) -> Option<&'static str> {
        match self {
            Self::Running => None,
            Self::Stopped => Some("stopped (Ctrl-Z or SIGSTOP; SIGCONT resumes it)"),
            Self::TracingStop => Some("stopped by its tracer"),
            Self::MainThreadEnded => Some("main thread ended, other threads live"),
        }
    }
}

/// A parent, or the parent of one.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Ancestor {
    pub(crate) pid: i32,
    pub(crate) name: String,
    /// As [`ProcessInfo::start`].
    #[serde(skip)]
    pub(crate) start: u64,
    /// As [`ProcessInfo::session`].
    #[serde(skip)]
    pub(crate) session: i32,
}

impl ProcessInfo {
    /// Reads what is known of a process; all is empty for one that has exited.
    pub(crate) fn of_pid(pid: i32) -> Self {
        stat(pid).map_or_else(Self::default, |stat| {
            Self::of(pid, &stat, &ProcCache::default())
        })
    }

    /// Describes a process whose `stat` is known.
    pub(super) fn of(pid: i32, stat: &Stat, cache: &ProcCache) -> Self {
        let uid = uid(pid);
        let place = cgroup::of_process(pid);
        let link = |name| fs::read_link(format!("/proc/{pid}/{name}")).ok();
        Self {
            uid,
            user: uid.and_then(users::name).map(ToOwned::to_owned),
            command_line: names::arguments(pid),
            executable: link("exe")
                .and_then(|path| Some(readable(path.file_name()?.as_encoded_bytes()))),
            directory: link("cwd").map(|path| readable(path.as_os_str().as_bytes())),
            state: ProcessState::of(stat),
            age_s: Some(cache.age(stat.starttime)),
            start: Some(stat.starttime),
            session: stat.session,
            unit: place.unit,
            user_unit: place.of_user,
            group: place.path,
            container: place.container,
            ancestors: cache.ancestors(stat.ppid),
            tracer: tracer(pid).filter(|&tracer| is_our_tracer(tracer)),
        }
    }

    /// Whether a user who names this program means it.
    pub(crate) fn is_called(&self, wanted: &str, shown: &str) -> bool {
        names::is_called(
            &self.command_line,
            self.executable.as_deref(),
            shown,
            wanted,
        )
    }

    /// The command line as it would be typed, on one line.
    pub(crate) fn command(&self) -> String {
        let line = shell_words::join(&self.command_line).replace(['\n', '\t'], " ");
        readable(line.as_bytes())
    }

    /// The user's name, or number.
    pub(crate) fn user(&self) -> String {
        match (&self.user, self.uid) {
            (Some(name), _) => name.clone(),
            (None, Some(uid)) => format!("uid {uid}"),
            (None, None) => String::new(),
        }
    }

    /// Unit and container, in a few letters.
    pub(crate) fn place(&self) -> String {
        match (&self.container, &self.unit) {
            (Some(container), _) => container.short(),
            (None, Some(unit)) => unit.clone(),
            (None, None) => String::new(),
        }
    }

    /// `systemd (1) > sshd (700) > bash (901)`.
    pub(crate) fn chain(&self) -> String {
        let mut names: Vec<String> = self
            .ancestors
            .iter()
            .map(|parent| format!("{} ({})", parent.name, parent.pid))
            .collect();
        names.reverse();
        names.join(" > ")
    }
}

/// The user whose process this is.
pub(crate) fn uid(pid: i32) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Reads `/proc/PID/stat` (proc_pid_stat(5)).
pub(super) fn stat(pid: i32) -> Option<Stat> {
    Stat::from_read(proc::bytes(format!("/proc/{pid}/stat")).ok()?.as_slice()).ok()
}

/// When a process started, in ticks since the machine did.
pub(crate) fn start(pid: i32) -> Option<u64> {
    Some(stat(pid)?.starttime)
}

/// The tracer of a process, which is a number or `self` (proc_pid_status(5)).
pub(crate) fn tracer(process: impl Display) -> Option<i32> {
    let status = proc::text(format!("/proc/{process}/status")).ok()?;
    let mut lines = status.lines();
    let tracer = lines.find_map(|line| line.strip_prefix("TracerPid:"))?;
    tracer.trim().parse().ok().filter(|&tracer| tracer != 0)
}

/// Whether this process is the tracer of `reuseaddr run`.
pub(crate) fn is_our_tracer(tracer: i32) -> bool {
    proc::text(format!("/proc/{tracer}/comm"))
        .is_ok_and(|name| name.trim_end() == env!("CARGO_PKG_NAME"))
}

/// `40 s`, `5 min`, `3 h`, `12 d`.
pub(crate) fn spelled_age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Caches what is the same for many processes.
#[derive(Debug, Default)]
pub(super) struct ProcCache {
    /// Processes and their parents; `None` of a process that had ended.
    parents: Mutex<HashMap<i32, Option<(Ancestor, i32)>>>,
    /// When the processes are looked at, in seconds since the machine started.
    now: OnceLock<u64>,
}

impl ProcCache {
    fn ancestors(&self, mut parent: i32) -> Vec<Ancestor> {
        /// Longer than any chain that means something; pids that change while they are read may
        /// make a ring.
        const LONGEST: usize = 32;
        let mut parents = self.parents.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        while parent > 0 && found.len() < LONGEST {
            let known = parents.entry(parent).or_insert_with(|| {
                stat(parent).map(|stat| {
                    let ancestor = Ancestor {
                        pid: parent,
                        name: readable(stat.comm.as_bytes()),
                        start: stat.starttime,
                        session: stat.session,
                    };
                    (ancestor, stat.ppid)
                })
            });
            let Some((ancestor, above)) = known else {
                break;
            };
            found.push(ancestor.clone());
            parent = *above;
        }
        found
    }

    /// How long ago something started that did so this many ticks after the machine.
    fn age(&self, start: u64) -> u64 {
        let now = *self.now.get_or_init(clock::since_start);
        now.saturating_sub(start / procfs::ticks_per_second())
    }
}

/// Opens a process by its number, with an error that helps if there is none.
pub(crate) fn process(pid: u32) -> Result<Process> {
    i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok())
        .filter(Process::is_alive)
        .with_context(|| {
            if exists(pid) {
                format!(
                    "process {pid} is there, but not in /proc: that is mounted with hidepid, or \
                     not at all"
                )
            } else {
                format!("there is no process {pid}; `pgrep -a NAME` finds one by its name")
            }
        })
}

/// Whether there is such a process, by kill(2) and not by /proc.
fn exists(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| {
            matches!(
                test_kill_process(pid),
                Ok(()) | Err(rustix::io::Errno::PERM)
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, expected) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_200, "2 h"),
            (259_200, "3 d"),
        ] {
            assert_eq!(spelled_age(seconds), expected);
        }
    }
}
