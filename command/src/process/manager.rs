//! Asks a unit's manager about it, and has it stopped.

use crate::process::info;
use anyhow::{Context, Result, bail};
use log::debug;
use rustix::process::geteuid;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// A service that runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// Of a user's own manager: that user.
    user: Option<u32>,
}

impl Unit {
    pub(crate) fn new(name: String, user: Option<u32>) -> Self {
        Self { name, user }
    }

    /// Its first process, if its manager tells and it has one.
    pub(crate) fn main_process(&self) -> Option<i32> {
        let output = self
            .systemctl("show")
            .args(["--property", "MainPID", "--value", "--", &self.name])
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        debug!("the main process of {} is {}", self.name, text.trim());
        text.trim().parse().ok().filter(|&pid| pid != 0)
    }

    /// What stops it, as it would be typed.
    pub(crate) fn how_to_stop(&self) -> String {
        let mut words = vec!["systemctl".to_owned()];
        words.extend(self.options());
        words.extend(["stop".to_owned(), self.name.clone()]);
        shell_words::join(words)
    }

    /// Has it stopped, and waits for that as long as its manager does; `tell` is called meanwhile.
    pub(crate) fn stop(&self, mut tell: impl FnMut()) -> Result<()> {
        const OFTEN: Duration = Duration::from_millis(20);
        let mut systemctl = self
            .systemctl("stop")
            .args(["--", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} can't be started", self.how_to_stop()))?;
        while systemctl.try_wait()?.is_none() {
            tell();
            thread::sleep(OFTEN);
        }
        let output = systemctl.wait_with_output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}", self.how_to_stop(), why.trim());
        }
        Ok(())
    }

    fn systemctl(&self, verb: &str) -> Command {
        let mut command = Command::new("systemctl");
        command.args(self.options()).arg(verb);
        command
    }

    fn options(&self) -> Vec<String> {
        match self.user {
            None => Vec::new(),
            Some(user) if user == geteuid().as_raw() => vec!["--user".into()],
            Some(user) => {
                let name = info::user(user).map_or_else(|| user.to_string(), ToOwned::to_owned);
                vec!["--user".into(), format!("--machine={name}@.host")]
            }
        }
    }
}
