//! The Debian packages: checked, installed, used and removed.

use crate::restart::LEGACY;
use crate::systems::{Layer, System, command_package, dist, package, project, succeed};
use std::process::Command;
use support::port_after_crash;

#[test]
fn lintian_finds_nothing_in_them() {
    let report = succeed(
        Command::new("lintian")
            .args([
                "--allow-root",
                "--fail-on",
                "error,warning",
                "--display-info",
                "--tag-display-limit",
                "0",
            ])
            .args(["amd64", "i386", "arm64", "armhf", "s390x"].map(package))
            .args(["amd64", "arm64"].map(command_package)),
    );
    // What it was told to leave out is still there to be left out.
    assert!(!report.contains("unused-override"), "{report}");
}

#[test]
fn they_work_by_the_bare_name_until_they_are_removed() {
    const FIND: &str =
        "find / -xdev '(' -name '*reuse*' -o -name '*reuseaddr*' ')' -not -path '/var/lib/dpkg/*'";
    let packages = ["amd64", "i386"]
        .map(|name| package(name).display().to_string())
        .join(" ");
    let installed = Layer::new("package", &format!("dpkg --install {packages}"));
    for system in [System::Old, System::Old32] {
        let binary = system.compile("legacy", LEGACY, &[]);
        for (preload, expected) in [("", "port 49201"), ("libreuse.so", "port 49200")] {
            let program = installed
                .program("env")
                .argument(format!("LD_PRELOAD={preload}"))
                .argument(&binary);
            assert_eq!(port_after_crash(&program), expected, "{system:?} {preload}");
        }
    }
    let files = installed.program("sh").arguments(["-c", FIND]).output();
    for file in [
        "/usr/lib/x86_64-linux-gnu/libreuse.so",
        "/usr/lib/i386-linux-gnu/libreuse.so",
        "/usr/share/doc/libreuse",
    ] {
        assert!(files.lines().any(|line| line == file), "{file} in {files}");
    }

    // The command's package is for any system, and knows where that of the library puts it.
    let command = command_package("amd64").display().to_string();
    let installed = Layer::new(
        "package-command",
        &format!("dpkg --install {packages} {command}"),
    );
    for system in [System::Old, System::Old32] {
        let binary = system.compile("legacy", LEGACY, &[]);
        let program = installed
            .program("reuseaddr")
            .argument("run")
            .argument(&binary);
        assert_eq!(port_after_crash(&program), "port 49200", "{system:?}");
    }
    let files = installed.program("sh").arguments(["-c", FIND]).output();
    for file in [
        "/usr/bin/reuseaddr",
        "/usr/share/man/man1/reuseaddr.1.gz",
        "/usr/share/man/man8/libreuse.so.8.gz",
        "/usr/share/bash-completion/completions/reuseaddr",
        "/usr/share/zsh/vendor-completions/_reuseaddr",
        "/usr/share/fish/vendor_completions.d/reuseaddr.fish",
        "/usr/share/doc/reuseaddr",
    ] {
        assert!(files.lines().any(|line| line == file), "{file} in {files}");
    }

    let removed = Layer::new(
        "package-removed",
        &format!(
            "dpkg --install {packages} {command}\ndpkg --purge reuseaddr libreuse:amd64 \
             libreuse:i386"
        ),
    );
    let files = removed.program("sh").arguments(["-c", FIND]).output();
    // The project's own folder is seen there, and may be called so.
    let left = files.lines().filter(|file| !project().starts_with(file));
    assert_eq!(left.collect::<Vec<_>>(), [""; 0], "of {:?}", dist());
}
