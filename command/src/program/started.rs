//! Follows a wrapper, such as `env` or `setpriv`, to the program that it starts.

use super::finding::{Hopeless, Note, Problem};
use super::report::Report;
use super::search::{file_name, find_program};
use super::wrapper::{self, Wrapped};
use crate::engine::trace::exempt;
use crate::library::elf::Elf;
use crate::library::layout::PreloadPath;
use crate::library::libraries::Libraries;
use crate::output::readable;
use crate::process::credentials::Credentials;
use crate::process::selinux;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The folders of the distribution's own programs.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Returns whether libreuse can't reach the program that a wrapper starts, and reports why:
///
/// * another process starts it (`at`, `systemd-run`, `docker`); or
/// * it starts without `LD_PRELOAD`, whatever the arguments (`sudo`).
///
/// The wrapper's name is a hint, and its file decides: another program may have the same name.
pub(super) fn elsewhere(
    path: &Path,
    arguments: &[OsString],
    who: &Credentials,
    report: &mut Report,
) -> bool {
    let wrapper = file_name(path);
    let is_login = |argument: &OsString| ["-", "-l", "--login"].iter().any(|it| argument == it);
    let of_the_system = || {
        SYSTEM_FOLDERS
            .iter()
            .any(|folder| path.parent() == Some(Path::new(folder)))
    };
    let is_elsewhere = match wrapper.as_str() {
        "su" if who.uid == 0 && !arguments.iter().any(is_login) => return false,
        "su" | "sudo" | "doas" | "pkexec" if is_setuid(path) => {
            report.findings.clear();
            report.add(Hopeless::DropsLibrary { wrapper });
            return true;
        }
        "at" | "batch" | "service" => of_the_system(),
        "systemd-run" | "systemctl" => exempt::mentions(path, b"systemd"),
        "invoke-rc.d" => exempt::mentions(path, b"init.d"),
        // The start of a client's identification string (RFC 4253).
        "ssh" => exempt::mentions(path, b"SSH-"),
        "docker" | "podman" => exempt::starts_containers(path),
        _ => false,
    };
    if !is_elsewhere {
        return false;
    }
    let hopeless = Hopeless::StartedElsewhere { wrapper };
    // Other findings, such as set-user-ID, would advise another way to start it.
    report.findings.clear();
    report.add(hopeless);
    true
}

fn is_setuid(path: &Path) -> bool {
    const SETUID: u32 = 0o4000;
    path.metadata()
        .is_ok_and(|file| file.permissions().mode() & SETUID != 0)
}

/// The program that a wrapper starts.
pub(super) struct Started {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) who: Credentials,
    /// Its root directory (chroot(2)), if not ours.
    pub(super) root: Option<PathBuf>,
    /// Whether it may see other files than we do (`mount_namespaces(7)`).
    pub(super) other_files: bool,
}

/// Finds the program that a wrapper starts, from the wrapper's arguments. `None` if `path` is not
/// a wrapper, or if the program can't be found.
pub(super) fn follow(
    path: &Path,
    arguments: &[OsString],
    who: &Credentials,
    report: &mut Report,
) -> Option<Started> {
    let wrapper = file_name(path);
    let start = wrapper::start(&wrapper, arguments)?;
    if start.drops_library {
        report.add(Problem::WrapperDropsLibrary {
            wrapper: wrapper.clone(),
        });
    }
    report.starts_unseen |= start.other_files;
    let who = started_as(path, who, &start);
    let Some((name, arguments)) = start.program.split_first() else {
        report.starts_unseen = true;
        if start.elsewhere {
            report.add(Note::StartsElsewhere { wrapper });
        }
        return None;
    };
    let found = match &start.root {
        Some(root) => Ok(in_root(root, name)),
        None => find_program(name),
    };
    let Ok(program) = found else {
        report.starts_unseen = true;
        report.add(Note::StartsUnknown {
            wrapper,
            program: readable(name.as_bytes()),
        });
        return None;
    };
    Some(Started {
        program,
        arguments: arguments.to_vec(),
        who,
        root: start.root,
        other_files: start.other_files,
    })
}

/// The credentials with which the wrapper starts the program.
fn started_as(wrapper: &Path, who: &Credentials, start: &Wrapped) -> Credentials {
    let id = |name: &Option<OsString>, own| name.as_ref().map_or(own, |name| Credentials::id(name));
    Credentials {
        uid: id(&start.user, who.uid),
        gid: id(&start.group, who.gid),
        no_new_privileges: who.no_new_privileges || start.no_new_privileges,
        domain: who.domain.behind(
            selinux::start(wrapper, &who.domain, who.no_new_privileges),
            start.context.clone(),
        ),
    }
}

/// Finds a program below a new root directory. A name without a slash is searched for in the usual
/// PATH.
fn in_root(root: &Path, program: &OsStr) -> PathBuf {
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    if program.as_bytes().contains(&b'/') {
        return below(Path::new(program));
    }
    ["/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .chain(&SYSTEM_FOLDERS)
        .map(|folder| below(&Path::new(folder).join(program)))
        .find(|path| path.exists())
        .unwrap_or_else(|| below(Path::new(program)))
}

/// Inspects a program that has another root directory.
pub(super) fn below_root(path: &Path, root: &Path, libraries: Option<&Libraries>) -> Report {
    let mut report = Report {
        starts_unseen: true,
        ..Report::default()
    };
    let program = path.display().to_string();
    let is_there = |elf: &Elf| {
        let entry = libraries.and_then(Libraries::for_children);
        entry.is_some_and(|entry| {
            PreloadPath::expansions(&entry, elf.class)
                .any(|file| root.join(file.strip_prefix("/").unwrap_or(&file)).exists())
        })
    };
    match Elf::read(path) {
        Ok(Some(elf)) if elf.go => report.add(Problem::Go { program }),
        Ok(Some(elf)) if elf.interpreter.is_none() => report.add(Problem::Static { program }),
        Ok(Some(elf)) if !is_there(&elf) => report.add(Problem::NotInRoot {
            program,
            root: root.to_owned(),
        }),
        Ok(_) => {}
        Err(error) => report.add(Note::Unreadable(format!("{error:#}"))),
    }
    report
}
