//! A restart of a server, without the library and with it, on each system.

use crate::systems::{LIBRARY, release, succeed, systems, toolchains};
use std::process::Command;
use support::{Folder, Program, port_after_crash};

pub(crate) const LEGACY: &str = include_str!("legacy.c");

#[test]
fn a_legacy_program_gets_its_port_back_on_every_system() {
    for system in systems() {
        let binary = system.compile("legacy", LEGACY, &[]);
        for (variables, expected) in [
            (&[][..], "port 49201"),
            (&[("LD_PRELOAD", LIBRARY)][..], "port 49200"),
        ] {
            let port = port_after_crash(&system.program(&binary, variables));
            assert_eq!(port, expected, "{system:?} {variables:?}");
        }
    }
}

/// Zig has a standard library of its own, and no libc.
#[test]
fn a_static_program_of_zig_gets_its_port_back() {
    let folder = Folder::new("reach-zig");
    let binary = folder.join("legacy");
    succeed(
        Command::new(toolchains().join("zig/bin/python"))
            .args(["-m", "ziglang", "build-exe", "-O", "ReleaseSmall"])
            .args(["-target", "x86_64-linux-none"])
            .arg(format!("-femit-bin={}", binary.display()))
            .arg("reach/legacy.zig")
            .env("ZIG_GLOBAL_CACHE_DIR", folder.join("cache"))
            .env("ZIG_LOCAL_CACHE_DIR", folder.join("cache")),
    );
    let legacy = Program::new(binary);
    assert_eq!(port_after_crash(&legacy), "port 49201", "the control");
    let served = Program::new(release("x86_64").join("bin/reuseaddr"))
        .arguments(["run", "--engine", "trace", "--"])
        .command(&legacy);
    assert_eq!(port_after_crash(&served), "port 49200");
}
