//! `docs/safety.md`: every promise has a test, and every test is there for a promise.

use std::collections::BTreeSet;
use std::fs;

fn read(path: &str) -> String {
    let path = support::project().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tests of this target, as `module::name`.
fn tests() -> BTreeSet<String> {
    let modules = read("tests/hostile/main.rs");
    let modules = modules
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        // What is not about the shim.
        .filter(|module| !["support", "host", "mutants", "promises"].contains(module));
    modules
        .flat_map(|module| {
            let text = read(&format!("tests/hostile/{module}.rs"));
            let names: Vec<_> = text
                .split("#[test]\nfn ")
                .skip(1)
                .map(|rest| format!("{module}::{}", rest.split('(').next().unwrap_or_default()))
                .collect();
            names
        })
        .collect()
}

#[test]
fn each_has_a_test() {
    let manual = read("docs/safety.md");
    let promises: Vec<_> = manual
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| The shim promises"))
        .collect();
    assert!(promises.len() > 30, "the tables are found");
    let mut named = BTreeSet::new();
    for promise in promises {
        let (_, cell) = promise
            .trim_end_matches(['|', ' '])
            .rsplit_once('|')
            .expect("two columns");
        let held_by: Vec<_> = cell
            .split('`')
            .filter(|name| name.contains("::"))
            .map(String::from)
            .collect();
        assert!(!held_by.is_empty(), "nothing holds this: {promise}");
        named.extend(held_by);
    }
    assert_eq!(named, tests());
}
