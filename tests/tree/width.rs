//! The width of the sources: rustfmt keeps code at 100 columns, but for what it can't break.

use crate::heads::sources;
use std::fs;
use support::project;

/// What rustfmt leaves alone when it is too wide: comments, and in the packages (the tests hold
/// programs of other languages) long literals and whatever has one in it. A table's row can't be
/// broken.
fn is_too_wide(line: &str, in_package: bool) -> bool {
    let text = line.trim_start();
    let is_comment = text.starts_with("//") && !text.starts_with("//! |");
    line.chars().count() > 100 && (is_comment || (in_package && !text.starts_with("//")))
}

#[test]
fn no_line_is_wider_than_a_hundred_columns() {
    let mut found = Vec::new();
    for folder in ["src", "rules/src", "command/src", "tests"] {
        for path in sources(&project().join(folder)) {
            let text = fs::read_to_string(&path).expect("text");
            for (number, line) in (1..).zip(text.lines()) {
                if is_too_wide(line, folder != "tests") {
                    found.push(format!("{}:{number}", path.display()));
                }
            }
        }
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn would_find_a_wide_line() {
    let wide = "x".repeat(101);
    assert!(is_too_wide(&wide, true));
    assert!(!is_too_wide(&wide, false));
    assert!(is_too_wide(&format!("    // {wide}"), false));
    assert!(!is_too_wide(&"ö".repeat(100), true));
}
