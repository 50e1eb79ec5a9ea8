//! Finds a path of this command that units can name and that stays.

use super::unit;
use crate::library::store;
use crate::output;
use anyhow::{Context, Result, anyhow};
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The path of the command that units name.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) path: PathBuf,
    /// Whether the command has to be copied there first.
    copied: bool,
}

impl Lasting {
    /// Takes the command's own path where only root can replace the file and no tool removes it;
    /// otherwise the path of a copy.
    pub(crate) fn find(user: bool) -> Result<Self> {
        let path = env::current_exe().context("the command does not know its own path")?;
        if is_lasting(&path) {
            return Ok(Self {
                path,
                copied: false,
            });
        }
        Ok(Self {
            path: unit::library_folder(user)?.join(store::COMMAND),
            copied: true,
        })
    }

    /// Copies the command there if that is needed, and says so.
    pub(crate) fn put(&self) -> Result<()> {
        if !self.copied {
            return Ok(());
        }
        // The file that runs, even if its path has another one by now.
        let bytes = fs::read("/proc/self/exe").context("the command can't read itself")?;
        let folder = self.path.parent().unwrap_or(&self.path);
        store::put_command(folder, &bytes).map_err(|why| anyhow!("{} {why}", folder.display()))?;
        output::info(&format!(
            "This command is copied to {}, where it stays.",
            self.path.display()
        ));
        Ok(())
    }

    /// Whether a copy is needed.
    pub(crate) fn is_copied(&self) -> bool {
        self.copied
    }
}

/// Whether only root can replace a file, and it stays until it is uninstalled: not so in a virtual
/// environment, a cache, a home or a build directory.
fn is_lasting(path: &Path) -> bool {
    const OF_THE_SYSTEM: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib64", "opt", "nix", "gnu"];
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let mut parts = path.components().skip(1);
    let first = parts.next();
    let is_there = |name: &str| first == Some(Component::Normal(name.as_ref()));
    let of_a_tool = path.ancestors().any(|folder| {
        folder
            .file_name()
            .is_some_and(|name| name == "node_modules" || name == "site-packages")
            || folder.join("pyvenv.cfg").exists()
    });
    OF_THE_SYSTEM.into_iter().any(is_there)
        && !of_a_tool
        && path.ancestors().all(|part| {
            part.metadata()
                .is_ok_and(|found| found.uid() == 0 && found.mode() & WRITABLE_BY_OTHERS == 0)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lasts_where_the_system_is_alone() {
        for path in [
            "/tmp/x/reuseaddr",
            "/root/.cargo/bin/reuseaddr",
            "/home/a/reuseaddr",
            "/no",
        ] {
            assert!(!is_lasting(Path::new(path)), "{path}");
        }
        assert!(is_lasting(Path::new("/usr/bin/env")));
    }
}
