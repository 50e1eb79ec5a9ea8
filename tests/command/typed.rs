//! What is advised works where it is typed: by the name where that leads to this command, and else
//! by its path, which root finds as well.

use crate::{command_for_others, crash_after_serving, json, nobody, server};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use support::{Program, own_network};

/// What status advises about a port with leftovers, to an ordinary user of whom a reset would be
/// refused.
fn advised(command: &Path, path: &str) -> Vec<String> {
    let status = nobody()
        .argument(command)
        .arguments(["status", "--json", "5000"])
        .with("PATH", path);
    let answer = json(&status);
    let advice = answer["ports"][0]["verdict"]["advice"]
        .as_array()
        .expect("advice")
        .clone();
    let words =
        |advice: &serde_json::Value| advice["command"].as_str().expect("a command").to_owned();
    advice.iter().map(words).collect()
}

#[test]
fn sudo_gets_a_path_that_root_finds() {
    own_network();
    // No reset helps then, so that root is asked for.
    fs::write("/proc/sys/net/ipv4/tcp_rfc1337", "1").expect("our own network");
    crash_after_serving(&server(5000), 5000);
    for home in ["typed", "typed with a space"] {
        let (folder, command) = command_for_others(home);
        let bin = command.parent().expect("a folder").display().to_string();
        let commands = advised(&command, &format!("{bin}:/usr/bin:/bin"));
        let sudo = commands
            .iter()
            .find(|line| line.starts_with("sudo "))
            .expect("root's");
        // The user's own are short, since his shell knows the name.
        assert!(
            commands
                .iter()
                .any(|line| line.starts_with("reuseaddr run ")),
            "{commands:?}"
        );

        // As root has it, whatever PATH its caller has: sudo takes its own.
        let typed = |line: &str| {
            Program::new("/bin/sh")
                .arguments(["-c", line])
                .with("PATH", format!("{bin}:/usr/bin:/bin"))
                .with("SUDO_ASKPASS", "/bin/false")
                .run()
        };
        let by_name = typed("sudo -n reuseaddr --version");
        assert_eq!(by_name.status.code(), Some(1), "the control: {by_name:#?}");
        assert!(
            by_name.stderr.contains("command not found"),
            "the control: {by_name:#?}"
        );
        let version = sudo
            .split(" evict")
            .next()
            .expect("the command")
            .replacen("sudo", "sudo -n", 1);
        let by_path = typed(&format!("{version} --version")).succeeded();
        assert!(by_path.stdout.starts_with("reuseaddr "), "{by_path:#?}");
        drop(folder);
    }
}

#[test]
fn the_name_is_enough_for_whoever_finds_this_command_by_it() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    let (folder, command) = command_for_others("typed-by-name");
    let run = |path: &str| {
        let commands = advised(&command, path);
        commands
            .into_iter()
            .find(|line| line.contains(" run "))
            .expect("advice")
    };
    let bin = command.parent().expect("a folder").display().to_string();
    let by_path = format!("{} run ", command.display());
    assert!(run(&format!("{bin}:/bin")).starts_with("reuseaddr run "));
    // npx and a path that was typed: the next shell would not find it.
    assert!(run("/usr/bin:/bin").starts_with(&by_path));
    // Another file of that name comes first.
    let other = folder.join("other");
    fs::create_dir(&other).expect("ours");
    folder.copy("/bin/true", "other/reuseaddr");
    assert!(run(&format!("{}:{bin}", other.display())).starts_with(&by_path));
    // A link to this very file will do, as cargo, pipx and uv make them.
    let links = folder.join("links");
    fs::create_dir(&links).expect("ours");
    symlink(&command, links.join("reuseaddr")).expect("ours");
    assert!(run(&format!("{}:{}", links.display(), other.display())).starts_with("reuseaddr run "));
}

#[test]
fn messages_have_it_as_well_as_answers() {
    own_network();
    let (_folder, command) = command_for_others("typed-message");
    let refused = nobody()
        .argument(&command)
        .arguments(["check", "--pid", "1"])
        .run();
    let expected = format!("`sudo {} check --pid 1`", command.display());
    let words: Vec<_> = refused.stderr.split_whitespace().collect();
    assert!(words.join(" ").contains(&expected), "{refused:#?}");
}
