//! `docs/safety.md`: every promise has a test, and every test is there for a promise.

use std::collections::BTreeSet;
use std::{env, fs};
use support::Program;

/// The tests of this target about the shim, as `module::name`.
fn tests() -> BTreeSet<String> {
    let this = env::current_exe().expect("this program");
    let list = Program::new(this)
        .arguments(["--list", "--format", "terse"])
        .output();
    list.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        // What is not about the shim.
        .filter(|test| !test.starts_with("mutants::") && !test.starts_with("promises::"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn each_has_a_test() {
    let path = support::project().join("docs/safety.md");
    let manual = fs::read_to_string(path).expect("the manual");
    // Other tables are indented.
    let promises: Vec<_> = manual
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| The shim promises"))
        .collect();
    assert!(promises.len() > 30, "the tables are found");
    let mut named = BTreeSet::new();
    for promise in promises {
        let (_, tests) = promise
            .trim_end_matches(" |")
            .rsplit_once(" | ")
            .unwrap_or_else(|| panic!("two columns: {promise}"));
        let held_by: Vec<_> = tests
            .split('`')
            .filter(|name| name.contains("::"))
            .map(str::to_owned)
            .collect();
        assert!(!held_by.is_empty(), "nothing holds this: {promise}");
        named.extend(held_by);
    }
    assert_eq!(named, tests());
}
