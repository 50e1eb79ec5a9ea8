//! The variables: right values, wrong values, and who obeys them.

use support::{Finished, Program, own_network};

/// A program that does nothing, with a variable set.
fn with(variables: &[(&str, &str)]) -> Finished {
    let program = Program::new("/bin/true").shimmed();
    variables
        .iter()
        .fold(program, |program, (name, value)| program.with(name, value))
        .run()
        .succeeded()
}

#[test]
fn says_nothing_when_all_is_well() {
    assert_eq!(with(&[]).stderr, "");
    let all = [
        ("LIBREUSE_REUSEADDR", "on"),
        ("LIBREUSE_LINGER", "graceful"),
        ("LIBREUSE_WAIT", "60s,listeners"),
        ("LIBREUSE_REUSEPORT", "off"),
        ("LIBREUSE_PORTS", "49200,8000-8100"),
        ("LIBREUSE_PROGRAMS", "true,worker*"),
        ("LIBREUSE_LOG", "warn"),
        ("LIBREUSE_LOG_FILE", "/nonexistent/%p"),
        ("LIBREUSEX", "somebody else's"),
        ("XLIBREUSE_LINGER", "somebody else's"),
    ];
    assert_eq!(with(&all).stderr, "");
}

/// The words of each complaint are specified beside the parser.
#[test]
fn tells_each_mistake_in_one_line_and_runs_the_program() {
    let finished = with(&[
        ("LIBREUSE_WAIT", "60"),
        ("LIBREUSE_LINGER", "maybe"),
        ("LIBREUSE_LINGR", "graceful"),
        ("LIBREUSE_PORTS", "9000-8000"),
        ("LIBREUSE_PROGRAMS", "true"),
    ]);
    assert_eq!(
        finished.stderr.lines().collect::<Vec<_>>(),
        [
            "libreuse: LIBREUSE_LINGER=maybe: expected off, graceful or zero",
            "libreuse: LIBREUSE_WAIT=60: no unit; expected a duration such as 0, 500ms, 60s or 2m, \
             or 60s,listeners",
            "libreuse: LIBREUSE_PORTS=9000-8000: a range runs from high to low; expected ports and \
             ranges such as 49200,8000-8100, from 1 to 65535",
            "libreuse: LIBREUSE_LINGR=graceful: no such variable; expected LIBREUSE_REUSEADDR, \
             LIBREUSE_LINGER, LIBREUSE_WAIT, LIBREUSE_REUSEPORT, LIBREUSE_PORTS, \
             LIBREUSE_PROGRAMS, LIBREUSE_LOG, LIBREUSE_LOG_FILE",
        ]
    );
}

#[test]
fn keeps_quiet_about_mistakes_if_asked_to_and_elsewhere() {
    for level in ["off", "error"] {
        assert_eq!(
            with(&[("LIBREUSE_LINGER", "maybe"), ("LIBREUSE_LOG", level)]).stderr,
            ""
        );
    }
    assert_eq!(
        with(&[("LIBREUSE_LINGER", "maybe"), ("LIBREUSE_PROGRAMS", "false")]).stderr,
        ""
    );
}

#[test]
fn falls_back_to_the_default_after_a_mistake() {
    let text = "
bound = socket.socket()
bound.bind(('127.0.0.1', 5000))
bound.listen()
print(bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR), bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2))
";
    own_network();
    let program = Program::python(text).shimmed();
    let default = program.output();
    assert_eq!(default, "1 60\n");
    for (name, value) in [
        ("LIBREUSE_REUSEADDR", "no"),
        ("LIBREUSE_LINGER", "Graceful"),
        ("LIBREUSE_PORTS", "5001,x"),
    ] {
        assert_eq!(
            program.clone().with(name, value).output(),
            default,
            "{name}={value}"
        );
    }
    // The same values spelt right make the difference.
    assert_eq!(
        program.clone().with("LIBREUSE_REUSEADDR", "off").output(),
        "0 60\n"
    );
    assert_eq!(
        program.clone().with("LIBREUSE_LINGER", "graceful").output(),
        "1 -1\n"
    );
    assert_eq!(program.with("LIBREUSE_PORTS", "5001").output(), "0 60\n");
}

/// The program may empty its environment, or overwrite it with a title, and the settings hold.
#[test]
fn reads_them_once_when_it_is_loaded() {
    let text = "
import ctypes
libc = ctypes.CDLL(None)
libc.clearenv()
libc.setenv(b'LIBREUSE_REUSEADDR', b'off', 1)
bound = socket.socket()
bound.bind(('127.0.0.1', 5000))
bound.listen()
print(bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
";
    own_network();
    assert_eq!(Program::python(text).shimmed().output(), "1\n");
    assert_eq!(Program::python(text).output(), "0\n");
}
