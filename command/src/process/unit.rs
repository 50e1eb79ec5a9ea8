//! Units of systemd by their names (systemd.unit(5)), and what the system's manager knows of them.

use super::run::output_of;
use crate::output::readable;
use anyhow::{Result, bail};
use log::debug;
use std::collections::HashMap;

/// The kinds of units that have no processes of their own.
const WITHOUT_PROCESSES: [&str; 8] = [
    "automount",
    "device",
    "mount",
    "path",
    "socket",
    "swap",
    "target",
    "timer",
];

/// What a unit is, by the end of its name: `slice` of `app.slice`; `None` if that is left out, as
/// it may be of services.
pub(crate) fn kind(name: &str) -> Option<&str> {
    let (_, kind) = name.rsplit_once('.')?;
    let is_one = ["service", "scope", "slice"].contains(&kind) || WITHOUT_PROCESSES.contains(&kind);
    is_one.then_some(kind)
}

/// The full name: `myd` is `myd.service`, as for systemctl.
///
/// # Errors
///
/// No unit can be called so.
pub(crate) fn full_name(name: &str) -> Result<String> {
    const LONGEST: usize = 255;
    let full = match kind(name) {
        Some(_) => name.to_owned(),
        None => format!("{name}.service"),
    };
    let legal = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    let prefix = full.rsplit_once('.').map_or("", |(prefix, _)| prefix);
    if prefix.is_empty()
        || prefix.starts_with('@')
        || full.len() > LONGEST
        || !full.chars().all(legal)
    {
        bail!(
            "\"{}\" can't be the name of a unit; `systemctl list-units --type=service` shows those \
             there are, and `systemd-escape` spells odd ones",
            readable(name.as_bytes())
        );
    }
    Ok(full)
}

/// The full name of a unit that has processes: a service, a scope or a slice.
///
/// # Errors
///
/// It is none.
pub(crate) fn with_processes(name: &str) -> Result<String> {
    // `-.slice` is a unit.
    if name.starts_with("--") {
        bail!(
            "a unit's name is missing before {}",
            readable(name.as_bytes())
        );
    }
    let full = full_name(name)?;
    match kind(&full).filter(|kind| WITHOUT_PROCESSES.contains(kind)) {
        Some(kind) => bail!("{full} is a {kind} unit and has no processes; name the service"),
        None => Ok(full),
    }
}

/// Whether it is a template, `myd@.service`, which has instances, and does not run itself.
pub(crate) fn is_template(full: &str) -> bool {
    full.contains("@.")
}

/// Whether a unit is this one, or an instance of this template.
pub(crate) fn is_or_instantiates(unit: &str, wanted: &str) -> bool {
    unit == wanted
        || wanted.split_once("@.").is_some_and(|(prefix, kind)| {
            unit.strip_prefix(prefix).is_some_and(|rest| {
                rest.starts_with('@') && rest.rsplit_once('.').is_some_and(|(_, of)| of == kind)
            })
        })
}

/// What the system's manager says of a unit.
#[derive(Clone, Debug)]
pub(crate) struct NamedUnit {
    /// Its own name, where an alias was typed.
    pub(crate) name: String,
    /// Whether there is such a unit; unknown if nobody answers.
    pub(crate) exists: Option<bool>,
    /// Whether it has no file: `systemd-run` and the like made it.
    pub(crate) is_transient: bool,
    /// Its control group, while it has one.
    pub(crate) group: Option<String>,
}

impl NamedUnit {
    /// Asks about a unit by its full name.
    pub(crate) fn ask(full: String) -> Self {
        let properties = "--property=Id,LoadState,Transient,ControlGroup";
        let text = output_of("systemctl", &["show", properties, "--", &full]).unwrap_or_default();
        debug!("systemctl show {full}: {text:?}");
        let properties: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let get = |name| properties.get(name).copied();
        Self {
            exists: get("LoadState").map(|state| state != "not-found"),
            is_transient: get("Transient") == Some("yes"),
            group: get("ControlGroup").map(str::to_owned),
            name: get("Id").map_or(full, str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_units_that_have_processes() {
        for (name, expected) in [
            ("myd", "myd.service"),
            ("my.d", "my.d.service"),
            ("myd@a", "myd@a.service"),
            (r"dev\x2dmyd", r"dev\x2dmyd.service"),
            ("app.slice", "app.slice"),
            ("-.slice", "-.slice"),
            ("session-3.scope", "session-3.scope"),
        ] {
            assert_eq!(with_processes(name).unwrap(), expected);
        }
        for name in [
            "",
            " ",
            ".service",
            "@.service",
            "*",
            "a b",
            "a\nb",
            "/system.slice",
            "ü",
            "my.socket",
            "my.timer",
            "multi-user.target",
        ] {
            assert!(with_processes(name).is_err(), "{name}");
        }
    }

    #[test]
    fn tells_instances_from_others() {
        for (unit, wanted, expected) in [
            ("myd.service", "myd.service", true),
            ("myd@a.service", "myd@.service", true),
            ("myd@a.b.service", "myd@.service", true),
            ("myd@a.service", "myd@b.service", false),
            ("myd.service", "myd@.service", false),
            ("myd2@a.service", "myd@.service", false),
            ("myd@a.scope", "myd@.service", false),
        ] {
            assert_eq!(is_or_instantiates(unit, wanted), expected, "{unit}");
        }
        assert!(is_template("myd@.service") && !is_template("myd@a.service"));
    }
}
