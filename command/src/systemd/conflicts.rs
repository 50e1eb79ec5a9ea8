//! Finds what in a unit defeats the library, or makes it needless.

use super::drop_in::FILE;
use super::properties::{Properties, words};
use crate::library::variables::Variables;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

impl Properties {
    /// Lists what in the unit defeats the library at this path, or makes it needless.
    pub(crate) fn warnings(&self, path: &Path) -> Vec<String> {
        let not_found = (self.get("LoadState") == "not-found")
            .then(|| "systemd has no such unit yet; the drop-in applies once there is one".into());
        not_found
            .into_iter()
            .chain(self.other_roots(path))
            .chain(self.hidden_folders(path))
            .chain(self.missing_permissions(path))
            .chain(self.other_environments(path))
            .chain(self.socket_units())
            .collect()
    }

    /// Root directories that the library has to be in as well.
    fn other_roots(&self, path: &Path) -> Vec<String> {
        let roots = ["RootDirectory", "RootImage"].map(|name| (name, self.get(name)));
        roots
            .into_iter()
            .filter(|(_, root)| !["", "/"].contains(root))
            .map(|(name, root)| {
                format!(
                    "{name}={root}: {} has to be there inside as well, by the same path",
                    path.display()
                )
            })
            .collect()
    }

    /// Settings that hide the library's folder.
    fn hidden_folders(&self, path: &Path) -> Vec<String> {
        let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
        let mut hiding = Vec::new();
        let home = self.get("ProtectHome");
        if ["yes", "tmpfs"].contains(&home) && below(&["/home", "/root", "/run/user"]) {
            hiding.push(format!("ProtectHome={home}"));
        }
        if self.get("PrivateTmp") == "yes" && below(&["/tmp", "/var/tmp"]) {
            hiding.push("PrivateTmp=yes".into());
        }
        for name in ["InaccessiblePaths", "TemporaryFileSystem"] {
            let folders = words(self.get(name));
            if folders.iter().any(|entry| {
                let folder = without_prefix(entry).split(':').next();
                path.starts_with(folder.unwrap_or_default())
            }) {
                hiding.push(format!("{name}="));
            }
        }
        let shown = path.display();
        hiding
            .iter()
            .map(|setting| format!("{setting} hides {shown}: install it below /usr/local"))
            .collect()
    }

    /// Settings under which the library can't be read or mapped.
    fn missing_permissions(&self, path: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
        let shown = path.display();
        // The longest entry decides, as in systemd.
        let depth = |name| {
            words(self.get(name))
                .iter()
                .map(|entry| Path::new(without_prefix(entry)))
                .filter(|entry| path.starts_with(entry))
                .map(|entry| entry.components().count())
                .max()
        };
        if depth("NoExecPaths") > depth("ExecPaths") {
            warnings.push(format!(
                "NoExecPaths= keeps {shown} from being loaded: add ExecPaths={shown}"
            ));
        }
        let user = match (self.get("User"), self.get("DynamicUser")) {
            ("root", _) | ("", "no" | "") => None,
            ("", _) => Some("DynamicUser=yes".into()),
            (user, _) => Some(format!("User={user}")),
        };
        if let Some(user) = user.filter(|_| !readable_by_all(path)) {
            warnings.push(format!(
                "{user} may not be able to read {shown}: make it and its folders readable by all"
            ));
        }
        warnings
    }

    /// Settings that replace or remove the variable that our drop-in sets.
    fn other_environments(&self, path: &Path) -> Vec<String> {
        let mut warnings = Vec::new();
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
                    "{entry} sets LD_PRELOAD, which counts instead: add {} there",
                    path.display()
                ));
            }
        }
        warnings
    }

    /// Socket units that bind the port in the service's place.
    fn socket_units(&self) -> Option<String> {
        let units = self.get("TriggeredBy");
        let is_socket = |unit: &str| unit.ends_with(".socket");
        units.split(' ').any(is_socket).then(|| {
            format!(
                "{units} binds the port for it and keeps it: the library is needed only for what \
                 the service binds by itself"
            )
        })
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
}

/// A path without what systemd allows in front of it: `-`, if it may be missing, and `+`, if it is
/// below the root directory.
fn without_prefix(entry: &str) -> &str {
    entry.trim_start_matches(['-', '+'])
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
