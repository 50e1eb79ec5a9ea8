//! Scripts (execve(2)): what a file begins with, and the interpreter that its first line names.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The space characters of a first line (fs/binfmt_script.c).
const BLANKS: [u8; 2] = *b" \t";

/// Reads a file, or this many bytes of it.
pub(crate) fn beginning(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Splits the first line into the interpreter, which may be missing, and its argument; `None` if
/// the file is no script.
pub(crate) fn shebang(start: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = start.strip_prefix(b"#!")?;
    let line = trim_blanks(line.split(|&byte| byte == b'\n').next()?);
    let end = line.iter().position(|byte| BLANKS.contains(byte));
    let (interpreter, rest) = line.split_at(end.unwrap_or(line.len()));
    Some((interpreter, trim_blanks(rest)))
}

fn trim_blanks(line: &[u8]) -> &[u8] {
    let is_not_blank = |byte: &u8| !BLANKS.contains(byte);
    let start = line.iter().position(is_not_blank).unwrap_or(line.len());
    let end = line
        .iter()
        .rposition(is_not_blank)
        .map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}
