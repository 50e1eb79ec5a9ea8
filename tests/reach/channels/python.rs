//! The wheel: by pip, pipx and uv, on this machine and for one that has musl alone.

use super::{Row, Tried, alone, date_of_the_release, file, it_works, shell, size, timed};
use crate::alpine::Root;
use crate::systems::{dist, release, succeed, toolchains};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use support::{Folder, Program, own_network, port_after_crash};

fn wheel() -> PathBuf {
    file("reuseaddr-", "_x86_64.whl")
}

fn uv() -> String {
    toolchains().join("python/bin/uv").display().to_string()
}

/// Installs by these commands, and has `bin/reuseaddr` in a folder of its own, until it is removed.
fn try_out(name: &str, typed: &'static str, install: &str, bin: &str, remove: &str) -> Row {
    let folder = Folder::for_other_users(name);
    let lines = |commands: &str| {
        let commands = commands
            .replace("WHEELS", &dist().display().to_string())
            .replace("WHEEL", &wheel().display().to_string())
            .replace("UV", &uv());
        // What is fetched would be found by its name, and not by its path.
        shell(folder.path(), &commands).with("UV_OFFLINE", "1")
    };
    let took = timed(|| alone(&lines(install)));
    let command = folder.join(bin);
    it_works(&Program::new(&command));
    lines(remove).run().succeeded();
    assert!(!command.exists(), "{name} leaves the command behind");
    Row {
        channel: "PyPI",
        typed,
        bytes: size(&wheel()),
        took,
    }
}

pub(super) fn pip() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        try_out(
            "pip",
            "pip install reuseaddr",
            "python3 -m venv venv && venv/bin/pip install --no-index --find-links WHEELS \
             reuseaddr\n\
             for page in man1/reuseaddr.1.gz man8/libreuse.so.8.gz; do test -s \
             venv/share/man/$page; done",
            "venv/bin/reuseaddr",
            "venv/bin/pip uninstall --yes reuseaddr && test ! -e \
             venv/share/man/man1/reuseaddr.1.gz",
        )
    })
}

pub(super) fn pipx() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        try_out(
            "pipx",
            "pipx install reuseaddr",
            // Debian's would fetch the newest pip for the venv that all of its share.
            "export PIPX_SHARED_LIBS=$HOME/shared PIPX_HOME=$HOME/pipx PIPX_BIN_DIR=$HOME/bin\n\
             python3 -m venv shared\n\
             pipx install --pip-args '--no-index --find-links WHEELS' reuseaddr",
            "bin/reuseaddr",
            "export PIPX_SHARED_LIBS=$HOME/shared PIPX_HOME=$HOME/pipx PIPX_BIN_DIR=$HOME/bin\n\
             pipx uninstall reuseaddr",
        )
    })
}

pub(super) fn uv_tool() -> &'static Row {
    static ROW: Tried = Tried::new();
    ROW.get_or_init(|| {
        try_out(
            "uv",
            "uv tool install reuseaddr",
            "UV tool install --no-index --find-links WHEELS reuseaddr",
            ".local/bin/reuseaddr",
            "UV tool uninstall reuseaddr",
        )
    })
}

#[test]
fn pip_installs_the_wheel() {
    pip();
}

#[test]
fn pipx_installs_the_wheel() {
    pipx();
}

#[test]
fn uv_installs_the_wheel_as_a_tool() {
    uv_tool();
}

#[test]
fn uvx_runs_the_wheel_without_installing_it() {
    let folder = Folder::for_other_users("uvx");
    own_network();
    let line = format!(
        "{} tool run --no-index --find-links {} reuseaddr 49200",
        uv(),
        dist().display()
    );
    let said = shell(folder.path(), &line).output();
    assert!(said.contains("49200"), "{said}");
    assert!(said.contains("free"), "{said}");
}

/// Where there is musl and nothing of glibc: uv takes the wheel for such a system, and no other
/// one. What it installs serves a program of musl's there.
#[test]
fn it_serves_a_system_that_has_musl_alone() {
    let root = Root::new("wheel-on-musl");
    let folder = Folder::for_other_users("wheel-for-musl");
    own_network();
    let install = |platform: &str| {
        let line = format!(
            "{} pip install --offline --python /usr/bin/python3 --python-platform {platform} \
             --only-binary :all: --no-index --find-links {} --target there reuseaddr",
            uv(),
            dist().display()
        );
        shell(folder.path(), &line).run()
    };
    let refused = install("x86_64-apple-darwin");
    assert!(!refused.status.success(), "{refused:#?}");
    install("x86_64-unknown-linux-musl").succeeded();
    root.put_file(folder.join("there/bin/reuseaddr"), "bin/reuseaddr");
    let plain = root.program(&[], &["/srv/legacy"]);
    assert_eq!(port_after_crash(&plain), "port 49201", "the control");
    let served = root.program(
        &["TMPDIR=/tmp"],
        &[
            "/bin/reuseaddr",
            "run",
            "--engine",
            "preload",
            "/srv/legacy",
        ],
    );
    assert_eq!(port_after_crash(&served), "port 49200");
}

/// From the same files, wherever they lie; with our own bill of materials, which has neither date
/// nor random number in it.
#[test]
fn the_same_files_give_the_same_wheel() {
    let folder = Folder::new("wheel again");
    for machine in ["x86_64", "aarch64"] {
        let copy = folder.join(machine);
        succeed(
            Command::new("cp")
                .arg("-R")
                .arg(release(machine))
                .arg(&copy),
        );
        succeed(
            Command::new(support::project().join("packaging/wheel"))
                .arg(&copy)
                .arg(machine)
                .arg(folder.path())
                .env("SOURCE_DATE_EPOCH", date_of_the_release()),
        );
        let made = file("reuseaddr-", &format!("_{machine}.whl"));
        let again = folder.join(made.file_name().expect("a name").to_str().expect("UTF-8"));
        let is_same = fs::read(&made).expect("ours") == fs::read(&again).expect("ours");
        assert!(is_same, "{}", made.display());
        let listing = succeed(
            Command::new("python3")
                .args(["-m", "zipfile", "-l"])
                .arg(&made),
        );
        assert!(
            listing.contains(".dist-info/sboms/reuseaddr.cdx.json"),
            "{listing}"
        );
    }
}
