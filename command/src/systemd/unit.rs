//! Units: their names, and where their drop-ins are.

use crate::output;
use crate::process::users::{absolute_path, own_home};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The full name of a service, if it can be one (systemd.unit(5)).
pub(crate) fn service(name: &str) -> Result<String> {
    const LONGEST: usize = 255;
    let full = match name.rsplit_once('.') {
        Some((_, "service")) => name.to_owned(),
        Some((_, "socket")) => bail!(
            "{name} is a socket unit: systemd binds the port once and sets SO_REUSEADDR itself, so \
             neither it nor its service needs the library"
        ),
        Some((
            _,
            kind @ ("timer" | "target" | "mount" | "path" | "slice" | "scope" | "device" | "swap"
            | "automount"),
        )) => {
            bail!("{name} is a {kind} unit and starts no program; name the service")
        }
        _ => format!("{name}.service"),
    };
    let legal = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    let prefix = full.strip_suffix(".service").unwrap_or_default();
    if prefix.is_empty()
        || prefix.starts_with('@')
        || full.len() > LONGEST
        || !full.chars().all(legal)
    {
        bail!(
            "\"{}\" can't be the name of a unit; `systemctl list-units --type=service` shows those \
             there are, and `systemd-escape` spells odd ones",
            output::readable(name.as_bytes())
        );
    }
    Ok(full)
}

/// The directory whose drop-ins come first.
pub(crate) fn folder(user: bool) -> Result<PathBuf> {
    if !user {
        return Ok(PathBuf::from("/etc/systemd/system"));
    }
    let configuration = absolute_path("XDG_CONFIG_HOME")
        .or_else(|| Some(own_home()?.join(".config")))
        .context("the user has no home, so there is no folder for units of the user")?;
    Ok(configuration.join("systemd/user"))
}

/// The directory for the library that this command carries. It has to survive a reboot: systemd
/// starts services later without this command.
pub(crate) fn library_folder(user: bool) -> Result<PathBuf> {
    if !user {
        return Ok(PathBuf::from("/usr/local/lib/libreuse"));
    }
    let home = own_home().context("the user has no home, so there is no folder for libraries")?;
    Ok(home.join(".local/lib/libreuse"))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn spells_unit_names() {
        for (name, expected) in [
            ("myd", "myd.service"),
            ("myd.service", "myd.service"),
            ("my.d", "my.d.service"),
            ("myd@", "myd@.service"),
            ("myd@a.service", "myd@a.service"),
            (r"dev\x2dmyd", r"dev\x2dmyd.service"),
        ] {
            assert_eq!(service(name).unwrap(), expected);
        }
        for name in [
            "",
            ".service",
            "@.service",
            "a/b",
            "../etc/passwd",
            "a b",
            "a\nb",
            "ü",
            "myd.socket",
            "my.timer",
        ] {
            assert!(service(name).is_err(), "{name}");
        }
        assert!(service(&"x".repeat(300)).is_err());
    }
}
