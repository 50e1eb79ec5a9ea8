//! Reads a unit's properties from its manager, and finds those that defeat the library.

use super::drop_in::FILE;
use super::start;
use crate::library::libraries::Libraries;
use crate::library::variables::Variables;
use crate::process::credentials::Credentials;
use crate::process::selinux::Domain;
use crate::program::inspect;
use crate::program::report::Report;
use log::debug;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A unit's properties (systemctl(1), `show`).
#[derive(Debug)]
pub(crate) struct Properties(HashMap<String, String>);

impl Properties {
    /// Asks systemd; `None` if it does not run or answer.
    pub(crate) fn ask(unit: &str, user: bool) -> Option<Self> {
        // A template has no settings before there is an instance.
        let unit = unit.replace("@.service", "@reuseaddr.service");
        let mut command = Command::new("systemctl");
        if user {
            command.arg("--user");
        }
        let output = command
            .args(["show", "--no-pager", "--", &unit])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        debug!("systemctl show: {}, {} bytes", output.status, text.len());
        (output.status.success() && !text.is_empty()).then(|| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
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

    fn get(&self, name: &str) -> &str {
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

    /// Lists what in the unit defeats the library, or makes it needless.
    pub(crate) fn warnings(&self, path: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
        let shown = path.display();
        if self.get("LoadState") == "not-found" {
            warnings.push(
                "systemd has no such unit yet; the drop-in will hold once there is one".into(),
            );
        }
        for name in ["RootDirectory", "RootImage"] {
            let root = self.get(name);
            if !root.is_empty() && root != "/" {
                warnings.push(format!(
                    "{name}={root}: {shown} has to be there inside as well, by the same path"
                ));
            }
        }
        let home = self.get("ProtectHome");
        let at_home = ["/home", "/root", "/run/user"]
            .iter()
            .any(|home| path.starts_with(home));
        if at_home && ["yes", "tmpfs"].contains(&home) {
            warnings.push(format!(
                "ProtectHome={home} hides {shown}: install it below /usr/local"
            ));
        }
        if self.get("PrivateTmp") == "yes"
            && (path.starts_with("/tmp") || path.starts_with("/var/tmp"))
        {
            warnings.push(format!(
                "PrivateTmp=yes hides {shown}: install it below /usr/local"
            ));
        }
        for name in ["InaccessiblePaths", "TemporaryFileSystem"] {
            let hidden = words(self.get(name)).into_iter().any(|entry| {
                path.starts_with(
                    entry
                        .trim_start_matches(['-', '+'])
                        .split(':')
                        .next()
                        .unwrap_or_default(),
                )
            });
            if hidden {
                warnings.push(format!(
                    "{name}= hides {shown}: install it below /usr/local"
                ));
            }
        }
        // The longest entry decides, as in systemd.
        let depth = |name| {
            words(self.get(name))
                .into_iter()
                .map(|entry| PathBuf::from(entry.trim_start_matches(['-', '+'])))
                .filter(|entry| path.starts_with(entry))
                .map(|entry| entry.components().count())
                .max()
        };
        if depth("NoExecPaths") > depth("ExecPaths") {
            warnings.push(format!(
                "NoExecPaths= keeps {shown} from being loaded: add ExecPaths={shown}"
            ));
        }
        let user = self.get("User");
        if (!user.is_empty() && user != "root" || self.get("DynamicUser") == "yes")
            && !readable_by_all(path)
        {
            warnings.push(format!(
                "User={user} may not be able to read {shown}: make it and its folders readable by \
                 all"
            ));
        }
        if words(self.get("UnsetEnvironment"))
            .iter()
            .any(|entry| entry == "LD_PRELOAD" || entry.starts_with("LD_PRELOAD="))
        {
            warnings.push("UnsetEnvironment= removes LD_PRELOAD again".into());
        }
        for entry in words(self.get("EnvironmentFiles")) {
            let sets = fs::read_to_string(&entry).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.trim_start().starts_with("LD_PRELOAD="))
            });
            if sets {
                warnings.push(format!(
                    "{entry} sets LD_PRELOAD, which counts instead: add {shown} there"
                ));
            }
        }
        if !self
            .get("TriggeredBy")
            .split(' ')
            .all(|unit| !unit.ends_with(".socket"))
        {
            warnings.push(format!(
                "{} binds the port for it and keeps it: the library is needed only for what the \
                 service binds by itself",
                self.get("TriggeredBy")
            ));
        }
        warnings
    }

    /// Lists the drop-ins that systemd reads after ours, and that undo what ours sets.
    pub(crate) fn overridden(&self, variables: &Variables) -> Vec<String> {
        let mut warnings = Vec::new();
        for path in words(self.get("DropInPaths")).iter().map(Path::new) {
            if path.file_name().is_none_or(|name| name <= OsStr::new(FILE)) {
                continue;
            }
            let text = fs::read_to_string(path).unwrap_or_default();
            let shown = path.display();
            for value in text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Environment="))
            {
                if value.is_empty() {
                    warnings.push(format!(
                        "{shown} comes after {FILE} and empties Environment=, and LD_PRELOAD with \
                         it: rename it"
                    ));
                }
                for word in words(value) {
                    let name = word.split('=').next().unwrap_or_default();
                    if name == "LD_PRELOAD" || variables.iter().any(|(ours, _)| ours == name) {
                        warnings.push(format!(
                            "{shown} comes after {FILE} and sets {name}, which counts instead: \
                             take it out there"
                        ));
                    }
                }
            }
        }
        warnings
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
        let mut folders: Vec<PathBuf> = Vec::new();
        if !group.is_empty() {
            folders.extend(TREES.iter().map(|tree| Path::new(tree).join(group)));
        }
        let mut found: BTreeSet<i32> = main.into_iter().collect();
        while let Some(folder) = folders.pop() {
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            let below = fs::read_dir(folder).into_iter().flatten().flatten();
            folders.extend(
                below
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        found
    }

    /// Reads the programs that the unit starts, with their arguments, from `{ path=/bin/x ;
    /// argv[]=/bin/x -a ; ignore_errors=no ; …`.
    fn started(&self) -> Vec<(PathBuf, Vec<OsString>)> {
        let commands = self.get("ExecStart").split("{ path=").skip(1);
        commands
            .filter_map(|command| {
                let (path, rest) = command.split_once(" ; argv[]=")?;
                let (argv, _) = rest.split_once(" ; ignore_errors=")?;
                let words: Vec<&str> = argv.split_whitespace().collect();
                // Ours is there already, in front of the program.
                let (path, arguments) = match words.as_slice() {
                    [command, "run", "--", program, rest @ ..]
                    | [command, "run", "--library", _, "--", program, rest @ ..]
                        if Path::new(command).file_name() == Some(OsStr::new("reuseaddr")) =>
                    {
                        (*program, rest)
                    }
                    [_, rest @ ..] => (path, rest),
                    [] => (path, &[][..]),
                };
                let arguments = arguments.iter().map(OsString::from);
                Some((PathBuf::from(path), arguments.collect()))
            })
            .filter(|(path, _)| path.is_absolute())
            .collect()
    }

    /// Whether the library works in what the unit starts, as far as can be seen from here.
    pub(crate) fn reports(&self, libraries: &Libraries, of_user: bool) -> Vec<Report> {
        if !self.get("RootDirectory").is_empty() || !self.get("RootImage").is_empty() {
            return Vec::new();
        }
        let user = self.get("User");
        let no_new_privileges = self.get("NoNewPrivileges") == "yes";
        let who = if of_user {
            Credentials {
                no_new_privileges,
                ..Credentials::own()
            }
        } else {
            let id = match (user, self.get("DynamicUser")) {
                ("", "yes") => u32::MAX,
                ("", _) => 0,
                (user, _) => Credentials::id(OsStr::new(user)),
            };
            // A dash in front: the service also starts without the file.
            let context = self.get("SELinuxContext").trim_start_matches('-');
            Credentials {
                uid: id,
                gid: id,
                no_new_privileges,
                domain: Domain::of_init((!context.is_empty()).then(|| context.to_owned())),
            }
        };
        self.started()
            .iter()
            .map(|(path, arguments)| {
                inspect::program(
                    path,
                    arguments,
                    Some(libraries),
                    &who,
                    inspect::Depth::Everything,
                )
            })
            .collect()
    }
}

/// The words of a list, which may be quoted and escaped as in a shell.
fn words(list: &str) -> Vec<String> {
    shell_words::split(list)
        .unwrap_or_else(|_| list.split_whitespace().map(str::to_owned).collect())
}

/// Whether everybody may read a file: its own permissions, and those of its folders.
fn readable_by_all(path: &Path) -> bool {
    const READ: u32 = 0o004;
    const SEARCH: u32 = 0o001;
    let allows = |path: &Path, bit: u32| {
        path.metadata()
            .is_ok_and(|metadata| metadata.permissions().mode() & bit != 0)
    };
    allows(path, READ)
        && path
            .ancestors()
            .skip(1)
            .all(|folder| folder.as_os_str().is_empty() || allows(folder, SEARCH))
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
    fn finds_what_is_started() {
        let properties = Properties::parse(
            "ExecStart={ path=/usr/bin/app ; argv[]=/usr/bin/app --db.path=/var/lib/x ; \
             ignore_errors=no ; pid=0 }\n\
             ExecStart={ path=/bin/env ; argv[]=/bin/env -i y ; ignore_errors=no ; \
             start_time=[n/a] ; pid=0 }\n",
        );
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            properties.started(),
            [
                ("/usr/bin/app".into(), words(&["--db.path=/var/lib/x"])),
                ("/bin/env".into(), words(&["-i", "y"])),
            ]
        );
    }

    #[test]
    fn finds_what_is_preloaded_already() {
        let properties = Properties::parse("Id=x\nEnvironment=A=b LD_PRELOAD=/a.so:/b.so\n");
        assert_eq!(properties.preloaded().as_deref(), Some("/a.so:/b.so"));
    }
}
