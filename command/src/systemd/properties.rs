//! Reads a unit's properties from its manager.

use super::drop_in::FILE;
use super::start;
use crate::process::cgroup::processes_below;
use crate::process::run::output_of;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// A unit's properties (systemctl(1), `show`).
#[derive(Debug)]
pub(crate) struct Properties(HashMap<String, String>);

impl Properties {
    /// Asks systemd; `None` if it does not run or answer.
    pub(crate) fn ask(unit: &str, user: bool) -> Option<Self> {
        // A template has no settings before there is an instance.
        let unit = unit.replace("@.service", "@reuseaddr.service");
        let mut words = vec!["show", "--no-pager", "--", &unit];
        if user {
            words.insert(0, "--user");
        }
        output_of("systemctl", &words).map(|text| Self::parse(&text))
    }

    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let mut properties = HashMap::<String, String>::new();
        for (name, value) in pairs {
            // A list may come as several lines.
            let all = properties.entry(name.to_owned()).or_default();
            if !all.is_empty() && !value.is_empty() {
                all.push(' ');
            }
            all.push_str(value);
        }
        Self(properties)
    }

    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The unit's own LD_PRELOAD.
    pub(crate) fn preloaded(&self) -> Option<String> {
        let words = words(self.get("Environment"));
        let found = words
            .iter()
            .rev()
            .find_map(|word| word.strip_prefix("LD_PRELOAD="));
        found.map(str::to_owned)
    }

    /// The `ExecStart=` lines of the unit's files, without our drop-in's.
    pub(crate) fn start_lines(&self) -> Vec<String> {
        let fragment = self.get("FragmentPath").to_owned();
        let drop_ins = words(self.get("DropInPaths"));
        let files = [fragment]
            .into_iter()
            .chain(drop_ins)
            .filter(|path| Path::new(path).file_name() != Some(OsStr::new(FILE)));
        start::lines(files.filter_map(|path| fs::read_to_string(path).ok()))
    }

    /// Why a drop-in has no effect now, if it has none.
    pub(crate) fn without_effect(&self, unit: &str, user: bool) -> Option<String> {
        let of_a_user = if user {
            ""
        } else {
            " (for a unit of your own manager add --user)"
        };
        match self.get("LoadState") {
            "not-found" => Some(format!(
                "systemd knows no unit {unit} now: the drop-in takes effect when there is \
                 one{of_a_user}"
            )),
            "masked" => Some(format!(
                "{unit} is masked, so systemd does not start it: `systemctl unmask {unit}` allows \
                 it"
            )),
            _ => None,
        }
    }

    /// Whether the unit's seccomp filter may forbid ptrace(2).
    pub(crate) fn filters_calls(&self) -> bool {
        !self.get("SystemCallFilter").is_empty()
    }

    /// Whether the service has a root directory of its own, which our files are not in.
    pub(crate) fn has_another_root(&self) -> bool {
        ["RootDirectory", "RootImage"]
            .iter()
            .any(|name| !["", "/"].contains(&self.get(name)))
    }

    /// Whether systemd would look for our command in the service's root directory, which it is not
    /// in. A root image applies to ExecStart= alone if a command has full privileges.
    pub(crate) fn has_root_directory(&self) -> bool {
        !["", "/"].contains(&self.get("RootDirectory"))
    }

    /// Whether the unit has other commands that systemd starts in that directory. Those must stay
    /// there.
    pub(crate) fn has_commands_in_its_root(&self) -> bool {
        const OTHERS: [&str; 6] = [
            "ExecCondition",
            "ExecStartPre",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
            "ExecStopPost",
        ];
        let are_ours = |value: &str| {
            value
                .split("{ path=")
                .skip(1)
                .filter_map(|command| command.split(" ; ").next())
                .all(|path| Path::new(path).file_name() == Some(OsStr::new("reuseaddr")))
        };
        self.has_root_directory()
            && self.get("RootDirectoryStartOnly") != "yes"
            && !OTHERS.iter().all(|name| are_ours(self.get(name)))
    }

    /// The slice that the unit is in.
    pub(crate) fn slice(&self) -> &str {
        match self.get("Slice") {
            "" => "system.slice",
            slice => slice,
        }
    }

    /// The service's processes: the main one, and those of the unit's control group.
    pub(crate) fn processes(&self) -> BTreeSet<i32> {
        // cgroup v2, v2 beside v1, and systemd's own hierarchy of v1.
        const TREES: [&str; 3] = [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/systemd",
        ];
        let main = self.get("MainPID").parse().ok().filter(|&pid| pid != 0);
        let group = self.get("ControlGroup").trim_start_matches('/');
        let mut found: BTreeSet<i32> = main.into_iter().collect();
        if !group.is_empty() {
            found.extend(
                TREES
                    .iter()
                    .flat_map(|tree| processes_below(&Path::new(tree).join(group))),
            );
        }
        found
    }
}

/// The words of a list, which may be quoted and escaped as in a shell.
pub(super) fn words(list: &str) -> Vec<String> {
    shell_words::split(list)
        .unwrap_or_else(|_| list.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists() {
        assert_eq!(
            words(r#"A=b "C=d e" F="g h" "i\"j" ''"#),
            ["A=b", "C=d e", "F=g h", "i\"j", ""]
        );
        assert!(words("  ").is_empty());
    }

    #[test]
    fn finds_what_is_preloaded_already() {
        let properties = Properties::parse("Id=x\nEnvironment=A=b LD_PRELOAD=/a.so:/b.so\n");
        assert_eq!(properties.preloaded().as_deref(), Some("/a.so:/b.so"));
    }
}
