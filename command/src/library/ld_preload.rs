//! LD_PRELOAD and /etc/ld.so.preload (ld.so(8)): which libraries they name, and what LD_PRELOAD
//! becomes with ours.

use super::layout::NAME;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub(crate) const VARIABLE: &str = "LD_PRELOAD";

/// The libraries that glibc's dynamic linker loads into every program, setuid ones as well.
const SYSTEM_WIDE: &str = "/etc/ld.so.preload";

/// How the names of AddressSanitizer's shared runtimes begin: gcc's, and clang's with
/// `-shared-libasan`.
const ASAN_RUNTIMES: [&str; 2] = ["libasan.so", "libclang_rt.asan"];

/// Splits a value of LD_PRELOAD at spaces and colons.
pub(crate) fn entries(value: &OsStr) -> impl Iterator<Item = &Path> {
    split(value.as_bytes(), b" :")
}

fn split<'a>(bytes: &'a [u8], separators: &'static [u8]) -> impl Iterator<Item = &'a Path> {
    bytes
        .split(|byte| separators.contains(byte))
        .filter(|entry| !entry.is_empty())
        .map(|entry| Path::new(OsStr::from_bytes(entry)))
}

/// Whether an entry is this library, by its file's name.
pub(crate) fn is_ours(entry: &Path) -> bool {
    entry.file_name() == Some(OsStr::new(NAME))
}

/// Whether a library is AddressSanitizer's runtime, which ends the program if another library
/// precedes it.
pub(crate) fn is_asan_runtime(library: &Path) -> bool {
    library
        .file_name()
        .and_then(OsStr::to_str)
        .is_some_and(|name| ASAN_RUNTIMES.iter().any(|begin| name.starts_with(begin)))
}

/// Puts the library in front of the value, behind AddressSanitizer's runtime, and drops other
/// copies of it.
pub(crate) fn with(library: &Path, before: &OsStr) -> OsString {
    let is_another = |entry: &&Path| entry.file_name() != library.file_name();
    let (mut all, others): (Vec<&Path>, Vec<&Path>) = entries(before)
        .filter(is_another)
        .partition(|entry| is_asan_runtime(entry));
    all.push(library);
    for other in others {
        if !all.contains(&other) {
            all.push(other);
        }
    }
    joined(&all)
}

/// Takes the library out of the value; `None` if nothing else was there.
pub(crate) fn without(before: &OsStr) -> Option<OsString> {
    let others: Vec<&Path> = entries(before).filter(|entry| !is_ours(entry)).collect();
    (!others.is_empty()).then(|| joined(&others))
}

fn joined(entries: &[&Path]) -> OsString {
    let bytes: Vec<&[u8]> = entries
        .iter()
        .map(|entry| entry.as_os_str().as_bytes())
        .collect();
    OsString::from_vec(bytes.join(&b':'))
}

/// The library as [`SYSTEM_WIDE`] names it, if it does.
pub(crate) fn system_wide() -> Option<PathBuf> {
    in_file(&fs::read(SYSTEM_WIDE).ok()?)
}

/// Whether glibc's dynamic linker may load other libraries into every program.
pub(crate) fn is_there_for_all() -> bool {
    fs::exists(SYSTEM_WIDE).unwrap_or(true)
}

fn in_file(text: &[u8]) -> Option<PathBuf> {
    text.split(|&byte| byte == b'\n')
        // The rest of a line is a comment (`do_preload` and its callers in glibc's elf/rtld.c).
        .filter_map(|line| line.split(|&byte| byte == b'#').next())
        .flat_map(|line| split(line, b" \t:"))
        .find(|entry| is_ours(entry))
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_other_libraries_in_their_order() {
        for (before, expected) in [
            ("", "/opt/libreuse.so"),
            ("/a.so", "/opt/libreuse.so:/a.so"),
            ("/a.so /b.so", "/opt/libreuse.so:/a.so:/b.so"),
            ("::/a.so: :/b.so", "/opt/libreuse.so:/a.so:/b.so"),
            ("/a.so:/opt/libreuse.so", "/opt/libreuse.so:/a.so"),
            ("libreuse.so:/a.so", "/opt/libreuse.so:/a.so"),
            ("libasan.so.8", "libasan.so.8:/opt/libreuse.so"),
            (
                "/a.so:/usr/lib/libasan.so.8.0.0:/b.so",
                "/usr/lib/libasan.so.8.0.0:/opt/libreuse.so:/a.so:/b.so",
            ),
            (
                "libclang_rt.asan-x86_64.so",
                "libclang_rt.asan-x86_64.so:/opt/libreuse.so",
            ),
            ("libubsan.so.1", "/opt/libreuse.so:libubsan.so.1"),
        ] {
            assert_eq!(
                with(Path::new("/opt/libreuse.so"), OsStr::new(before)),
                expected,
                "{before}"
            );
        }
    }

    #[test]
    fn takes_the_library_out() {
        for (before, expected) in [
            ("", None),
            ("/opt/libreuse.so", None),
            ("/a.so", Some("/a.so")),
            ("/opt/libreuse.so /a.so:/b.so", Some("/a.so:/b.so")),
        ] {
            assert_eq!(
                without(OsStr::new(before)),
                expected.map(OsString::from),
                "{before}"
            );
        }
    }

    #[test]
    fn reads_the_file_as_the_dynamic_linker_does() {
        for (text, expected) in [
            (&b""[..], None),
            (b"/usr/lib/libreuse.so\n", Some("/usr/lib/libreuse.so")),
            (
                b"/a.so\t/usr/$LIB/libreuse.so",
                Some("/usr/$LIB/libreuse.so"),
            ),
            (b"/a.so:libreuse.so:/b.so\n", Some("libreuse.so")),
            (b"# /usr/lib/libreuse.so\n/a.so # libreuse.so\n", None),
        ] {
            assert_eq!(in_file(text), expected.map(PathBuf::from));
        }
    }
}
