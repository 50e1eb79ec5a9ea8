//! Puts the library where programs find it by its bare name, or into a folder.

use super::exit;
use crate::library::place;
use crate::output::{self, paragraph};
use anyhow::Result;
use rustix::process::geteuid;
use std::path::PathBuf;

/// Put the library where LD_PRELOAD=libreuse.so finds it, or into a folder
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Only LD_PRELOAD by hand needs this; `run` and `systemd` do not.\n\
                  Example: reuseaddr install /volume"
)]
pub(crate) struct Arguments {
    /// Let setuid programs, and those with file capabilities, load it too
    #[arg(long, conflicts_with = "folder")]
    secure_programs: bool,

    /// Remove the library that this command put there for all programs
    #[arg(long, conflicts_with_all = ["folder", "secure_programs"])]
    remove: bool,

    /// Only put libreuse.so into this folder, which exists: a container's volume, for example
    folder: Option<PathBuf>,
}

/// Answers `reuseaddr install`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let mut text = String::new();
    if let Some(folder) = &arguments.folder {
        let file = place::into_folder(folder)?;
        text += &paragraph("", "", &format!("installed: {}", file.display()));
        output::print(&text)?;
        return Ok(exit::YES);
    }
    if !geteuid().is_root() {
        anyhow::bail!(
            "the library for all programs is root's to install\n    sudo reuseaddr install{}",
            if arguments.secure_programs {
                " --secure-programs"
            } else {
                ""
            }
        );
    }
    if arguments.remove {
        let removed = place::remove_from_all_programs()?;
        for file in &removed {
            text += &paragraph("", "", &format!("removed: {}", file.display()));
        }
        if removed.is_empty() {
            text = "There is nothing to remove.\n".into();
        }
        output::print(&text)?;
        return Ok(exit::YES);
    }
    for file in place::for_all_programs(arguments.secure_programs)? {
        text += &paragraph("", "", &format!("installed: {}", file.display()));
    }
    if arguments.secure_programs {
        text += &paragraph("", "", SECURE);
    }
    output::print(&text)?;
    Ok(exit::YES)
}

/// Explains the set-user-ID bit of a library.
const SECURE: &str = "With LD_PRELOAD=libreuse.so in their environment, setuid programs and those \
                      with file capabilities load it from now on, whoever starts them: its code \
                      runs with their privileges. There it obeys no variable but acts by its \
                      defaults. An update of the library takes this back, and so does `chmod u-s` \
                      on the file.";
