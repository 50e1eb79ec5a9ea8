//! The shared object: what it exports, needs and contains.

use support::{Folder, Program, program, shim};

fn tool(name: &str, arguments: &[&str]) -> String {
    Program::new(program(&[name]))
        .arguments(arguments)
        .argument(shim())
        .output()
}

#[test]
fn exports_the_five_hooks_and_nothing_else() {
    let table = tool("nm", &["-D", "--defined-only"]);
    let mut names: Vec<_> = table
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["bind", "close", "connect", "listen", "setsockopt"]);
}

#[test]
fn needs_libc_alone() {
    let table = tool("readelf", &["-d"]);
    let needed: Vec<_> = table
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .collect();
    assert!(
        matches!(needed[..], [line] if line.contains("[libc.so.6]")),
        "{needed:?}"
    );
    assert!(table.contains("[libreuse.so]"), "no soname: {table}");
    assert!(
        table.contains("NODELETE") && table.contains("NOW"),
        "{table}"
    );
}

/// Each mapping costs every program's start: its own are two, and its zeroes end in the second
/// one's last page.
#[test]
fn is_mapped_twice() {
    const PAGE: u64 = 4096;
    let table = tool("readelf", &["-lW"]);
    // Type, offset, addresses, and sizes in the file and in memory.
    let segments: Vec<Vec<u64>> = table
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("LOAD "))
        .map(|line| {
            line.split_whitespace()
                .filter_map(|word| word.strip_prefix("0x"))
                .map(|digits| u64::from_str_radix(digits, 16).expect("a number"))
                .collect()
        })
        .collect();
    let [_, writable] = &segments[..] else {
        panic!("{table}");
    };
    let [_, address, _, in_file, in_memory, ..] = writable[..] else {
        panic!("{table}");
    };
    let last_page = |size: u64| (address + size - 1) / PAGE;
    assert_eq!(last_page(in_file), last_page(in_memory), "{table}");
}

/// No panic can be reached from anywhere in it: the linker would have kept the code that prints
/// one.
#[test]
fn holds_no_panic() {
    let table = tool("nm", &[]);
    assert!(table.contains(" T close"), "{table}");
    let panics: Vec<_> = table
        .lines()
        .filter(|line| line.contains("panic") || line.contains("unwrap_failed"))
        .collect();
    assert!(panics.is_empty(), "{panics:#?}");
}

/// Whoever has the file can tell which version it is.
#[test]
fn says_its_version_in_a_note() {
    let expected = format!("{}\0", env!("CARGO_PKG_VERSION"));
    let bytes: Vec<String> = expected.bytes().map(|byte| format!("{byte:02x}")).collect();
    let folder = Folder::new("stripped");
    let stripped = folder.copy(shim(), "libreuse.so");
    Program::new(program(&["strip"]))
        .argument("--strip-all")
        .argument(&stripped)
        .output();
    for library in [shim(), &stripped] {
        let readelf = |option: &str| {
            Program::new(program(&["readelf"]))
                .arguments(["--wide", option])
                .argument(library)
                .output()
        };
        let notes = readelf("--notes");
        assert!(notes.contains(&bytes.join(" ")), "{notes}");
    }
}
