//! Records which control groups have an instance, in files that everybody may read: the kernel
//! answers that question to root alone, and `check` and `status` are for ordinary users too.

use super::hierarchy::Hierarchy;
use super::instance::{Life, not_made};
use super::own;
use super::pins::{self, group_to_name};
use crate::port::port_list::{self, PortList};
use crate::sys::replace::replace;
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where the files are.
pub(crate) const FOLDER: &str = "/run/libreuse/bpf";

const LOCK: &str = "lock";

/// The record of an instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Record {
    pub(crate) group: String,
    /// Whether it lasts longer than the group that is there now.
    pub(crate) lasting: bool,
    /// The ports that are served, if not all are.
    pub(crate) ports: Option<String>,
}

/// The lock of whoever attaches or detaches: one at a time.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

#[expect(clippy::unused_self)] // Whoever has the turn may.
impl Turn {
    /// Takes the lock, and waits for it (flock(2)).
    pub(crate) fn take() -> Result<Self> {
        loop {
            let path = folder()?.join(LOCK);
            let lock = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                // Who can open it can keep us waiting.
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("{} can't be opened", path.display()))?;
            flock(&lock, FlockOperation::LockExclusive)
                .with_context(|| format!("{} can't be locked", path.display()))?;
            // Whoever had it may have removed the file: then the next one locks another.
            let is_locked = |there: fs::Metadata| {
                lock.metadata()
                    .is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
            };
            if fs::symlink_metadata(&path).is_ok_and(is_locked) {
                return Ok(Self { _lock: lock });
            }
        }
    }

    /// Writes the record of an instance.
    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let path = path_of(&record.group);
        let text = serde_json::to_string(record)? + "\n";
        replace(&path, text.as_bytes(), 0o644)
            .with_context(|| format!("{} can't be written", path.display()))
    }

    /// Removes the record of an instance.
    pub(crate) fn remove(&self, group: &str) -> Result<()> {
        let path = path_of(group);
        pins::removed(fs::remove_file(&path), &path)
    }

    /// Removes the groups of programs that `run` started and that have ended, and the records of
    /// groups that are gone and don't come again.
    pub(crate) fn prune(&self, hierarchy: &Hierarchy) -> Result<()> {
        for record in all().iter().filter(|record| !record.lasting) {
            own::remove_if_empty(hierarchy, &record.group, own::RUN);
            if !hierarchy.folder(&record.group).exists() {
                self.remove(&record.group)?;
            }
        }
        Ok(())
    }

    /// Removes all pins and records if nothing is attached anywhere: for what has failed.
    pub(crate) fn remove_unused(&self, hierarchy: &Hierarchy) -> Result<()> {
        self.prune(hierarchy)?;
        if all().is_empty() && pins::is_empty() {
            pins::remove_all()?;
            self.remove_all()?;
        }
        Ok(())
    }

    /// Removes every record, and the folder.
    pub(crate) fn remove_all(&self) -> Result<()> {
        pins::removed(fs::remove_dir_all(FOLDER), Path::new(FOLDER))?;
        // What others keep there stays.
        let _ = fs::remove_dir(Path::new(FOLDER).parent().unwrap_or(Path::new(FOLDER)));
        Ok(())
    }
}

impl Record {
    /// Whether a port is to be served.
    pub(crate) fn serves(&self, port: u16) -> bool {
        let ports = self.ports.as_ref();
        ports.is_none_or(|ports| {
            ports
                .parse::<PortList>()
                .is_ok_and(|ports| port_list::all(&[ports]).tcp.contains(&port))
        })
    }

    pub(crate) fn new(group: &str, life: Life, ports: Option<String>) -> Self {
        Self {
            group: group.to_owned(),
            lasting: life == Life::Lasting,
            ports,
        }
    }
}

/// How long an instance is kept that somebody attaches to a group.
pub(super) fn life_at(group: &str) -> Life {
    if is_of_one_start(group) {
        Life::Passing
    } else {
        Life::Lasting
    }
}

/// Whether it is a group whose name systemd makes up at each start: `session-4.scope` of a login,
/// `run-u4.service` of systemd-run(1).
fn is_of_one_start(group: &str) -> bool {
    let name = group.rsplit('/').next().unwrap_or(group);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (name, is_scope) = match (name.strip_suffix(".scope"), name.strip_suffix(".service")) {
        (Some(name), _) => (name, true),
        (_, Some(name)) => (name, false),
        _ => return false,
    };
    if let Some(session) = name.strip_prefix("session-") {
        return is_scope && is_number(session.strip_prefix('c').unwrap_or(session));
    }
    let Some((kind, made_up)) = name
        .strip_prefix("run-")
        .and_then(|name| name.split_at_checked(1))
    else {
        return false;
    };
    let numbers = |between: &str| {
        let parts = made_up.split_once(between);
        parts.is_some_and(|(one, other)| is_number(one) && is_number(other))
    };
    match kind {
        "r" => made_up.len() == 32 && made_up.bytes().all(|byte| byte.is_ascii_hexdigit()),
        // After a soft reboot their count follows.
        "u" => is_number(made_up) || numbers("-s"),
        "p" => numbers("-i"),
        _ => false,
    }
}

/// Every record, sorted by group.
pub(crate) fn all() -> Vec<Record> {
    let mut records: Vec<Record> = fs::read_dir(FOLDER)
        .into_iter()
        .flatten()
        .flatten()
        // What `replace` has begun has a dot in front, which no group's name has.
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|entry| serde_json::from_str(&fs::read_to_string(entry.path()).ok()?).ok())
        .collect();
    records.sort_by(|one, other| one.group.cmp(&other.group));
    records
}

/// The record of the instance that serves a process: that of its group, or of one above it.
pub(crate) fn covering(pid: u32) -> Option<Record> {
    let records = all();
    if records.is_empty() {
        return None;
    }
    let group = Hierarchy::of_process(pid).ok()?;
    Hierarchy::upwards(&group)
        .find_map(|above| records.iter().find(|record| record.group == above).cloned())
}

/// The folder, which is made if it is not there.
pub(super) fn folder() -> Result<PathBuf> {
    let folder = PathBuf::from(FOLDER);
    fs::create_dir_all(&folder)
        .and_then(|()| {
            let readable = || Permissions::from_mode(0o755);
            // Whatever the umask is.
            fs::set_permissions(folder.parent().unwrap_or(&folder), readable())?;
            fs::set_permissions(&folder, readable())
        })
        .map_err(|error| not_made(error, FOLDER))?;
    Ok(folder)
}

fn path_of(group: &str) -> PathBuf {
    Path::new(FOLDER).join(group_to_name(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_names_that_systemd_makes_up() {
        for (group, expected) in [
            ("/user.slice/user-0.slice/session-38.scope", true),
            ("/user.slice/user-0.slice/session-c1.scope", true),
            (
                "/system.slice/run-rcf8af48d55864392807f163797c15400.scope",
                true,
            ),
            ("/system.slice/run-u12.service", true),
            ("/system.slice/run-p3141-i59.service", true),
            ("/system.slice/web.service", false),
            ("/system.slice/run-u12-s1.scope", true),
            ("/system.slice/run-web2.service", false),
            ("/system.slice/run-2.service", false),
            ("/system.slice/run-db1.service", false),
            ("/system.slice/run-u.service", false),
            ("/system.slice/run-p3141.service", false),
            ("/system.slice/run-rc0ffee.service", false),
            ("/system.slice/session-db1.scope", false),
            ("/system.slice/run-.scope", false),
            ("/system.slice/session-1.service", false),
            ("/system.slice/sc.scope", false),
            ("/", false),
        ] {
            assert_eq!(is_of_one_start(group), expected, "{group}");
        }
    }
}
