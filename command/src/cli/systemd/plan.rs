//! Writes a drop-in with what it names, or prints it.

use super::Arguments;
use crate::cli::exit;
use crate::library::libraries::Libraries;
use crate::output;
use crate::systemd::command::Lasting;
use crate::systemd::drop_in::{self, FILE};
use crate::systemd::first_restart::{self, Outlook};
use crate::systemd::properties::Properties;
use crate::systemd::unit;
use anyhow::{Result, bail};
use rustix::process::geteuid;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the drop-in of a unit is.
pub(super) struct Place {
    pub(super) unit: String,
    pub(super) folder: PathBuf,
    pub(super) file: PathBuf,
    /// The command to type once it is written or removed.
    pub(super) restart: String,
}

impl Place {
    pub(super) fn of(arguments: &Arguments) -> Result<Self> {
        let unit = unit::service(&arguments.unit)?;
        let folder = unit::folder(arguments.user)?.join(format!("{unit}.d"));
        let file = folder.join(FILE);
        let user = if arguments.user { " --user" } else { "" };
        // Of a template the instances run.
        let running = unit.replace("@.", "@*.");
        let shown = shell_words::quote(&running);
        let restart =
            format!("    systemctl{user} daemon-reload\n    systemctl{user} restart {shown}");
        Ok(Self {
            unit,
            folder,
            file,
            restart,
        })
    }
}

/// An orphan's FIN_WAIT2 and the TIME_WAIT after it.
const LONGEST: &str = "125s";
const WAITS: &str = "Environment=\"LIBREUSE_WAIT=125s\"\n";

/// A drop-in that is ready to be written.
pub(super) struct Plan<'a> {
    pub(super) text: String,
    pub(super) place: &'a Place,
    /// The command that the drop-in names, if it names it.
    pub(super) command: Option<Lasting>,
    pub(super) properties: Option<&'a Properties>,
    /// Whether the engine can wait.
    pub(super) may_wait: bool,
    /// Whether that was asked for.
    pub(super) waits: bool,
}

impl Plan<'_> {
    /// Text for a first restart that finds a port busy: it waits if it can, otherwise a warning.
    fn waits_for(&self, ports: &str) -> &'static str {
        if self.waits {
            return "";
        }
        let word = if ports.contains([',', '-']) {
            "ports"
        } else {
            "port"
        };
        if self.may_wait {
            output::info(&format!(
                "What the service leaves behind on {word} {ports} may keep it busy for a minute, \
                 once: the drop-in has LIBREUSE_WAIT={LONGEST}, so that the restart waits for \
                 that. Later restarts don't wait."
            ));
            return WAITS;
        }
        output::warn(&format!(
            "the first restart may find {word} {ports} busy for a minute: `systemctl stop`, then \
             `reuseaddr wait {ports}`, then `systemctl start`"
        ));
        ""
    }

    /// Installs it, or prints it.
    pub(super) fn carry_out(
        &self,
        arguments: &Arguments,
        carried: Option<(&Libraries, &Path)>,
    ) -> Result<u8> {
        let to_install = arguments.to_install(&self.place.unit)?;
        if arguments.install {
            // Which root would be told as well.
            drop_in::may_replace(&self.place.file)?;
            let needs_root = !arguments.user && !geteuid().is_root();
            return match self.install(carried) {
                Err(error) if needs_root => bail!("{error:#}\n    {to_install}"),
                result => result,
            };
        }
        output::print(&self.text)?;
        let mut puts = String::new();
        if carried.is_some() {
            puts += ", and to put the library there";
        }
        if let Some(command) = self.command.as_ref().filter(|command| command.is_copied()) {
            puts += &format!(", and to copy this command to {}", command.path.display());
        }
        output::info(&format!(
            "This would be {}. To write it{puts}:\n    {}",
            self.place.file.display(),
            to_install,
        ));
        Ok(exit::YES)
    }

    /// Writes it, with what it names.
    fn install(&self, carried: Option<(&Libraries, &Path)>) -> Result<u8> {
        if let Some((libraries, home)) = carried {
            libraries.put_to_stay(home)?;
            let home = home.display();
            output::info(&format!(
                "The library that this command carries is put into {home}."
            ));
        }
        if let Some(command) = &self.command {
            command.put()?;
        }
        let mut text = self.text.clone();
        let outlook = self.properties.map(first_restart::prepare);
        // Whether it has to wait was found out when the drop-in was first installed.
        if let Ok(before) = fs::read_to_string(&self.place.file) {
            if self.may_wait && !self.waits && before.contains(WAITS) {
                text += WAITS;
            }
        } else if let Some(Outlook::Busy(port)) = outlook {
            text += self.waits_for(&port);
        }
        drop_in::install(&self.place.folder, &self.place.file, &text)?;
        output::info(&format!(
            "{} is written. Now:\n{}",
            self.place.file.display(),
            self.place.restart
        ));
        Ok(exit::YES)
    }
}
