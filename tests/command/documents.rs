//! The manual is what the command does.

use crate::{
    CONTAINER, Group, check, command_for_others, crash_after_serving, json, nobody, reuseaddr,
    server,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use support::{Program, in_one_line, own_network, program};

fn document(name: &str) -> String {
    let path = support::project().join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every key of an answer, but for those that are data: states, names of functions and of
/// variables.
fn keys(value: &Value, found: &mut BTreeSet<String>) {
    const OF_DATA: [&str; 7] = [
        "found",
        "left",
        "obstacles",
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
    let (_folder, command) = command_for_others("json");
    let mut live = server(5001).shimmed().start();
    live.expect("listening");
    let pid = live.pid().to_string();
    let mut of_both = Program::python(
        "
listener = socket.create_server(('::', 5002), family=socket.AF_INET6, dualstack_ipv6=True)
print('listening')
sys.stdin.read()
",
    )
    .start();
    of_both.expect("listening");
    // In a loop, which `free` names.
    let text = "while :; do /usr/bin/python3 -I -c 'import socket, sys
listener = socket.create_server((\"127.0.0.1\", 5003))
print(\"listening\", flush=True)
sys.stdin.read()'; done";
    let mut looping = Program::new("/bin/sh").arguments(["-c", text]).start();
    looping.expect("listening");
    let _container = Group::with(live.pid(), &format!("libpod-{CONTAINER}.scope"));
    // Last: it is left for a minute, in which nothing is to be built any more.
    crash_after_serving(&server(5000), 5000);
    for (section, answers) in [
        (
            "status",
            vec![
                json(&reuseaddr(["status", "--json", "5000-5002"])),
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
        ("watch", vec![crate::watch::event()]),
        (
            "free",
            vec![
                json(&reuseaddr(["free", "--json", "--dry-run", "5003"])),
                json(&reuseaddr(["free", "--json", "5001"])),
            ],
        ),
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

/// A manual page as a terminal shows it. Neither of the two programs that people have for that
/// finds a mistake in it.
fn manual(page: &str, section: u8) -> String {
    let folder = support::Folder::new(&format!("man-{page}"));
    let file = folder.join(format!("{page}.{section}"));
    fs::write(&file, reuseaddr(["man", page]).output()).expect("the folder is ours");
    let lint = Program::new(program(&["mandoc"]))
        .arguments(["-T", "lint"])
        .argument(&file)
        .run();
    assert_eq!((lint.stdout, lint.stderr), (String::new(), String::new()));
    let rendered = Program::new(program(&["man"]))
        .with("MANWIDTH", "100")
        .arguments(["--warnings", "-l"])
        .argument(&file)
        .run()
        .succeeded();
    assert_eq!(rendered.stderr, "");
    rendered.stdout
}

/// The subcommands, as `--help` lists them.
fn commands() -> Vec<String> {
    let help = reuseaddr(["--help"]).output();
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_manual_page_has_every_option_and_no_mistake() {
    let page = manual("reuseaddr", 1);
    for name in commands() {
        assert!(
            page.contains(&format!("       reuseaddr {name} ")),
            "{name} in {page}"
        );
        let help = reuseaddr([&name, "--help"]).output();
        let options = help
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--"))
            .map(|word| word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric()))
            .filter(|option| !["help", "version"].contains(option));
        for option in options {
            assert!(
                page.contains(&format!("--{option}")),
                "{name} --{option} in {page}"
            );
        }
    }
    // Wrapped as the page is.
    let words = in_one_line(&page);
    for (option, default) in [
        ("--grace TIME", "5s"),
        ("--signal SIGNAL", "TERM"),
        ("--trace-quiet DURATION", "250ms"),
        ("--trace-limit DURATION", "60s"),
        ("--color WHEN", "auto"),
    ] {
        let (_, entry) = words.split_once(&format!(" {option} ")).expect(option);
        let (_, shown) = entry.split_once("The default is ").expect(option);
        assert!(shown.starts_with(&format!("{default}. ")), "{option}");
    }
    for expected in [
        "SYNOPSIS",
        "reuseaddr bpf attach [OPTIONS]",
        "/sys/fs/bpf/libreuse",
        "50-libreuse.conf",
        "XDG_RUNTIME_DIR",
        "reuseaddr PORT\n",
        "reuseaddr run [OPTIONS] PROGRAM [ARGS]...",
        "reuseaddr arm [OPTIONS] PORT|--pid PID",
        // The long help.
        "As LIBREUSE_LINGER in the environment",
        "EXAMPLES",
        "sudo reuseaddr systemd --install",
        "EXIT STATUS",
        "NO_COLOR",
        "125",
        "JSON",
        "had_reuse_address",
        "libreuse.so(8)",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    // It names nothing that is installed nowhere.
    assert!(!page.contains("docs/") && !page.contains(".md"), "{page}");
}

#[test]
fn the_manual_pages_are_dated_by_the_build() {
    for page in ["reuseaddr", "libreuse.so"] {
        let source = reuseaddr(["man", page]).output();
        let title = source
            .lines()
            .find(|line| line.starts_with(".TH "))
            .expect("a title");
        let date = title.split_whitespace().nth(3).expect("a date");
        let date = date.trim_matches('"');
        let today = Program::new(program(&["date"]))
            .arguments(["-u", "+%F"])
            .output();
        // Written so, dates are in the order of their days.
        assert!(("2026-11-25"..=today.trim()).contains(&date), "{title}");
    }
}

#[test]
fn the_librarys_page_has_every_variable_and_no_mistake() {
    let page = manual("libreuse.so", 8);
    for setting in &libreuse_rules::settings::SETTINGS {
        assert!(page.contains(setting.name), "{} in {page}", setting.name);
    }
    for expected in ["LD_PRELOAD=libreuse.so PROGRAM", "reuseaddr(1)", "EXAMPLES"] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
}

/// What the library prints at which level, as the page has it.
#[test]
fn the_librarys_page_has_the_level_of_each_message() {
    let page = manual("libreuse.so", 8);
    let (_, entry) = page.split_once("loaded: ...").expect("the message");
    assert!(
        entry.trim_start().starts_with("with LIBREUSE_LOG=debug"),
        "{entry}"
    );
    let prints = |level: &str| {
        let program = Program::new("/bin/true").with("LIBREUSE_LOG", level);
        let finished = program.with("LD_PRELOAD", support::shim()).run();
        finished.stderr.contains("]: loaded: ")
    };
    assert!(prints("debug") && !prints("info"));
}

#[test]
fn messages_name_no_document_that_is_installed_nowhere() {
    let sources = support::project().join("command/src");
    let found = Program::new(program(&["grep"]))
        .arguments(["-rnE", r#""[^"]*docs/|^ */// .*docs/[a-z]+\.md"#])
        .argument(sources)
        .run();
    let told: Vec<&str> = found
        .stdout
        .lines()
        .filter(|line| !line.contains("include_str!"))
        .collect();
    assert_eq!(told, [""; 0]);
}

#[test]
fn the_manual_documents_every_subcommand_and_exit_code() {
    let text = document("command.md");
    for name in commands() {
        assert!(text.contains(&format!("reuseaddr {name}")), "{name}");
    }
    for code in ["125", "126", "127"] {
        assert!(text.contains(code), "{code}");
    }
}
