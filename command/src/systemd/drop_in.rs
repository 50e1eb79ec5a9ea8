//! Drop-ins: they have systemd preload the library into a service, or start it traced. The unit's
//! own file is not changed.

use crate::library::ld_preload;
use crate::library::variables::Variables;
use crate::sys::replace::replace;
use anyhow::{Context, Result, bail};
use log::debug;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) const FILE: &str = "50-libreuse.conf";

const FIRST_LINE: &str =
    "# Written by `reuseaddr systemd`; remove it with `reuseaddr systemd --remove UNIT`.";

/// Writes the drop-in's text.
///
/// A library is preloaded; `ExecStart=` lines replace the unit's own.
pub(crate) fn text(
    library: Option<&Path>,
    before: &str,
    variables: &Variables,
    starts: &[String],
) -> Result<String> {
    let mut text = format!("{FIRST_LINE}\n[Service]\n");
    if let Some(library) = library {
        let preload = ld_preload::with(library, OsStr::new(before));
        text += &format!("{}\n", assignment("LD_PRELOAD", &preload)?);
    }
    if !starts.is_empty() {
        text += "ExecStart=\n";
    }
    for line in starts {
        text += &format!("{line}\n");
    }
    for (name, value) in variables.iter() {
        text += &format!("{}\n", assignment(name, value)?);
    }
    Ok(text)
}

/// Writes a drop-in that attaches the BPF programs to the service's control group, which is a new
/// one at each start.
///
/// Not `BPFProgram=`: systemd 252 loses what it names at each restart, and 257 at each
/// daemon-reload. The dash lets the service start on a kernel that can't do it; the plus keeps the
/// unit's confinement from the command, but for a RootDirectory=, into which systemd (252) takes
/// every command unless that is for ExecStart= alone.
pub(crate) fn text_of_bpf(
    command: &Path,
    ports: Option<&str>,
    reasons: &[String],
    has_root_directory: bool,
) -> Result<String> {
    let command = super::start::plain(command)?;
    let mut text = format!("{FIRST_LINE}\n");
    for reason in reasons {
        text += &format!("# The engine is bpf: {}\n", reason.replace('\n', " "));
    }
    text += &format!("[Service]\nExecStartPre=-+{command} bpf attach --self");
    if let Some(ports) = ports {
        text += &format!(" --ports {ports}");
    }
    text.push('\n');
    if has_root_directory {
        text += "RootDirectoryStartOnly=yes\n";
    }
    Ok(text)
}

/// Quotes an `Environment=` line for systemd (systemd.syntax(7), systemd.unit(5) on specifiers).
fn assignment(name: &str, value: &OsStr) -> Result<String> {
    let value = value
        .to_str()
        .with_context(|| format!("{name} is not UTF-8, which systemd wants it to be"))?;
    let mut quoted = String::new();
    for letter in value.chars() {
        match letter {
            '\\' | '"' => quoted.extend(['\\', letter]),
            '%' => quoted.push_str("%%"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => {
                bail!("{name} has a control character in it, which systemd does not take")
            }
            other => quoted.push(other),
        }
    }
    Ok(format!("Environment=\"{name}={quoted}\""))
}

/// Refuses to write over a file that somebody else wrote.
pub(crate) fn may_replace(file: &Path) -> Result<()> {
    if file.exists() { ours(file) } else { Ok(()) }
}

/// Writes it; [`may_replace`] was asked before.
pub(crate) fn install(folder: &Path, file: &Path, text: &str) -> Result<()> {
    let cannot = || format!("{} can't be written", file.display());
    fs::create_dir_all(folder).with_context(cannot)?;
    replace(file, text.as_bytes(), 0o644).with_context(cannot)
}

pub(crate) fn remove(folder: &Path, file: &Path) -> Result<()> {
    if !file.exists() {
        bail!(
            "there is no {}; `systemctl cat UNIT` shows the drop-ins that a unit has",
            file.display()
        );
    }
    ours(file)?;
    fs::remove_file(file).with_context(|| {
        // nginx.service.d is of nginx.service.
        let unit = folder.file_stem().unwrap_or_default().to_string_lossy();
        format!(
            "{} can't be removed; as root: `sudo reuseaddr systemd --remove {}`",
            file.display(),
            shell_words::quote(&unit)
        )
    })?;
    // Other drop-ins may be there, which are not ours.
    if let Err(error) = fs::remove_dir(folder) {
        debug!("{} stays: {error}", folder.display());
    }
    Ok(())
}

/// Lists our drop-ins below a folder of units.
pub(crate) fn written(units: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(units)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join(FILE))
        .filter(|file| file.is_file() && ours(file).is_ok())
        .collect();
    found.sort();
    found
}

/// Refuses a file that somebody else wrote.
fn ours(file: &Path) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    if !text.starts_with(FIRST_LINE) {
        bail!(
            "{} was not written by this command, and is left alone; remove it by hand",
            file.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn quotes_for_systemd() {
        for (value, expected) in [
            (
                "/usr/lib/libreuse.so",
                r#"Environment="A=/usr/lib/libreuse.so""#,
            ),
            ("/var/log/%p.log", r#"Environment="A=/var/log/%%p.log""#),
            (r#"a "b" \c"#, r#"Environment="A=a \"b\" \\c""#),
            ("a\nb", r#"Environment="A=a\nb""#),
        ] {
            assert_eq!(assignment("A", OsStr::new(value)).unwrap(), expected);
        }
        assert!(assignment("A", OsStr::new("\x07")).is_err());
        assert!(assignment("A", OsStr::from_bytes(b"\xff")).is_err());
    }
}
