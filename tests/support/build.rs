//! What is tested: the library that ships, and the command, each built on first use.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::{env, fs};

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests' package is in the project")
}

/// A folder for what the tests write, which Cargo's own `clean` takes away.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        // target/debug/deps/spec-0123456789abcdef
        let program = env::current_exe().expect("a test program has a path");
        let target = program.ancestors().nth(3).expect("it is below target");
        let folder = target.join("tmp");
        fs::create_dir_all(&folder).expect("the target folder is writable");
        folder
    })
}

/// The interposed functions, which are all that the library may export.
pub const HOOKS: [&str; 5] = ["bind", "close", "connect", "listen", "setsockopt"];

/// The library that ships: the release build, made on first use, or the one that
/// `LIBREUSE_TEST_LIBRARY` names.
pub fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| match env::var_os("LIBREUSE_TEST_LIBRARY") {
        Some(path) => PathBuf::from(path),
        None => build(&["--release", "--package", "libreuse"], "libreuse.so"),
    })
}

/// The command: a debug build, made on first use, or the one that `LIBREUSE_TEST_COMMAND` names.
pub fn reuseaddr() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| named_command().unwrap_or_else(|| build_command("command", &[])))
}

/// The command as it ships: the release build, made on first use, or the one that
/// `LIBREUSE_TEST_COMMAND` names.
pub fn reuseaddr_as_it_ships() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| named_command().unwrap_or_else(|| build_command("release", &["--release"])))
}

/// The command as distributions build it, which carries no library.
pub fn reuseaddr_without_library() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let command = build_command("external", &["--features", "external-library"]);
        // Whoever looks there next expects the usual one.
        build_command("command", &[]);
        command
    })
}

/// The command that `LIBREUSE_TEST_COMMAND` names, under the name by which tests and messages call
/// it.
fn named_command() -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os("LIBREUSE_TEST_COMMAND")?);
    if path.file_name() == Some(OsStr::new(COMMAND)) {
        return Some(path);
    }
    assert!(
        path.is_file(),
        "LIBREUSE_TEST_COMMAND={} is no file",
        path.display()
    );
    Some(put_command(&path, "named"))
}

/// Has Cargo build the command, and puts it into a folder of its own: Cargo has one place for all.
fn build_command(folder: &str, options: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let arguments = [&["--manifest-path", "command/Cargo.toml"], options].concat();
    put_command(&build(&arguments, COMMAND), folder)
}

/// The command's file name.
const COMMAND: &str = "reuseaddr";

/// Puts a command into a folder of this name, under its usual name.
fn put_command(file: &Path, folder: &str) -> PathBuf {
    let folder = scratch().join(folder);
    fs::create_dir_all(&folder).expect("the target folder is writable");
    let command = folder.join(COMMAND);
    let beside = folder.join(format!("{COMMAND}.{}", std::process::id()));
    fs::hard_link(file, &beside)
        .or_else(|_| fs::copy(file, &beside).map(drop))
        .and_then(|()| fs::rename(&beside, &command))
        .expect("the folder is ours");
    // It stays if both names were those of one file before.
    let _ = fs::remove_file(&beside);
    command
}

/// Which engine serves the programs that are `shimmed`: the library, or the one that
/// `LIBREUSE_TEST_ENGINE` names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    Preload,
    Trace,
    Bpf,
}

/// The engine that the tests are run over.
pub fn engine() -> Engine {
    match env::var("LIBREUSE_TEST_ENGINE").as_deref() {
        Err(_) | Ok("preload") => Engine::Preload,
        Ok("trace") => Engine::Trace,
        Ok("bpf") => Engine::Bpf,
        Ok(other) => panic!("LIBREUSE_TEST_ENGINE={other}: expected preload, trace or bpf"),
    }
}

/// Has Cargo build something, and returns the file of this name that came of it.
fn build(arguments: &[&str], name: &str) -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--message-format", "json"])
        .args(arguments)
        .current_dir(project())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).expect("cargo's messages are UTF-8");
    messages
        .split('"')
        .map(Path::new)
        .find(|path| path.is_absolute() && path.file_name() == Some(OsStr::new(name)))
        .unwrap_or_else(|| panic!("cargo names no {name}"))
        .to_path_buf()
}

/// Has programs start with the usual umask, and with the defaults of the signals that nohup(1), or
/// a shell that starts the tests in the background, ignores.
pub(crate) fn usual_start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: it takes a number, and can't fail.
        unsafe { libc::umask(0o022) };
        for number in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
            // SAFETY: the default takes no function, and no test sets one in this process.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    });
}
