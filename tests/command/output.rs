//! How it speaks: to terminals and pipes, wide and narrow, with and without colour.

use crate::{assert_says, crash_after_serving, fill_with_time_wait, reuseaddr, server};
use support::{Program, own_network, program};

/// Runs the command on a terminal of so many columns, and returns what it wrote there.
fn on_terminal(columns: u16, variables: &str, arguments: &[&str]) -> String {
    let text = "
import fcntl, os, pty, struct, sys, termios
columns, variables, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    environment = {'PATH': '/usr/bin:/bin', 'TERM': 'xterm-256color'}
    for pair in filter(None, variables.split(',')):
        name, _, value = pair.partition('=')
        environment[name] = value
    sys.stdin.readline()
    os.execve(command[0], command, environment)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 50, columns, 0, 0))
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
os.waitpid(pid, 0)
sys.stdout.buffer.write(output)
";
    Program::new("/usr/bin/python3")
        .arguments(["-I", "-c", text])
        .argument(columns.to_string())
        .argument(variables)
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
fn fits_narrow_terminals_and_is_never_wider_than_100() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    for (columns, limit) in [(40, 60), (80, 80), (250, 100)] {
        let text = on_terminal(columns, "NO_COLOR=1", &["status", "5000"]);
        assert!(text.contains("TIME") && text.contains("evict"), "{text}");
        // A command to type stays whole, however narrow the terminal is.
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
        loud.stderr.contains("sock_diag tells of 0 sockets"),
        "{loud:#?}"
    );
}

#[test]
fn names_what_is_wrong_with_ports() {
    for (list, why) in [
        ("0", "port 0"),
        ("65536", "no port above 65535"),
        ("http:", "expected"),
        ("53/udp", "only TCP"),
        ("example.com:80", "not an address of this machine"),
        ("9-8", "from high to low"),
        ("", "empty"),
        ("-1", "unexpected argument"),
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
