//! `docs/safety.md`: every promise has a test, every test is there for a promise, and what is said
//! of the libraries that it was tried with is so.

use std::collections::BTreeMap;
use std::{env, fs};
use support::Program;

fn read(path: &str) -> String {
    let path = support::project().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tests of this target about the shim, as `module::name`, and whether each runs a program for
/// musl: then it names the libcs.
fn tests() -> BTreeMap<String, bool> {
    let this = env::current_exe().expect("this program");
    let list = Program::new(this)
        .arguments(["--list", "--format", "terse"])
        .output();
    list.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        // What is not about the shim.
        .filter(|test| !test.starts_with("mutants::") && !test.starts_with("promises::"))
        .map(|test| {
            let (module, name) = test.split_once("::").expect("a module");
            let text = read(&format!("tests/hostile/{module}.rs"));
            let (_, rest) = text
                .split_once(&format!("fn {name}()"))
                .unwrap_or_else(|| panic!("{test} is not in its module's file"));
            let body = rest.split("\n}\n").next().unwrap_or_default();
            let musl = ["Libc::BOTH", "Libc::Musl"]
                .iter()
                .any(|libc| body.contains(libc));
            (test.to_owned(), musl)
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
