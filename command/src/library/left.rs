//! Finds and removes the libraries that this command has written, unless a process uses them.

use super::embedded::{self, used_by};
use super::layout::NAME;
use super::store::{COMMAND, Folder};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder with our libraries, and whether it was removed.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) path: PathBuf,
    pub(crate) outcome: Result<(), String>,
}

/// Removes the libraries in this user's stores, where `run` writes them, and in the `lasting`
/// folders, which drop-ins name. A library that a process uses stays.
pub(crate) fn remove(lasting: &[PathBuf], dry_run: bool) -> Vec<Left> {
    let mut all = Vec::new();
    for store in embedded::places() {
        let Some(folder) = existing(&store) else {
            continue;
        };
        for name in folder
            .names()
            .iter()
            .filter(|name| embedded::is_of_a_version(name))
        {
            all.push(remove_one(&folder, name, dry_run));
        }
        if !dry_run {
            // Only if it is empty now.
            let _ = fs::remove_dir(&store);
        }
    }
    for path in lasting {
        let above = path.parent().and_then(existing);
        if let (Some(above), Some(name), true) = (above, path.file_name(), path.is_dir()) {
            // The copy of the command that units named; the units' drop-ins are gone already.
            if !dry_run {
                let _ = fs::remove_file(path.join(COMMAND));
            }
            all.push(remove_one(&above, name, dry_run));
        }
    }
    all
}

/// Opens an existing folder; one that others can write to is not ours.
fn existing(path: &Path) -> Option<Folder> {
    path.is_dir().then(|| Folder::open(path).ok()).flatten()
}

fn remove_one(above: &Folder, name: &OsStr, dry_run: bool) -> Left {
    let path = above.path().join(name);
    let outcome = match used_by(&path) {
        Some(process) => Err(format!("{process} uses it")),
        None if dry_run => Ok(()),
        None => above
            .remove(name, OsStr::new(NAME))
            .map_err(|error| format!("can't be removed: {error}")),
    };
    Left { path, outcome }
}
