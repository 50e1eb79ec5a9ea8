//! Containers: what `docs/containers.md` says of them.

use crate::restart::LEGACY;
use crate::systems::{Layer, System, release};
use std::path::Path;
use support::{Program, port_after_crash};

/// A container with a root file system that can't be written to, for an ordinary user without any
/// capability.
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
