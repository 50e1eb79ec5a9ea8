//! The programs that a test needs: those that are installed, and those that it compiles.

use crate::build::scratch;
use crate::folder::Folder;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{env, fs};

/// The path of a program that the tests need; scripts/test installs it.
pub fn program(names: &[&str]) -> PathBuf {
    names
        .iter()
        .flat_map(|name| match name.strip_prefix('/') {
            Some(_) => vec![PathBuf::from(name)],
            None => {
                env::split_paths("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
                    .map(|folder| folder.join(name))
                    .collect()
            }
        })
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{names:?} is not installed: scripts/test installs what the tests need")
        })
}

/// Debian's Python, and not a wrapper script of that name; or the one that `LIBREUSE_TEST_PYTHON`
/// names.
pub fn python() -> PathBuf {
    env::var_os("LIBREUSE_TEST_PYTHON")
        .map_or_else(|| program(&["/usr/bin/python3"]), PathBuf::from)
}

/// The compiler for programs that are linked with musl. Debian's knows where musl's own headers
/// are, but not the kernel's.
pub fn musl_gcc() -> Command {
    static HEADERS: OnceLock<PathBuf> = OnceLock::new();
    let headers = HEADERS.get_or_init(|| {
        let folder = Folder::new("kernel-headers");
        let here = program(&["gcc"]);
        let triplet = Command::new(here)
            .arg("-print-multiarch")
            .output()
            .expect("gcc runs");
        let triplet = String::from_utf8(triplet.stdout).expect("a name in UTF-8");
        for (name, place) in [
            ("linux", "linux".into()),
            ("asm-generic", "asm-generic".into()),
            ("asm", format!("{}/asm", triplet.trim())),
        ] {
            let place = Path::new("/usr/include").join(place);
            symlink(place, folder.join(name)).expect("the folder is ours");
        }
        let path = folder.path().to_owned();
        // It is needed until the last test has ended.
        std::mem::forget(folder);
        path
    });
    let mut compiler = Command::new("musl-gcc");
    compiler.arg("-isystem").arg(headers);
    compiler
}

/// A C program, compiled from its text.
pub fn compile_c(name: &str, text: &str, flags: &[&str]) -> PathBuf {
    compile(Command::new("cc"), name, text, flags)
}

/// The same for musl, on first use of its name.
pub fn compile_for_musl(name: &str, text: &str, flags: &[&str]) -> PathBuf {
    static DONE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    done.entry(name.into())
        .or_insert_with(|| compile(musl_gcc(), name, text, flags))
        .clone()
}

fn compile(compiler: Command, name: &str, text: &str, flags: &[&str]) -> PathBuf {
    let usual = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];
    compile_c_by(compiler, name, text, &[&usual, flags].concat())
}

/// The same by another compiler, and with these flags alone.
pub fn compile_c_by(mut compiler: Command, name: &str, text: &str, flags: &[&str]) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    // Two tests may choose one name, and a program that runs can't be written.
    let number = NUMBER.fetch_add(1, Relaxed);
    let binary = scratch().join(format!("{name}.{}.{number}", std::process::id()));
    let source = binary.with_extension(format!("{number}.c"));
    fs::write(&source, text).expect("the folder for temporary files is writable");
    let output = compiler
        .arg("-o")
        .args([&binary, &source])
        .args(flags)
        .output()
        .expect("the compiler runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    binary
}
