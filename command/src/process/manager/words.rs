//! The words for a manager, and for what its command does.

use super::{Manager, Parent};

impl Manager {
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
            Self::Monit { by, .. } => {
                format!("monit (pid {}), as its service {}", by.pid, by.target)
            }
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

    /// The command's purpose, for a hint.
    pub(crate) fn purpose(&self) -> String {
        match self {
            Self::Unit(unit) => match unit.restart() {
                Some(policy) => format!(
                    "stops its unit, which has Restart={policy} and starts it again when it is \
                     killed"
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
                        "stops the container {which}; when it is only killed, it comes back \
                         (restart policy {policy})"
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
            Self::Loop(parent) => {
                format!("stops {}, which loops and may start it again", parent.name)
            }
            _ => "stops it for good: it would be started again when it is killed".into(),
        }
    }
}
