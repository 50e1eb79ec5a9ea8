//! The engine `preload`: prepares the environment with which the dynamic linker loads the library.

use crate::library::ld_preload::{self, VARIABLE};
use crate::library::variables::Variables;
use crate::output::readable;
use log::trace;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// How the program's LD_PRELOAD changes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inherited<'a> {
    /// Put the library in front of the others.
    With(&'a Path),
    /// Leave LD_PRELOAD alone.
    Unchanged,
    /// Take the library out: another engine serves the program.
    Without,
}

/// A program's environment (environ(7)): its entries in order. Not all need have an `=`, and a name
/// may occur twice.
#[derive(Clone, Debug)]
pub(crate) struct Environment(Vec<OsString>);

impl Environment {
    /// Copies our own.
    pub(crate) fn own() -> Self {
        Self(crate::sys::exec::environment())
    }

    pub(crate) fn entries(&self) -> &[OsString] {
        &self.0
    }

    /// Names and values: of each name the first, as for getenv(3); entries without `=` are skipped.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        let pairs = || self.0.iter().filter_map(|entry| pair(entry));
        pairs()
            .enumerate()
            .filter_map(move |(position, (name, value))| {
                let is_first = !pairs().take(position).any(|(before, _)| before == name);
                is_first.then_some((name, value))
            })
    }

    /// A variable's value, as for getenv(3).
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        let mut pairs = self.0.iter().filter_map(|entry| pair(entry));
        pairs.find_map(|(found, value)| (found == name).then_some(value))
    }

    /// Sets a variable, in its place or at the end.
    pub(crate) fn set(&mut self, name: &str, value: &OsStr) {
        trace!("environment: {name}={}", readable(value.as_bytes()));
        let entry = OsString::from_vec([name.as_bytes(), b"=", value.as_bytes()].concat());
        let is_it = |entry: &OsString| pair(entry).is_some_and(|(found, _)| found == name);
        let Some(position) = self.0.iter().position(is_it) else {
            return self.0.push(entry);
        };
        self.remove(name);
        self.0.insert(position, entry);
    }

    fn remove(&mut self, name: &str) {
        self.0
            .retain(|entry| pair(entry).is_none_or(|(found, _)| found != name));
    }

    /// Sets our variables and LD_PRELOAD.
    pub(crate) fn prepare(&mut self, variables: &Variables, library: Inherited<'_>) {
        let before = self.get(VARIABLE).unwrap_or_default().to_owned();
        match library {
            Inherited::With(library) => self.set(VARIABLE, &ld_preload::with(library, &before)),
            Inherited::Without if ld_preload::entries(&before).any(ld_preload::is_ours) => {
                match ld_preload::without(&before) {
                    Some(others) => self.set(VARIABLE, &others),
                    None => self.remove(VARIABLE),
                }
            }
            Inherited::Without | Inherited::Unchanged => {}
        }
        for (name, value) in variables.iter() {
            self.set(name, value);
        }
    }

    /// Has AddressSanitizer's shared runtime accept a library before it, by its own option. A
    /// runtime that LD_PRELOAD names in front of ours would also be loaded into what the program
    /// starts, and look for leaks there.
    pub(crate) fn allow_before_asan(&mut self) {
        const VARIABLE: &str = "ASAN_OPTIONS";
        const OPTION: &str = "verify_asan_link_order=0";
        let mut value = self.get(VARIABLE).unwrap_or_default().to_owned();
        if value.to_string_lossy().contains("verify_asan_link_order") {
            return;
        }
        if !value.is_empty() {
            value.push(":");
        }
        value.push(OPTION);
        self.set(VARIABLE, &value);
    }
}

/// An entry's name and value. A leading `=` is part of the name, as in a shell.
fn pair(entry: &OsString) -> Option<(&OsStr, &OsStr)> {
    let bytes = entry.as_bytes();
    let equals = bytes.iter().skip(1).position(|&byte| byte == b'=')? + 1;
    Some((
        OsStr::from_bytes(&bytes[..equals]),
        OsStr::from_bytes(&bytes[equals + 1..]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(entries: &[&str]) -> Environment {
        Environment(entries.iter().map(OsString::from).collect())
    }

    #[test]
    fn leaves_the_rest_as_it_is() {
        let mut environment = environment(&["Z=1", "odd", "A=2", "LD_PRELOAD=/a.so", "Z=3", "=x"]);
        let library = Path::new("/opt/libreuse.so");
        environment.prepare(&Variables::default(), Inherited::With(library));
        assert_eq!(
            environment.entries(),
            [
                "Z=1",
                "odd",
                "A=2",
                "LD_PRELOAD=/opt/libreuse.so:/a.so",
                "Z=3",
                "=x"
            ]
        );
        environment.prepare(&Variables::default(), Inherited::Without);
        assert_eq!(environment.get(VARIABLE), Some(OsStr::new("/a.so")));
        environment.set("Z", OsStr::new("4"));
        assert_eq!(
            environment.entries(),
            ["Z=4", "odd", "A=2", "LD_PRELOAD=/a.so", "=x"]
        );
        assert_eq!(environment.pairs().count(), 3);
    }

    #[test]
    fn adds_to_the_options_of_asan() {
        for (before, expected) in [
            (None, "verify_asan_link_order=0"),
            (
                Some("detect_leaks=0"),
                "detect_leaks=0:verify_asan_link_order=0",
            ),
            (Some("verify_asan_link_order=1"), "verify_asan_link_order=1"),
        ] {
            let mut environment = environment(&[]);
            if let Some(before) = before {
                environment.set("ASAN_OPTIONS", OsStr::new(before));
            }
            environment.allow_before_asan();
            assert_eq!(environment.get("ASAN_OPTIONS"), Some(OsStr::new(expected)));
        }
    }
}
