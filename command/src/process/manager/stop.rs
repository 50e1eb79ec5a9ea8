//! The command that stops what a manager manages, and keeps it stopped.

use super::Manager;
use crate::process::users;
use anyhow::{Context, Result, bail};
use log::debug;
use procfs::process::Process;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

impl Manager {
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
            Self::Monit { by, configuration } => {
                let mut command = vec!["monit".to_owned()];
                if let Some(path) = configuration {
                    command.extend(["-c".to_owned(), path.clone()]);
                }
                command.extend(["stop".to_owned(), by.target.clone()]);
                Some(command)
            }
            Self::Watcher(parent) | Self::Loop(parent) => words(&["kill", &parent.pid.to_string()]),
        }
    }

    /// The command as it is typed by somebody who may run it: with sudo where that takes root.
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

    /// Whether `free` may run the command: a container, and what has several programs, is left to
    /// whoever asks.
    pub(crate) fn stops_it_alone(&self) -> bool {
        !self.is_engine()
            && !matches!(self, Self::Watcher(_) | Self::Loop(_))
            && self.stop_words().is_some()
            && self.owner() == Owner::Us
    }

    /// The user that may stop it.
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

    /// Runs the command, and waits for it; `show` is called meanwhile.
    pub(crate) fn stop(&self, mut show: impl FnMut()) -> Result<()> {
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
            show();
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

/// The user that has to type a manager's command.
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
