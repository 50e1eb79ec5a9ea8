//! `docs/safety.md`: every promise has a test, every test is there for a promise, and what is said of the libraries that
//! it was tried with is so.

use std::collections::BTreeMap;
use std::fs;

fn read(path: &str) -> String {
    let path = support::project().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a test calls that runs its program with either libc.
const BOTH: [&str; 5] = [
    "Libc::BOTH",
    "Libc::Musl",
    "changes_nothing_in(",
    "logging_to(",
    "loses_no_byte(",
];

/// The tests of this target, as `module::name`, and whether they run a program for musl.
fn tests() -> BTreeMap<String, bool> {
    let modules = read("tests/hostile/main.rs");
    let modules = modules
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        // What is not about the shim.
        .filter(|module| !["support", "host", "mutants", "promises"].contains(module));
    modules
        .flat_map(|module| {
            let text = read(&format!("tests/hostile/{module}.rs"));
            let tests: Vec<_> = text
                .split("#[test]\nfn ")
                .skip(1)
                .map(|rest| {
                    let name = rest.split('(').next().unwrap_or_default();
                    // Where the function ends.
                    let body = rest.split("\n}\n").next().unwrap_or_default();
                    let musl = BOTH.iter().any(|call| body.contains(call));
                    (format!("{module}::{name}"), musl)
                })
                .collect();
            tests
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
    let mut named = BTreeMap::new();
    for promise in promises {
        let cells: Vec<_> = promise.split('|').map(str::trim).collect();
        let [_, _, tests, libcs, _] = cells[..] else {
            panic!("three columns: {promise}");
        };
        let musl = match libcs {
            "glibc, musl" => true,
            // Of the file nothing is run: it is taken apart.
            "glibc" | "the file" => false,
            _ => panic!("what was it tried with? {promise}"),
        };
        let held_by: Vec<_> = tests
            .split('`')
            .filter(|name| name.contains("::"))
            .map(|name| (String::from(name), musl))
            .collect();
        assert!(!held_by.is_empty(), "nothing holds this: {promise}");
        named.extend(held_by);
    }
    assert_eq!(named, tests());
}
