//! `wait`: until a port can be bound, and no longer.

use crate::{
    ORPHAN, assert_says, code, command_for_others, crash_after_serving, nobody, reuseaddr, server,
};
use std::time::{Duration, Instant};
use support::{Program, own_network, program, sysctl, wait_until};

#[test]
fn returns_at_once_where_the_port_is_free() {
    own_network();
    let finished = reuseaddr(["wait", "5000", "6000-6001"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "Ports 5000 and 6000-6001 are free: a plain bind succeeds.",
    );
    assert_eq!(finished.stderr, "");
}

#[test]
fn is_woken_by_the_end_of_the_holder() {
    own_network();
    let mut holder = server(5000).start();
    holder.expect("listening");
    let mut waiting = reuseaddr(["-v", "wait", "--timeout", "60s", "5000"]).start();
    wait_until("it to have grown tired", || {
        waiting
            .stderr_so_far()
            .contains("sleeping for 250ms, or until one of 1 ")
    });
    assert!(!waiting.has_ended());
    holder.kill();
    let finished = waiting.finish();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "Port 5000 is free: a plain bind succeeds.",
    );
    server(5000).start().expect("listening");
}

#[test]
fn notices_that_a_process_closes_the_port_and_lives_on() {
    own_network();
    let mut holder = Program::python(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
print('listening')
sys.stdin.readline()
listener.close()
sys.stdin.read()
",
    )
    .start();
    holder.expect("listening");
    let mut waiting = reuseaddr(["-v", "wait", "5000"]).start();
    wait_until("it to wait", || {
        waiting.stderr_so_far().contains("sleeping")
    });
    assert!(!waiting.has_ended());
    holder.say("");
    let finished = waiting.finish();
    assert_eq!(code(&finished), 0, "{finished:#?}");
}

#[test]
fn gives_up_in_time_and_says_what_is_in_the_way() {
    own_network();
    let mut holder = server(5000).start();
    holder.expect("listening");
    let start = Instant::now();
    let finished = reuseaddr(["wait", "--timeout", "300ms", "5000", "5001"]).run();
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_eq!(finished.stdout, "");
    assert_says(
        &finished.stderr,
        &format!(
            "a plain bind still fails: port 5000 (python3 (pid {}) listens)",
            holder.pid()
        ),
    );
    // The same port of another address is nobody's.
    let finished = reuseaddr(["wait", "--timeout", "0", "--address", "127.0.0.2", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    let finished = reuseaddr(["wait", "--timeout", "0", "--address", "127.0.0.1", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    let finished = reuseaddr(["wait", "--timeout", "0", "--address", "10.9.9.9", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "10.9.9.9, which this machine does not have",
    );
}

#[test]
fn a_bind_with_the_flag_is_enough_if_it_is_said_to_be() {
    own_network();
    let flagged = server(5000).shimmed();
    crash_after_serving(&flagged, 5000);
    let plain = reuseaddr(["wait", "--timeout", "0", "5000"]).run();
    assert_eq!(code(&plain), 1, "{plain:#?}");
    assert_says(&plain.stderr, "port 5000 (1 TIME_WAIT, ");
    assert_says(&plain.stderr, " s to go)");
    let reuse = reuseaddr(["wait", "--timeout", "0", "--reuse", "5000"]).run();
    assert_eq!(code(&reuse), 0, "{reuse:#?}");
    assert_says(&reuse.stdout, "a bind with SO_REUSEADDR succeeds");
}

/// `FIN_WAIT2` has a timer as `TIME_WAIT` does, and this one can be made short.
#[test]
fn sleeps_until_the_timer_of_what_was_left_behind_is_over() {
    own_network();
    sysctl("net.ipv4.tcp_fin_timeout", "4");
    // The command is built before the timer runs.
    let waiting = reuseaddr(["-v", "wait", "--timeout", "60s", "5000"]);
    let start = Instant::now();
    let mut left = Program::python(ORPHAN).start();
    left.expect("left");
    let finished = waiting.run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    // The timer has begun after `start`. The kernel's tick is coarse.
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(3900), "{waited:?}");
    let looks = finished.stderr.matches("sleeping").count();
    // On a busy machine it may begin when the time is nearly over.
    assert!(looks < 40, "{looks}: {finished:#?}");
}

#[test]
fn says_that_waiting_does_not_help_where_the_port_is_roots() {
    let (_folder, command) = command_for_others("wait");
    own_network();
    let finished = nobody().argument(command).arguments(["wait", "80"]).run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "port 80 may be bound by root only");
    assert_says(&finished.stderr, "waiting does not help");
}

#[test]
fn names_what_is_wrong_with_a_time() {
    for (time, why) in [("30", "no unit"), ("soon", "expected a duration")] {
        let finished = reuseaddr(["wait", &format!("--timeout={time}"), "5000"]).run();
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_says(&finished.stderr, why);
    }
}

#[test]
fn says_on_a_terminal_what_it_waits_for() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    let finished = Program::new(program(&["script"]))
        .arguments(["--quiet", "--return", "--command"])
        .argument(format!(
            "stty cols 100; {} wait --timeout 4s 5000",
            support::reuseaddr().display()
        ))
        .argument("/dev/null")
        .run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stdout, "Waiting for port 5000 (1 TIME_WAIT, ");
    assert_says(&finished.stdout, " s to go)");
}

#[test]
fn waits_until_something_listens() {
    own_network();
    let none = reuseaddr(["wait", "--listening", "--timeout", "300ms", "5000"]).run();
    assert_eq!(code(&none), 1, "{none:#?}");
    assert_says(&none.stderr, "after 0.3 s nothing listens on port 5000");
    let mut waiting = reuseaddr(["wait", "--listening", "--timeout", "60s", "5000-5001"]).start();
    let mut first = server(5000).start();
    first.expect("listening");
    assert!(!waiting.has_ended());
    let mut second = server(5001).start();
    second.expect("listening");
    let finished = waiting.finish();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    for (port, running) in [(5000, &first), (5001, &second)] {
        let expected = format!("Port {port}: python3 (pid {}) listens.", running.pid());
        assert_says(&finished.stdout, &expected);
    }
    // A listener at another address is none for this one; one that is only bound is none at all.
    for (words, expected) in [
        (&["--address", "127.0.0.1", "5000"][..], 0),
        (&["--address", "127.0.0.2", "5000"], 1),
    ] {
        let finished = reuseaddr(["wait", "--listening", "--timeout", "0"])
            .arguments(words)
            .run();
        assert_eq!(code(&finished), expected, "{finished:#?}");
    }
    let mut bound = Program::python(
        "holder = socket.socket()\nholder.bind(('127.0.0.1', \
         5002))\nprint('bound')\nsys.stdin.read()",
    )
    .start();
    bound.expect("bound");
    let finished = reuseaddr(["wait", "--listening", "--timeout", "0", "5002"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
}

#[test]
fn next_prints_a_port_that_can_be_bound() {
    own_network();
    let next = |words: &[&str]| reuseaddr(["next"]).arguments(words).run();
    assert_eq!(next(&["5000"]).stdout, "5000\n");
    assert_eq!(next(&[]).stdout, "8000\n");
    let mut running = server(5000).start();
    running.expect("listening");
    crash_after_serving(&server(5001), 5001);
    assert_eq!(next(&["5000"]).stdout, "5002\n");
    assert_eq!(next(&["--address", "127.0.0.2", "5000"]).stdout, "5000\n");
    let none = next(&["--address", "10.9.9.9", "5000"]);
    assert_eq!((code(&none), none.stdout.as_str()), (1, ""), "{none:#?}");
    assert_says(&none.stderr, "this machine does not have 10.9.9.9");
    for (from, expected) in [
        ("http-alt", "8080\n"),
        ("localhost:5000", "5002\n"),
        ("5000-5003", "5002\n"),
    ] {
        assert_eq!(next(&[from]).stdout, expected, "{from}");
    }
    // A range that ends where it begins is one all the same, as is a list that has one port.
    for one in ["5000-5000", "5000,5000,5000"] {
        let none = next(&[one]);
        assert_eq!(code(&none), 1, "{none:#?}");
        assert_eq!(none.stderr, "reuseaddr: port 5000 can't be bound\n");
    }
    let none = next(&["5000-5001"]);
    assert_eq!(code(&none), 1, "{none:#?}");
    assert_says(&none.stderr, "none of the ports 5000-5001 can be bound");
    let mut last = server(65535).start();
    last.expect("listening");
    let none = next(&["65535"]);
    assert_eq!(none.stderr, "reuseaddr: port 65535 can't be bound\n");
    for (wrong, why) in [
        ("0", "port 0"),
        ("no-such-service", "services that /etc/services names"),
        ("53/udp", "expected a TCP port"),
    ] {
        let finished = next(&[wrong]);
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_says(&finished.stderr, why);
    }
}

/// As process 1 of a PID namespace, which a container's command is: the kernel drops a signal with
/// its default action.
#[test]
fn ends_by_a_signal_as_process_1() {
    own_network();
    let mut holder = server(5000).start();
    holder.expect("listening");
    for words in [
        &["wait", "5000"][..],
        &["wait", "--listening", "5001"],
        &["status", "--watch", "--json", "5000"],
    ] {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let mut outer = Program::new(program(&["unshare"]))
                .arguments(["--pid", "--fork", "--kill-child", "--mount-proc"])
                .argument(support::reuseaddr())
                .argument("-v")
                .arguments(words)
                .start();
            let mut inner = None;
            wait_until("it to be at work", || {
                let children = format!("/proc/{0}/task/{0}/children", outer.pid());
                let text = std::fs::read_to_string(children).unwrap_or_default();
                inner = text
                    .split_whitespace()
                    .next()
                    .and_then(|pid| pid.parse().ok());
                inner.is_some() && !outer.stderr_so_far().is_empty()
            });
            // Again where it has spoken before it handles signals: such a one is lost.
            wait_until("it to end", || {
                // SAFETY: kill takes any numbers.
                unsafe { libc::kill(inner.expect("a child"), signal) };
                outer.has_ended()
            });
            assert_eq!(code(&outer.finish()), 128 + signal, "{words:?}");
        }
    }
}
