//! Who starts a process again when it has ended, and what stops it for good: a unit's manager, a
//! container's engine, a supervisor, or a script that loops.

pub(crate) mod container;
mod find;
mod shell_loop;
mod supervisor;
pub(crate) mod unit;

pub(crate) use find::Managers;

use super::users;
use anyhow::{Context, Result, bail};
use log::debug;
use procfs::process::Process;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use unit::Unit;

/// Who manages a process. Each variant names what it manages in its own words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Manager {
    /// systemd, by the service.
    Unit(Unit),
    /// A container's engine, by the container.
    Docker(container::ContainerRef),
    Podman(container::ContainerRef),
    Lxc(container::ContainerRef),
    Machined(container::ContainerRef),
    Cri(container::ContainerRef),
    /// supervisord, by the program; the options are those that supervisorctl needs to reach it.
    /// None if it has no control socket.
    Supervisord {
        pid: i32,
        program: String,
        options: Option<Vec<String>>,
    },
    /// pm2, by the application; the home is that of its daemon, where it is not the usual one.
    Pm2 {
        pid: i32,
        applications: Vec<String>,
        home: Option<String>,
        uid: Option<u32>,
    },
    /// A service directory, of runit, s6 or daemontools.
    Runit(Supervise),
    S6(Supervise),
    Daemontools(Supervise),
    /// OpenRC's supervise-daemon, by the service.
    OpenRc(Supervise),
    /// forever, by the process that it watches.
    Forever(Supervise),
    /// A program that starts it again when it ends or when a file changes, and that has no command
    /// to stop it.
    Watcher(Parent),
    /// A shell script that loops.
    Loop(Parent),
}

/// A supervisor process, and the name that its own tools have for what it manages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Supervise {
    pub(crate) pid: i32,
    pub(crate) target: String,
}

/// A process that starts another one again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Parent {
    pub(crate) pid: i32,
    pub(crate) name: String,
    /// Whether it waits for a file to change.
    pub(crate) on_change: bool,
}

impl Manager {
    /// The manager's own name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unit(_) => "systemd",
            Self::Docker(_) => "docker",
            Self::Podman(_) => "podman",
            Self::Lxc(_) => "lxc",
            Self::Machined(_) => "machine",
            Self::Cri(_) => "cri",
            Self::Supervisord { .. } => "supervisord",
            Self::Pm2 { .. } => "pm2",
            Self::Runit(_) => "runit",
            Self::S6(_) => "s6",
            Self::Daemontools(_) => "daemontools",
            Self::OpenRc(_) => "openrc",
            Self::Forever(_) => "forever",
            Self::Watcher(_) => "watcher",
            Self::Loop(_) => "loop",
        }
    }

    /// What it manages, by its own name for that.
    pub(crate) fn target(&self) -> String {
        match self {
            Self::Unit(unit) => unit.name.clone(),
            Self::Docker(name)
            | Self::Podman(name)
            | Self::Lxc(name)
            | Self::Machined(name)
            | Self::Cri(name) => name.short(),
            Self::Supervisord { program, .. } => program.clone(),
            Self::Pm2 { applications, .. } => applications.join(", "),
            Self::Runit(it) | Self::S6(it) | Self::Daemontools(it) | Self::OpenRc(it) => {
                it.target.clone()
            }
            Self::Forever(it) => it.target.clone(),
            Self::Watcher(parent) | Self::Loop(parent) => parent.name.clone(),
        }
    }

    /// The process that starts it again, if that is one beside the system's own.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self {
            Self::Supervisord { pid, .. } | Self::Pm2 { pid, .. } => Some(*pid),
            Self::Runit(it)
            | Self::S6(it)
            | Self::Daemontools(it)
            | Self::OpenRc(it)
            | Self::Forever(it) => Some(it.pid),
            Self::Watcher(parent) | Self::Loop(parent) => Some(parent.pid),
            _ => None,
        }
    }

    /// When it starts it again by its own settings, if they say so: a unit's `Restart=`, a
    /// container's restart policy.
    pub(crate) fn restart(&self) -> Option<&str> {
        match self {
            Self::Unit(unit) => unit.restart(),
            Self::Docker(name) | Self::Podman(name) => name.restart(),
            _ => None,
        }
    }

    /// Whether this is a container's engine.
    pub(crate) fn is_engine(&self) -> bool {
        matches!(
            self,
            Self::Docker(_) | Self::Podman(_) | Self::Lxc(_) | Self::Machined(_) | Self::Cri(_)
        )
    }

    /// The manager and what it manages, in words: `supervisord (pid 7), as its program web`.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Unit(unit) => match unit.restart() {
                Some(policy) => format!("systemd, as {} (Restart={policy})", unit.name),
                None => format!("systemd, as {}", unit.name),
            },
            _ if self.is_engine() && self.target().is_empty() => {
                format!("{}, for a container", self.kind())
            }
            Self::Docker(_) | Self::Podman(_) | Self::Lxc(_) | Self::Machined(_) | Self::Cri(_) => {
                format!("{}, for container {}", self.kind(), self.target())
            }
            Self::Supervisord { pid, program, .. } => {
                format!("supervisord (pid {pid}), as its program {program}")
            }
            Self::Pm2 {
                pid, applications, ..
            } => match applications.as_slice() {
                [] => format!("pm2 (pid {pid})"),
                [only] => format!("pm2 (pid {pid}), as its application {only}"),
                several => format!(
                    "pm2 (pid {pid}), as one of its applications {}",
                    several.join(", ")
                ),
            },
            Self::Runit(it) => format!("runit (runsv, pid {}), as {}", it.pid, it.target),
            Self::S6(it) => format!("s6 (s6-supervise, pid {}), as {}", it.pid, it.target),
            Self::Daemontools(it) => {
                format!("daemontools (supervise, pid {}), as {}", it.pid, it.target)
            }
            Self::OpenRc(it) => {
                format!(
                    "OpenRC (supervise-daemon, pid {}), as {}",
                    it.pid, it.target
                )
            }
            Self::Forever(it) => format!("forever (pid {})", it.pid),
            Self::Watcher(parent) => format!("{} (pid {})", parent.name, parent.pid),
            Self::Loop(parent) => {
                format!("a loop in {} (pid {})", parent.name, parent.pid)
            }
        }
    }

    /// When it starts again what it manages.
    pub(crate) fn occasion(&self) -> &'static str {
        match self {
            Self::Watcher(Parent {
                on_change: true, ..
            }) => "when a file changes",
            Self::Watcher(_) | Self::Loop(_) => "when it ends",
            _ => "when it is only killed",
        }
    }

    /// The command that stops what it manages and keeps it stopped, as words; none if there is no
    /// single one.
    fn stop_words(&self) -> Option<Vec<String>> {
        let words = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect());
        match self {
            Self::Unit(unit) => Some(unit.stop_words()),
            Self::Docker(name) | Self::Podman(name) if !name.is_known() => None,
            Self::Docker(name) => words(&["docker", "stop", &name.to_type()]),
            Self::Podman(name) => words(&["podman", "stop", &name.to_type()]),
            Self::Lxc(name) => words(&["lxc-stop", &name.to_type()]),
            Self::Machined(name) => words(&["machinectl", "poweroff", &name.to_type()]),
            Self::Cri(name) => words(&["crictl", "stop", &name.to_type()]),
            Self::Supervisord {
                program, options, ..
            } => {
                let mut command = vec!["supervisorctl".to_owned()];
                command.extend(options.clone()?);
                command.extend(["stop".to_owned(), program.clone()]);
                Some(command)
            }
            Self::Pm2 {
                applications, home, ..
            } => {
                let [only] = applications.as_slice() else {
                    return None;
                };
                let mut command: Vec<String> = Vec::new();
                if let Some(home) = home {
                    command.extend(["env".to_owned(), format!("PM2_HOME={home}")]);
                }
                command.extend(["pm2".to_owned(), "stop".to_owned(), only.clone()]);
                Some(command)
            }
            Self::Runit(it) => words(&["sv", "stop", &it.target]),
            Self::S6(it) => words(&["s6-svc", "-wd", "-d", &it.target]),
            Self::Daemontools(it) => words(&["svc", "-d", &it.target]),
            Self::OpenRc(it) => words(&["rc-service", &it.target, "stop"]),
            Self::Forever(it) => words(&["forever", "stop", &it.target]),
            Self::Watcher(parent) | Self::Loop(parent) => words(&["kill", &parent.pid.to_string()]),
        }
    }

    /// The same as it would be typed, by somebody who may: with sudo where that takes root.
    pub(crate) fn stop_command(&self) -> String {
        let command = match (self.stop_words(), self) {
            (Some(words), _) => shell_words::join(words),
            (None, Self::Supervisord { pid, .. }) => format!("kill {pid}"),
            (None, Self::Docker(name)) => match name.port() {
                Some(port) => format!("docker ps --filter publish={port}"),
                None => "docker ps".into(),
            },
            (None, Self::Podman(_)) => "podman ps".into(),
            (None, _) => "pm2 list".into(),
        };
        match self.owner() {
            Owner::Us => command,
            Owner::Root => format!("sudo {command}"),
            Owner::User(name) => format!("sudo -u {} {command}", shell_words::quote(&name)),
        }
    }

    /// What that command does, for a hint.
    pub(crate) fn purpose(&self) -> String {
        match self {
            Self::Unit(unit) => match unit.restart() {
                Some(policy) => format!(
                    "stops its unit, which has Restart={policy} and starts it again when it is killed"
                ),
                None => "stops its unit, which may start it again when it is killed".into(),
            },
            Self::Docker(name) | Self::Podman(name) if !name.is_known() => format!(
                "shows which container publishes the port: `{} stop NAME` stops it",
                self.kind()
            ),
            Self::Docker(name)
            | Self::Podman(name)
            | Self::Lxc(name)
            | Self::Machined(name)
            | Self::Cri(name) => {
                let which = match name.port() {
                    Some(_) => "that publishes the port",
                    None => "that it is in",
                };
                match name.restart() {
                    Some(policy) => format!(
                        "stops the container {which}; when it is only killed, it comes back (restart policy {policy})"
                    ),
                    None => format!("stops the container {which}"),
                }
            }
            Self::Supervisord { options: None, .. } => {
                "stops supervisord with all its programs, since it has no control socket".into()
            }
            Self::Pm2 { applications, .. } if applications.len() != 1 => {
                "shows which of its applications that is: `pm2 stop NAME` stops it".into()
            }
            Self::Watcher(parent) => {
                format!("stops {}, which starts it again", parent.name)
            }
            Self::Loop(parent) => format!("stops {}, which loops and starts it again", parent.name),
            _ => "stops it for good: it would be started again when it is killed".into(),
        }
    }

    /// Whether `free` may run the command: a container, and what has several programs, is left to
    /// whoever asks.
    pub(crate) fn stops_it_alone(&self) -> bool {
        !self.is_engine()
            && !matches!(self, Self::Watcher(_) | Self::Loop(_))
            && self.stop_words().is_some()
            && self.owner() == Owner::Us
    }

    /// Whether it starts the process again for certain, so that to terminate the process alone
    /// would be in vain.
    pub(crate) fn is_certain(&self) -> bool {
        !matches!(self, Self::Watcher(_) | Self::Loop(_))
    }

    /// Who may stop it.
    fn owner(&self) -> Owner {
        let own = rustix::process::geteuid();
        let root = if own.is_root() {
            Owner::Us
        } else {
            Owner::Root
        };
        match self {
            Self::Unit(unit) => {
                if unit.is_of_user() {
                    Owner::Us
                } else {
                    root
                }
            }
            Self::Podman(name) | Self::Docker(name) => match name.uid {
                // Docker's group may talk to its socket, and podman's rootless containers are the
                // user's.
                Some(uid) if uid != own.as_raw() && uid != 0 => Owner::of(uid),
                _ => Owner::Us,
            },
            Self::Lxc(_) | Self::Machined(_) | Self::Cri(_) => root,
            // It finds its daemon by the user's home.
            Self::Pm2 { uid, .. } => match uid {
                Some(uid) if *uid != own.as_raw() => Owner::of(*uid),
                _ => Owner::Us,
            },
            _ => match self
                .pid()
                .and_then(|pid| Process::new(pid).ok()?.uid().ok())
            {
                Some(uid) if uid != own.as_raw() => root,
                _ => Owner::Us,
            },
        }
    }

    /// Runs the command, and waits for it; `tell` is called meanwhile.
    pub(crate) fn stop(&self, mut tell: impl FnMut()) -> Result<()> {
        const OFTEN: Duration = Duration::from_millis(20);
        let shown = self.stop_command();
        let Some(words) = self.stop_words() else {
            bail!("nothing stops it alone");
        };
        let [program, arguments @ ..] = words.as_slice() else {
            bail!("nothing stops it alone");
        };
        debug!("{shown}");
        let mut command = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("`{shown}` can't be started"))?;
        while command.try_wait()?.is_none() {
            tell();
            thread::sleep(OFTEN);
        }
        let output = command.wait_with_output()?;
        if !output.status.success() {
            let mut why = crate::output::readable(output.stderr.trim_ascii());
            if why.is_empty() {
                why = crate::output::readable(output.stdout.trim_ascii());
            }
            bail!("`{shown}` failed: {why}");
        }
        Ok(())
    }
}

/// As which user a manager's command has to be typed.
#[derive(Debug, Eq, PartialEq)]
enum Owner {
    Us,
    Root,
    User(String),
}

impl Owner {
    fn of(uid: u32) -> Self {
        Self::User(users::name(uid).map_or_else(|| format!("#{uid}"), ToOwned::to_owned))
    }
}

impl Serialize for Manager {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Manager", 5)?;
        fields.serialize_field("kind", self.kind())?;
        fields.serialize_field("target", &self.target())?;
        fields.serialize_field("pid", &self.pid())?;
        fields.serialize_field("restart", &self.restart())?;
        fields.serialize_field("stop", &self.stop_command())?;
        fields.end()
    }
}
