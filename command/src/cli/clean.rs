//! Removes what other commands have left on the machine, before this command is uninstalled.

use super::{bpf, exit};
use crate::engine::bpf::hierarchy::Hierarchy;
use crate::engine::bpf::{oci, pins, record};
use crate::library::left::{self, Left};
use crate::output::{self, paragraph};
use crate::systemd::{drop_in, unit};
use anyhow::Result;
use rustix::process::geteuid;
use std::fs;
use std::path::{Path, PathBuf};

/// Remove what other commands have left: libraries, drop-ins, the OCI hook, BPF programs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Run it before you uninstall this command. As root it cleans the system, \
                  otherwise your own files. What a process still uses stays, and is named."
)]
pub(crate) struct Arguments {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Answers `reuseaddr clean`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    let user = !geteuid().is_root();
    let mut text = String::new();
    let mut stays = false;
    let verb = if arguments.dry_run {
        "would be removed"
    } else {
        "removed"
    };
    let mut report = |path: &Path, outcome: Result<(), String>| match outcome {
        Ok(()) => text += &paragraph("", "    ", &format!("{verb}: {}", path.display())),
        Err(why) => {
            stays = true;
            text += &paragraph("", "    ", &format!("stays: {}: {why}", path.display()));
        }
    };

    // First what names the libraries and the command, so that nothing refers to a missing file: a
    // runtime starts no container whose hook is missing.
    if let Some(hook) = oci::written().filter(|_| !user) {
        let removed = if arguments.dry_run {
            Ok(())
        } else {
            fs::remove_file(&hook).map_err(|error| format!("can't be removed: {error}"))
        };
        report(&hook, removed);
    }
    let drop_ins = unit::folder(user)
        .map(|folder| drop_in::written(&folder))
        .unwrap_or_default();
    for file in &drop_ins {
        let folder = file.parent().unwrap_or(file);
        let removed = if arguments.dry_run {
            Ok(())
        } else {
            drop_in::remove(folder, file).map_err(|error| format!("{error:#}"))
        };
        report(file, removed);
    }
    let lasting: Vec<PathBuf> = unit::library_folder(user).into_iter().collect();
    for Left { path, outcome } in left::remove(&lasting, arguments.dry_run) {
        report(&path, outcome);
    }
    if !user && (Path::new(pins::FOLDER).exists() || !record::all().is_empty()) {
        if arguments.dry_run {
            report(Path::new(pins::FOLDER), Ok(()));
        } else {
            bpf::detach_all(&Hierarchy::find()?)?;
        }
    }
    if text.is_empty() {
        text = "There is nothing to remove.\n".into();
    }
    output::print(&text)?;
    if !drop_ins.is_empty() && !arguments.dry_run {
        let user = if user { " --user" } else { "" };
        output::info(&format!(
            "Services that run are unchanged. For their next start:\n    \
             systemctl{user} daemon-reload"
        ));
    }
    Ok(if stays { exit::NO } else { exit::YES })
}
