//! What a preloaded library adds to a start of `/bin/true`: instructions, symbols that the dynamic
//! linker looks up, and relative relocations.

use crate::budget::Spent;
use std::fs;
use support::{Folder, Program, program, shim};

const PROGRAM: &str = "/bin/true";

pub(crate) fn spent() -> Vec<Spent> {
    let (plain, preloaded) = (counts(false), counts(true));
    let names = ["instructions", "symbols", "relocations"];
    let added = plain.into_iter().zip(preloaded);
    names
        .into_iter()
        .zip(added)
        .map(|(name, (plain, preloaded))| Spent {
            what: format!("start {name}"),
            number: f64::from(preloaded - plain),
        })
        .collect()
}

fn counts(is_preloaded: bool) -> [i32; 3] {
    let with = |program: Program| {
        if is_preloaded {
            program.with("LD_PRELOAD", shim())
        } else {
            program
        }
    };
    let folder = Folder::new(&format!("start-{is_preloaded}"));
    let profile = folder.join("profile");
    with(Program::new(program(&["valgrind"])))
        .arguments(["--quiet", "--tool=callgrind"])
        .argument(format!("--callgrind-out-file={}", profile.display()))
        .argument(PROGRAM)
        .run()
        .succeeded();
    let profile = fs::read_to_string(profile).expect("callgrind writes it");
    let loader = with(Program::new(PROGRAM))
        .with("LD_DEBUG", "statistics")
        .run()
        .succeeded();
    [
        after(&profile, "totals: "),
        after(&loader.stderr, "final number of relocations: "),
        after(&loader.stderr, "number of relative relocations: "),
    ]
}

/// The number behind these words.
fn after(text: &str, words: &str) -> i32 {
    let (_, rest) = text
        .split_once(words)
        .unwrap_or_else(|| panic!("no {words:?} in {text}"));
    let digits = rest.split(|letter: char| !letter.is_ascii_digit());
    digits
        .into_iter()
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number")
}
