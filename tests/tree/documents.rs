//! The documents: what they link to is there, and they are laid out as a reader finds them easiest.

use std::fs;
use std::path::{Path, PathBuf};
use support::project;

/// The README and everything below docs/, and what else is written for people.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["", "docs", "fuzz"]
        .into_iter()
        .flat_map(|folder| markdown_in(&project().join(folder)))
        .collect();
    for folder in fs::read_dir(project().join("docs")).expect("there are docs") {
        found.extend(markdown_in(&folder.expect("an entry").path()));
    }
    assert!(found.len() > 10, "{found:?}");
    found
}

fn markdown_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect()
}

/// What a renderer makes of a heading so that others can link to it.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    plain
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[test]
fn link_to_nothing_that_is_not_there() {
    let mut checked = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).expect("text");
        let folder = document.parent().expect("a folder");
        // A link may be wrapped within its words.
        let line = text.replace('\n', " ");
        let links = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'))
            .map(|(target, _)| target)
            .filter(|target| !target.contains("://"));
        for link in links {
            let (path, section) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                folder.join(path)
            };
            assert!(target.exists(), "{} names {link}", document.display());
            if !section.is_empty() {
                let there = fs::read_to_string(&target).expect("text");
                let mut headings = there.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| anchor(heading) == section),
                    "{} names {link}",
                    document.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} were found");
}

#[test]
fn name_no_script_that_is_not_there() {
    let mut checked = 0;
    for document in documents() {
        // What it says of earlier releases was so then.
        if document.ends_with("CHANGELOG.md") {
            continue;
        }
        let text = fs::read_to_string(&document).expect("text");
        let scripts = text
            .split(|letter: char| !(letter.is_ascii_alphanumeric() || "/-._".contains(letter)))
            .filter(|word| word.starts_with("scripts/"));
        for script in scripts {
            let script = script.trim_end_matches('.');
            assert!(
                project().join(script).exists(),
                "{} names {script}",
                document.display()
            );
            checked += 1;
        }
    }
    assert!(checked >= 10, "only {checked} were found");
}

/// The folders of sources, but for those that lie in another of the list.
const FOLDERS: [&str; 4] = ["", "command/src", "tests", "docs"];

#[test]
fn the_design_names_every_folder_and_no_file_that_is_not_there() {
    let design = fs::read_to_string(project().join("docs/design.md")).expect("the design");
    for parent in FOLDERS {
        for entry in fs::read_dir(project().join(parent)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_ours =
                !name.starts_with('.') && !["target", "pictures", "plots"].contains(&&*name);
            if entry.path().is_dir() && is_ours {
                let folder = Path::new(parent).join(&name);
                assert!(
                    design.contains(&folder.display().to_string()),
                    "{} is for what?",
                    folder.display()
                );
            }
        }
    }
    let named = design
        .split('`')
        .filter(|word| word.contains('/') && !word.contains([' ', '<', ':', '*']));
    for path in named {
        let mut parents = ["", "command/src", "rules/src", "scripts"].into_iter();
        assert!(
            parents.any(|parent| project().join(parent).join(path).exists()),
            "{path} is not there"
        );
    }
}

#[test]
fn the_readme_fits_a_reader_in_a_hurry() {
    let readme = fs::read_to_string(project().join("README.md")).expect("there is a README");
    let lines = readme.lines().count();
    assert!(lines <= 170, "{lines} lines");
    let listed = markdown_in(&project().join("docs"));
    for page in listed {
        let name = page.file_name().expect("a file").to_string_lossy();
        assert!(
            readme.contains(&format!("(docs/{name})")),
            "it does not list {name}"
        );
    }
}

/// Whether there is a test of this name in a file of this name.
fn is_test(folder: &Path, module: &str, name: &str) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().map(|entry| entry.path()).any(|path| {
            if path.is_dir() {
                return is_test(&path, module, name);
            }
            path.file_name() == Some(format!("{module}.rs").as_ref())
                && fs::read_to_string(&path)
                    .is_ok_and(|text| text.contains(&format!("#[test]\nfn {name}()")))
        })
    })
}

/// What a traced program can still notice has a test each, and it is there.
#[test]
fn name_the_test_of_what_a_traced_program_notices() {
    let text = fs::read_to_string(project().join("docs/engines.md")).expect("text");
    let (_, trace) = text.split_once("\n## trace\n").expect("the engine");
    let (trace, _) = trace.split_once("\n## bpf\n").expect("the next one");
    let (_, visible) = trace
        .split_once("### What remains visible\n")
        .expect("a section");
    let rows: Vec<_> = visible
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what "))
        .collect();
    assert!(rows.len() > 7, "{rows:?}");
    for row in rows {
        assert!(row.contains("::"), "no test is named: {row}");
    }
    let named = trace
        .split('`')
        .filter_map(|word| word.split_once("::"))
        .filter(|(module, _)| !module.contains(' '));
    for (module, name) in named {
        assert!(
            is_test(&project().join("tests/engines"), module, name),
            "there is no test {module}::{name}"
        );
    }
}
