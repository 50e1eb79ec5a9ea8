//! What goes wrong around the command: a kernel without memory, a table that changes, a /proc that
//! hides or is not there.

use crate::{
    assert_says, code, command_for_others, crash_after_serving, fill_with_time_wait, nobody,
    reuseaddr, server,
};
use support::{Program, TcpState, count, own_network, program};

/// A command whose system call of this name fails with this error, from its nth on.
fn with_fault(call: &str, error: &str, nth: usize, arguments: &[&str]) -> Program {
    Program::new(program(&["strace"]))
        .arguments(["-f", "-o", "/dev/null"])
        .arguments(["-e", &format!("trace={call}"), "-e"])
        .argument(format!("inject={call}:error={error}:when={nth}+"))
        .command(&reuseaddr(arguments))
}

#[test]
fn says_in_one_line_that_the_kernel_has_no_memory() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    for (call, error, text) in [
        ("sendto", "ENOMEM", "Cannot allocate memory"),
        ("recvfrom", "ENOMEM", "Cannot allocate memory"),
        ("recvfrom", "ENOBUFS", "No buffer space available"),
    ] {
        for (nth, arguments) in [
            (1, &["status", "5000"][..]),
            (2, &["status", "5000"][..]),
            (1, &["evict", "5000"][..]),
        ] {
            let finished = with_fault(call, error, nth, arguments).run();
            assert_eq!(code(&finished), 2, "{finished:#?}");
            assert_says(
                &finished.stderr,
                "the kernel's table of TCP sockets can't be read",
            );
            assert_says(&finished.stderr, text);
            assert_eq!(finished.stderr.trim().lines().count(), 1, "{finished:#?}");
        }
    }
    assert_eq!(count(5000, TcpState::TimeWait), 1);
}

/// Each reads a table that the other empties.
#[test]
fn two_evictions_at_once_leave_nothing() {
    const NUMBER: usize = 5000;
    own_network();
    fill_with_time_wait(5000, NUMBER);
    let both = [(); 2].map(|()| reuseaddr(["evict", "5000"]).start());
    for running in both {
        let finished = running.finish();
        assert_eq!(code(&finished), 0, "{finished:#?}");
    }
    assert_eq!(count(5000, TcpState::TimeWait), 0);
}

/// A shell's commands where /proc is another one, or none.
fn where_proc_is(mount: &str, commands: &str) -> Program {
    Program::new("/usr/bin/unshare")
        .arguments(["--mount", "/bin/sh", "-c"])
        .argument(format!("mount --make-rprivate / && {mount} && {commands}"))
}

#[test]
fn says_of_a_hidden_process_that_it_is_there() {
    let (_folder, command) = command_for_others("hidden");
    own_network();
    let mut running = server(5000).start();
    running.expect("listening");
    let command = command.display();
    let pid = running.pid();
    let as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    for (mount, of_whom, seen) in [
        (
            "mount -t proc -o hidepid=2 proc /proc",
            as_nobody,
            "a process of root",
        ),
        ("mount -t tmpfs none /proc", "", "an unseen holder of root"),
    ] {
        let finished =
            where_proc_is(mount, &format!("{of_whom} {command} arm --pid {pid} 2>&1")).run();
        assert_says(
            &finished.stdout,
            &format!("process {pid} is there, but not in /proc"),
        );
        let finished = where_proc_is(mount, &format!("{of_whom} {command} status 5000 2>&1")).run();
        assert_eq!(code(&finished), 1, "{finished:#?}");
        assert_says(&finished.stdout, seen);
        assert_says(&finished.stdout, "no option takes a port from a listener");
    }
    let finished = nobody()
        .arguments([command.to_string().as_str(), "arm", "--pid", "4194304"])
        .run();
    assert_says(&finished.stderr, "there is no process 4194304");
}

#[test]
fn evicts_without_proc() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    let command = support::reuseaddr().display();
    let finished = where_proc_is(
        "mount -t tmpfs none /proc",
        &format!("{command} evict 5000"),
    )
    .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_eq!(count(5000, TcpState::TimeWait), 0);
}
