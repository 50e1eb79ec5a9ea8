//! musl, by the same file: the story and each variable, in a program that is as old as those of
//! `tests/reach`.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use support::{
    Folder, Program, Running, TcpState, compile_c, compile_for_musl, count, greet_after_a_word,
    own_network, port_after_crash, wait_until,
};

const LEGACY: &str = include_str!("../reach/legacy.c");

/// Becomes what its arguments say.
const LAUNCHER: &str = r"
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    execvp(argv[1], argv + 1);
    return 1;
}
";

/// The server, which wants port 49200 and takes the next one where that is in use.
fn legacy() -> Program {
    Program::new(compile_for_musl("legacy-musl", LEGACY, &[]))
}

fn shimmed(variables: &[(&str, &str)]) -> Program {
    variables
        .iter()
        .fold(legacy().shimmed(), |program, (name, value)| {
            program.with(name, value)
        })
}

fn port_of_next_run(program: &Program) -> (Running, String) {
    let mut second = program.start();
    let line = second.line();
    (second, line)
}

#[test]
fn gets_its_port_back_after_a_crash() {
    assert_eq!(port_after_crash(&legacy()), "port 49201");
    assert_eq!(port_after_crash(&shimmed(&[])), "port 49200");
}

#[test]
fn obeys_what_it_acts_on() {
    let name = compile_for_musl("legacy-musl", LEGACY, &[]);
    let name = name.file_name().and_then(|name| name.to_str());
    for (variable, value, expected) in [
        ("LIBREUSE_REUSEADDR", "off", "port 49201"),
        ("LIBREUSE_REUSEADDR", "on", "port 49200"),
        ("LIBREUSE_PORTS", "49201-65535", "port 49201"),
        ("LIBREUSE_PORTS", "1-49200", "port 49200"),
        ("LIBREUSE_PROGRAMS", "nginx", "port 49201"),
        (
            "LIBREUSE_PROGRAMS",
            name.expect("an ASCII name"),
            "port 49200",
        ),
    ] {
        let program = shimmed(&[(variable, value)]);
        assert_eq!(port_after_crash(&program), expected, "{variable}={value}");
    }
}

/// Either name of a program counts: the one it was started under, or that of its file.
#[test]
fn knows_a_program_by_both_of_its_names() {
    let folder = Folder::new("musl-names");
    let link = folder.join("other");
    let file = compile_for_musl("legacy-musl", LEGACY, &[]);
    std::os::unix::fs::symlink(&file, &link).expect("a symlink");
    let name = file.file_name().expect("a name").to_str().expect("ASCII");
    for (names, expected) in [
        ("other", "port 49200"),
        (name, "port 49200"),
        ("another", "port 49201"),
    ] {
        let program = Program::new(&link)
            .shimmed()
            .with("LIBREUSE_PROGRAMS", names);
        assert_eq!(port_after_crash(&program), expected, "{names}");
    }
}

#[test]
fn closes_as_it_is_told_to() {
    for (value, left) in [("off", 1), ("graceful", 0)] {
        own_network();
        let mut running = shimmed(&[("LIBREUSE_LINGER", value)])
            .argument("hears first")
            .start();
        running.expect("port 49200");
        greet_after_a_word(49200);
        support::settle(49200);
        assert_eq!(count(49200, TcpState::TimeWait), left, "{value}");
    }
    own_network();
    let mut running = shimmed(&[("LIBREUSE_LINGER", "zero")]).start();
    running.expect("port 49200");
    let error = TcpStream::connect("127.0.0.1:49200")
        .and_then(|mut server| server.read_to_end(&mut Vec::new()))
        .expect_err("a reset");
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

#[test]
fn waits_as_long_as_it_is_told_to() {
    own_network();
    let holder = TcpListener::bind("127.0.0.1:49200").expect("a network of our own");
    let mut impatient = shimmed(&[("LIBREUSE_WAIT", "200ms,listeners")]).start();
    impatient.expect("port 49201");
    wait_until("the report", || {
        impatient.stderr_so_far().contains("still in use after ")
    });
    drop(impatient);

    let mut patient = shimmed(&[("LIBREUSE_WAIT", "60s,listeners")]).start();
    wait_until("a bind that waits", || {
        patient
            .stderr_so_far()
            .contains("waiting for up to 60000 ms")
    });
    drop(holder);
    patient.expect("port 49200");
}

#[test]
fn shares_the_port_if_asked_to() {
    for (value, expected) in [("off", "port 49201"), ("on", "port 49200")] {
        own_network();
        let program = shimmed(&[("LIBREUSE_REUSEPORT", value)]);
        let mut first = program.start();
        first.expect("port 49200");
        let (_second, port) = port_of_next_run(&program);
        assert_eq!(port, expected, "{value}");
    }
}

#[test]
fn reports_where_it_is_told_to() {
    own_network();
    let folder = Folder::new("musl-log");
    let log = folder.join("log");
    let mut to_stderr = shimmed(&[("LIBREUSE_LOG", "debug")]).start();
    to_stderr.expect("port 49200");
    let report = format!(
        "libreuse[{}]: listen 127.0.0.1:49200: set SO_REUSEADDR",
        to_stderr.pid()
    );
    wait_until("the report", || to_stderr.stderr_so_far().contains(&report));
    drop(to_stderr);

    let path = log.to_str().expect("UTF-8");
    let variables = [("LIBREUSE_LOG", "debug"), ("LIBREUSE_LOG_FILE", path)];
    let mut to_file = shimmed(&variables).start();
    to_file.expect("port 49200");
    assert_eq!(to_file.stderr_so_far(), "");
    let text = fs::read_to_string(&log).expect("the log file");
    assert!(
        text.contains("listen 127.0.0.1:49200: set SO_REUSEADDR"),
        "{text}"
    );
}

#[test]
fn tells_a_mistake_in_one_line_and_runs_the_program() {
    own_network();
    let mut running = shimmed(&[("LIBREUSE_LINGER", "maybe")]).start();
    running.expect("port 49200");
    wait_until("the complaint", || {
        running.stderr_so_far()
            == "libreuse: LIBREUSE_LINGER=maybe: expected off, graceful or zero\n"
    });
}

/// `LD_PRELOAD` is inherited by programs of the other libc, which the same path serves.
#[test]
fn serves_trees_of_both_libraries() {
    const RUN: [&str; 2] = ["-c", "exec \"$0\""];
    let musl = compile_for_musl("legacy-musl", LEGACY, &[]);
    let glibc = compile_c("legacy-glibc", LEGACY, &[]);
    let shell = || Program::new("/bin/sh").arguments(RUN);
    let launcher = || Program::new(compile_for_musl("launcher-musl", LAUNCHER, &[]));
    for (tree, program) in [
        ("glibc starts musl", shell().argument(&musl)),
        ("musl starts glibc", launcher().argument(&glibc)),
        (
            "and back again",
            launcher().command(&shell()).argument(&musl),
        ),
    ] {
        assert_eq!(port_after_crash(&program), "port 49201", "{tree}");
        assert_eq!(port_after_crash(&program.shimmed()), "port 49200", "{tree}");
    }
}
