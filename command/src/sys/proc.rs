//! Reads files that the kernel composes as a whole (proc(5)): those of a process, settings, but not
//! tables, such as maps. They do not know their size beforehand: std asks for it all the same,
//! begins with 32 bytes, and reads once more for the end. Here it is three system calls a file, and
//! not nine.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// More than nearly every such file has.
const USUAL: usize = 4096;

/// Reads the file. A read that is given less than it has room for has reached the end: that is so
/// of a file on a disk too.
pub(crate) fn bytes(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; USUAL];
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            count => length += count?,
        }
        if length < bytes.len() {
            bytes.truncate(length);
            return Ok(bytes);
        }
        bytes.resize(2 * length, 0);
    }
}

/// Reads the file as text; what is not UTF-8 becomes U+FFFD.
pub(crate) fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = bytes(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn reads_files_of_every_length() {
        for length in [1, USUAL - 20, USUAL, 2 * USUAL, 3 * USUAL + 5, 25 * USUAL] {
            // As a command line, and in the environment: with the zeros between words its length is
            // one of each kind about what is read at once.
            let word = "x".repeat(length);
            let mut child = Command::new("cat")
                .args(["-", &word])
                .env_clear()
                .env("WORD", &word)
                .stdin(Stdio::piped())
                .spawn()
                .expect("cat starts");
            let read = |name| bytes(format!("/proc/{}/{name}", child.id())).expect("it is ours");
            let expected = format!("cat\0-\0{word}\0").into_bytes();
            let arguments = read("cmdline");
            let environment = read("environ");
            child.kill().expect("it runs");
            child.wait().expect("it is ours");
            assert!(arguments == expected, "{length}");
            assert!(
                environment == format!("WORD={word}\0").into_bytes(),
                "{length}"
            );
        }
        assert_eq!(bytes("/dev/null").expect("a file"), b"");
        let missing = text("/proc/self/no-such-file").expect_err("there is none");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
