//! Replaces a file as a whole: whoever reads it meanwhile, or has it open or mapped, has the old
//! one.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Writes a file beside the other, and puts it in its place by rename(2).
pub(crate) fn replace(file: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // The file's own name may be as long as names can be.
    let temporary = file.with_file_name(format!(".new.{}", std::process::id()));
    // In containers the process that was killed here may have had the same number.
    let _ = fs::remove_file(&temporary);
    let written = (|| {
        let mut new = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        new.write_all(bytes)?;
        // Whatever the umask is.
        new.set_permissions(Permissions::from_mode(mode))?;
        fs::rename(&temporary, file)
    })();
    if written.is_err() {
        // It may be there in part.
        let _ = fs::remove_file(&temporary);
    }
    written
}
