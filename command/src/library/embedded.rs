//! The libraries that this command carries, and where it puts them so that programs can load them.

use super::elf::Elf;
use super::layout::{self, NAME, invalid_in_preload};
use super::ld_preload;
use super::store::Folder;
use crate::output::readable;
use crate::process::status::maps;
use crate::process::users::{absolute_path, own_home};
use log::debug;
use procfs::process::{MMapPath, Process, all_processes};
use rustix::process::geteuid;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

// `LIBRARIES` and `BUILD`, from build.rs.
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// A library that this command carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Embedded {
    pub(super) bytes: &'static [u8],
    class: u8,
}

/// Every library that this command carries, with its ELF data.
pub(super) fn all() -> impl Iterator<Item = (Embedded, Elf)> {
    LIBRARIES.iter().filter_map(|bytes| {
        let elf = Elf::parse(*bytes).ok()??;
        let class = elf.class;
        Some((Embedded { bytes, class }, elf))
    })
}

/// Writes the libraries where programs can load them, and returns the folder.
///
/// # Errors
///
/// Why there is no such place.
pub(super) fn put(libraries: &[Embedded]) -> Result<PathBuf, String> {
    let mut reasons = Vec::new();
    for place in places() {
        match put_in(&place, libraries) {
            Ok(folder) => {
                debug!("the library is in {}", folder.display());
                return Ok(folder);
            }
            Err(why) => reasons.push(format!("{} {why}", place.display())),
        }
    }
    Err(format!(
        "there is no place for the library that this command carries: {}. Install it, or name one \
         with --library",
        reasons.join(", ")
    ))
}

/// Writes the libraries into this folder, and creates it if it is missing.
pub(super) fn put_directly_in(place: &Path, libraries: &[Embedded]) -> Result<(), String> {
    write(&Folder::open(place)?, libraries)
}

fn put_in(place: &Path, libraries: &[Embedded]) -> Result<PathBuf, String> {
    // Another process may be removing this folder as an old one.
    const TRIES: usize = 3;
    let folder = Folder::open(place)?;
    if let Some(byte) = invalid_in_preload(folder.path()) {
        return Err(format!(
            "has {byte} in its path, which LD_PRELOAD can't carry"
        ));
    }
    let name = OsString::from(format!("{}-{BUILD}", env!("CARGO_PKG_VERSION")));
    let mut result = Err(String::new());
    for _ in 0..TRIES {
        result = folder.own(&name).and_then(|version| {
            version.touch();
            write(&version, libraries)?;
            Ok(version.path().to_owned())
        });
        if result.is_ok() {
            if folder.may_have_others() {
                remove_others(&folder, &name);
            }
            break;
        }
    }
    result
}

fn write(folder: &Folder, libraries: &[Embedded]) -> Result<(), String> {
    let alone = libraries.len() == 1;
    for library in libraries {
        folder.put(&layout::files(library.class, alone), library.bytes)?;
    }
    Ok(())
}

/// The folders that may hold the libraries, the best first. What root starts may become any user,
/// so root's folders are readable for all, and no other user's folder is taken.
pub(super) fn places() -> Vec<PathBuf> {
    const FOLDER: &str = "libreuse";
    // Root of a user namespace may be an ordinary user of the machine.
    let owns_the_system = fs::metadata("/").is_ok_and(|root| root.uid() == 0);
    let uid = geteuid();
    if uid.is_root() && owns_the_system {
        return ["/run", "/var/cache"]
            .map(|place| Path::new(place).join(FOLDER))
            .to_vec();
    }
    let cache = absolute_path("XDG_CACHE_HOME").or_else(|| Some(own_home()?.join(".cache")));
    let mut places: Vec<PathBuf> = absolute_path("XDG_RUNTIME_DIR")
        .into_iter()
        .chain(cache)
        .map(|place| place.join(FOLDER))
        .collect();
    // For users without a home. Anybody can take a name there, so it contains the user's number.
    let temporary = absolute_path("TMPDIR").unwrap_or_else(|| "/tmp".into());
    places.push(temporary.join(format!("{FOLDER}-{}", uid.as_raw())));
    places
}

/// Removes unused libraries of other versions of this command.
fn remove_others(folder: &Folder, own: &OsStr) {
    // A program may be about to start with it.
    const UNUSED: Duration = Duration::from_secs(60);
    for name in folder.names() {
        if name == own || !is_of_a_version(&name) {
            continue;
        }
        let Ok(other) = folder.existing(&name) else {
            continue;
        };
        if other.unused_for().is_none_or(|time| time < UNUSED) {
            continue;
        }
        if used_by(other.path()).is_some() {
            // So that not every run looks through all processes.
            other.touch();
            continue;
        }
        match folder.remove(&name, OsStr::new(NAME)) {
            Ok(()) => debug!("{} is removed", other.path().display()),
            Err(error) => debug!("{} stays: {error}", other.path().display()),
        }
    }
}

/// Whether a name is `0.2.0-0123456789abcdef`.
pub(super) fn is_of_a_version(name: &OsStr) -> bool {
    let Some((version, build)) = name.to_str().and_then(|name| name.rsplit_once('-')) else {
        return false;
    };
    build.len() == BUILD.len()
        && build.bytes().all(|byte| byte.is_ascii_hexdigit())
        && version.starts_with(|letter: char| letter.is_ascii_digit())
}

/// A process that has mapped a library from there or has it in its LD_PRELOAD, among those that we
/// may inspect.
pub(super) fn used_by(folder: &Path) -> Option<String> {
    let names_it = |process: &Process| {
        process.environ().is_ok_and(|environment| {
            let preload = environment.get(OsStr::new(ld_preload::VARIABLE));
            preload.is_some_and(|value| {
                ld_preload::entries(value).any(|entry| entry.starts_with(folder))
            })
        })
    };
    let maps_it = |process: &Process| {
        maps(process).is_ok_and(|maps| {
            maps.iter().any(
                |map| matches!(&map.pathname, MMapPath::Path(path) if path.starts_with(folder)),
            )
        })
    };
    let mut processes = all_processes().into_iter().flatten().flatten();
    let process = processes.find(|process| names_it(process) || maps_it(process))?;
    let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
    Some(format!(
        "{} (pid {})",
        readable(name.as_bytes()),
        process.pid
    ))
}

#[cfg(test)]
mod tests {
    use super::super::elf::HOOKED;
    use super::*;

    /// The command's list of hooked functions is what the library exports.
    #[test]
    fn carries_a_library_that_hooks_what_the_command_takes_it_to() {
        use object::{Object, ObjectSymbol};
        for bytes in LIBRARIES {
            let library = object::File::parse(*bytes).expect("an ELF file");
            let mut exported: Vec<&str> = library
                .dynamic_symbols()
                .filter(ObjectSymbol::is_definition)
                .map(|symbol| symbol.name().expect("UTF-8"))
                .collect();
            exported.sort_unstable();
            let mut hooked = HOOKED;
            hooked.sort_unstable();
            assert_eq!(exported, hooked);
        }
    }

    #[test]
    fn knows_its_own_folders_by_their_names() {
        for (name, expected) in [
            ("0.2.0-0123456789abcdef", true),
            ("1.0.0-rc.1-0123456789abcdef", true),
            ("0.2.0", false),
            ("0.2.0-0123456789abcde", false),
            ("0.2.0-0123456789abcdeg", false),
            ("mine-0123456789abcdef", false),
            ("libreuse.so", false),
        ] {
            assert_eq!(is_of_a_version(OsStr::new(name)), expected, "{name}");
        }
    }
}
