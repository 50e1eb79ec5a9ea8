//! What lies in each package: a README whose links lead somewhere, and the library's manual beside
//! the library.

use crate::systems::{dist, project, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::Folder;

/// How the packages of a release are unpacked, by how their names end: `$1` into this folder.
const UNPACK: [(&str, &str); 5] = [
    (".tar.gz", "tar -xf \"$1\""),
    (".tgz", "tar -xf \"$1\""),
    (".deb", "dpkg-deb --extract \"$1\" ."),
    (".rpm", "rpm2archive - <\"$1\" | tar -xz"),
    (".whl", "python3 -m zipfile -e \"$1\" ."),
];

/// Every package of the release, by its name, and where it is unpacked.
fn packages() -> Vec<(String, Folder)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dist()).expect("the release") {
        let file = entry.expect("an entry").path();
        let name = file.file_name().expect("a name").to_string_lossy();
        let Some((_, unpack)) = UNPACK.iter().find(|(end, _)| name.ends_with(end)) else {
            continue;
        };
        let folder = Folder::new("unpacked");
        succeed(
            Command::new("sh")
                .args(["-ec", unpack, "sh"])
                .arg(&file)
                .current_dir(folder.path()),
        );
        found.push((name.into_owned(), folder));
    }
    found
}

fn files_named(names: &[&str], folder: &Path) -> Vec<PathBuf> {
    let mut find = Command::new("find");
    find.arg(folder).args(["-type", "f", "("]);
    for name in names {
        find.args(["-name", name, "-o"]);
    }
    succeed(find.args(["-false", ")"]))
        .lines()
        .map(PathBuf::from)
        .collect()
}

/// The links of the READMEs in a folder that lead neither to a file there nor into the project's
/// repository. `PyPI` has a README in the wheel's METADATA.
pub(super) fn broken_links(folder: &Path) -> Vec<String> {
    let manifest = fs::read_to_string(project().join("Cargo.toml")).expect("ours");
    let repository = manifest
        .lines()
        .find_map(|line| line.strip_prefix("repository = \"")?.strip_suffix('"'))
        .expect("Cargo.toml names the repository");
    let mut broken = Vec::new();
    let readmes = files_named(&["README.md", "METADATA"], folder);
    assert!(!readmes.is_empty(), "no README in {}", folder.display());
    for readme in readmes {
        let text = fs::read_to_string(&readme)
            .expect("text")
            .replace('\n', " ");
        let between = |open: &str, close: char| {
            let links = text.split(open).skip(1);
            let links: Vec<String> = links
                .filter_map(|rest| rest.split_once(close))
                .map(|(link, _)| link.to_owned())
                .collect();
            links
        };
        let mut links = between("](", ')');
        links.extend(
            between("<https:", '>')
                .iter()
                .map(|rest| format!("https:{rest}")),
        );
        assert!(!links.is_empty(), "{} has no link", readme.display());
        broken.extend(
            links.into_iter().filter(|link| {
                !link.starts_with(repository) && !readme.with_file_name(link).exists()
            }),
        );
    }
    broken
}

#[test]
fn every_link_of_a_readme_leads_somewhere() {
    let packages = packages();
    assert!(packages.len() >= 5, "only {} were found", packages.len());
    for (name, folder) in packages {
        assert_eq!(broken_links(folder.path()), [""; 0], "{name}");
    }
    // The control: as it is in the project.
    let folder = Folder::new("readme");
    folder.copy(project().join("README.md"), "README.md");
    assert!(broken_links(folder.path()).contains(&"docs/install.md".into()));
}

#[test]
fn the_manual_of_the_library_is_where_the_library_is() {
    for (name, folder) in packages() {
        // Those of PyPI and npm carry the library inside the command.
        if [".whl", ".tgz"].iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let library = files_named(&["libreuse.so"], folder.path());
        let manual = files_named(&["libreuse.so.8.gz"], folder.path());
        assert_eq!(library.len(), manual.len(), "{name}");
    }
}
