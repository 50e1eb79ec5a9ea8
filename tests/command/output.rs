//! The output: on terminals and pipes, wide and narrow, with and without colour.

use crate::{
    SERVER, assert_says, crash_after_serving, fill_with_time_wait, named, reuseaddr, serve_once,
    server,
};
use std::fs;
use support::{Folder, Program, own_network, program};

/// Runs the command on a terminal of so many columns, and returns what it wrote there.
fn on_terminal(columns: u16, variables: &str, arguments: &[&str]) -> String {
    on_terminal_until((columns, 50), variables, "", arguments)
}

/// Runs the command on a terminal of so many columns and rows, and returns what it wrote there, to
/// its end or, if it is interrupted, after it has written this.
fn on_terminal_until(
    (columns, rows): (u16, u16),
    variables: &str,
    interrupt: &str,
    arguments: &[&str],
) -> String {
    let text = "
import fcntl, os, pty, signal, struct, sys, termios
columns, rows, variables, interrupt, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]
pid, terminal = pty.fork()
if pid == 0:
    environment = {'PATH': os.path.dirname(command[0]) + ':/usr/bin:/bin', 'TERM': 'xterm-256color'}
    for pair in filter(None, variables.split(',')):
        name, _, value = pair.partition('=')
        environment[name] = value
    sys.stdin.readline()
    os.execve(command[0], command, environment)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
import tty
tty.setraw(terminal)
os.write(terminal, b'go\\n')
output = b''
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    output += piece
    if interrupt and interrupt.encode() in output:
        os.kill(pid, signal.SIGINT)
        interrupt = ''
_, status = os.waitpid(pid, 0)
if os.WIFSIGNALED(status):
    output += b'ended by signal %d' % os.WTERMSIG(status)
sys.stdout.buffer.write(output)
";
    Program::new("/usr/bin/python3")
        .arguments(["-I", "-c", text])
        .argument(columns.to_string())
        .argument(rows.to_string())
        .argument(variables)
        .argument(interrupt)
        .argument(support::reuseaddr())
        .arguments(arguments)
        .output()
}

fn longest_line(text: &str) -> usize {
    text.lines()
        .map(|line| line.trim_end().chars().count())
        .max()
        .unwrap_or(0)
}

#[test]
fn uses_colour_on_a_terminal_alone_and_not_where_no_color_is_set() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    assert!(on_terminal(80, "", &["status", "5000"]).contains("\x1b["));
    assert!(!on_terminal(80, "NO_COLOR=1", &["status", "5000"]).contains("\x1b["));
    assert!(!reuseaddr(["status", "5000"]).run().stdout.contains('\x1b'));
    assert!(on_terminal(80, "NO_COLOR=", &["status", "5000"]).contains("\x1b["));
}

#[test]
fn color_is_as_it_is_asked_for() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    let piped = |words: &[&str]| reuseaddr(words).run().stdout.contains('\x1b');
    assert!(piped(&["--color", "always", "status", "5000"]));
    assert!(piped(&["status", "--color=always", "5000"]));
    assert!(!piped(&["--color", "auto", "status", "5000"]));
    assert!(!on_terminal(80, "", &["--color", "never", "status", "5000"]).contains('\x1b'));
    assert!(
        on_terminal(80, "NO_COLOR=1", &["--color", "always", "status", "5000"]).contains('\x1b')
    );
    assert!(!on_terminal(80, "", &["--color", "never", "--help"]).contains('\x1b'));
    assert!(on_terminal(80, "", &["--help"]).contains('\x1b'));
    let wrong = reuseaddr(["--color", "maybe", "status"]).run();
    assert_says(
        &wrong.stderr,
        "--color=maybe: expected auto, always or never",
    );
}

#[test]
fn fits_terminals_of_every_width() {
    own_network();
    let folder = Folder::new("widths");
    let script = folder.join("shop-server.py");
    fs::write(&script, format!("import errno, socket, sys\n{SERVER}")).expect("the folder is ours");
    let mut running = Program::new(support::python())
        .arguments(["-I", "-u"])
        .argument(&script)
        .arguments([
            "5000",
            "127.0.0.1",
            "--config",
            "/etc/shop/production.toml",
            "--log-level",
            "debug",
        ])
        .start();
    running.expect("listening");
    serve_once(&mut running, 5000);
    for columns in [40, 60, 80, 100, 200] {
        let text = on_terminal(columns, "NO_COLOR=1", &["status", "5000"]);
        let (table, rest) = text.split_once("\n\n").unwrap_or_else(|| panic!("{text}"));
        // A row is a line, whose cells are whole or cut at the end and marked.
        assert_eq!(table.lines().count(), 3, "{columns}: {text}");
        assert!(table.contains("127.0.0.1:5000"), "{columns}: {text}");
        assert!(longest_line(table) <= columns.into(), "{columns}: {text}");
        assert_eq!(table.contains("USER"), columns >= 100, "{columns}: {text}");
        assert_eq!(
            table.contains("COMMAND"),
            columns >= 200,
            "{columns}: {text}"
        );
        assert!(!table.contains("UNIT"), "what is empty is left out: {text}");
        // A command to type stays whole, however narrow the terminal is.
        assert!(
            rest.contains("    reuseaddr free 5000"),
            "{columns}: {text}"
        );
        let limit = usize::from(columns).max(60);
        assert!(longest_line(rest) <= limit, "{columns}: {text}");
    }
}

#[test]
fn fits_narrow_terminals_and_prose_is_never_wider_than_100() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    for (columns, limit) in [(40, 60), (80, 80), (250, 100)] {
        let text = named(&on_terminal(columns, "NO_COLOR=1", &["status", "5000"]));
        assert!(text.contains("TIME") && text.contains("evict"), "{text}");
        assert!(
            longest_line(&text) <= limit,
            "{} of {columns}: {text}",
            longest_line(&text)
        );
    }
    for arguments in [
        &["run", "--linger", "maybe", "--ports", "99999", "true"][..],
        &["status", "99999"],
        &["status", "--help"],
        &["run", "--help"],
        &["evict", "--help"],
        &["arm", "--help"],
        &["check", "/usr/bin/python3"],
        &["arm", "1", "--pid", "1"],
        &["systemd", "a/b"],
    ] {
        let finished = reuseaddr(arguments).run();
        assert!(longest_line(&finished.stdout) <= 100, "{finished:#?}");
        assert!(longest_line(&finished.stderr) <= 100, "{finished:#?}");
    }
}

#[test]
fn watches_on_a_screen_of_its_own_and_leaves_it() {
    own_network();
    fill_with_time_wait(5000, 30);
    for variables in ["", "NO_COLOR=1"] {
        let text = on_terminal_until(
            (80, 12),
            variables,
            "too low for the rest",
            &["status", "--all", "--watch", "5000"],
        );
        assert!(text.starts_with("\x1b[?1049h\x1b[?25l\x1b[H"), "{text:?}");
        assert!(
            text.trim_end()
                .ends_with("\x1b[?25h\x1b[?1049lended by signal 2"),
            "{text:?}"
        );
        assert_eq!(text.contains("\x1b[1m"), variables.is_empty(), "{text:?}");
        let frame = text.split("\x1b[H").nth(1).expect("a frame");
        let lines: Vec<&str> = frame
            .split("\r\n")
            .map(|line| line.trim_end_matches("\x1b[K"))
            .collect();
        assert_eq!(lines.len(), 12, "no more than the terminal has: {lines:#?}");
        // The time, the header, some rows and how many are missing, and what is to be said.
        let (time, title) = lines[0].split_once("  ").expect("a title");
        assert!(
            time.len() == 8 && time.matches(':').count() == 2,
            "{lines:#?}"
        );
        assert_eq!(title, "reuseaddr status 5000");
        assert!(lines[2].starts_with("STATE"), "{lines:#?}");
        assert!(lines[4].contains(" more"), "{lines:#?}");
        assert!(lines[6].contains("Port 5000 is"), "{lines:#?}");
    }
    // Into a file there is nothing to move about on.
    let mut watching = reuseaddr(["status", "--watch", "5000"]).start();
    watching.expect_containing("reuseaddr status 5000");
    assert!(
        !watching
            .expect_containing("Port 5000 is busy")
            .contains('\x1b')
    );
    watching.expect_containing("reuseaddr status 5000");
}

/// `q` ends it, and the terminal is as it was: with its echo, and line by line.
#[test]
fn the_letter_q_ends_watching() {
    let text = r"
import os, pty, signal, sys, termios
command, key = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    sys.stdin.readline()
    os.execve(command, [command, 'status', '--watch', '5000'], {'PATH': '/usr/bin:/bin', 'TERM': 'xterm-256color'})
signal.alarm(200)
def modes():
    modes = termios.tcgetattr(terminal)[3]
    return bool(modes & termios.ECHO), bool(modes & termios.ICANON)
output = b''
def until(what):
    global output
    while what not in output:
        output += os.read(terminal, 65536)
    _, _, output = output.partition(what)
before = modes()
os.write(terminal, b'go\n')
until(b'Port 5000 is')
print(before, modes())
os.write(terminal, key.encode())
try:
    while piece := os.read(terminal, 65536):
        output += piece
except OSError:
    pass
_, status = os.waitpid(pid, 0)
print(modes(), output.endswith(b'[?25h\x1b[?1049l'), b'xyz' in output, os.waitstatus_to_exitcode(status))
";
    own_network();
    let watch = |key| {
        Program::new("/usr/bin/python3")
            .arguments(["-I", "-c", text])
            .argument(support::reuseaddr())
            .argument(key)
            .output()
    };
    let told = "(True, True) (False, False)\n(True, True) True False";
    assert_eq!(watch("xyzq"), format!("{told} 0\n"));
    // The control: Ctrl-C is no key that is read, but a signal.
    assert_eq!(watch("xyz\u{3}"), format!("{told} -2\n"));
}

/// A terminal that can't move its cursor is shown one frame after another.
#[test]
fn watches_line_by_line_on_a_dumb_terminal() {
    own_network();
    let watch = |terminal| {
        on_terminal_until(
            (80, 24),
            terminal,
            "Port 5000 is",
            &["status", "--watch", "5000"],
        )
    };
    let dumb = watch("TERM=dumb");
    assert!(
        !dumb.contains("\x1b[?") && !dumb.contains("\x1b[H"),
        "{dumb:?}"
    );
    let (time, _) = dumb.split_once("  reuseaddr status 5000").expect("a title");
    assert_eq!(time.len(), "15:04:05".len(), "{dumb:?}");
    assert!(dumb.trim_end().ends_with("ended by signal 2"), "{dumb:?}");
    assert!(watch("TERM=xterm").starts_with("\x1b[?1049h"));
}

/// Ctrl-Z gives the screen back, and `fg` takes it again.
#[test]
fn stops_and_goes_on_as_a_job() {
    let text = r#"
import os, pty, signal, sys
command, by_shell = sys.argv[1], sys.argv[2] == 'job'
pid, terminal = pty.fork()
if pid == 0:
    words = [command, 'status', '--watch', '5000']
    if by_shell:
        story = 'set -m; "$0" "$@"; echo "stopped $?"; fg'
        words = ['/bin/bash', '-c', story, *words]
    os.execve(words[0], words, {'PATH': '/usr/bin:/bin', 'TERM': 'xterm-256color'})
signal.alarm(200)
output = b''
def until(what):
    global output
    while what not in output:
        output += os.read(terminal, 65536)
    _, _, output = output.partition(what)
    print(what.decode().replace('', 'ESC'))
until(b'reuseaddr status 5000')
os.killpg(os.tcgetpgrp(terminal), signal.SIGTSTP)
until(b'[?1049l')
if by_shell:
    until(b'stopped 148')
until(b'[?1049h')
until(b'reuseaddr status 5000')
os.killpg(os.tcgetpgrp(terminal), signal.SIGINT)
until(b'[?1049l')
_, status = os.waitpid(pid, 0)
print('exit', os.waitstatus_to_exitcode(status))
"#;
    let told = |how| {
        own_network();
        Program::new("/usr/bin/python3")
            .arguments(["-I", "-c", text])
            .argument(support::reuseaddr())
            .argument(how)
            .output()
    };
    assert_eq!(
        told("job"),
        "reuseaddr status 5000\nESC[?1049l\nstopped 148\nESC[?1049h\nreuseaddr status \
         5000\nESC[?1049l\nexit 130\n"
    );
    // Nobody could let it go on: it goes on by itself.
    assert_eq!(
        told("orphan"),
        "reuseaddr status 5000\nESC[?1049l\nESC[?1049h\nreuseaddr status 5000\nESC[?1049l\nexit \
         -2\n"
    );
}

#[test]
fn is_quiet_when_its_reader_goes() {
    own_network();
    fill_with_time_wait(5000, 3000);
    let command = support::reuseaddr().display();
    for what in [
        "status --all 5000",
        "status --json 5000",
        "status --watch --all 5000",
        "man",
        "completions bash",
        "--help",
    ] {
        let finished = Program::new(program(&["bash"]))
            .arguments([
                "-c",
                &format!("{command} {what} | head -n 1; echo ${{PIPESTATUS[0]}}"),
            ])
            .run();
        assert_eq!(finished.stderr, "", "{what}: {finished:#?}");
        let code = finished.stdout.lines().last().expect("a line").to_owned();
        assert!(["0", "1"].contains(&code.as_str()), "{what}: {finished:#?}");
    }
    // Closed altogether, or full: that is a failure, and is told.
    let finished = Program::new(program(&["bash"]))
        .arguments(["-c", &format!("{command} status 5000 > /dev/full")])
        .run();
    assert!(
        finished.stderr.contains("could not be written"),
        "{finished:#?}"
    );
    let finished = Program::new(program(&["bash"]))
        .arguments(["-c", &format!("{command} status 5000 >&- 2>&-")])
        .run();
    assert!(finished.signal().is_none(), "{finished:#?}");
}

#[test]
fn says_more_when_asked() {
    own_network();
    let quiet = reuseaddr(["status", "5000"]).run();
    assert_eq!(quiet.stderr, "");
    let loud = reuseaddr(["-v", "status", "5000"]).run();
    assert!(
        loud.stderr.contains("sock_diag reports 0 sockets"),
        "{loud:#?}"
    );
}

#[test]
fn names_what_is_wrong_with_ports() {
    for (list, why) in [
        ("0", "port 0"),
        ("65536", "no port above 65535"),
        ("http:", "expected"),
        ("53/sctp", "sctp has no ports"),
        ("example.com:80", "not an address of this machine"),
        ("9-8", "from high to low"),
        ("", "empty"),
        ("-1", "`reuseaddr status` has no option -1;"),
    ] {
        let finished = reuseaddr(["status", list]).run();
        assert_eq!(finished.status.code(), Some(2), "{finished:#?}");
        assert_says(&finished.stderr, why);
    }
    own_network();
    let finished = reuseaddr(["status", "1-65535"]).run();
    assert!(
        finished.stdout == "All 65535 ports are free: a plain bind succeeds.\n",
        "{finished:#?}"
    );
}
