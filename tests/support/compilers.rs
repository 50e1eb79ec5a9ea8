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

/// Runs what a test needs before it begins, and returns what it printed.
pub fn succeed(command: &mut Command) -> String {
    // Cargo's variables for this test are none of a nested cargo's business.
    let output = command
        .env_remove("RUSTC")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("output in UTF-8")
}

/// Gives a file capabilities (capabilities(7)).
pub fn set_capabilities(file: impl AsRef<Path>, capabilities: &str) {
    let mut setcap = Command::new(program(&["setcap"]));
    succeed(setcap.arg(capabilities).arg(file.as_ref()));
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
        let triplet = succeed(Command::new(here).arg("-print-multiarch"));
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
    succeed(compiler.arg("-o").args([&binary, &source]).args(flags));
    binary
}

/// A Go program, compiled from its text.
pub fn compile_go(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let source = folder.join(format!("{name}.go"));
    fs::write(&source, text).expect("the folder is ours");
    let binary = folder.join(name);
    succeed(go(folder).arg("-o").args([&binary, &source]));
    binary
}

/// `go build`, with its cache in this folder.
pub fn go(folder: &Folder) -> Command {
    let mut go = Command::new(program(&["go"]));
    go.args(["build", "-buildvcs=false"])
        .env("HOME", folder.path())
        .env("GOCACHE", folder.join("cache"))
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0");
    go
}
