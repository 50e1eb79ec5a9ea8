//! Reads files of the kernel's (proc(5)), which do not know their size beforehand: std asks for it
//! all the same, and begins with 32 bytes. Here it is four system calls a file, and not nine.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than nearly every such file has.
const USUAL: usize = 4096;

/// What is in the file.
pub(crate) fn bytes(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(USUAL);
    // Of what is behind `take` nobody knows the size.
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text; what is not UTF-8 becomes U+FFFD.
pub(crate) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = bytes(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn reads_files_of_every_length() {
        // Longer than what is read at once, and it knows no size.
        let maps = "/proc/self/maps";
        assert!(fs::metadata(maps).expect("a file").len() == 0);
        for (path, least) in [
            ("/proc/self/comm", 1),
            (maps, USUAL / 4),
            ("/proc/kallsyms", 0),
        ] {
            let Ok(expected) = fs::read(path) else {
                continue;
            };
            let found = bytes(path).expect("it can be read");
            assert!(found.len() >= least, "{path}: {}", found.len());
            if path != maps {
                assert!(found == expected, "{path}");
            }
        }
        let missing = text("/proc/self/no-such-file").expect_err("there is none");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
