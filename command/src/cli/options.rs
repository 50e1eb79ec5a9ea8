//! Options that several commands have.

use crate::library::libraries::Libraries;
use crate::net::namespace;
use crate::process::info;
use anyhow::Result;
use libreuse_rules::settings::Settings;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

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

/// A duration as `LIBREUSE_WAIT` has it: `500ms`, `60s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut settings = Settings::DEFAULT;
        settings
            .set(b"LIBREUSE_WAIT", text.as_bytes())
            .map_err(|complaint| {
                // clap has already named the value.
                let complaint = complaint.to_string();
                complaint
                    .split_once(": ")
                    .map_or(complaint.clone(), |(_, why)| why.to_owned())
            })?;
        Ok(Self(Duration::from_millis(settings.wait_ms.into())))
    }
}

/// Who reads the answer.
#[derive(Debug, clap::Args)]
pub(crate) struct Format {
    /// Answer in JSON, of which the manual has every key (`reuseaddr man`)
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
            info::process(pid)?;
            namespace::enter(pid)?;
        }
        Ok(())
    }
}
