//! The imports of each package, read from its sources: no circle between files, and no arrow up
//! between the command's folders.

use crate::heads::sources;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use support::project;

/// The command's folders, from the top to the ground. Each may import what is on a floor below its
/// own; what shares a floor does not know of each other.
const FLOORS: [&[&str]; 9] = [
    &["cli"],
    &["systemd"],
    &["program", "watch"],
    &["engine"],
    &["port"],
    &["library"],
    &["process", "net"],
    &["output"],
    &["sys"],
];

/// A package's modules, as `port::wait`, with those that each imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The files of a package, but for its unit tests.
fn modules(root: &Path) -> Vec<PathBuf> {
    let mut files = sources(root);
    files.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    files
}

/// The name of a file's module: `src/port/wait.rs` is `port::wait`, `src/port/mod.rs` is `port`.
fn module(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).expect("below the root");
    let path = path.with_extension("");
    let mut names: Vec<_> = path
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.retain(|name| !["mod", "lib", "main"].contains(&name.as_str()));
    names.join("::")
}

/// Every path that begins with `crate::`, with what its braces hold spelled out.
fn paths(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter_map(|line| line.split("//").next())
        .collect();
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| spelled_out("", rest))
        .collect()
}

/// The paths of one use tree, and no more of the text than that.
fn spelled_out(prefix: &str, tree: &str) -> Vec<String> {
    let is_of_path = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let end = tree
        .find(|letter| !is_of_path(letter))
        .unwrap_or(tree.len());
    let path = format!("{prefix}{}", &tree[..end]);
    let Some(inner) = tree[end..].strip_prefix('{') else {
        return vec![path];
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, letter) in inner.char_indices() {
        let is_between = depth == 0 && ",}".contains(letter);
        if is_between {
            found.extend(spelled_out(&path, inner[start..at].trim()));
            start = at + 1;
        }
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

fn imports(package: &str) -> Imports {
    let root = project().join(package).join("src");
    let files: Vec<(String, String)> = modules(&root)
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).expect("text");
            (module(&root, file), text)
        })
        .collect();
    let modules: BTreeSet<String> = files.iter().map(|(module, _)| module.clone()).collect();
    // The longest beginning of a path that is a module.
    let owner = |path: &str| {
        let mut path = path.trim_end_matches("::");
        while !modules.contains(path) {
            path = path.rsplit_once("::").map_or("", |(before, _)| before);
        }
        path.to_owned()
    };
    files
        .iter()
        .map(|(module, text)| {
            let imported = paths(text).iter().map(|path| owner(path)).collect();
            (module.clone(), imported)
        })
        .collect()
}

/// Whether one of the two is a part of the other: those may know each other.
fn are_related(one: &str, other: &str) -> bool {
    let is_part = |whole: &str, part: &str| {
        part.strip_prefix(whole)
            .is_some_and(|rest| whole.is_empty() || rest.is_empty() || rest.starts_with("::"))
    };
    is_part(one, other) || is_part(other, one)
}

/// A way along the imports from a module back to itself.
fn circle(imports: &Imports) -> Option<Vec<String>> {
    fn follow(imports: &Imports, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        let here = way.last().expect("a start").clone();
        for next in &imports[&here] {
            if are_related(&here, next) || done.contains(next) {
                continue;
            }
            let is_closed = way.contains(next);
            way.push(next.clone());
            if is_closed || follow(imports, way, done) {
                return true;
            }
            way.pop();
        }
        done.insert(here);
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        follow(imports, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    for package in ["", "rules", "command"] {
        let imports = imports(package);
        assert!(imports.len() > 5, "the sources of {package:?} are found");
        assert!(
            imports.values().flatten().any(|import| !import.is_empty()),
            "the imports of {package:?} are found"
        );
        assert_eq!(circle(&imports), None, "in {package:?}");
    }
}

#[test]
fn the_commands_folders_import_downwards() {
    let floor = |module: &str| {
        let room = module.split("::").next().unwrap_or_default().to_owned();
        let floor = FLOORS
            .iter()
            .position(|rooms| rooms.contains(&room.as_str()));
        (room, floor)
    };
    for (module, imported) in imports("command") {
        if module.is_empty() {
            continue;
        }
        let (room, from) = floor(&module);
        let from = from.unwrap_or_else(|| panic!("{room} is on no floor"));
        for import in imported.iter().filter(|import| !import.is_empty()) {
            let (other, to) = floor(import);
            assert!(
                room == other || to.is_some_and(|to| to > from),
                "{module} imports {import}"
            );
        }
    }
}

#[test]
fn would_find_a_circle() {
    let known = |module: &str, imports: &[&str]| {
        let imports = imports.iter().map(|&import| import.to_owned()).collect();
        (module.to_owned(), imports)
    };
    let straight = [
        known("a", &["b"]),
        known("b", &["c::d"]),
        known("c::d", &[]),
    ];
    assert_eq!(circle(&Imports::from(straight)), None);
    let round = [
        known("a", &["b"]),
        known("b", &["c::d"]),
        known("c::d", &["a"]),
    ];
    assert!(circle(&Imports::from(round)).is_some());
    let read = paths("use crate::{a::{self, b}, c};\nfn f() { crate::d::e() } // crate::f\n");
    assert_eq!(read, ["a::self", "a::b", "c", "d::e"]);
}
