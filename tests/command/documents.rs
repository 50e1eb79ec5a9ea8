//! The manual is what the command does.

use crate::{CONTAINER, Group, check, crash_after_serving, json, nobody, reuseaddr, server};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use support::{Program, own_network, program};

fn document(name: &str) -> String {
    let path = support::project().join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every key of an answer, but for those that are data: states, names of functions and of variables.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    const OF_DATA: [&str; 6] = [
        "found",
        "left",
        "leftovers",
        "spared",
        "imports",
        "variables",
    ];
    match value {
        Value::Array(values) => {
            for value in values {
                keys(value, found);
            }
        }
        Value::Object(values) => {
            for (key, value) in values {
                found.insert(key.clone());
                if !OF_DATA.contains(&key.as_str()) {
                    keys(value, found);
                }
            }
        }
        _ => {}
    }
}

/// The keys that a section of docs/json.md has in its tables.
fn documented(section: &str) -> BTreeSet<String> {
    let text = document("json.md");
    let start = text
        .find(&format!("\n## {section}"))
        .unwrap_or_else(|| panic!("no section {section}"));
    let rest = &text[start + 4..];
    let end = rest.find("\n## ").unwrap_or(rest.len());
    rest[..end]
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_key_of_the_json_is_documented_and_no_other() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    let mut live = server(5001).shimmed().start();
    live.expect("listening");
    let pid = live.pid().to_string();
    let _container = Group::with(live.pid(), &format!("libpod-{CONTAINER}.scope"));
    let folder = support::Folder::for_other_users("json");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    for (section, answers) in [
        (
            "status",
            vec![
                json(&reuseaddr(["status", "--json", "5000-5001"])),
                json(&reuseaddr(["status", "--json"])),
            ],
        ),
        (
            "check",
            vec![
                json(&check().arguments(["--json", "/usr/bin/python3"])),
                json(&reuseaddr(["check", "--json", "--pid", &pid])),
            ],
        ),
        ("evict", vec![json(&reuseaddr(["evict", "--json", "5000"]))]),
        (
            "arm",
            vec![
                json(&reuseaddr(["arm", "--json", "5001"])),
                json(
                    &nobody()
                        .argument(&command)
                        .arguments(["arm", "--json", "5001"]),
                ),
            ],
        ),
    ] {
        let mut found = BTreeSet::new();
        for answer in &answers {
            keys(answer, &mut found);
        }
        assert_eq!(found, documented(section), "{section}");
    }
}

#[test]
fn the_manual_page_has_every_option_and_no_mistake() {
    let page = reuseaddr(["man"]).output();
    let folder = support::Folder::new("man");
    let file = folder.join("reuseaddr.1");
    fs::write(&file, &page).expect("the folder is ours");
    let rendered = Program::new(program(&["man"]))
        .with("MANWIDTH", "100")
        .arguments(["--warnings", "-l"])
        .argument(&file)
        .run()
        .succeeded();
    assert_eq!(rendered.stderr, "");
    for expected in [
        "--linger",
        "--wait",
        "--log-file",
        "--anyway",
        "--evict",
        "--watch",
        "--all-states",
        "--dry-run",
        "--install",
        "LIBREUSE_PROGRAMS",
        "NO_COLOR",
        "EXIT STATUS",
        "125",
        "RUN",
        "STATUS",
        "SYSTEMD",
    ] {
        assert!(
            rendered.stdout.contains(expected),
            "{expected} in {}",
            rendered.stdout
        );
    }
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = reuseaddr(["completions", shell]).output();
        assert!(
            script.contains("reuseaddr")
                && script.contains("all-states")
                && script.contains("linger"),
            "{shell}"
        );
    }
    let script = reuseaddr(["completions", "bash"]).output();
    let completed = Program::new(program(&["bash"]))
        .arguments(["-c", "source /dev/stdin; COMP_WORDS=(reuseaddr sta); COMP_CWORD=1; _reuseaddr reuseaddr sta reuseaddr; echo \"${COMPREPLY[@]}\" <&-"])
        .start();
    let mut completed = completed;
    for line in script.lines() {
        completed.say(line);
    }
    let finished = completed.finish();
    assert_eq!(finished.stdout.trim(), "status", "{finished:#?}");
}

#[test]
fn the_manual_documents_every_subcommand_and_exit_code() {
    let text = document("command.md");
    let help = reuseaddr(["--help"]).output();
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help");
    for name in commands {
        assert!(text.contains(&format!("reuseaddr {name}")), "{name}");
    }
    for code in ["125", "126", "127"] {
        assert!(text.contains(code), "{code}");
    }
}
