//! Signals that a program ignores: it notices nothing of them, whatever call it waits in.

use crate::run_with;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use support::{Folder, Program, compile_c, own_network, program};

fn waiter(arguments: &[&str]) -> Program {
    let text = include_str!("interrupted.c");
    Program::new(compile_c("interrupted", text, &["-static", "-pthread"])).arguments(arguments)
}

const TRACED: [&str; 4] = ["--trace-quiet", "300s", "--trace-limit", "300s"];

/// One row for each call that signal(7) lists as never restarted, and for calls like those.
#[test]
fn signals_that_are_ignored_end_no_call() {
    own_network();
    let expected = waiter(&[]).output();
    assert!(
        expected.contains("epoll_wait: done\n")
            && expected.contains("recv: Resource temporarily unavailable\n")
            && expected.contains("epoll_wait and a handler: Interrupted system call\n")
            && expected.contains("epoll_wait and a stop: Interrupted system call\n")
            && expected.ends_with("end\n"),
        "{expected}"
    );
    assert!(!expected.contains("early"), "{expected}");
    assert_eq!(run_with(TRACED, &waiter(&[])).output(), expected);
}

/// Each of several threads may be the one to take a signal that was sent to the process.
#[test]
fn signals_that_are_ignored_end_no_call_of_a_busy_program() {
    own_network();
    let expected = waiter(&["2"]).output();
    assert!(expected.ends_with("end\n"), "{expected}");
    assert_eq!(run_with(TRACED, &waiter(&["2"])).output(), expected);
}

/// The first process of a PID namespace ignores what would end others (`pid_namespaces(7)`).
#[test]
fn signals_that_are_ignored_end_no_call_of_an_init() {
    own_network();
    let init = |command: &Program| {
        Program::new(program(&["unshare"]))
            .arguments(["--pid", "--fork", "--mount-proc"])
            .command(command)
            .output()
    };
    let expected = init(&waiter(&[]));
    assert!(expected.ends_with("end\n"), "{expected}");
    assert_eq!(init(&run_with(TRACED, &waiter(&[]))), expected);
}

/// The server of epoll(7)'s example gives up when `epoll_wait` fails; its helper ends meanwhile.
#[test]
fn the_end_of_a_child_ends_no_server() {
    let text = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event;
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0), ends[2];
    char byte;

    if (pipe(ends) || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 9))
        return 1;
    if (fork() == 0) {
        (void)!read(ends[0], &byte, 1);
        _exit(0);
    }
    /* One that ends when the server waits. */
    if (fork() == 0) {
        usleep(50000);
        (void)!write(ends[1], "x", 1);
        usleep(50000);
        _exit(0);
    }
    if (epoll_wait(poll, &event, 1, 500) < 0) {
        perror("epoll_wait");
        return 2;
    }
    puts("served");
    return 0;
}
"#;
    let folder = Folder::new("engines-epoll");
    let binary = compile_c("epoll-server", text, &["-static"]);
    // A name may be no UTF-8, and the kernel cuts one after 15 bytes.
    for name in [
        &b"server"[..],
        b"stra\xdfe",
        "fourteen-bytes\u{fc}".as_bytes(),
    ] {
        let server = Program::new(folder.copy(&binary, OsStr::from_bytes(name)));
        own_network();
        assert_eq!(server.output(), "served\n");
        own_network();
        let traced = run_with(TRACED, &server);
        assert_eq!(traced.output(), "served\n", "{}", name.escape_ascii());
    }
}

/// On arm64, where x7 is another one at a syscall-stop, `scripts/check/arm64` runs the program.
#[test]
fn a_call_that_signals_interrupt_leaves_the_registers_alone() {
    own_network();
    let text = include_str!("registers.c");
    let program = Program::new(compile_c("registers", text, &["-static", "-O1"]));
    let expected = "0 registers have changed\n";
    assert_eq!(program.output(), expected);
    assert_eq!(run_with(TRACED, &program).output(), expected);
}
