//! The environment that makes the dynamic linker load the library.

use super::variables::Variables;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// What the program finds in its environment: our variables, and the library, if there is one, in front of any other.
pub(crate) fn environment(
    inherited: Vec<(OsString, OsString)>,
    variables: &Variables,
    library: Option<&Path>,
) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = inherited.into_iter().collect();
    if let Some(library) = library {
        let before = environment
            .remove(OsStr::new("LD_PRELOAD"))
            .unwrap_or_default();
        environment.insert("LD_PRELOAD".into(), preload(library, &before));
    }
    for (name, value) in variables.iter() {
        environment.insert(name.into(), value.to_owned());
    }
    environment
}

/// The new LD_PRELOAD: the library, and what was there before but for other copies of it.
pub(crate) fn preload(library: &Path, before: &OsStr) -> OsString {
    let mut entries = vec![library.as_os_str().as_bytes()];
    // ld.so(8): spaces and colons separate them.
    for entry in before.as_bytes().split(|byte| b" :".contains(byte)) {
        let is_ours = Path::new(OsStr::from_bytes(entry)).file_name() == library.file_name();
        if !entry.is_empty() && !is_ours && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    OsString::from_vec(entries.join(&b':'))
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
