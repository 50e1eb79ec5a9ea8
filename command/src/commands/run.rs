//! Starts a program with the library: everything that could go wrong is found first, and nothing is started if
//! anything does.

use super::{exit, free, options};
use crate::library::preload::environment;
use crate::library::variables::Variables;
use crate::output::{self, readable};
use crate::port::eviction::{self, Choice};
use crate::port::list;
use crate::program::file::find_program;
use crate::program::judge;
use crate::program::report::Report;
use crate::program::rights::Credentials;
use crate::program::start::become_it;
use anyhow::Result;
use log::debug;
use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Start a program with the library, so that it can bind its port again at once
#[derive(Debug, clap::Args)]
#[command(
    after_help = "`run` becomes PROGRAM: same process, same descriptors, its own exit code. If the library can't \
    work in PROGRAM, or an option is wrong, it says why, starts nothing and exits with 125.\n\
    Example: reuseaddr run --wait 60s python3 server.py"
)]
pub(crate) struct Arguments {
    /// Start PROGRAM even if the library can't work in it
    #[arg(long)]
    anyway: bool,

    /// First end what earlier runs left on the ports of --ports: without any right where the peers were on this host
    #[arg(long)]
    evict: bool,

    /// First ask processes of your own that have the ports of --ports to end, and evict what they leave
    #[arg(long)]
    free: bool,

    #[command(flatten)]
    library: options::Library,

    #[command(flatten)]
    variables: Variables,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    program: Vec<OsString>,
}

/// Answers `reuseaddr run`, which it survives only if nothing was started.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let Some((name, rest)) = arguments.program.split_first() else {
        return Ok(exit::REFUSED);
    };
    let inherited: Vec<(OsString, OsString)> = env::vars_os().collect();
    let borrowed = inherited
        .iter()
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let (settings, mut mistakes) = arguments.variables.read(borrowed);
    for (option, given) in [("--evict", arguments.evict), ("--free", arguments.free)] {
        if given && settings.ports.all() {
            mistakes.push(format!(
                "{option} needs to know the ports: add --ports PORT"
            ));
        }
    }
    let libraries = arguments
        .library
        .find()
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
                    exit::NOT_EXECUTABLE
                } else {
                    exit::REFUSED
                });
            }
            output::complain(&format!(
                "{shown} was not found{}",
                if shown.contains('/') { "" } else { " in PATH" }
            ));
            return Ok(if mistakes.is_empty() {
                exit::NOT_FOUND
            } else {
                exit::REFUSED
            });
        }
    };
    let Some(libraries) = libraries.filter(|_| mistakes.is_empty()) else {
        return Ok(exit::REFUSED);
    };

    let report = judge::program(&path, rest, &libraries, Credentials::own());
    let Some(way) = choose(&report, &readable(name.as_bytes()), arguments.anyway) else {
        return Ok(exit::REFUSED);
    };
    if arguments.free {
        free::for_program(&list::listed(&settings.ports))?;
    }
    if arguments.evict {
        clear(&list::listed(&settings.ports))?;
    }
    let library = match &way {
        Way::Preload(library) => Some(library.as_path()),
        Way::Plain => None,
    };
    let environment = environment(inherited, &arguments.variables, library);
    let error = become_it(&path, &arguments.program, &environment);
    output::complain(&format!("{} can't be executed: {error}", path.display()));
    Ok(if error.kind() == ErrorKind::NotFound {
        exit::NOT_FOUND
    } else {
        exit::NOT_EXECUTABLE
    })
}

/// How a program is started.
enum Way {
    /// With the library, which LD_PRELOAD names like this.
    Preload(PathBuf),
    /// As it is: that was asked for.
    Plain,
}

/// Chooses the way for a program, or says why there is none.
fn choose(report: &Report, shown: &str, anyway: bool) -> Option<Way> {
    if let Some(library) = report.preload.clone() {
        return Some(Way::Preload(library));
    }
    for problem in report.problems() {
        output::complain(problem);
    }
    if !anyway {
        output::complain(&format!(
            "so {shown} was not started; `reuseaddr run --anyway` starts it without the library"
        ));
        return None;
    }
    output::warn(&format!("{shown} is started anyway"));
    Some(Way::Plain)
}

/// Ends what earlier runs left. Where that can't be, it says so, and the program is started all the same: it may bind
/// over it.
fn clear(ports: &[u16]) -> Result<()> {
    let eviction = eviction::evict(ports, Choice::default(), false)?;
    if eviction.left.is_empty() {
        debug!("{} leftovers evicted", eviction.found.len());
    } else {
        output::warn(&format!(
            "{} of {} leftovers are still there",
            eviction.left.len(),
            eviction.found.len()
        ));
        output::warn(&eviction::explain(&eviction, &list::spelled(ports)));
    }
    Ok(())
}
