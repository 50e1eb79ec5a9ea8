//! Containers: what `docs/containers.md` says of them.

use crate::restart::{LEGACY, port_after_crash};
use crate::systems::{Layer, System, release, temporary};
use std::path::Path;
use std::process::Command;
use support::Program;

/// A container with a root file system that can't be written to, for an ordinary user without any capability.
fn confined(root: &Layer, preload: &Path, program: &Path) -> Program {
    root.program("setpriv")
        .arguments(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arguments(["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"])
        .argument("env")
        .argument(format!("LD_PRELOAD={}", preload.display()))
        .argument(program)
}

#[test]
fn a_mounted_library_serves_an_image_that_knows_nothing_of_it() {
    let library = release("x86_64").join("lib/libreuse.so");
    let root = Layer::new("container", ":");
    let binary = System::Old.compile("legacy", LEGACY, &[]);
    for (preload, expected) in [(Path::new(""), "port 49201"), (&library, "port 49200")] {
        let program = confined(&root, preload, &binary);
        assert_eq!(port_after_crash(&program), expected, "{preload:?}");
    }

    // It is as confined as it says.
    let status = confined(&root, &library, Path::new("sh"))
        .arguments(["-c", "id -u; touch /new 2>&1; true"])
        .output();
    assert!(
        status.starts_with("65534\n") && status.contains("Read-only file system"),
        "{status}"
    );
}

#[test]
fn a_program_for_musl_does_not_start_with_it() {
    let source = temporary().join("legacy-musl.c");
    let binary = temporary().join("legacy-musl");
    std::fs::write(&source, "int main(void) { return 0; }").expect("a writable folder");
    crate::systems::succeed(Command::new("musl-gcc").arg("-o").args([&binary, &source]));
    Program::new(&binary).run().succeeded();
    let library = release("x86_64").join("lib/libreuse.so");
    let refused = Program::new(&binary).with("LD_PRELOAD", &library).run();
    assert_eq!(refused.status.code(), Some(127), "{refused:#?}");
    assert!(refused.stderr.contains("libreuse.so"), "{refused:#?}");
    // By its bare name it is not found, and not missed.
    Program::new(&binary)
        .with("LD_PRELOAD", "libreuse.so")
        .run()
        .succeeded();
}
