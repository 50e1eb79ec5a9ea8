//! The first line of each source: a sentence that says what it is about.

use std::fs;
use std::path::{Path, PathBuf};
use support::project;

/// Every source below a folder.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_source_says_what_it_is_about() {
    for folder in ["src", "rules/src", "command/src", "tests"] {
        for path in sources(&project().join(folder)) {
            let text = fs::read_to_string(&path).expect("text");
            let is_part = path.file_name().is_some_and(|name| name == "tests.rs");
            assert!(is_part || text.starts_with("//!"), "{}", path.display());
        }
    }
}
