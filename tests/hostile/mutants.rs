//! Builds the shim with something taken out or put in, to see that a test notices.

use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, fs, io};
use support::Folder;

/// Builds the library that ships, from a copy of its sources that `change` has altered. Returns
/// what the compiler or the linker has against it, if they refuse.
pub(crate) fn try_build(change: impl FnOnce(&Path)) -> Result<PathBuf, String> {
    static ONE_AT_A_TIME: Mutex<u32> = Mutex::new(0);
    let mut number = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    *number += 1;

    let copy = sources(&format!("mutant-{number}"));
    change(copy.path());

    // Shared by all of them, so that the dependencies are built once; also by another run of the
    // tests.
    let target = support::scratch().join("mutants");
    fs::create_dir_all(&target).expect("the target folder is ours");
    let lock = fs::File::create(target.join("lock")).expect("the target folder is ours");
    // SAFETY: flock takes any descriptor, and this one stays open until the library is copied.
    let locked = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "{}", io::Error::last_os_error());
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked"])
        .arg("--target-dir")
        .arg(&target)
        // Where .cargo/config.toml is looked for.
        .current_dir(copy.path())
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let library = target.join(format!("libreuse-{}-{number}.so", std::process::id()));
    fs::copy(target.join("release/libreuse.so"), &library).expect("the library");
    drop(lock);
    Ok(library)
}

/// A copy of the sources. Cargo wants every file that Cargo.toml names, but builds only the
/// library: a link will do for the rest.
fn sources(name: &str) -> Folder {
    let original = support::project();
    let copy = Folder::new(name);
    for entry in fs::read_dir(original).expect("the crate") {
        let name = entry.expect("the crate").file_name();
        let kept = ["src", "rules", "build.rs", "target", ".git", ".cargo"];
        if !kept.iter().any(|kept| name == *kept) {
            symlink(original.join(&name), copy.join(&name)).expect("a link");
        }
    }
    for folder in ["src", "rules"] {
        copy_all(&original.join(folder), &copy.join(folder));
    }
    copy.copy(original.join("build.rs"), "build.rs");
    copy
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the crate") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A guard taken out: a patch whose first line names the tests that must fail then. Tests of
/// another target than this one begin with its name.
struct Mutant {
    number: String,
    patch: PathBuf,
    tests: Vec<String>,
}

impl Mutant {
    fn all() -> Vec<Self> {
        let folder = support::project().join("tests/hostile/mutants");
        let mut found: Vec<Self> = fs::read_dir(folder)
            .expect("there are mutants")
            .map(|entry| Self::read(entry.expect("an entry").path()))
            .collect();
        found.sort_by(|one, other| one.number.cmp(&other.number));
        found
    }

    fn read(patch: PathBuf) -> Self {
        let text = fs::read_to_string(&patch).expect("a patch");
        let first = text.lines().next().unwrap_or_default();
        let tests = first
            .strip_prefix("Fails: ")
            .unwrap_or_else(|| panic!("{} names no test", patch.display()));
        let name = patch.file_name().expect("a file").to_string_lossy();
        let number = name.split('-').next().expect("a number").to_owned();
        Self {
            number,
            tests: tests.split(' ').map(ToOwned::to_owned).collect(),
            patch,
        }
    }

    /// Patches the sources in a folder, or, if not, says whether that can be done. Line numbers and
    /// the outer lines of the context may differ.
    fn apply(&self, folder: &Path, options: &[&str]) {
        let output = Command::new("git")
            .args(["apply", "-C1"])
            .args(options)
            .arg(&self.patch)
            .current_dir(folder)
            // Within a repository git would leave out what lies in none of its folders.
            .env(
                "GIT_CEILING_DIRECTORIES",
                folder.parent().expect("a folder"),
            )
            .output()
            .expect("git runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{} applies no more: {complaint}",
            self.patch.display()
        );
    }
}

/// The shim may change: then the patches must, and not only when somebody builds all of them.
#[test]
fn each_finds_its_place() {
    let mutants = Mutant::all();
    assert!(mutants.len() > 50, "they are found");
    let sources = sources("mutants");
    for mutant in mutants {
        mutant.apply(sources.path(), &["--check"]);
    }
}

#[test]
#[ignore = "an hour's work for a machine: scripts/check/mutants runs it on demand"]
fn each_guard_is_held_by_a_test() {
    let wanted = env::var("LIBREUSE_MUTANT").unwrap_or_default();
    let mut survivors = Vec::new();
    for mutant in Mutant::all() {
        let number = mutant.number.as_str();
        if !wanted.is_empty() && !wanted.split(',').any(|one| one == number) {
            continue;
        }
        let library = try_build(|folder| mutant.apply(folder, &[]))
            .unwrap_or_else(|complaint| panic!("{number}: {complaint}"));
        for test in &mutant.tests {
            let (mut command, test) = match test.strip_prefix("spec::") {
                None => (
                    Command::new(env::current_exe().expect("this program")),
                    test.as_str(),
                ),
                Some(test) => {
                    let mut command = Command::new(env!("CARGO"));
                    command
                        .args(["test", "--quiet", "--package", "libreuse-tests"])
                        .args(["--test", "spec", "--"])
                        .current_dir(support::project());
                    (command, test)
                }
            };
            let output = command
                .args(["--exact", test])
                .env("LIBREUSE_TEST_LIBRARY", &library)
                .stdin(Stdio::null())
                .output()
                .expect("this program runs");
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(printed.contains("running 1 test"), "no such test: {test}");
            let verdict = if output.status.success() {
                survivors.push(format!("{number} {test}"));
                "SURVIVES"
            } else {
                "is noticed by"
            };
            println!("{number} {verdict} {test}");
        }
    }
    assert_eq!(survivors, [""; 0], "guards that no test holds");
}
