//! Inspects the programs that a unit starts.

use super::properties::Properties;
use crate::library::libraries::Libraries;
use crate::process::credentials::Credentials;
use crate::process::selinux::Domain;
use crate::program::inspect;
use crate::program::report::Report;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

impl Properties {
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
