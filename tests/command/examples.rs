//! Types the examples of README.md and docs/command.md word for word, and compares what they show
//! with what comes, but for numbers. A line `…` in an example stands for lines that it leaves out.

use crate::{assert_says, code};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use support::{
    Finished, Folder, Program, Running, TcpState, compile_c, own_network, shim, sysctl, wait_for,
    wait_until,
};

/// What somebody types, and what the document shows after it.
#[derive(Clone, Debug)]
struct Example {
    document: &'static str,
    section: String,
    command: String,
    shown: String,
}

/// Reads every example there is. README has them in blocks, of which the first is the story of
/// `scripts/demo` in two columns.
fn examples() -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    for document in ["README.md", "docs/command.md"] {
        let text = fs::read_to_string(support::project().join(document)).expect("the document");
        let (mut section, mut is_open) = (String::new(), false);
        for line in text.lines() {
            if line.starts_with('#') {
                line.clone_into(&mut section);
                is_open = false;
            }
            let inner = if document == "README.md" {
                line.trim_start()
            } else {
                line.strip_prefix("    ")
                    .unwrap_or(if line.is_empty() { "" } else { "```" })
            };
            if inner.starts_with("```") {
                is_open = false;
            } else if let Some(command) =
                inner.strip_prefix("$ ").filter(|rest| !rest.contains("$ "))
            {
                is_open = true;
                found.push(Example {
                    document,
                    section: section.clone(),
                    command: command.to_owned(),
                    shown: String::new(),
                });
            } else if let Some(example) = found.last_mut().filter(|_| is_open) {
                example.shown += inner;
                example.shown.push('\n');
            }
        }
    }
    found
}

/// What is typed by the tests of this file.
const TYPED: [&str; 25] = [
    "python3 server.py",
    "reuseaddr status 49200",
    "reuseaddr run --evict --ports 49200 python3 server.py",
    "reuseaddr 49200",
    "LIBREUSE_LOG=debug LD_PRELOAD=libreuse.so ./legacy-server",
    "reuseaddr run --linger maybe --wait 60 --ports 0 python3 server.py",
    "reuseaddr run -v ./static-server",
    "reuseaddr check /usr/bin/python3",
    "reuseaddr check --pid 23597",
    "reuseaddr wait --timeout 90s 8080 && ./server",
    "reuseaddr wait --timeout 1s 8080",
    "reuseaddr watch 8443",
    "reuseaddr wait --listening --timeout 30s 8080",
    "reuseaddr next 8080",
    "reuseaddr evict --established --dry-run --peer 192.0.2.7 8080",
    "reuseaddr evict 49200",
    "reuseaddr free 8080",
    "reuseaddr free --dry-run --signal INT --force-after 10s 8080",
    "reuseaddr free --dry-run 5353/udp",
    "reuseaddr 5353/udp",
    "reuseaddr http://localhost:8081/",
    "reuseaddr clean --dry-run",
    "reuseaddr arm --dry-run 49200",
    "reuseaddr arm 49200",
    "reuseaddr systemd --linger graceful myd",
];

#[test]
fn each_example_is_typed() {
    let there: BTreeSet<String> = examples()
        .into_iter()
        .map(|example| example.command)
        .collect();
    let typed: BTreeSet<String> = TYPED.into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(there, typed);
}

/// The examples with this command, of a section that begins so.
fn shown(section: &str, command: &str) -> Vec<Example> {
    assert!(TYPED.contains(&command), "{command}");
    let found: Vec<Example> = examples()
        .into_iter()
        .filter(|example| example.section.starts_with(section) && example.command == command)
        .collect();
    assert!(!found.is_empty(), "no example {command} in {section}");
    found
}

/// Where they are typed: the command and its library are installed, and the servers lie in the
/// folder.
struct Desk {
    folder: Folder,
}

const SERVER: &str = "#!/usr/bin/python3
import socket
l = socket.socket()
l.bind(('127.0.0.1', 49200))
l.listen()
print('listening on 49200', flush=True)
while True:
    l.accept()[0].close()
";

impl Desk {
    fn new(name: &str) -> Self {
        own_network();
        // A reset ends TIME_WAIT, as it does by default.
        sysctl("net.ipv4.tcp_rfc1337", "0");
        let folder = Folder::new(name);
        for part in ["bin", "lib"] {
            fs::create_dir(folder.join(part)).expect("the folder is ours");
        }
        folder.copy(support::reuseaddr(), "bin/reuseaddr");
        folder.copy(shim(), "lib/libreuse.so");
        fs::write(folder.join("server.py"), SERVER).expect("the folder is ours");
        folder.copy(folder.join("server.py"), "legacy-server");
        let text = "int main(void) { return 0; }";
        folder.copy(
            compile_c("typed-static", text, &["-static"]),
            "static-server",
        );
        folder.copy(compile_c("typed", text, &[]), "server");
        Self { folder }
    }

    fn typed(&self, command: &str) -> Program {
        Program::new("/bin/sh")
            .inside(self.folder.path())
            .with(
                "PATH",
                format!("{}/bin:/usr/bin:/bin", self.folder.path().display()),
            )
            // Where the dynamic linker would find an installed one.
            .with("LD_LIBRARY_PATH", self.folder.join("lib"))
            .arguments(["-c", command])
    }

    /// Types it, and compares what it prints with what each of the examples shows.
    fn compare(&self, section: &str, command: &str) {
        let finished = self.typed(command).run();
        for example in shown(section, command) {
            self.is_as_shown(&finished, &example);
        }
    }

    /// The same of an example whose end is left out.
    fn compare_beginning(&self, section: &str, command: &str) {
        let finished = self.typed(command).run();
        let came = alike(&format!("{}{}", finished.stderr, finished.stdout));
        for example in shown(section, command) {
            let (beginning, _) = example.shown.split_once('…').expect("a beginning");
            assert!(
                came.starts_with(&alike(beginning)),
                "{came:#?} {example:#?}"
            );
        }
    }

    fn is_as_shown(&self, finished: &Finished, example: &Example) {
        let place = self.folder.join("lib/libreuse.so").display().to_string();
        let came = format!("{}{}", finished.stderr, finished.stdout)
            .replace(&place, "/usr/local/lib/libreuse.so");
        let expected = example.shown.split("\n\n\n").next().unwrap_or_default();
        let (came, parts) = (alike(&came), parts(expected));
        assert!(
            has_parts(&came, &parts),
            "{}: {came:#?} {example:#?}: {finished:#?}",
            example.document
        );
    }

    fn start(&self, command: &str) -> Running {
        let mut running = self.typed(&format!("exec {command}")).start();
        running.expect("listening on 49200");
        running
    }

    /// Three connections, which the server closes first.
    fn serve() {
        for _ in 0..3 {
            let mut client = TcpStream::connect("127.0.0.1:49200").expect("it listens");
            std::io::Read::read_to_end(&mut client, &mut Vec::new()).expect("it closes");
        }
        wait_for(49200, TcpState::TimeWait, 3);
    }

    fn crash(&self) {
        let running = self.start("python3 server.py");
        Self::serve();
        running.kill();
        wait_for(49200, TcpState::Listen, 0);
    }
}

/// The words of an example, in parts between which something is left out.
fn parts(shown: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = shown.lines().collect();
    let parts = lines.split(|line| line.trim() == "…");
    parts.map(|part| alike(&part.join("\n"))).collect()
}

/// Whether the parts come in this order, the first at the beginning and the last at the end.
fn has_parts(came: &[String], parts: &[Vec<String>]) -> bool {
    let Some((last, before)) = parts.split_last() else {
        return false;
    };
    let mut rest = came;
    for (index, part) in before.iter().enumerate() {
        let found = (0..=rest.len().saturating_sub(part.len()))
            .take(if index == 0 { 1 } else { usize::MAX })
            .find(|&at| rest[at..].starts_with(part));
        let Some(at) = found else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    if before.is_empty() {
        rest == last
    } else {
        rest.ends_with(last)
    }
}

/// Without what is different each time: numbers, how wide the columns are, ages, and who is who.
fn alike(text: &str) -> Vec<String> {
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '0'..='9' if plain.ends_with('N') => {}
            '0'..='9' => plain.push('N'),
            letter => plain.push(letter),
        }
    }
    for (one, other) in [
        // Of several connections, if a second ends between them.
        ("N-N s", "N s"),
        ("N h old", "N s old"),
        ("N min old", "N s old"),
        ("user me", "user root"),
    ] {
        plain = plain.replace(one, other);
    }
    // Numbers of other lengths wrap otherwise.
    plain
        .lines()
        .map(|line| line.split("started by").next().unwrap_or(line))
        // Nor is the folder.
        .filter(|line| !line.starts_with("    in /"))
        .flat_map(str::split_whitespace)
        .map(ToOwned::to_owned)
        .collect()
}

/// The story that both documents begin with: it does not start again, why, and how it does.
#[test]
fn of_the_first_restart() {
    let desk = Desk::new("typed-restart");
    desk.crash();
    let finished = desk.typed("python3 server.py").run();
    for example in shown("", "python3 server.py") {
        let last = finished.stderr.lines().last().unwrap_or_default();
        assert_eq!(last, example.shown.trim_end(), "{example:#?}");
    }
    desk.compare("# The command `reuseaddr`", "reuseaddr status 49200");
    desk.compare("## Use it", "reuseaddr 49200");
    let again = "reuseaddr run --evict --ports 49200 python3 server.py";
    let running = desk.start(again);
    for example in shown("", again) {
        assert!(
            ["", "listening on 49200"].contains(&example.shown.trim()),
            "{example:#?}"
        );
    }
    running.kill();
}

#[test]
fn of_what_the_shim_says() {
    let desk = Desk::new("typed-log");
    let command = "LIBREUSE_LOG=debug LD_PRELOAD=libreuse.so ./legacy-server";
    let (variables, server) = command.rsplit_once(' ').expect("a program");
    // As the shell does it, but in its own place, so that it can be killed.
    let in_place = format!("export {variables}; exec {server}");
    let start = || {
        let mut running = desk.typed(&in_place).start();
        running.expect("listening on 49200");
        running
    };
    let first = start();
    Desk::serve();
    first.kill();
    wait_for(49200, TcpState::Listen, 0);
    let second = start();
    let mut said = String::new();
    wait_until("what it says of listen", || {
        said = second.stderr_so_far();
        said.lines().any(|line| line.contains("]: listen"))
    });
    second.kill();
    let [example] = &shown("## Use it", command)[..] else {
        panic!("one example")
    };
    let lines = |text: &str| {
        alike(
            &text
                .lines()
                .filter(|line| line.starts_with("libreuse["))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    };
    assert_eq!(lines(&said), lines(&example.shown), "{said}");
}

#[test]
fn of_run_and_check() {
    let desk = Desk::new("typed-run");
    let section = "## reuseaddr run";
    desk.compare(
        section,
        "reuseaddr run --linger maybe --wait 60 --ports 0 python3 server.py",
    );
    desk.compare(section, "reuseaddr run -v ./static-server");
    let section = "## reuseaddr check";
    desk.compare(section, "reuseaddr check /usr/bin/python3");
    let running = desk.start("reuseaddr run python3 server.py");
    let [example] = &shown(section, "reuseaddr check --pid 23597")[..] else {
        panic!("one example")
    };
    let finished = desk
        .typed(&example.command.replace("23597", &running.pid().to_string()))
        .run();
    desk.is_as_shown(&finished, example);
}

#[test]
fn of_status_arm_and_evict() {
    let desk = Desk::new("typed-arm");
    let running = desk.start("python3 server.py");
    desk.compare("## reuseaddr arm", "reuseaddr arm --dry-run 49200");
    Desk::serve();
    desk.compare("## reuseaddr status", "reuseaddr 49200");
    desk.compare("## reuseaddr arm", "reuseaddr arm 49200");
    running.kill();
    wait_for(49200, TcpState::Listen, 0);
    desk.compare("## reuseaddr evict", "reuseaddr evict 49200");
}

const DATAGRAMS: &str = "import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(('127.0.0.1', 5353))
print('bound', flush=True)
sys.stdin.read()";

#[test]
fn of_wait_and_free() {
    let desk = Desk::new("typed-free");
    desk.compare(
        "## reuseaddr wait",
        "reuseaddr wait --timeout 90s 8080 && ./server",
    );
    desk.compare(
        "## reuseaddr evict",
        "reuseaddr evict --established --dry-run --peer 192.0.2.7 8080",
    );
    let mut holder = desk.typed("exec python3 -m http.server 8080").start();
    wait_for(8080, TcpState::Listen, 1);
    desk.compare(
        "## reuseaddr wait",
        "reuseaddr wait --listening --timeout 30s 8080",
    );
    desk.compare("## reuseaddr next", "reuseaddr next 8080");
    desk.compare("## reuseaddr wait", "reuseaddr wait --timeout 1s 8080");
    let mut datagrams = desk
        .typed("exec python3 -c \"$0\"")
        .argument(DATAGRAMS)
        .start();
    datagrams.expect("bound");
    for command in [
        "reuseaddr free --dry-run --signal INT --force-after 10s 8080",
        "reuseaddr free --dry-run 5353/udp",
    ] {
        desk.compare_beginning("## reuseaddr free", command);
    }
    let section = "## reuseaddr status";
    desk.compare(section, "reuseaddr 5353/udp");
    desk.compare(section, "reuseaddr http://localhost:8081/");
    let both = shown("", "reuseaddr free 8080");
    let example = &both[0];
    let mut terminal = desk
        .typed(&format!(
            "exec script --quiet --return --command 'stty cols 100 -echo; {}' /dev/null",
            example.command
        ))
        .start();
    let mut said = String::new();
    wait_until("the holder to be named", || {
        if let Some(line) = terminal.line_within(std::time::Duration::from_millis(1)) {
            said += &line;
            said += "\n";
        }
        said.contains("started by")
    });
    terminal.say("y");
    let finished = terminal.finish();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    // On a slow machine it says meanwhile what it waits for, and takes that away.
    said += &finished.stdout.replace("\u{1b}[K", " ");
    wait_until("the holder to end", || holder.has_ended());
    for line in both
        .iter()
        .flat_map(|example| example.shown.lines())
        .filter(|line| !line.is_empty() && !line.contains("started by"))
        // The working directory is where the test is.
        .filter(|line| !line.trim_start().starts_with("in /"))
    {
        // The answer is the terminal's to show, which may do so before the question is there.
        let words = alike(line.strip_suffix(" y").unwrap_or(line));
        let came = alike(&said);
        let is_there = came.windows(words.len()).any(|window| window == words);
        assert!(is_there, "{line:?}: {said}");
    }
}

/// No other example has its port: it sees the whole machine.
#[test]
fn of_watch() {
    let desk = Desk::new("typed-watch");
    let server = "exec python3 -m http.server --bind 127.0.0.1 8443";
    let live = desk.typed(server).start();
    wait_for(8443, TcpState::Listen, 1);
    let command = "reuseaddr watch 8443";
    let mut watch = desk.typed(&format!("exec {command}")).start();
    wait_until("watching", || {
        watch.stderr_so_far().contains("Watching for programs")
    });
    assert_eq!(code(&desk.typed(server).run()), 1);
    let mut shown_so_far = String::new();
    while !shown_so_far.contains("reuseaddr free") {
        shown_so_far += &watch.line();
        shown_so_far.push('\n');
    }
    watch.signal(libc::SIGINT);
    let finished = watch.finish();
    // Ctrl-C ends it as it ends every program.
    assert_eq!(finished.signal(), Some(libc::SIGINT));
    for example in shown("## reuseaddr watch", command) {
        desk.is_as_shown(&finished, &example);
    }
    live.kill();
}

#[test]
fn of_systemd() {
    let desk = Desk::new("typed-systemd");
    let command = "reuseaddr systemd --linger graceful myd";
    let finished = desk.typed(command).run();
    assert_says(&finished.stderr, "This would be");
    let place = desk.folder.join("lib/libreuse.so").display().to_string();
    for example in shown("## reuseaddr systemd", command) {
        let came = finished
            .stdout
            .replace(&place, "/usr/local/lib/libreuse.so");
        assert_eq!(came.trim_end(), example.shown.trim_end(), "{example:#?}");
    }
}

/// The folder's name is the library's version and a sum of it.
#[test]
fn of_clean() {
    let user = crate::clean::User::new("typed-clean");
    user.runs(&["run", "true"]).run().succeeded();
    let command = "reuseaddr clean --dry-run";
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let came = user.runs(&words).output();
    let came = came.replace(&user.home().display().to_string(), "/home/me");
    for example in shown("## reuseaddr install", command) {
        let without_sum = |text: &str| alike(text.trim_end().rsplit_once('-').expect("a sum").0);
        assert_eq!(without_sum(&came), without_sum(&example.shown), "{came}");
    }
}
