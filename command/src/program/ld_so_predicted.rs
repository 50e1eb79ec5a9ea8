//! Predicts the dynamic linker's answer where the files leave no doubt. To run the linker takes
//! longer than everything else that is done before a program is started.

use crate::library::elf::Elf;
use crate::library::layout::{PreloadPath, lib_of};
use crate::sys::mmap::maps_as_code;
use std::env;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where glibc's dynamic linker is on every distribution. A program that asks for another has been
/// built to be different.
const LINKERS: [(&str, u8, &str); 3] = [
    ("x86-64", 64, "/lib64/ld-linux-x86-64.so.2"),
    ("i386", 32, "/lib/ld-linux.so.2"),
    ("arm64", 64, "/lib/ld-linux-aarch64.so.1"),
];

/// Returns the entry of LD_PRELOAD by which the dynamic linker loads the library into a program,
/// and the file; `None` if the linker has to be asked.
///
/// A program that can't start for another reason is not noticed: the linker itself reports that.
pub(super) fn taken<'a>(
    program: &Elf,
    library: &Elf,
    preload_paths: &'a [PreloadPath],
) -> Option<(&'a PreloadPath, &'a Path)> {
    let interpreter = program.interpreter.as_deref()?;
    let is_usual = LINKERS.iter().any(|&(machine, class, path)| {
        machine == program.machine && class == program.class && Path::new(path) == interpreter
    });
    let is_audited = program.audited || env::var_os("LD_AUDIT").is_some();
    if !is_usual || is_audited || !library.asks_no_more_than(program) {
        return None;
    }
    let interpreter = glibc_linker(interpreter)?;
    // The first that leads to a file of its own, as the linker is asked for one after the other.
    for preload_path in preload_paths {
        let lib = if preload_path.varies() {
            lib_of(&interpreter)?
        } else {
            ""
        };
        if let Some(file) = preload_path.file(lib) {
            // A file system may be mounted noexec, and a security module may forbid it.
            let is_mapped = File::open(file).is_ok_and(|file| maps_as_code(file.as_fd()));
            return is_mapped.then_some((preload_path, file));
        }
    }
    None
}

/// The file behind the path of a dynamic linker, if it is root's and glibc's own. Others have that
/// path too, as gcompat's on musl, and may treat LD_PRELOAD otherwise.
fn glibc_linker(interpreter: &Path) -> Option<PathBuf> {
    let file = File::open(interpreter).ok()?;
    if file.metadata().ok()?.uid() != 0 {
        return None;
    }
    let found = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    Elf::of(file, interpreter).ok()??.of_glibc.then_some(found)
}
