//! Starts a program with the library: everything that could go wrong is found first, and nothing is started if
//! anything does.

use super::check::{self, Credentials};
use super::evict::{self, Choice};
use super::library::{Libraries, find_program};
use super::output::{self, readable};
use super::variables::Variables;
use super::{os, ports};
use anyhow::{Context, Result};
use log::debug;
use std::collections::BTreeMap;
use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Start a program with the library, so that it can bind its port again at once
#[derive(Debug, clap::Args)]
#[command(
    after_help = "`run` becomes PROGRAM: same process, same descriptors, its own exit code. If the library can't \
    work in PROGRAM, or an option is wrong, it says why, starts nothing and exits with 125.\n\
    Example: reuseaddr run --wait 60s python3 server.py"
)]
pub(super) struct Arguments {
    /// Start PROGRAM even if the library can't work in it
    #[arg(long)]
    anyway: bool,

    /// First end what earlier runs left on the ports of --ports, if that is allowed
    #[arg(long)]
    evict: bool,

    /// The library, if it is not beside this command or in a usual place
    #[arg(long, value_name = "PATH")]
    library: Option<PathBuf>,

    #[command(flatten)]
    variables: Variables,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    program: Vec<OsString>,
}

/// Nothing was started, since something that was asked for can't be.
pub(super) const REFUSED: u8 = 125;
/// The program can't be executed, as in sh.
const NOT_EXECUTABLE: u8 = 126;
/// The program is not there, as in sh.
const NOT_FOUND: u8 = 127;

/// Answers `reuseaddr run`, which it survives only if nothing was started.
pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    let Some((name, rest)) = arguments.program.split_first() else {
        return Ok(REFUSED);
    };
    let inherited: Vec<(OsString, OsString)> = env::vars_os().collect();
    let borrowed = inherited
        .iter()
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let (settings, mut mistakes) = arguments.variables.read(borrowed);
    if arguments.evict && settings.ports.all() {
        mistakes.push("--evict needs to know the ports: add --ports PORT".into());
    }
    let libraries = Libraries::find(arguments.library.as_deref())
        .map_err(|error| mistakes.push(format!("{error:#}")))
        .ok();
    let path = find_program(name);
    for mistake in &mistakes {
        output::complain(mistake);
    }
    let path = match path {
        Ok(path) => path,
        Err(error) => {
            let shown = readable(name.as_bytes());
            if error.kind() == ErrorKind::PermissionDenied {
                output::complain(&format!("{shown} can't be executed; see `ls -l` on it"));
                return Ok(if mistakes.is_empty() {
                    NOT_EXECUTABLE
                } else {
                    REFUSED
                });
            }
            output::complain(&format!(
                "{shown} was not found{}",
                if shown.contains('/') { "" } else { " in PATH" }
            ));
            return Ok(if mistakes.is_empty() {
                NOT_FOUND
            } else {
                REFUSED
            });
        }
    };
    let Some(libraries) = libraries.filter(|_| mistakes.is_empty()) else {
        return Ok(REFUSED);
    };

    let report = check::program(&path, rest, &libraries, Credentials::own());
    if !report.is_good() {
        let shown = readable(name.as_bytes());
        for problem in report.problems() {
            output::complain(problem);
        }
        if !arguments.anyway {
            output::complain(&format!(
                "so {shown} was not started; `reuseaddr run --anyway` starts it without the library"
            ));
            return Ok(REFUSED);
        }
        output::warn(&format!("{shown} is started anyway"));
    }
    if arguments.evict {
        clear(&ports::listed(&settings.ports))?;
    }
    // With --anyway there may be none.
    let environment = environment(inherited, &arguments.variables, report.preload.as_deref());
    become_it(&path, &arguments.program, &environment)
}

/// Ends what earlier runs left. Where that can't be, it says so, and the program is started all the same: it may bind
/// over it.
fn clear(ports: &[u16]) -> Result<()> {
    let eviction = evict::evict(ports, Choice::default(), false)?;
    if eviction.left.is_empty() {
        debug!("{} leftovers evicted", eviction.found.len());
    } else {
        output::warn(&format!(
            "{} of {} leftovers are still there",
            eviction.left.len(),
            eviction.found.len()
        ));
        output::warn(&evict::explain(
            eviction.refusal,
            &evict::spelled(ports),
            &eviction.left,
        ));
    }
    Ok(())
}

/// What the program finds in its environment: our variables, and the library, if there is one, in front of any other.
fn environment(
    inherited: Vec<(OsString, OsString)>,
    variables: &Variables,
    library: Option<&Path>,
) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = inherited.into_iter().collect();
    if let Some(library) = library {
        let before = environment
            .remove(OsStr::new("LD_PRELOAD"))
            .unwrap_or_default();
        environment.insert("LD_PRELOAD".into(), preload(library, &before));
    }
    for (name, value) in variables.iter() {
        environment.insert(name.into(), value.to_owned());
    }
    environment
}

/// The new LD_PRELOAD: the library, and what was there before but for other copies of it.
pub(super) fn preload(library: &Path, before: &OsStr) -> OsString {
    let mut entries = vec![library.as_os_str().as_bytes()];
    // ld.so(8): spaces and colons separate them.
    for entry in before.as_bytes().split(|byte| b" :".contains(byte)) {
        let is_ours = Path::new(OsStr::from_bytes(entry)).file_name() == library.file_name();
        if !entry.is_empty() && !is_ours && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    OsString::from_vec(entries.join(&b':'))
}

/// Becomes the program.
fn become_it(
    path: &Path,
    arguments: &[OsString],
    environment: &BTreeMap<OsString, OsString>,
) -> Result<u8> {
    let c_string = |bytes: &[u8]| CString::new(bytes).context("an argument has a zero byte in it");
    let path_bytes = c_string(path.as_os_str().as_bytes())?;
    let mut arguments: Vec<CString> = arguments
        .iter()
        .map(|argument| c_string(argument.as_bytes()))
        .collect::<Result<_>>()?;
    let environment: Vec<CString> = environment
        .iter()
        .map(|(name, value)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<_>>()?;
    debug!("exec {}", path.display());
    let mut error = os::exec(&path_bytes, &arguments, &environment);
    if error.raw_os_error() == Some(libc::ENOEXEC) {
        // A script without a first line that says so: /bin/sh runs it, as execvp(3) and every shell have it.
        if let Some(name) = arguments.first_mut() {
            *name = path_bytes;
        }
        arguments.insert(0, c"/bin/sh".into());
        error = os::exec(c"/bin/sh", &arguments, &environment);
    }
    output::complain(&format!("{} can't be executed: {error}", path.display()));
    Ok(if error.kind() == ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_other_libraries_behind_ours() {
        for (before, expected) in [
            ("", "/opt/libreuse.so"),
            ("/a.so", "/opt/libreuse.so:/a.so"),
            ("/a.so /b.so", "/opt/libreuse.so:/a.so:/b.so"),
            ("::/a.so: :/b.so", "/opt/libreuse.so:/a.so:/b.so"),
            ("/a.so:/opt/libreuse.so", "/opt/libreuse.so:/a.so"),
            ("libreuse.so:/a.so", "/opt/libreuse.so:/a.so"),
        ] {
            assert_eq!(
                preload(Path::new("/opt/libreuse.so"), OsStr::new(before)),
                expected,
                "{before}"
            );
        }
    }
}
