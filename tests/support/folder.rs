//! Folders for what a test writes.

use crate::build::{scratch, usual_start};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::{env, fs};

/// A folder for the test alone, removed when the test is done.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        Self::inside(scratch(), name)
    }

    /// One that other users reach too, who may not be let into the folder of the project.
    pub fn for_other_users(name: &str) -> Self {
        let folder = Self::inside(&env::temp_dir(), &format!("libreuse-test-{name}"));
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).expect("the folder is ours");
        folder
    }

    fn inside(parent: &Path, name: &str) -> Self {
        static NUMBERS: Mutex<BTreeMap<PathBuf, u32>> = Mutex::new(BTreeMap::new());
        // Others may have to read what the test puts there.
        usual_start();
        let mut path = parent.join(format!("{name}.{}", std::process::id()));
        // Two tests at once may want the same name.
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let number = numbers.entry(path.clone()).or_default();
        if *number > 0 {
            path.as_mut_os_string().push(format!(".{number}"));
        }
        *number += 1;
        drop(numbers);
        // Left over from a run that was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder for temporary files is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a copy of a program or library there, for whoever reaches the folder.
    ///
    /// Another process writes it. What this one has open for writing, a child of another test holds
    /// open too until it executes something else, and meanwhile nobody can execute it ("Text file
    /// busy").
    pub fn copy(&self, file: impl AsRef<Path>, name: impl AsRef<Path>) -> PathBuf {
        let copy = self.join(name);
        let status = Command::new("cp")
            .arg("--")
            .args([file.as_ref(), &copy])
            .status()
            .expect("cp (coreutils) runs");
        assert!(status.success(), "{}: {status}", file.as_ref().display());
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&copy, everybody).expect("the copy is ours");
        copy
    }

    /// Puts a program there, from its text.
    pub fn script(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let source = self.join(format!("{name}.text"));
        fs::write(&source, text).expect("the folder is ours");
        self.copy(source, name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: it is in a folder for temporary files anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}
