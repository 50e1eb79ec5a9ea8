//! The table in docs/install.md is what the channels come to.

use super::{Row, cargo, image, is_recording, npm, python, systems};
use std::fs;

/// Where the table begins and ends.
const BEGIN: &str =
    "<!-- Made by a test: LIBREUSE_TEST_WRITE=1, and tests/reach/channels/table.rs. -->\n\n";
const HEAD: &str = "| channel | what is typed | fetched | installed in | and then a restart \
                    |\n|---|---|--:|--:|---|\n";

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

/// What has to be as the page says: all but the time, and of the size a tenth may be missing.
fn cells(line: &str) -> Option<(Vec<String>, f64)> {
    let mut cells: Vec<String> = line
        .strip_prefix("| ")?
        .strip_suffix(" |")?
        .split(" | ")
        .map(Into::into)
        .collect();
    if cells.len() != 5 {
        return None;
    }
    let time = cells.remove(3);
    time.strip_suffix(" s")?.parse::<f64>().ok()?;
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
                "| {} | `{}` | {kilobytes} kB | {:.1} s | has its port |",
                row.channel,
                row.typed,
                row.took.as_secs_f64()
            )
        })
        .collect();
    // The README has a line for each channel; of the tarball and of uv's and pipx's, the page.
    let readme = fs::read_to_string(support::project().join("README.md")).expect("it is there");
    let readme = readme.replace('\n', " ");
    for channel in rows().chunk_by(|one, next| one.channel == next.channel) {
        let typed = format!("`{}`", channel[0].typed);
        let is_named = readme.contains(&typed) || channel[0].channel == "the tarball";
        assert!(is_named, "README.md: {typed}");
    }
    let path = support::project().join("docs/install.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the table's place");
    let (table, after) = rest.split_once("\n\n").expect("the table's end");
    if is_recording() {
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
