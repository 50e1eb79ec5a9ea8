//! The command's own path, as something that starts services remembers it.

use super::unit;
use crate::library::store;
use anyhow::{Context, Result, anyhow};
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Where the command will be as long as the services that name it.
#[derive(Debug)]
pub(crate) struct Lasting {
    pub(crate) path: PathBuf,
    /// Whether it has to be put there first.
    copied: bool,
}

impl Lasting {
    /// The command itself where only root can replace it and no tool cleans up, and else a copy.
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

    /// Puts it there, and says where it is if that was needed.
    pub(crate) fn put(&self) -> Result<Option<&Path>> {
        if !self.copied {
            return Ok(None);
        }
        // The file that runs, even if its path has another one by now.
        let bytes = fs::read("/proc/self/exe").context("the command can't read itself")?;
        let folder = self.path.parent().unwrap_or(&self.path);
        store::put_command(folder, &bytes).map_err(|why| anyhow!("{} {why}", folder.display()))?;
        Ok(Some(&self.path))
    }

    /// Whether it has to be put there.
    pub(crate) fn is_copied(&self) -> bool {
        self.copied
    }
}

/// Whether only root can replace a file, and it goes when somebody uninstalls it and not before:
/// not that of a virtual environment, a cache, a home, or a build.
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
