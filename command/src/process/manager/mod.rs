//! Finds what would restart a process, and the command that stops it for good: a unit's manager, a
//! container's engine, a supervisor, or a script that loops.

pub(crate) mod container;
mod find;
mod script_loop;
mod stop;
mod supervisor;
pub(crate) mod unit;
mod words;

pub(crate) use find::Managers;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use unit::Unit;

/// The managers of processes, by their pids.
pub(crate) type ByPid = BTreeMap<i32, Manager>;

/// The manager of a process. Each variant names what it manages in its own words.
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
    /// monit, by the service, with its control file if its command line names one.
    Monit {
        by: Supervise,
        configuration: Option<String>,
    },
    /// A program that starts it again when it ends or when a file changes, and that has no command
    /// to stop it.
    Watcher(Parent),
    /// A script that loops, in a shell's language or another.
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
            Self::Monit { .. } => "monit",
            Self::Watcher(_) => "watcher",
            Self::Loop(_) => "loop",
        }
    }

    /// Its name for what it manages.
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
            Self::Forever(it) | Self::Monit { by: it, .. } => it.target.clone(),
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
            | Self::Forever(it)
            | Self::Monit { by: it, .. } => Some(it.pid),
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

    /// Whether it starts the process again for certain, so that to terminate the process alone
    /// would be in vain.
    pub(crate) fn is_certain(&self) -> bool {
        !matches!(self, Self::Watcher(_) | Self::Loop(_))
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
