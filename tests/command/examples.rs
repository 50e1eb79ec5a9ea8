//! The examples of docs/command.md on `status` and `arm`, typed: what they show is what comes, but for numbers.

use crate::reuseaddr;
use std::fs;
use support::{Folder, Program, Running, TcpState, own_network, sysctl, wait_for};

/// The examples in a section: each command, and what the document shows after it.
fn examples(section: &str) -> Vec<(String, String)> {
    let text =
        fs::read_to_string(support::project().join("docs/command.md")).expect("the document");
    let (_, rest) = text
        .split_once(section)
        .unwrap_or_else(|| panic!("no {section}"));
    let rest = rest.split("\n## ").next().expect("a section");
    let mut found: Vec<(String, String)> = Vec::new();
    for line in rest.lines() {
        if let Some(command) = line.strip_prefix("    $ ") {
            found.push((command.to_owned(), String::new()));
        } else if let (Some((_, shown)), Some(line)) = (
            found.last_mut(),
            line.strip_prefix("    ")
                .or(Some(line).filter(|line| line.is_empty())),
        ) {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    found
}

/// Without what is different each time: numbers, how wide the columns are, and who started the test.
fn alike(text: &str) -> Vec<String> {
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '0'..='9' if plain.ends_with('N') => {}
            '0'..='9' => plain.push('N'),
            letter => plain.push(letter),
        }
    }
    plain
        .lines()
        .map(|line| line.split("started by").next().unwrap_or(line))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        // Numbers of other lengths wrap otherwise.
        .collect::<Vec<_>>()
        .join(" ")
        .split_whitespace()
        .map(ToOwned::to_owned)
        .collect()
}

fn compare(command: &str, shown: &str) {
    let words = command.trim_start_matches("sudo ").split(' ').skip(1);
    let finished = reuseaddr(words).run();
    assert_eq!(
        alike(&finished.stdout),
        alike(shown),
        "{command}: {finished:#?}"
    );
}

/// The document's server.
fn server(folder: &Folder) -> Running {
    let script = "import socket\nl = socket.socket()\nl.bind(('127.0.0.1', 49200))\nl.listen()\nprint('listening', flush=True)\nwhile True:\n    l.accept()[0].close()\n";
    fs::write(folder.join("server.py"), script).expect("the folder is ours");
    let mut running = Program::new("/bin/sh")
        .inside(folder.path())
        .arguments(["-c", "exec python3 server.py"])
        .with("PATH", "/usr/bin:/bin")
        .start();
    running.expect("listening");
    running
}

fn serve(clients: usize) {
    for _ in 0..clients {
        let mut client = std::net::TcpStream::connect("127.0.0.1:49200").expect("it listens");
        std::io::Read::read_to_end(&mut client, &mut Vec::new()).expect("it closes");
    }
    wait_for(49200, TcpState::TimeWait, clients);
}

#[test]
fn the_documents_examples_of_status_and_arm_are_what_comes() {
    own_network();
    let folder = Folder::new("examples");
    let running = server(&folder);
    let arm = examples("## reuseaddr arm ");
    let [(dry, would), (wet, did)] = arm.as_slice() else {
        panic!("{arm:?}")
    };
    compare(dry, would);
    serve(3);
    let status = examples("## reuseaddr status ");
    assert_eq!(status.len(), 1);
    for (command, shown) in &status {
        let shown = shown.split("\n\n\n").next().expect("the example");
        compare(command, shown);
    }
    compare(wet, did);
    running.kill();

    // The one that the page begins with, as it is where a reset ends TIME_WAIT: by default.
    sysctl("net.ipv4.tcp_rfc1337", "0");
    let first = examples("# The command `reuseaddr`");
    let (command, shown) = first
        .iter()
        .find(|(command, _)| command.starts_with("reuseaddr status"))
        .expect("an example of status");
    compare(command, shown);
}
