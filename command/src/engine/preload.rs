//! The engine `preload`: the environment that makes the dynamic linker load the library.

use crate::library::layout::NAME;
use crate::library::variables::Variables;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// What is to become of the library in a program's environment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inherited<'a> {
    /// It is there, in front of any other.
    With(&'a Path),
    /// It is as it was.
    Unchanged,
    /// It is not there: the program is served in another way.
    Without,
}

/// What the program finds in its environment: our variables, and LD_PRELOAD as it is to be.
pub(crate) fn environment(
    inherited: Vec<(OsString, OsString)>,
    variables: &Variables,
    library: Inherited<'_>,
) -> BTreeMap<OsString, OsString> {
    const VARIABLE: &str = "LD_PRELOAD";
    let mut environment: BTreeMap<OsString, OsString> = inherited.into_iter().collect();
    let before = environment
        .get(OsStr::new(VARIABLE))
        .cloned()
        .unwrap_or_default();
    match library {
        Inherited::With(library) => {
            environment.insert(VARIABLE.into(), preload(library, &before));
        }
        Inherited::Without if entries(&before).any(is_ours) => {
            let others: Vec<&[u8]> = entries(&before).filter(|entry| !is_ours(entry)).collect();
            if others.is_empty() {
                environment.remove(OsStr::new(VARIABLE));
            } else {
                environment.insert(VARIABLE.into(), OsString::from_vec(others.join(&b':')));
            }
        }
        Inherited::Without | Inherited::Unchanged => {}
    }
    for (name, value) in variables.iter() {
        environment.insert(name.into(), value.to_owned());
    }
    environment
}

/// The new LD_PRELOAD: the library, and what was there before but for other copies of it.
pub(crate) fn preload(library: &Path, before: &OsStr) -> OsString {
    let mut entries = vec![library.as_os_str().as_bytes()];
    for entry in self::entries(before) {
        let is_another = Path::new(OsStr::from_bytes(entry)).file_name() != library.file_name();
        if is_another && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    OsString::from_vec(entries.join(&b':'))
}

/// The libraries of an LD_PRELOAD: spaces and colons separate them (ld.so(8)).
fn entries(preload: &OsStr) -> impl Iterator<Item = &[u8]> {
    preload
        .as_bytes()
        .split(|byte| b" :".contains(byte))
        .filter(|entry| !entry.is_empty())
}

fn is_ours(entry: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(entry)).file_name() == Some(OsStr::new(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_other_libraries_behind_ours() {
        for (before, expected) in [
            ("", "/opt/libreuse.so"),
            ("/a.so", "/opt/libreuse.so:/a.so"),
            ("/a.so /b.so", "/opt/libreuse.so:/a.so:/b.so"),
            ("::/a.so: :/b.so", "/opt/libreuse.so:/a.so:/b.so"),
            ("/a.so:/opt/libreuse.so", "/opt/libreuse.so:/a.so"),
            ("libreuse.so:/a.so", "/opt/libreuse.so:/a.so"),
        ] {
            assert_eq!(
                preload(Path::new("/opt/libreuse.so"), OsStr::new(before)),
                expected,
                "{before}"
            );
        }
    }
}
