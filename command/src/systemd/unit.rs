//! Units: their names, and where their drop-ins are.

use crate::process::unit;
use crate::process::users::{absolute_path, own_home};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// The full name of a service, if it can be one.
pub(crate) fn service(name: &str) -> Result<String> {
    let full = unit::full_name(name)?;
    match unit::kind(&full) {
        Some("socket") => bail!(
            "{full} is a socket unit: systemd binds the port once and sets SO_REUSEADDR itself, so \
             neither it nor its service needs the library"
        ),
        Some(kind @ ("slice" | "scope")) => bail!(
            "{full} is a {kind} unit and starts no program; name the service. The engine bpf \
             serves all that is in it:\n    sudo reuseaddr bpf attach --unit {}",
            shell_words::quote(&full)
        ),
        Some(kind) if kind != "service" => {
            bail!("{full} is a {kind} unit and starts no program; name the service")
        }
        _ => Ok(full),
    }
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
