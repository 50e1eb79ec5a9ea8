//! crates.io: `cargo install --locked reuseaddr` from the crates as they are published, and nothing
//! else of ours.

use super::contents::broken_links;
use super::{Row, Tried, is_recording, it_works, timed};
use crate::systems::{project, succeed};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Folder, Program};

/// Where the crates, and what is made of them, are kept: with what was compiled of other people's.
fn folder() -> PathBuf {
    project().join("target/crates")
}

/// Cargo, which takes its crates from the registry that [`folder`] has in the place of crates.io.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .arg("--config")
        .arg(folder().join("config.toml"))
        .args(["--offline"])
        .current_dir("/");
    cargo
}

pub(super) fn install() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        succeed(Command::new(project().join("packaging/crates")).arg(folder()));
        let root = folder().join("root");
        if root.exists() {
            fs::remove_dir_all(&root).expect("ours");
        }
        let target = folder().join("target");
        let mut install = cargo();
        install.args(["install", "--quiet", "--locked", "reuseaddr", "--root"]);
        install.arg(&root).arg("--target-dir").arg(&target);
        if is_recording() {
            fs::remove_dir_all(&target).ok();
        } else {
            // As users have it, but that it is not optimised, which takes a third of the time.
            install.arg("--debug");
        }
        let took = timed(|| drop(succeed(&mut install)));
        it_works(&Program::new(root.join("bin/reuseaddr")));
        succeed(
            cargo()
                .args(["uninstall", "--quiet", "reuseaddr", "--root"])
                .arg(&root),
        );
        assert!(!root.join("bin/reuseaddr").exists());
        Row {
            channel: "crates.io",
            typed: "cargo install --locked reuseaddr",
            bytes: crates().iter().map(|file| super::size(file)).sum(),
            took,
        }
    })
}

/// What of ours cargo fetches.
fn crates() -> Vec<PathBuf> {
    fs::read_dir(folder())
        .expect("the crates")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.extension().is_some_and(|ending| ending == "crate")
                && !name.starts_with("libreuse-0")
        })
        .collect()
}

/// The libraries that the last build of the command has made on its way, by their kinds.
fn libraries(target: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let listing = succeed(Command::new("find").arg(target).args([
        "-path",
        "*/out/library/*/release/libreuse.so",
        "-printf",
        "%T@ %p\n",
    ]));
    let mut newest: Vec<&str> = listing.lines().collect();
    newest.sort_unstable();
    newest
        .iter()
        .map(|line| {
            let path = PathBuf::from(line.split_once(' ').expect("a time and a path").1);
            let kind = path
                .ancestors()
                .nth(2)
                .and_then(Path::file_name)
                .expect("a target");
            let bytes = fs::read(&path).expect("a library");
            (PathBuf::from(kind), bytes)
        })
        .collect()
}

#[test]
fn cargo_installs_it_from_the_packaged_crates_alone() {
    install();
}

/// Out of the sources that travel in the crate comes the same library as out of the project's own.
#[test]
fn the_library_in_it_is_the_same_to_the_byte() {
    install();
    let ours = fs::read(support::reuseaddr()).expect("the project's command");
    let of_the_crate = libraries(&folder().join("target"));
    assert!(!of_the_crate.is_empty());
    for (kind, library) in of_the_crate {
        let is_inside = ours.windows(library.len()).any(|window| window == library);
        assert!(is_inside, "{} differs", kind.display());
    }
}

/// The library's own crate, for whoever packages that alone.
#[test]
fn the_librarys_crate_builds_by_itself() {
    install();
    // Out of the project, of whose workspace it would be taken for a part.
    let folder = Folder::for_other_users("crate");
    let version = env!("CARGO_PKG_VERSION");
    succeed(
        Command::new("cp")
            .arg("-R")
            .arg(self::folder().join(format!("registry/libreuse-{version}")))
            .arg(folder.join("libreuse")),
    );
    succeed(
        cargo()
            .args(["build", "--quiet", "--release", "--manifest-path"])
            .arg(folder.join("libreuse/Cargo.toml"))
            .arg("--target-dir")
            .arg(folder.join("target")),
    );
    assert!(folder.join("target/release/libreuse.so").exists());
}

/// Each crate has its licences with it.
#[test]
fn every_crate_has_its_licences_and_says_where_it_is_from() {
    install();
    for name in ["libreuse-rules", "libreuse", "reuseaddr"] {
        let folder = folder().join(format!("registry/{name}-{}", env!("CARGO_PKG_VERSION")));
        for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
            let text = fs::read(folder.join(file))
                .unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
            assert_eq!(
                text,
                fs::read(project().join(file)).expect("ours"),
                "{name}"
            );
        }
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        for key in ["authors", "homepage", "repository", "license"] {
            assert!(manifest.contains(&format!("\n{key} = ")), "{name}: {key}");
        }
        if name != "libreuse-rules" {
            assert_eq!(broken_links(&folder), [""; 0], "{name}");
        }
    }
}
