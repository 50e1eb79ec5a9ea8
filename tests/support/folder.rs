//! Folders for what a test writes.

use crate::build::scratch;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
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
        let path = parent.join(format!("{name}.{}", std::process::id()));
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
    pub fn copy(&self, file: impl AsRef<Path>, name: &str) -> PathBuf {
        let copy = self.join(name);
        fs::copy(&file, &copy)
            .unwrap_or_else(|error| panic!("{}: {error}", file.as_ref().display()));
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&copy, everybody).expect("the copy is ours");
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: it is in a folder for temporary files anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}
