use std::fs;
use support::project;

fn readme() -> String {
    fs::read_to_string(project().join("README.md")).expect("there is a README")
}

#[test]
fn names_no_file_that_is_not_there() {
    let readme = readme();
    let links = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target);
    let scripts = readme
        .split(['`', '\n', ' '])
        .filter(|word| word.starts_with("scripts/"));
    let mut checked = 0;
    for path in links
        .chain(scripts)
        .filter(|target| !target.contains("://"))
        // A section is the renderer's business.
        .filter_map(|target| target.split('#').next())
    {
        assert!(project().join(path).exists(), "the README names {path}");
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} were found");
}
