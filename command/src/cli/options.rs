//! Options that several commands have.

use crate::library::libraries::Libraries;
use crate::net::namespace;
use crate::port::port_list::{self, PortList};
use crate::process::info;
use anyhow::Result;
use clap::Arg;
use libreuse_rules::settings::Settings;
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Which library is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct LibraryOption {
    /// Use this library, not an installed one or the one that this command carries
    #[arg(long, value_name = "PATH")]
    pub(crate) library: Option<PathBuf>,
}

impl LibraryOption {
    /// The one that was named, or those that are found.
    pub(crate) fn find(&self) -> Result<Libraries> {
        Libraries::find(self.library.as_deref())
    }
}

/// The option `--ports` of [`Variables`](crate::library::variables::Variables), by the name of its
/// variable.
pub(crate) const PORTS: &str = "LIBREUSE_PORTS";

/// Makes an option for the library's ports take what every command takes as PORT. The library reads
/// numbers and ranges alone, and gets those. What is no port it gets unchanged, and says why.
pub(crate) fn as_the_library_reads_ports(option: Arg) -> Arg {
    let numbers = |text: &str| {
        let mut settings = Settings::DEFAULT;
        let is_plain = settings.set(PORTS.as_bytes(), text.as_bytes()).is_ok();
        let ports = text
            .parse::<PortList>()
            .and_then(|list| port_list::tcp(&[list]).map_err(|error| format!("{error:#}")));
        let spelled = match ports {
            Ok(ports) if !is_plain => port_list::spelled(&ports),
            _ => text.to_owned(),
        };
        Ok::<_, Infallible>(OsString::from(spelled))
    };
    option.value_parser(numbers)
}

/// A duration: `500ms`, `60s`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    /// Reads it as `LIBREUSE_WAIT` is read, but for what that can say beside a duration.
    fn from_str(text: &str) -> Result<Self, String> {
        const OF_WAIT_ALONE: &str = ", or 60s,listeners";
        let mut settings = Settings::DEFAULT;
        let read = settings.set(b"LIBREUSE_WAIT", text.as_bytes());
        let complaint = match read {
            Ok(()) if settings.wait_for_listeners => {
                "`,listeners` is for `run --wait` alone; expected a duration such as 500ms, 60s or \
                 2m"
                .into()
            }
            Ok(()) => return Ok(Self(Duration::from_millis(settings.wait_ms.into()))),
            Err(complaint) => complaint.to_string(),
        };
        // clap has already named the value.
        let why = complaint
            .split_once(": ")
            .map_or(complaint.as_str(), |(_, why)| why);
        Err(why.replace(OF_WAIT_ALONE, ""))
    }
}

/// Reads the number of a process.
pub(crate) fn pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| {
        "expected the number of a process; `pgrep -a NAME` finds one by its name".into()
    })
}

/// Reads an address.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address such as 127.0.0.1 or ::1, without a port".into())
}

/// The output's format.
#[derive(Debug, clap::Args)]
pub(crate) struct Format {
    /// Print JSON; the manual describes every key (`reuseaddr man`)
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whose ports are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    /// Look into the network namespace of this process, such as a container's
    #[arg(long, value_name = "PID", value_parser = pid)]
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
