//! The words that people type: a port in every way that one is written, and no command at all.

use crate::{assert_says, code, json, reuseaddr, server};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use support::{Program, own_network};

#[test]
fn a_port_alone_asks_for_its_status() {
    own_network();
    let mut running = server(5000).start();
    running.expect("listening");
    // But for the age of the server, which goes on.
    let said = |words: &[&str]| {
        let finished = reuseaddr(words).run();
        let (_, said) = finished
            .stdout
            .split_once("\n\n")
            .unwrap_or_else(|| panic!("{finished:#?}"));
        (
            code(&finished),
            said.split("  pid").next().map(ToOwned::to_owned),
        )
    };
    let long = said(&["status", "5000"]);
    for words in [
        &["5000"][..],
        &[":5000"],
        &["localhost:5000"],
        &["5000/tcp"],
        &["127.0.0.1:5000"],
        &["5000-5000"],
    ] {
        assert_eq!(said(words), long, "{words:?}");
    }
    let answer = json(&reuseaddr(["5000", "--json"]));
    assert_eq!(answer["ports"][0]["port"], 5000);
    let answer = json(&reuseaddr(["--json", "5000"]));
    assert_eq!(answer["ports"][0]["port"], 5000);
    // A command that is spelled wrong is not a port, and not a program either.
    let typo = reuseaddr(["statsu"]).run();
    assert_eq!(code(&typo), 2);
    assert!(typo.stderr.contains("status"), "{typo:#?}");
}

#[test]
fn services_are_ports_for_every_command() {
    own_network();
    let services = fs::read_to_string("/etc/services").expect("netbase is installed");
    assert!(services.contains("\nhttp-alt"), "{services}");
    let mut running = server(8080).start();
    running.expect("listening");
    for (words, expected) in [
        (&["http-alt"][..], "Port 8080 is busy"),
        (&["status", "webcache"], "Port 8080 is busy"),
        (&["tcp:8080"], "Port 8080 is busy"),
        (&["udp:8080"], "UDP port 8080 is free"),
        (&["free", "udp://localhost:8080"], "8080/udp is free"),
        (&["evict", "--dry-run", "http-alt"], "Port 8080:"),
        (
            &["arm", "--dry-run", "localhost:http-alt"],
            "the listener on 127.0.0.1:8080",
        ),
    ] {
        assert_says(&reuseaddr(words).run().stdout, expected);
    }
}

/// The library reads numbers alone, and gets those.
#[test]
fn services_and_urls_are_ports_for_run_and_systemd() {
    own_network();
    let variable = |words: &[&str]| {
        let finished = reuseaddr(words).run();
        let given = finished
            .stdout
            .split(['\n', '"'])
            .find_map(|word| word.strip_prefix("LIBREUSE_PORTS="));
        given.map_or(finished.stderr.clone(), ToOwned::to_owned)
    };
    for (ports, expected) in [
        ("http-alt", "8080"),
        ("localhost:8080,9000-9001", "8080,9000-9001"),
        ("http://localhost:3000/", "3000"),
        // The control: what the library reads by itself stays as it is.
        ("9000-9001,8080", "9000-9001,8080"),
    ] {
        assert_eq!(variable(&["run", "--ports", ports, "env"]), expected);
        let unit = variable(&["systemd", "--ports", ports, "no-such-unit"]);
        assert_eq!(unit, expected);
    }
    for wrong in ["no-such-service", "53/udp", "example.com:80"] {
        assert_says(
            &variable(&["run", "--ports", wrong, "env"]),
            &format!("--ports={wrong}: expected ports and ranges"),
        );
    }
}

#[test]
fn arm_shows_what_it_would_do_and_does_nothing() {
    own_network();
    let mut running = server(5000).start();
    running.expect("listening");
    let pid = running.pid().to_string();
    let dry = reuseaddr(["arm", "--dry-run", ":5000"]).run();
    assert_eq!(code(&dry), 0, "{dry:#?}");
    assert_says(
        &dry.stdout,
        "the listener on 127.0.0.1:5000 would get SO_REUSEADDR 1 socket would be armed.",
    );
    assert!(!dry.stdout.contains("Now the program"), "{dry:#?}");
    let flag = || crate::status(5000)["sockets"][0]["reuse_address"].take();
    assert_eq!(flag(), false);

    let answer = json(&reuseaddr(["arm", "--json", "--pid", &pid]));
    assert_eq!(answer["sockets"][0]["pid"], running.pid(), "{answer}");
    assert_eq!(answer["sockets"][0]["kind"], "listener", "{answer}");
    assert_eq!(answer["sockets"][0]["had_reuse_address"], false, "{answer}");
    assert_eq!(answer["sockets"][0]["set"][0], "SO_REUSEADDR", "{answer}");
    assert_eq!(flag(), true);

    // Who types a process's number where a port is expected is told.
    let own = Program::python("print('ready')\nsys.stdin.read()").start();
    if let Ok(port) = u16::try_from(own.pid()) {
        let finished = reuseaddr(["arm", &port.to_string()]).run();
        assert_says(&finished.stderr, &format!("reuseaddr arm --pid {port}"));
    }
}

/// What is wrong with a port `status` says, whether it was named or not; and options stand where
/// they like.
#[test]
fn a_word_that_is_meant_as_a_port_is_one() {
    own_network();
    for (word, why) in [
        ("70000", "no port above 65535"),
        ("0", "port 0"),
        ("90-80", "from high to low"),
        ("80-", "expected"),
    ] {
        let finished = reuseaddr([word]).run();
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_says(&finished.stderr, why);
        assert!(!finished.stderr.contains("no command"), "{finished:#?}");
    }
    for words in [
        &["--color", "always", "5000"][..],
        &["-v", "--color", "never", "5000"],
    ] {
        let finished = reuseaddr(words).run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert!(finished.stdout.contains("Port 5000 is "), "{finished:#?}");
    }
    // The control: a program's path is none.
    for word in ["./server", "/usr/bin/node"] {
        let finished = reuseaddr([word]).run();
        assert_says(&finished.stderr, &format!("unknown command {word}"));
    }
    let mistaken = reuseaddr(["--color", "always", "run", "--no-such-option"]).run();
    assert_eq!(code(&mistaken), 125, "{mistaken:#?}");
}

/// Whatever is wrong with a value, the answer has the value, and what is expected in its place.
#[test]
fn a_wrong_value_is_answered_by_what_is_expected() {
    own_network();
    for (words, expected) in [
        (
            &["status", "--pid", "nginx"][..],
            "the number of a process; `pgrep",
        ),
        (&["arm", "--pid", ""], "the number of a process"),
        (
            &["check", "--pid", "99999999999"],
            "the number of a process",
        ),
        (
            &["wait", "--address", "localhost", "80"],
            "an IP address such as 127.0.0.1",
        ),
        (
            &["evict", "--peer", "127.0.0.1:80", "80"],
            "an IP address such as 127.0.0.1",
        ),
        (
            &["free", "8080:80"],
            "expected 80,8080 for both, 8000-8100 for a range",
        ),
        (&["status", "[::1]"], "expected one such as localhost:8080"),
        (&["status", "unix:/run/x"], "expected ports and ranges"),
        (
            &["systemd", ""],
            "\"\" can't be the name of a unit; `systemctl list-units",
        ),
        (
            &["bpf", "attach", "--cgroup", ""],
            "expected one such as /docker",
        ),
        (
            &["bpf", "detach", "--unit", "--all"],
            "a unit's name is missing before --all",
        ),
        (
            &["--wait", "60s", "run", "true"],
            "has no option --wait; it is an option of `run` or `systemd`: put it after that word;",
        ),
        (&["run", ""], "PROGRAM is empty"),
    ] {
        let finished = reuseaddr(words).run();
        let said = finished.stderr.split_whitespace().collect::<Vec<_>>();
        assert_says(&said.join(" "), expected);
        assert!([2, 127].contains(&code(&finished)), "{finished:#?}");
        assert_eq!(finished.stdout, "");
    }
    // What is no text is named all the same.
    let odd = Program::new(support::reuseaddr())
        .arguments(["run", "--ports"])
        .argument(std::ffi::OsStr::from_bytes(b"80\xff"))
        .argument("true")
        .run();
    assert_eq!(code(&odd), 125, "{odd:#?}");
    assert_says(&odd.stderr, "80\u{fffd} is not UTF-8");
    // The control: options of `status` stand in front of its port.
    let finished = reuseaddr(["--all", "--address", "127.0.0.1", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    let finished = reuseaddr(["wait", "--timeout", "10ms", "--listening", "5000"]).run();
    assert_says(&finished.stderr, "after 10 ms nothing listens");
}

/// What is no command line: one sentence names the word that is wrong, and what is accepted.
#[test]
fn a_wrong_command_line_is_answered_by_what_is_accepted() {
    for (line, expected) in [
        (
            "-v",
            "a command is missing; `reuseaddr --help` lists the commands",
        ),
        (
            "node",
            "unknown command node; `reuseaddr status node` shows the ports of programs of that \
             name, and `reuseaddr run node` starts one;",
        ),
        (
            "python3 server.py",
            "`reuseaddr run python3 server.py` starts one;",
        ),
        (
            "./server -p 80",
            "to start a program: `reuseaddr run ./server -p 80`;",
        ),
        (
            "nginx.service",
            "to set up a service: `reuseaddr systemd nginx.service`;",
        ),
        ("kill 8080", "did you mean `reuseaddr free 8080`? `reuse"),
        ("statsu 8080", "did you mean `reuseaddr status 8080`?"),
        ("version", "did you mean `reuseaddr --version`?"),
        (
            "help nothing",
            "unknown command nothing; `reuseaddr --help`",
        ),
        (
            "bpf on",
            "`reuseaddr bpf` has no command on; `reuseaddr bpf --help`",
        ),
        (
            "8080 free",
            "the command comes before the port: `reuseaddr free 8080`",
        ),
        ("8080 --free", "`reuseaddr free` is a command of its own;"),
        (
            "free --force 8080",
            "no option --force; did you mean --force-after? `reuseaddr free --help` lists",
        ),
        ("free -8080", "`reuseaddr free` has no option -8080;"),
        ("free --yes=1 8080", "--yes takes no value"),
        ("free --json --json 8080", "--json was given twice"),
        (
            "free --kill --force-after 3s 80",
            "can't be combined with --force",
        ),
        ("free --pid", "--pid needs a value: --pid PID"),
        (
            "free node",
            "node: expected ports and ranges such as 49200,8000-8100, from 1 to 65535, or services \
             that /etc/services names; `reuseaddr status node`",
        ),
        (
            "free",
            "PORT is missing; expected `reuseaddr free [OPTIONS] <PORT>...`",
        ),
        (
            "free --pid 8080",
            "PORT is missing, since 8080 is taken as the value of --pid;",
        ),
        ("watch 80 --evict", "--evict needs --unit UNIT"),
        (
            "evict --established 80",
            "--established needs --peer ADDRESS",
        ),
        // The control: one that is missing without them.
        ("evict --dry-run", "PORT is missing;"),
        (
            "next 1 2",
            "unexpected argument 2; expected `reuseaddr next",
        ),
        (
            "bpf attach nginx",
            "unexpected argument nginx; `reuseaddr bpf attach --help`",
        ),
        (
            "check",
            "--pid PID or PROGRAM is missing; `reuseaddr check --help`",
        ),
        ("completions tcsh", "tcsh: expected bash, elvish, fish,"),
    ] {
        let finished = reuseaddr(line.split(' ')).run();
        let said = finished.stderr.split_whitespace().collect::<Vec<_>>();
        assert_says(&said.join(" "), expected);
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_eq!(finished.stderr.matches("reuseaddr: ").count(), 1, "{line}");
        assert_eq!(finished.stdout, "", "{line}");
        // `complete` is for the completion scripts.
        for word in ["error:", "subcommand", "argument '", "tip:", "complete,"] {
            assert!(!finished.stderr.contains(word), "{finished:#?}");
        }
    }
    let finished = reuseaddr(["run", "--wait", "true"]).run();
    assert_eq!(code(&finished), 125, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "PROGRAM is missing, since true is taken as the value of --wait;",
    );
    // What was typed does not reach the terminal as it is.
    let finished = reuseaddr(["free", "\x1b[31m:80"]).run();
    assert_says(&finished.stderr, "?[31m is not an address of this machine");
    assert!(!finished.stderr.contains('\x1b'), "{finished:#?}");
    // A program in quotes with its arguments.
    let finished = reuseaddr(["run", "python3 server.py"]).run();
    assert_eq!(code(&finished), 127, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "pass PROGRAM and its arguments as separate words",
    );
}

/// The help of every command, on a terminal of 80 columns.
#[test]
fn help_fits_80_columns() {
    let all = [
        "",
        "run",
        "check",
        "status",
        "wait",
        "watch",
        "evict",
        "free",
        "next",
        "arm",
        "systemd",
        "bpf",
        "bpf attach",
        "bpf detach",
        "bpf status",
        "bpf hook",
        "install",
        "clean",
        "completions",
        "man",
    ];
    for words in all {
        for help in ["-h", "--help"] {
            let asked = words.split_whitespace().chain([help]);
            let shown = reuseaddr(asked).with("COLUMNS", "80").output();
            let widest = shown.lines().map(|line| line.chars().count()).max();
            assert!(
                widest.is_some_and(|width| (50..=80).contains(&width)),
                "{shown}"
            );
        }
    }
}

#[test]
fn durations_are_durations() {
    for words in [
        &["wait", "--timeout", "1s,listeners", "5000"][..],
        &["free", "--grace", "1s,listeners", "5000"],
        &["run", "--trace-quiet", "1s,listeners", "true"],
    ] {
        let finished = reuseaddr(words).run();
        assert!([2, 125].contains(&code(&finished)), "{finished:#?}");
        assert_says(&finished.stderr, "`,listeners` is for `run --wait` alone");
    }
    let finished = reuseaddr(["wait", "--timeout", "1", "5000"]).run();
    assert_says(
        &finished.stderr,
        "no unit; expected a duration such as 0, 500ms, 60s or 2m",
    );
    assert!(!finished.stderr.contains("listeners"), "{finished:#?}");
    // Where it means something it is taken.
    let finished = reuseaddr(["run", "--wait", "1s,listeners", "true"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
}

#[test]
fn an_answer_that_nobody_gets_is_a_failure() {
    for words in ["--help", "--version", "run --help", "status --help"] {
        let by_shell = |to: &str| {
            Program::new("/bin/sh")
                .arguments(["-c", &format!("\"$0\" {words} >{to}")])
                .argument(support::reuseaddr())
                .run()
        };
        let finished = by_shell("/dev/full");
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_says(&finished.stderr, "No space left on device");
        assert_eq!(code(&by_shell("/dev/null")), 0, "{words}");
    }
}

#[test]
fn says_twice_as_much_when_asked_twice() {
    own_network();
    let mut running = server(5000).start();
    running.expect("listening");
    for words in [
        &["check", "/bin/sh"][..],
        &["run", "true"],
        &["status", "5000"],
        &["wait", "--timeout", "0", "5000"],
        &["next", "5000"],
        &["evict", "--dry-run", "5000"],
        &["free", "--dry-run", "5000"],
        &["arm", "--dry-run", "5000"],
    ] {
        let lines = |how: &[&str]| {
            let finished = reuseaddr(how).arguments(words).run();
            finished.stderr.lines().count()
        };
        let (once, twice) = (lines(&["-v"]), lines(&["-vv"]));
        assert!(once >= lines(&[]) && twice > once, "{words:?}: {twice}");
    }
}

#[test]
fn advises_who_runs_others_as_somebody_else() {
    let refused = |words: &[&str]| {
        let finished = reuseaddr(["run"]).arguments(words).run();
        assert_eq!(code(&finished), 125, "{finished:#?}");
        finished.stderr
    };
    assert_says(
        &refused(&["su", "-", "nobody"]),
        "su USER -c 'reuseaddr run PROGRAM'",
    );
    let finished = reuseaddr(["run", "PORT=8080", "true"]).run();
    assert_says(&finished.stderr, "reuseaddr run env NAME=VALUE PROGRAM");
}
