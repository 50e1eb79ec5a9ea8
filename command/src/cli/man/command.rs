//! reuseaddr(1).

use super::super::exit::EXIT_STATUS;
use super::page::Page;
use clap::{Arg, Command};

/// The page, from the command line.
pub(super) fn page(command: &Command) -> String {
    let mut page = Page::new(
        "reuseaddr",
        "1",
        "User Commands",
        "explain why a TCP port is busy, and start programs so it is not",
    );
    let subcommands: Vec<&Command> = command
        .get_subcommands()
        .filter(|subcommand| !subcommand.is_hide_set())
        .collect();
    page.section("SYNOPSIS");
    page.usage("reuseaddr PORT");
    for subcommand in &subcommands {
        for one in with_its_own(subcommand) {
            page.usage(&usage(one));
        }
    }
    page.section("DESCRIPTION");
    let about = command
        .get_long_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    for paragraph in about.split("\n\n").skip(1) {
        page.words(paragraph);
    }
    page.paragraph(
        "`reuseaddr` `PORT` is `reuseaddr status` `PORT`. A PORT is a number, a range, several of \
         them with commas, or one of these forms: `49200`, `8000-8100`, `:8080`, `localhost:8080`, \
         `8080/tcp`, `http://localhost:8080/`, or a service that /etc/services names; `status` and \
         `free` also take `8080/udp` and `udp:8080`. It is always a port of this machine: an IP \
         address before it is ignored, and a host name has to be this machine's.",
    );
    page.section("COMMANDS");
    for subcommand in subcommands {
        for one in with_its_own(subcommand) {
            describe(&mut page, one);
        }
    }
    page.section("OPTIONS");
    page.words("Every command has these:");
    for option in command.get_arguments() {
        describe_option(&mut page, option);
    }
    page.section("ENVIRONMENT");
    page.words(
        "The variables of the library, which `run` and `systemd` set by their options, are in \
         libreuse.so(8).",
    );
    page.term(
        "NO_COLOR",
        "",
        "If it is set and not empty, no colour is used unless `--color always` asks for it.",
    );
    for (variable, meaning) in ENVIRONMENT {
        page.term(variable, "", meaning);
    }
    page.section("FILES");
    for (file, meaning) in FILES {
        page.term(file, "", meaning);
    }
    page.section("EXIT STATUS");
    page.words("A wrong command line gives 2, and 125 for `run`.");
    for (subcommand, codes) in EXIT_STATUS {
        page.subsection(subcommand);
        for (code, meaning) in *codes {
            page.term(code, "", meaning);
        }
    }
    json(&mut page);
    page.section("EXAMPLES");
    for (purpose, command) in EXAMPLES {
        page.example(purpose, command);
    }
    page.see_also(&[
        ("libreuse.so", "8"),
        ("ss", "8"),
        ("ld.so", "8"),
        ("socket", "7"),
        ("tcp", "7"),
        ("systemd.exec", "5"),
    ]);
    page.finish()
}

const EXAMPLES: &[(&str, &str)] = &[
    (
        "Which process holds port 8080, and what to do about it:",
        "reuseaddr 8080",
    ),
    ("On which ports does node listen?", "reuseaddr status node"),
    (
        "Start a server so that its restarts work:",
        "reuseaddr run python3 server.py",
    ),
    (
        "The first restart after a run without the library, which waits for TIME_WAIT once:",
        "reuseaddr run --wait 65s python3 server.py",
    ),
    (
        "The same where TIME_WAIT can be cleared, so that nothing waits:",
        "reuseaddr run --evict --ports 8080 python3 server.py",
    ),
    (
        "Do that for a service:",
        "sudo reuseaddr systemd --install --wait 60s myd",
    ),
    (
        "Prepare a running server for its next start:",
        "reuseaddr arm 8080",
    ),
    ("Clear a port of TIME_WAIT:", "sudo reuseaddr evict 8080"),
    (
        "Which processes hold port 8080, for a program:",
        "reuseaddr status --json 8080 | jq '.ports[].sockets[].holders[].pid'",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "LD_PRELOAD",
        "`run` puts the library in front of its value.",
    ),
    ("PATH", "Where `run` and `check` look for PROGRAM."),
    (
        "XDG_RUNTIME_DIR, XDG_CACHE_HOME, HOME, TMPDIR",
        "Where `run` puts the library that it carries, if none is installed: into `libreuse` in \
         the first of XDG_RUNTIME_DIR, XDG_CACHE_HOME or else `~/.cache`, or into `libreuse-UID` \
         in TMPDIR or else /tmp. What root starts loads it from /run/libreuse or \
         /var/cache/libreuse.",
    ),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/services", "The names that may stand for ports."),
    (
        "/run/libreuse, /var/cache/libreuse, ~/.cache/libreuse",
        "The library that `run` carries. `reuseaddr clean` removes it.",
    ),
    (
        "/etc/systemd/system/UNIT.d/50-libreuse.conf",
        "What `systemd --install` writes. With --user it is below systemd/user in \
         XDG_CONFIG_HOME or else ~/.config.",
    ),
    (
        "/usr/local/lib/libreuse, ~/.local/lib/libreuse",
        "The library and the command that drop-ins and the OCI hook name.",
    ),
    (
        "/sys/fs/bpf/libreuse, /run/libreuse/bpf",
        "Maps, and the names of the control groups, of `bpf attach`. `bpf detach --all` removes \
         them.",
    ),
    (
        "/etc/containers/oci/hooks.d/50-libreuse.json",
        "What `bpf hook --install` writes.",
    ),
];

/// A command, or those below it, as `bpf` has them.
fn with_its_own(command: &Command) -> Vec<&Command> {
    let visible = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let below: Vec<&Command> = command.get_subcommands().filter(visible).collect();
    if below.is_empty() {
        vec![command]
    } else {
        [vec![command], below].concat()
    }
}

/// `reuseaddr run [OPTIONS] PROGRAM [ARGS]...`
fn usage(subcommand: &Command) -> String {
    let usage = subcommand.clone().render_usage().to_string();
    usage
        .trim_start_matches("Usage: ")
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .replace(['<', '>'], "")
}

fn describe(page: &mut Page, subcommand: &Command) {
    page.subsection(&usage(subcommand));
    let about = subcommand
        .get_long_about()
        .or(subcommand.get_about())
        .map(ToString::to_string)
        .unwrap_or_default();
    page.words(&format!("{}.", about.trim_end_matches('.')));
    if let Some(more) = subcommand.get_after_help() {
        for paragraph in more.to_string().lines() {
            page.paragraph(paragraph);
        }
    }
    let (operands, options): (Vec<&Arg>, Vec<&Arg>) = subcommand
        .get_arguments()
        .partition(|argument| argument.is_positional());
    for argument in operands.into_iter().chain(options) {
        if argument.get_id() != "help"
            && argument.get_id() != "version"
            && !argument.is_global_set()
        {
            describe_option(page, argument);
        }
    }
}

fn describe_option(page: &mut Page, option: &Arg) {
    let values: Vec<String> = option
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    let values = if option.get_action().takes_values() {
        values.join(" ")
    } else {
        String::new()
    };
    let mut meaning = option
        .get_long_help()
        .or(option.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    if !meaning.ends_with(['.', ']']) {
        meaning.push('.');
    }
    let possible: Vec<String> = option
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if possible.len() > 1 && option.get_action().takes_values() {
        meaning += &format!(" One of {}.", possible.join(", "));
    }
    if let [default] = option.get_default_values() {
        if option.get_action().takes_values() {
            meaning += &format!(" The default is `{}`.", default.to_string_lossy());
        }
    }
    match (option.get_short(), option.get_long()) {
        (Some(short), Some(long)) => page.term(&format!("-{short}, --{long}"), &values, &meaning),
        (None, Some(long)) => page.term(&format!("--{long}"), &values, &meaning),
        _ => page.term("", &values, &meaning),
    }
}

/// The description of the answers' keys, from the page on JSON.
fn json(page: &mut Page) {
    page.section("JSON");
    for line in include_str!("json.md").split("\n\n").skip(1) {
        let cells = |row: &str| -> Option<(String, String)> {
            let (key, meaning) = row.strip_prefix("| `")?.split_once("` | ")?;
            Some((key.to_owned(), meaning.trim_end_matches(" |").to_owned()))
        };
        if let Some(title) = line.strip_prefix("## ") {
            page.subsection(&format!("{title} --json"));
        } else if line.starts_with('|') {
            for (key, meaning) in line.lines().filter_map(cells) {
                page.term(&key, "", &meaning);
            }
        } else {
            page.words(&line.replace(" ([command.md](command.md))", ""));
        }
    }
}
