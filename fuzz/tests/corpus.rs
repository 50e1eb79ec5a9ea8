//! Every input of the corpus holds: what the fuzzer once found worth keeping, on any toolchain, and
//! under Miri.

use std::fs;
use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is part of the repository") {
        let path = entry.expect("an entry").path();
        check(&fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

#[test]
fn settings() {
    replay("settings", libreuse_fuzz::settings);
}

#[test]
fn ports() {
    replay("ports", libreuse_fuzz::ports);
}

#[test]
fn programs() {
    replay("programs", libreuse_fuzz::programs);
}

#[test]
fn endpoint() {
    replay("endpoint", libreuse_fuzz::endpoint);
}
