//! The programs of the suite.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::mem;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use support::{Folder, Program};

/// A C or C++ program of the suite, compiled on first use.
pub(crate) fn compiled(source: &str) -> PathBuf {
    compiled_with(source, &[])
}

/// The same with flags of its own; `-shared` makes it a library.
pub(crate) fn compiled_with(source: &str, flags: &[&str]) -> PathBuf {
    static DONE: Mutex<BTreeMap<OsString, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().expect("no compilation failed before");
    let number = done.len();
    let key = format!("{source} {flags:?}").into();
    done.entry(key)
        .or_insert_with(|| {
            let source = support::project().join("tests/hostile").join(source);
            let stem = source.file_stem().expect("a name").to_string_lossy();
            // The Folder is never dropped: the programs are needed until the last test has ended.
            let folder = Folder::new(&format!("hostile-{stem}-{number}"));
            let binary = folder.join(if flags.contains(&"-shared") {
                format!("lib{stem}.so")
            } else {
                stem.clone().into_owned()
            });
            mem::forget(folder);
            let compiler = if source.extension().is_some_and(|kind| kind == "cpp") {
                "c++"
            } else {
                "cc"
            };
            let output = Command::new(compiler)
                .args(["-O1", "-g", "-D_GNU_SOURCE", "-fPIC", "-pthread"])
                .args(["-Wall", "-Wextra", "-Werror", "-o"])
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
        })
        .clone()
}

/// A program of the suite, to be run.
pub(crate) fn host(source: &str) -> Program {
    Program::new(compiled(source))
}
