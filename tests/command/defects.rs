//! What was once wrong in `status`, `arm` and `check`, each as somebody met it.

use crate::{assert_says, code, command_for_others, nobody, reuseaddr, serve_once, server, status};
use support::{Program, Running, compile_c, own_network, program};

fn status_text(port: u16) -> String {
    reuseaddr(["status", &port.to_string()]).run().stdout
}

/// A Python program that says `ready` and lives until its input ends.
fn ready(text: &str) -> Running {
    let mut running = Program::python(&format!("{text}\nprint('ready')\nsys.stdin.read()")).start();
    running.expect("ready");
    running
}

/// How many descriptors a program here may have at the most.
fn descriptors() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one structure, which outlives the call.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    limit.rlim_max
}

/// The program has left `TIME_WAIT` without the flag, and arming what lives does not reach that.
#[test]
fn arm_promises_nothing_where_time_wait_without_the_flag_is_there() {
    own_network();
    let mut running = server(5000).start();
    running.expect("listening");
    serve_once(&mut running, 5000);
    let finished = reuseaddr(["arm", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert!(!finished.stdout.contains("at once with"), "{finished:#?}");
    assert_says(
        &finished.stdout,
        "But 1 TIME_WAIT remains without SO_REUSEADDR: it blocks the port for",
    );
    assert_says(
        &finished.stdout,
        "`reuseaddr evict 5000` clears it, or `reuseaddr run --wait",
    );
    running.kill();
    // It is as it says, before and after what it offers.
    server(5000).shimmed().start().expect("EADDRINUSE");
    reuseaddr(["evict", "5000"]).output();
    server(5000).shimmed().start().expect("listening");
}

/// A program may hold a port as its lock, by a bind and no more.
#[test]
fn arm_gives_no_lock_away() {
    own_network();
    let _lock = ready("lock = socket.socket()\nlock.bind(('127.0.0.1', 5000))");
    let finished = reuseaddr(["arm", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "the socket bound to 127.0.0.1:5000 is left alone",
    );
    assert_says(&finished.stderr, "nothing to arm");
    server(5000).shimmed().start().expect("EADDRINUSE");
}

#[test]
fn arm_says_the_same_of_thousands_of_connections_once() {
    own_network();
    let number = descriptors().saturating_sub(100).min(3000);
    // The clients are another process's: few descriptors may be allowed.
    let mut running = ready(&format!(
        "
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen(128)
if os.fork() == 0:
    listener.close()
    clients = [socket.create_connection(('127.0.0.1', 5000)) for _ in range({number})]
    sys.stdin.read()
    os._exit(0)
kept = [listener.accept()[0] for _ in range({number})]"
    ));
    let finished = reuseaddr(["arm", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    let pid = running.pid();
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(
        lines[..2],
        [
            format!("python3 (pid {pid}): the listener on 127.0.0.1:5000 has SO_REUSEADDR now"),
            format!(
                "python3 (pid {pid}): {number} connections of 127.0.0.1:5000 have SO_REUSEADDR now"
            ),
        ]
    );
    assert_says(
        &lines[2..].join("\n"),
        &format!(
            "{} sockets armed. Now the program can be stopped",
            number + 1
        ),
    );
    assert!(lines.len() <= 4, "{finished:#?}");
    running.say("");
}

#[test]
fn arm_that_may_not_has_one_exit_code() {
    own_network();
    let (_folder, command) = command_for_others("arm-refused");
    let mut running = server(5000).start();
    running.expect("listening");
    for words in [
        &["arm", "5000"][..],
        &["arm", "--pid", &running.pid().to_string()],
    ] {
        let finished = nobody().argument(&command).arguments(words).run();
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_says(&finished.stderr, "sudo reuseaddr arm ");
    }
}

#[test]
fn a_socket_that_a_live_process_has_bound_is_no_earlier_connection() {
    own_network();
    let mut holder = ready(
        "holder = socket.socket()\nholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, \
         1)\nholder.bind(('127.0.0.1', 5000))",
    );
    assert_eq!(status(5000)["verdict"]["kind"], "bound");
    let text = status_text(5000);
    let pid = holder.pid();
    assert!(!text.contains("Earlier connections"), "{text}");
    assert_says(
        &text,
        &format!("Port 5000 is busy. python3 (pid {pid}) has bound it with SO_REUSEADDR"),
    );
    assert_says(&text, "reuseaddr free 5000");
    holder.say("");
}

#[test]
fn a_group_that_can_be_joined_is_told_as_one() {
    const MEMBER: &str = "
member = socket.socket()
member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
member.bind(('127.0.0.1', 5000))
member.listen()";
    own_network();
    let members = [ready(MEMBER), ready(MEMBER)];
    let text = status_text(5000);
    assert_says(
        &text,
        "listen on it with SO_REUSEPORT: whoever sets that too, as the same user, may share it.",
    );
    assert_says(&text, "bind with SO_REUSEPORT: ok on 0.0.0.0, ok on ::");
    assert_says(&text, "reuseaddr run --reuseport on PROGRAM");
    let probes = status(5000)["verdict"]["probes"].take();
    assert_eq!(
        (&probes[0]["reuse"], &probes[0]["reuse_port"]),
        (&"EADDRINUSE".into(), &"ok".into())
    );
    // What it names works.
    server(5000)
        .shimmed()
        .with("LIBREUSE_REUSEPORT", "on")
        .start()
        .expect("listening");
    // An ordinary listener is no group.
    drop(members);
    let mut alone = server(5000).start();
    alone.expect("listening");
    assert!(!status_text(5000).contains("SO_REUSEPORT"));
}

#[test]
fn a_listener_on_ipv6_alone_leaves_ipv4_free() {
    for host in ["::", "::1"] {
        own_network();
        let _six = ready(&format!(
            "six = socket.socket(socket.AF_INET6)\nsix.setsockopt(socket.IPPROTO_IPV6, \
             socket.IPV6_V6ONLY, 1)\nsix.bind(('{host}', 5000))\nsix.listen()"
        ));
        let finished = reuseaddr(["status", "5000"]).run();
        assert_eq!(code(&finished), 1, "{finished:#?}");
        assert_says(
            &finished.stdout,
            "Port 5000 is busy on IPv6 and free on IPv4.",
        );
        assert_says(&finished.stdout, &format!("listens on it at [{host}]:5000"));
        server(5000).argument("0.0.0.0").start().expect("listening");
    }
}

#[test]
fn many_ports_are_told_in_few_lines() {
    own_network();
    let (_folder, command) = command_for_others("many-ports");
    let ordinary = || {
        nobody()
            .arguments(["--bounding-set", "-all"])
            .argument(&command)
    };
    let finished = ordinary().arguments(["status", "1-1024"]).run();
    assert!(finished.stdout.lines().count() < 10, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "1023 ports can't be bound: 1-1023. Ports below 1024 may be bound by root only",
    );
    assert_says(&finished.stdout, "sudo reuseaddr status 1-1023");
    assert_says(&finished.stdout, "1 more port is free");

    let _many =
        ready("kept = [socket.create_server(('127.0.0.1', port)) for port in range(5000, 5100)]");
    let finished = reuseaddr(["status", "5000-6000"]).run();
    let (_, verdicts) = finished.stdout.split_once("\n\n").expect("a table");
    assert!(verdicts.lines().count() < 210, "{verdicts}");
    assert_says(verdicts, "901 more ports are free");
}

/// A server with many workers is one program to a person, and what a worker has started is not to
/// be killed for it.
#[test]
fn many_workers_are_named_once_and_nobody_else_is_to_be_killed() {
    own_network();
    let running = ready(
        "
import subprocess
listener = socket.create_server(('127.0.0.1', 5000))
listener.set_inheritable(True)
for _ in range(40):
    if os.fork() == 0:
        signal.pause()
subprocess.Popen(['sleep', '60'], close_fds=False)",
    );
    let pid = running.pid();
    let text = status_text(5000);
    assert_says(
        &text,
        &format!("python3 (pid {pid} and 41 children) listen on it"),
    );
    assert!(text.contains("    reuseaddr free 5000  "), "{text}");
    assert!(!text.contains("kill "), "{text}");
    assert!(text.lines().count() < 16, "{text}");
    assert_eq!(
        status(5000)["sockets"][0]["holders"]
            .as_array()
            .expect("holders")
            .len(),
        42
    );
    // The children have the listener too, and go with their parent here.
    Program::new(program(&["pkill"]))
        .arguments(["-P", &pid.to_string()])
        .run();
}

#[test]
fn root_is_not_told_that_root_may() {
    own_network();
    // Root without any capability: not to trace others, nor to watch them.
    let mut running = nobody().command(&server(5000)).start();
    running.expect("listening");
    let pid = running.pid().to_string();
    for words in [&["check", "--pid", &pid][..], &["arm", "--pid", &pid]] {
        let finished = Program::new(program(&["setpriv"]))
            .arguments(["--bounding-set", "-all"])
            .argument(support::reuseaddr())
            .arguments(words)
            .run();
        assert_eq!(code(&finished), 2, "{finished:#?}");
        assert_says(&finished.stderr, "even root may not");
    }
    // With every capability, where a seccomp filter forbids it.
    let filtered = Program::new(compile_c(
        "container",
        include_str!("../engines/exec_under_seccomp.c"),
        &["-DFORBIDDEN=SYS_pidfd_getfd"],
    ));
    let arm = reuseaddr(["arm", "--pid", &pid]);
    let finished = filtered.command(&arm).run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(&finished.stderr, "even root may not");
    assert_says(&finished.stderr, "or a seccomp filter forbids it");
    assert!(!finished.stderr.contains("sudo"), "{finished:#?}");
    // The control: without the filter.
    arm.run().succeeded();
}

#[test]
fn a_free_port_of_many_is_told_in_the_singular() {
    own_network();
    let _most =
        ready("kept = [socket.create_server(('127.0.0.1', port)) for port in range(5000, 5020)]");
    assert_says(
        &reuseaddr(["status", "5000-5020"]).run().stdout,
        "1 more port is free",
    );
}
