//! The hook by which container runtimes have the programs attached (the OCI runtime specification,
//! `createRuntime`, and oci-hooks(5) of Podman and CRI-O): before a container's program starts, and
//! for those alone that ask for it.

use super::start;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The command line of the hook, behind `reuseaddr bpf`.
pub(crate) const HOOK: &str = "oci";

/// Where Podman and CRI-O look for hooks.
pub(crate) const FOLDER: &str = "/etc/containers/oci/hooks.d";
pub(crate) const FILE: &str = "50-libreuse.json";

const ARGUMENTS: [&str; 3] = ["reuseaddr", "bpf", HOOK];

/// A file in that folder.
#[derive(Debug, Serialize)]
pub(crate) struct Hook<'a> {
    version: &'static str,
    #[serde(rename = "hook")]
    line: Line<'a>,
    when: When,
    stages: [&'static str; 1],
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    path: &'a Path,
    args: [&'static str; 3],
}

#[derive(Debug, Serialize)]
struct When {
    annotations: BTreeMap<&'static str, &'static str>,
}

impl<'a> Hook<'a> {
    /// The hook for containers with the annotation `libreuse.bpf=on`, by this command.
    pub(crate) fn by(command: &'a Path) -> Self {
        Self {
            version: "1.0.0",
            line: Line {
                path: command,
                args: ARGUMENTS,
            },
            when: When {
                annotations: BTreeMap::from([(r"^libreuse\.bpf$", "^on$")]),
            },
            stages: ["createRuntime"],
        }
    }
}

/// The hook's file, if it is there and calls this command.
pub(crate) fn written() -> Option<PathBuf> {
    let file = Path::new(FOLDER).join(FILE);
    let hook: serde_json::Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
    (hook["hook"]["args"] == serde_json::json!(ARGUMENTS)).then_some(file)
}

/// The container's state, which the runtime writes to the hook's stdin, as far as it is needed.
#[derive(Debug, Deserialize)]
struct ContainerState {
    pid: u32,
}

/// Attaches for the container of which this is the state.
pub(crate) fn attach(state: &str) -> Result<String> {
    let state: ContainerState = serde_json::from_str(state)
        .context("stdin has no state of a container, as a runtime gives it to a hook")?;
    start::begin_container(state.pid)
}
