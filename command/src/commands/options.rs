//! Options that several commands have.

use crate::kernel::network;
use crate::library::libraries::Libraries;
use anyhow::Result;
use std::path::PathBuf;

/// Which library is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Library {
    /// Take this library, and neither an installed one nor the one that this command carries
    #[arg(long, value_name = "PATH")]
    pub(crate) library: Option<PathBuf>,
}

impl Library {
    /// The one that was named, or those that are found.
    pub(crate) fn find(&self) -> Result<Libraries> {
        Libraries::find(self.library.as_deref())
    }
}

/// Who reads the answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Format {
    /// Answer in JSON (docs/json.md)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whose ports are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    /// In the network namespace of this process, as a container's
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Option<u32>,
}

impl Network {
    /// Goes there, if it is not here.
    pub(crate) fn enter(&self) -> Result<()> {
        if let Some(pid) = self.pid {
            network::process(pid)?;
            network::enter(pid)?;
        }
        Ok(())
    }
}
