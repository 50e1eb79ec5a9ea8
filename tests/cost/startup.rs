//! What a preloaded library adds to a start of `/bin/true`: instructions, symbols that the dynamic
//! linker looks up, and relative relocations.

use crate::budget::Spent;
use std::fs;
use std::path::Path;
use support::{Folder, Program, program};

const PROGRAM: &str = "/bin/true";

pub(crate) fn spent(library: &Path) -> Vec<Spent> {
    let (plain, preloaded) = (counts(None), counts(Some(library)));
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

fn counts(preloaded: Option<&Path>) -> [i32; 3] {
    let name = preloaded.and_then(Path::file_stem).unwrap_or_default();
    let folder = Folder::new(&format!("start-{}", name.to_string_lossy()));
    // The loader's work grows with the length of the path.
    let with = |program: Program| match preloaded {
        Some(library) => {
            folder.copy(library, "it.so");
            program.inside(folder.path()).with("LD_PRELOAD", "./it.so")
        }
        None => program.inside(folder.path()),
    };
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
