//! The table in docs/install.md is what the channels come to.

use super::{Row, cargo, image, npm, python, systems};
use std::{env, fs};

/// Where the table begins and ends.
const BEGIN: &str =
    "<!-- Made by a test: LIBREUSE_TEST_WRITE=1, and tests/reach/channels/table.rs. -->\n\n";
const HEAD: &str =
    "| channel | what is typed | fetched | and then a restart |\n|---|---|--:|---|\n";

fn rows() -> [&'static Row; 13] {
    [
        python::pip(),
        python::pipx(),
        python::uv_tool(),
        npm::npm(),
        npm::pnpm(),
        npm::yarn(),
        npm::berry(),
        cargo::install(),
        systems::debian(),
        systems::rpm(),
        systems::arch(),
        systems::tarball(),
        image::image(),
    ]
}

/// What has to be as the page says: all, but of the size a tenth may be missing.
fn cells(line: &str) -> Option<(Vec<String>, f64)> {
    let mut cells: Vec<String> = line
        .strip_prefix("| ")?
        .strip_suffix(" |")?
        .split(" | ")
        .map(Into::into)
        .collect();
    if cells.len() != 4 {
        return None;
    }
    let size = cells.remove(2).split(' ').next()?.parse().ok()?;
    Some((cells, size))
}

#[test]
fn the_table_of_the_page_is_what_they_come_to() {
    // Each of them has seen that the port comes back, and that it does not without.
    let lines: Vec<String> = rows()
        .iter()
        .map(|row| {
            let kilobytes = row.bytes.div_ceil(1000);
            format!(
                "| {} | `{}` | {kilobytes} kB | has its port |",
                row.channel, row.typed
            )
        })
        .collect();
    let path = support::project().join("docs/install.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the table's place");
    let (table, after) = rest.split_once("\n\n").expect("the table's end");
    if env::var_os("LIBREUSE_TEST_WRITE").is_some() {
        let page = format!("{before}{BEGIN}{HEAD}{}\n\n{after}", lines.join("\n"));
        fs::write(&path, page).expect("the page");
        return;
    }
    let written: Vec<_> = table.lines().filter_map(cells).collect();
    let found: Vec<_> = lines.iter().filter_map(|line| cells(line)).collect();
    assert_eq!(written.len(), found.len(), "{table}");
    for ((written, size), (found, now)) in written.iter().zip(&found) {
        assert_eq!(written, found);
        assert!(
            (size - now).abs() <= now / 10.0 + 1.0,
            "{found:?}: {size} kB, and is {now} kB"
        );
    }
}
