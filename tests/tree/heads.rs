//! The first line of each source: a sentence that says what it is about.

use std::fs;
use std::path::Path;
use support::project;

fn headless(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            headless(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).expect("text");
            if !text.starts_with("//!") {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn every_source_says_what_it_is_about() {
    let mut found = Vec::new();
    for folder in ["src", "rules/src", "command/src", "tests"] {
        headless(&project().join(folder), &mut found);
    }
    assert_eq!(found, [""; 0]);
}
