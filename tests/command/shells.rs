//! Tests the completions in each shell: types a line and presses Tab.

use crate::{reuseaddr, serve_once, server};
use std::fs;
use std::os::unix::fs::symlink;
use support::{Folder, Program, own_network};

/// Types each line and a Tab into a shell on a terminal, and has the shell print the completed
/// line.
const TYPIST: &str = r"
import json, os, pty, re, select, sys, termios, time
shell, setup, lines = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(shell[0], shell)
unread = ''
def read_until(wanted):
    global unread
    deadline = time.monotonic() + 100
    while wanted not in unread:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            sys.exit(f'waited in vain for {wanted!r} in {unread!r}')
        unread += os.read(terminal, 65536).decode(errors='replace')
        unread = re.sub(r'\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r|\x07|\x1b\][^\x07]*\x07', '', unread)
    text, unread = unread.split(wanted, 1)
    return text + wanted
os.write(terminal, (setup + '; echo REA''DY\n').encode())
read_until('READY')
read_until('$ ')
for line in lines:
    # The start of the line, the end, and what cannot stand there by itself.
    os.write(terminal, line.encode() + b'\t\x01echo \'<\x05>\'\n')
    print(re.findall('(?m)^<(.*)>$', read_until('>\n'))[-1], flush=True)
os.kill(pid, 9)
";

/// Returns each line as the shell completes it.
fn typed(shell: &[&str], setup: &str, lines: &[&str]) -> Vec<String> {
    let folder = Folder::new(&format!("shell-{}-{}", shell[0], setup.len()));
    typed_in(&folder, shell, setup, lines)
}

/// The same, with this folder as the home.
fn typed_in(folder: &Folder, shell: &[&str], setup: &str, lines: &[&str]) -> Vec<String> {
    symlink(support::reuseaddr(), folder.join("reuseaddr")).expect("the folder is ours");
    let script = folder.join("_reuseaddr");
    fs::write(&script, reuseaddr(["completions", shell[0]]).output()).expect("the folder is ours");
    let setup = setup.replace("SCRIPT", script.to_str().expect("UTF-8"));
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    Program::new(support::python())
        .with("PATH", path)
        .with("TERM", "dumb")
        .with("HOME", folder.path())
        .arguments(["-I", "-c", TYPIST])
        .argument(serde_json::to_string(shell).expect("JSON"))
        .argument(setup)
        .argument(serde_json::to_string(lines).expect("JSON"))
        .output()
        .lines()
        .map(ToOwned::to_owned)
        .collect()
}

/// The typed lines, and their completions in every shell.
fn expectations(pid: &str) -> Vec<(String, String)> {
    [
        ("reuseaddr sta", "reuseaddr status "),
        (
            "reuseaddr run --linger gr",
            "reuseaddr run --linger graceful ",
        ),
        ("reuseaddr run --log=tr", "reuseaddr run --log=trace "),
        ("reuseaddr --color alw", "reuseaddr --color always "),
        ("reuseaddr evict --all", "reuseaddr evict --all-states "),
        ("reuseaddr 4924", "reuseaddr 49248 "),
        ("reuseaddr status 4924", "reuseaddr status 49248 "),
        (
            "reuseaddr run --library /etc/protoc",
            "reuseaddr run --library /etc/protocols ",
        ),
        (
            "reuseaddr run --wait 60s setpr",
            "reuseaddr run --wait 60s setpriv ",
        ),
        ("reuseaddr check setpr", "reuseaddr check setpriv "),
        // No completions of ours after PROGRAM.
        ("reuseaddr run true --ling", "reuseaddr run true --ling"),
        ("reuseaddr run true stat", "reuseaddr run true stat"),
    ]
    .into_iter()
    .map(|(line, expected)| (line.to_owned(), expected.to_owned()))
    .chain([(
        // The trailing blank shows that the word is complete.
        format!("reuseaddr arm --pid {pid}"),
        format!("reuseaddr arm --pid {pid} "),
    )])
    .collect()
}

fn completes(shell: &[&str], setup: &str) {
    own_network();
    let mut running = server(49248).start();
    running.expect("listening");
    let expectations = expectations(&running.pid().to_string());
    let lines: Vec<&str> = expectations.iter().map(|(line, _)| line.as_str()).collect();
    let typed = typed(shell, setup, &lines);
    assert_eq!(typed.len(), lines.len());
    for ((line, expected), typed) in expectations.iter().zip(&typed) {
        // zsh removes the blank if another character is typed.
        let expected = if shell[0] == "zsh" {
            expected.trim_end()
        } else {
            expected
        };
        assert_eq!(typed, expected, "{shell:?}: {line}");
    }
}

#[test]
fn bash_completes() {
    completes(
        &["bash", "--norc", "--noprofile", "-i"],
        "bind 'set enable-bracketed-paste off'; PS1='$ '; . \
         /usr/share/bash-completion/bash_completion; . SCRIPT",
    );
}

#[test]
fn bash_completes_without_its_package() {
    completes(
        &["bash", "--norc", "--noprofile", "-i"],
        "bind 'set enable-bracketed-paste off'; PS1='$ '; . SCRIPT",
    );
}

#[test]
fn zsh_completes() {
    completes(
        &["zsh", "-f", "-i"],
        "PS1='$ '; unsetopt zle_bracketed_paste prompt_sp; autoload -U compinit; compinit -u -D; . \
         SCRIPT",
    );
}

/// zsh prints a dash between a word and its description, and none if there is no description.
#[test]
fn zsh_lists_words_without_a_dash() {
    own_network();
    let listed = |line: &str| {
        let setup = "PS1='$ '; unsetopt zle_bracketed_paste prompt_sp; autoload -U compinit; \
                     compinit -u -D; . SCRIPT; setopt list_ambiguous no_list_beep; _describe() { \
                     print -rl -- ${(P)2} > $HOME/described }";
        let folder = Folder::new(&format!("described-{}", line.len()));
        typed_in(&folder, &["zsh", "-f", "-i"], setup, &[line]);
        fs::read_to_string(folder.join("described")).expect("what was described")
    };
    assert_eq!(listed("reuseaddr run --linger "), "off\ngraceful\nzero\n");
    // The control: these have one.
    assert!(listed("reuseaddr ").contains("\nstatus:"));
}

/// Only peers of connections are offered for `--peer`.
#[test]
fn peers_are_those_of_connections() {
    own_network();
    let mut running = server(5000).start();
    running.expect("listening");
    let offered = || reuseaddr(["complete", "--", "evict", "--peer", ""]).output();
    assert_eq!(offered(), "");
    serve_once(&mut running, 5000);
    assert_eq!(offered(), "127.0.0.1\t1 connection\n");
}

#[test]
fn fish_completes() {
    completes(
        &["fish", "--no-config", "-i"],
        "function fish_prompt; echo '$ '; end; source SCRIPT",
    );
}
