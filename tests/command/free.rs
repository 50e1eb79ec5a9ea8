//! `free`: frees a port gently, and terminates nobody else.

use crate::{
    CONTAINER, Group, assert_says, code, command_for_others, json, nobody, reuseaddr, run,
    run_as_nobody, serve_once, server,
};
use support::{
    Folder, Program, Running, TcpState, count, own_network, program, sysctl, tcp_states, wait_until,
};

/// A server that says so when it is asked to exit: it ends, or `stays`, and has so many children
/// that share its listener and `outlive` it, or do not.
const POLITE: &str = "
port, workers, manner = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
listener = socket.socket()
if manner == 'shares': listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(('127.0.0.1', port))
listener.listen()
children = []
for number in range(workers):
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    children.append(child)
def asked(number, frame):
    print('asked to end')
    if manner in ('stays', 'shares'): return
    if manner != 'outlive':
        for child in children: os.kill(child, signal.SIGTERM)
    sys.exit(0)
signal.signal(signal.SIGTERM, asked)
print('listening')
while True: signal.pause()
";

fn polite(port: u16, workers: u16, manner: &str) -> Running {
    let mut running = Program::python(POLITE)
        .arguments([&port.to_string(), &workers.to_string(), manner])
        .start();
    running.expect("listening");
    running
}

#[test]
fn does_nothing_where_the_port_is_free() {
    own_network();
    let finished = reuseaddr(["free", "5000", "6000-6001"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "Ports 5000 and 6000-6001 are free already: a plain bind succeeds.",
    );
}

#[test]
fn ends_nobody_where_evicting_is_enough() {
    let (_folder, command) = command_for_others("free-evict");
    own_network();
    crate::crash_after_serving(&server(5000), 5000);
    sysctl("net.ipv4.tcp_rfc1337", "0");
    let dry = reuseaddr(["free", "--dry-run", "5000"]).run();
    assert_eq!(code(&dry), 0, "{dry:#?}");
    assert_says(&dry.stdout, "leftovers would be evicted");
    assert_eq!(count(5000, TcpState::TimeWait), 1);
    // There is nobody to end, so nobody has to agree.
    let finished = nobody().argument(command).arguments(["free", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "Port 5000 is free now: a plain bind succeeds.",
    );
    server(5000).start().expect("listening");
}

#[test]
fn asks_the_holder_to_end_and_evicts_what_it_leaves() {
    let (_folder, command) = command_for_others("free");
    own_network();
    sysctl("net.ipv4.tcp_rfc1337", "0");
    let mut holder = nobody()
        .argument("/usr/bin/python3")
        .arguments(["-I", "-u", "-c"])
        .argument(format!("import errno, socket, sys\n{}", crate::SERVER))
        .argument("5000")
        .start();
    holder.expect("listening");
    serve_once(&mut holder, 5000);
    let free = |options: &[&str]| {
        nobody()
            .argument(&command)
            .argument("free")
            .arguments(options)
            .argument("5000")
    };
    let dry = free(&["--dry-run"]).run();
    assert_eq!(code(&dry), 0, "{dry:#?}");
    assert_says(
        &dry.stdout,
        &format!(
            "Port 5000 is held by python3 (pid {}). It would be asked to exit (SIGTERM).",
            holder.pid()
        ),
    );
    let answer = json(&free(&["--dry-run", "--json"]));
    assert_eq!(
        answer["asked"][0]["pids"],
        serde_json::json!([holder.pid()]),
        "{answer}"
    );
    assert_eq!(answer["asked"][0]["user"], "nobody", "{answer}");
    assert_eq!(answer["ports"][0]["free"], false, "{answer}");
    // Nobody can be asked, so nothing is done.
    let refused = free(&[]).run();
    assert_eq!(code(&refused), 2, "{refused:#?}");
    assert_says(&refused.stderr, "--yes is needed");
    assert!(!holder.has_ended());

    let finished = free(&["--yes"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "Port 5000 is free now: a plain bind succeeds.",
    );
    assert_eq!(holder.finish().signal(), Some(libc::SIGTERM));
    assert_eq!(tcp_states(5000), []);
}

#[test]
fn asks_on_a_terminal() {
    own_network();
    let mut holder = polite(5000, 0, "ends");
    for (answer, ended) in [("n", false), ("", false), ("y", true)] {
        let mut terminal = Program::new(program(&["script"]))
            .arguments(["--quiet", "--return", "--command"])
            .argument(format!("{} free 5000", support::reuseaddr().display()))
            .argument("/dev/null")
            .start();
        terminal.say(answer);
        let finished = terminal.finish();
        assert_eq!(code(&finished), if ended { 0 } else { 2 }, "{finished:#?}");
        assert_says(&finished.stdout, "? [y/N]");
        if ended {
            wait_until("the holder to end", || holder.has_ended());
        } else {
            assert!(!holder.has_ended());
        }
    }
}

#[test]
fn names_a_parent_with_its_children_once_and_leaves_them_to_it() {
    own_network();
    for manner in ["ends", "outlive"] {
        let mut holder = polite(5000, 3, manner);
        let finished = reuseaddr(["free", "--yes", "5000"]).run();
        assert_eq!(code(&finished), 0, "{manner}: {finished:#?}");
        assert_says(
            &finished.stdout,
            &format!(
                "Port 5000 is held by python3 (pid {} and 3 children).",
                holder.pid()
            ),
        );
        assert_eq!(
            finished.stdout.matches("Port 5000").count(),
            2,
            "{finished:#?}"
        );
        holder.expect("asked to end");
        // Of those who outlive it too, none has the port.
        assert_eq!(tcp_states(5000), [], "{manner}");
        server(5000).start().expect("listening");
    }
}

/// Ctrl-Z in place of Ctrl-C: the holder is called stopped, and acts on the signal when it is
/// resumed.
#[test]
fn resumes_a_stopped_holder_so_that_it_can_exit() {
    own_network();
    let mut holder = polite(5000, 0, "ends");
    let state = || crate::status(5000)["sockets"][0]["holders"][0]["state"].take();
    assert_eq!(state(), "running");
    holder.signal(libc::SIGSTOP);
    wait_until("it to be stopped", || state() == "stopped");
    assert_says(
        &reuseaddr(["5000"]).run().stdout,
        "stopped (Ctrl-Z or SIGSTOP",
    );
    let finished = reuseaddr(["free", "--yes", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    holder.expect("asked to end");
    assert_eq!(code(&holder.finish()), 0);
}

/// A listener in a thread's own table of descriptors, or of a process whose main thread has ended,
/// is nowhere in /proc/PID/fd.
#[test]
fn finds_the_holder_among_threads() {
    const HOLDER: &str = "
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *thread(void *own) {
    if (own) unshare(CLONE_FILES);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(s, (void *)&a, sizeof a) || listen(s, 5)) perror(\"listen\");
    puts(\"listening\");
    fflush(stdout);
    for (;;) pause();
    return 0;
}
int main(int count, char **words) {
    (void)words;
    pthread_t t;
    pthread_create(&t, 0, thread, count > 2 ? \"own\" : 0);
    if (count == 2) syscall(SYS_exit, 0);
    for (;;) pause();
}";
    let path = support::compile_c("thread-holder", HOLDER, &["-pthread"]);
    for (words, state) in [
        (&[][..], "running"),
        (&["ends"], "main-thread-ended"),
        (&["with", "own"], "running"),
    ] {
        own_network();
        let mut holder = Program::new(&path).arguments(words).start();
        holder.expect("listening");
        wait_until("the state", || {
            let answer = crate::status(5000);
            let shown = &answer["sockets"][0]["holders"][0];
            shown["pid"] == holder.pid() && shown["state"] == state
        });
        let finished = reuseaddr(["free", "--yes", "5000"]).run();
        assert_eq!(code(&finished), 0, "{words:?}: {finished:#?}");
        assert_says(&finished.stdout, &format!("(pid {})", holder.pid()));
        assert_eq!(holder.finish().signal(), Some(libc::SIGTERM));
    }
}

/// No process has a descriptor of a socket that is on its way through another one: no container is
/// blamed for it, unless there may be one.
#[test]
fn blames_another_namespace_only_where_there_may_be_one() {
    own_network();
    let mut holder = Program::python(
        "
import array
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
listener = socket.create_server(('127.0.0.1', 5000))
a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [listener.fileno()]))])
listener.close()
print('sent')
sys.stdin.read()
",
    )
    .start();
    holder.expect("sent");
    let refused = reuseaddr(["free", "--yes", "5000"]).run();
    assert_eq!(code(&refused), 2, "{refused:#?}");
    let first = std::fs::read_link("/proc/self/ns/pid").expect("a namespace");
    if first.as_os_str() == "pid:[4026531836]" {
        assert_says(&refused.stderr, "on its way through a Unix socket");
        assert!(!refused.stderr.contains("container"), "{refused:#?}");
    } else {
        println!("skipped: these tests are in a PID namespace, where not every process is seen");
    }
    let inside = Program::new(program(&["unshare"]))
        .arguments(["--pid", "--fork", "--mount-proc"])
        .argument(support::reuseaddr())
        .arguments(["free", "--yes", "5000"])
        .run();
    assert_eq!(code(&inside), 2, "{inside:#?}");
    assert_says(&inside.stderr, "perhaps a container");
}

#[test]
fn sends_the_signal_that_is_asked_for() {
    own_network();
    for (words, signal) in [
        (&["--signal", "INT"][..], libc::SIGINT),
        (&["--signal", "sigquit"], libc::SIGQUIT),
        (&["--signal", "1"], libc::SIGHUP),
        (&[], libc::SIGTERM),
    ] {
        // Python's own handler of SIGINT would be an exception; nohup(1) and a shell's background
        // ignore some.
        let text = crate::SERVER.replacen(
            "try:",
            "import signal\nfor number in 1, 2, 3, 15: signal.signal(number, signal.SIG_DFL)\ntry:",
            1,
        );
        let mut holder = Program::python(&text).argument("5000").start();
        holder.expect("listening");
        let finished = reuseaddr(["free", "--yes", "5000"]).arguments(words).run();
        assert_eq!(code(&finished), 0, "{finished:#?}");
        assert_eq!(holder.finish().signal(), Some(signal), "{words:?}");
    }
    let finished = reuseaddr(["free", "--signal", "STOP", "5000"]).run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "expected a signal that asks to exit: TERM, INT",
    );
}

#[test]
fn force_after_is_kill_after_a_grace() {
    own_network();
    let mut holder = polite(5000, 0, "stays");
    let finished = reuseaddr(["free", "--yes", "--force-after", "3s", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(&finished.stdout, "and killed after 3 s");
    holder.expect("asked to end");
    assert_eq!(holder.finish().signal(), Some(libc::SIGKILL));
}

#[test]
fn kills_only_if_told_to() {
    own_network();
    let mut holder = polite(5000, 1, "stays");
    let finished = reuseaddr(["free", "--yes", "--grace", "300ms", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stderr, "have not exited within 0.3 s of SIGTERM");
    assert_says(&finished.stderr, "reuseaddr free --kill 5000");
    holder.expect("asked to end");
    assert!(!holder.has_ended());
    let finished = reuseaddr(["free", "--yes", "--grace", "3s", "--kill", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    holder.expect("asked to end");
    assert_eq!(holder.finish().signal(), Some(libc::SIGKILL));
}

/// Whoever takes the port in the meantime was not shown, and nobody has agreed to end it.
#[test]
fn does_not_end_who_came_later() {
    own_network();
    let mut holder = polite(5000, 0, "shares");
    let freeing = reuseaddr(["free", "--yes", "--grace", "60s", "5000"]).start();
    holder.expect("asked to end");
    let mut later = polite(5000, 0, "shares");
    let finished = freeing.finish();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(
        &finished.stderr,
        &format!("python3 (pid {}) has taken the port meanwhile", later.pid()),
    );
    assert!(!holder.has_ended() && !later.has_ended());
}

/// By the time that it is looked at, a number may be another process's, whose children are nobody
/// that was shown. Numbers are given out by hand here, in a namespace of their own.
#[test]
fn spares_the_children_of_a_number_that_is_used_again() {
    let text = "
import subprocess
def child(work):
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        work(lambda word: os.write(told, word.encode() + b' '))
        os._exit(0)
    os.close(told)
    return pid, heard
def until(heard, word):
    said = []
    while word not in said:
        said += os.read(heard, 100).decode().split() or sys.exit(f'no {word} after {said}')
    return said
def serve(tell, asked):
    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGWINCH, lambda *_: tell('alive'))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(('127.0.0.1', 5000))
    listener.listen()
    tell(f'{os.getpid()} ready')
    while True: signal.pause()
def stays(tell):
    # With a child that is born after it was shown, and has its listener.
    serve(tell, lambda *_: os.fork() and tell('asked'))
def another(tell):
    if os.getpid() == first and os.fork() == 0:
        serve(tell, lambda *_: tell('asked'))
    while os.getpid() == first: signal.pause()
first, heard = child(lambda tell: serve(tell, signal.SIG_DFL))
until(heard, 'ready')
second, heard = child(stays)
until(heard, 'ready')
free = subprocess.Popen([sys.argv[1], 'free', '--yes', '--grace', '60s', '5000'], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
until(heard, 'asked')
os.waitpid(first, 0)
time.sleep(0.5)
print('goes on:', free.poll() is None)
number = 0
while number != first:
    with open('/proc/sys/kernel/ns_last_pid', 'w') as last: last.write(str(first - 1))
    number, heard = child(another)
other = until(heard, 'ready')[0]
error = ' '.join(free.communicate()[1].split())
print(free.returncode, f'(pid {other}) has taken the port meanwhile' in error or error)
os.kill(int(other), signal.SIGWINCH)
print(until(heard, 'alive'))
";
    own_network();
    let finished = Program::new(program(&["unshare"]))
        .arguments(["--pid", "--fork", "--mount-proc"])
        .command(&Program::python(text).argument(support::reuseaddr()))
        .run();
    assert_eq!(
        finished.stdout, "goes on: True\n1 True\n['alive']\n",
        "{finished:#?}"
    );
}

#[test]
fn ends_no_client() {
    own_network();
    let mut client = Program::python(
        "
server = socket.socket()
server.bind(('127.0.0.1', 6000))
server.listen()
client = socket.create_connection(('127.0.0.1', 6000), source_address=('127.0.0.1', 5000))
print('connected')
sys.stdin.readline()
client.sendall(b'alive')
print(server.accept()[0].recv(9).decode())
",
    )
    .start();
    client.expect("connected");
    let finished = reuseaddr(["free", "--yes", "--kill", "5000"]).run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stderr, "`free` leaves connections alone");
    assert_says(
        &finished.stderr,
        &format!("held by python3 (pid {})", client.pid()),
    );
    client.say("").expect("alive");
}

/// Nobody holds it, and nobody can be told whether it is free, after evicting too.
#[test]
fn says_that_the_port_is_roots() {
    let (_folder, command) = command_for_others("free-privileged");
    own_network();
    sysctl("net.ipv4.tcp_rfc1337", "0");
    let free = |port: &str| {
        let finished = nobody().argument(&command).arguments(["free", port]).run();
        assert!(!finished.stderr.contains("connections"), "{finished:#?}");
        (code(&finished), finished)
    };
    for leftovers in [0, 1] {
        if leftovers > 0 {
            crate::crash_after_serving(&server(80), 80);
        }
        assert_eq!(count(80, TcpState::TimeWait), leftovers);
        let (code, finished) = free("80");
        assert_eq!(code, 2, "{finished:#?}");
        assert_says(
            &finished.stderr,
            "no socket is on port 80, but you may not bind it: ports below 1024 take root or \
             CAP_NET_BIND_SERVICE",
        );
        assert_eq!(tcp_states(80), []);
    }
    // The control: one that everybody may bind.
    let (code, finished) = free("5000");
    assert_eq!(code, 0, "{finished:#?}");
}

#[test]
fn ends_nobody_of_another_user_without_the_right_or_a_word() {
    let (_folder, command) = command_for_others("free-others");
    own_network();
    let mut holder = polite(5000, 0, "ends");
    let finished = nobody()
        .argument(&command)
        .arguments(["free", "--yes", "5000"])
        .run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(
        &finished.stderr,
        "port 5000 is held by a process of user root",
    );
    assert_says(&finished.stderr, "sudo reuseaddr free --yes 5000");
    assert!(!holder.has_ended());
    holder.kill();

    let mut theirs = nobody()
        .arguments(["/usr/bin/python3", "-I", "-u", "-c"])
        .argument(format!("import errno, socket, sys\n{}", crate::SERVER))
        .argument("5000")
        .start();
    theirs.expect("listening");
    let dry = reuseaddr(["free", "--dry-run", "5000"]).run();
    assert_says(
        &dry.stdout,
        &format!("python3 (pid {}) of user nobody", theirs.pid()),
    );
}

#[test]
fn ends_neither_itself_nor_whom_it_comes_from_nor_process_1() {
    own_network();
    let text = format!(
        "
import subprocess
listener = socket.create_server(('127.0.0.1', 5000))
print('listening')
done = subprocess.run(['{}', 'free', '--yes', '--kill', '5000'], capture_output=True, text=True, pass_fds=sys.argv[1:] and [listener.fileno()])
print(done.returncode, done.stderr.replace(chr(10), ' '))
",
        support::reuseaddr().display()
    );
    let mut parent = Program::python(&text).start();
    parent.expect("listening");
    let line = parent.line();
    assert!(
        line.starts_with("2 ") && line.contains("has started this command"),
        "{line}"
    );

    let mut parent = Program::python(&text).argument("hand it on").start();
    parent.expect("listening");
    let line = parent.line();
    assert!(
        line.contains("this command itself was started with port 5000"),
        "{line}"
    );

    let finished = Program::new(program(&["unshare"]))
        .arguments(["--pid", "--fork", "--mount-proc"])
        .command(&Program::python(&text))
        .run();
    assert_says(&finished.stdout, "process 1 is never terminated");
}

/// In a control group of this name a process is what a container's runtime makes, or systemd.
#[test]
fn names_a_container_and_leaves_a_unit_to_its_manager() {
    own_network();
    for (group, expected) in [
        (
            format!("docker-{CONTAINER}.scope"),
            "docker stop 3f4e1c9a2b7d",
        ),
        // No manager is here to ask.
        (
            "libreuse-free.service".to_owned(),
            "systemctl stop libreuse-free.service",
        ),
    ] {
        let mut holder = polite(5000, 0, "ends");
        let _group = Group::with(holder.pid(), &group);
        let finished = reuseaddr(["free", "--yes", "--kill", "5000"]).run();
        assert_ne!(code(&finished), 0, "{finished:#?}");
        assert_says(&finished.stderr, expected);
        assert!(!holder.has_ended());
    }
}

#[test]
fn run_ends_processes_of_its_own_user_alone() {
    let (folder, command) = command_for_others("free-run");
    let library = folder.copy(support::shim(), "libreuse.so");
    own_network();
    let text = format!("import errno, socket, sys\n{}", crate::SERVER);
    let start = |options: &[&str]| run_as_nobody(&command, &library, options);
    let mut first = start(&[]);
    first.expect("listening");
    start(&[]).expect("EADDRINUSE");
    let mut second = start(&["--free"]);
    second.expect("listening");
    // It has said so before, but is heard by another thread.
    let says = |running: &Running, expected: &str| {
        wait_until("what run says", || {
            let said = running.stderr_so_far();
            let words: Vec<_> = said.split_whitespace().collect();
            words.join(" ").contains(expected)
        });
    };
    let asked = format!("python3 (pid {}) is asked to exit", first.pid());
    says(&second, &asked);
    assert_eq!(first.finish().signal(), Some(libc::SIGTERM));
    second.kill();

    let mut of_root = server(5000).start();
    of_root.expect("listening");
    let mut third = start(&["--free"]);
    third.expect("EADDRINUSE");
    says(&third, "held by a process of user root");
    assert!(!of_root.has_ended());
    of_root.kill();

    // Root itself ends nobody else's process without a question either.
    let mut of_nobody = start(&[]);
    of_nobody.expect("listening");
    let mut fourth = run()
        .arguments([
            "--free",
            "--ports",
            "5000",
            "/usr/bin/python3",
            "-I",
            "-u",
            "-c",
        ])
        .arguments([&text, "5000"])
        .start();
    fourth.expect("EADDRINUSE");
    says(&fourth, "belongs to user nobody");
    assert!(!of_nobody.has_ended());

    let finished = run().arguments(["--free", "true"]).run();
    assert_eq!(code(&finished), 125, "{finished:#?}");
    assert_says(&finished.stderr, "--free needs to know the ports");
}

/// A service that is killed is started again; one that is stopped is not. And a job of a manager of
/// jobs is no service.
const IN_THE_MACHINE: &str = r#"
cd /opt/test
ip link set lo up
cat > holder.py <<'P'
import os, socket, sys, time
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
open(f'/run/{sys.argv[1]}', 'a').write('started\n')
while True: time.sleep(1)
P
cat > jobs.py <<'P'
import subprocess, sys
subprocess.run(['/usr/bin/python3', '/opt/test/holder.py', sys.argv[1]], start_new_session=True)
import signal; signal.pause()
P
unit() { printf '[Service]\nExecStart=/usr/bin/python3 /opt/test/%s\nRestart=always\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0\n' "$2" > "/etc/systemd/system/$1.service"; }
started() { for try in $(seq 600); do [ "$(cat "/run/$1" 2>/dev/null | wc -l)" -ge "$2" ] && return; sleep 0.1; done; echo "never started $1"; }
unit killed 'holder.py 5001'; unit stopped 'holder.py 5002'; unit jobs 'jobs.py 5003'
systemctl daemon-reload; systemctl start killed stopped jobs
started 5001 1; started 5002 1; started 5003 1
kill "$(systemctl show -P MainPID killed)"; started 5001 2; echo "killed: $(systemctl is-active killed)"
./reuseaddr free --dry-run 5002 | head -n 2 | tr '\n' ' ' | tr -s ' '; echo
./reuseaddr free --yes 5002 | tail -n 1; echo "code: $?"
sleep 0.5; echo "stopped: $(systemctl is-active stopped)"
./reuseaddr run --free --ports 5001 true; echo "not without a question: $(systemctl is-active killed)"
./reuseaddr free --yes 5003 | tail -n 1; echo "jobs: $(systemctl is-active jobs)"
unit slow 'holder.py 5004'; printf '[Service]\nExecStop=/bin/sleep 3\n' >> /etc/systemd/system/slow.service
systemctl daemon-reload; systemctl start slow; started 5004 1
script --quiet --return --command './reuseaddr free --yes 5004' /dev/null
"#;

#[test]
fn has_a_service_stopped_by_its_manager() {
    let folder = Folder::new("free-boot");
    let output = crate::systemd::boot(&folder, IN_THE_MACHINE);
    for expected in [
        "killed: active",
        "It is stopped.service (Restart=always), which would be stopped by its manager: `systemctl \
         stop stopped.service`.",
        "Port 5002 is free now: a plain bind succeeds.",
        "stopped: inactive",
        "is managed by systemd, as killed.service (Restart=always)",
        "not without a question: active",
        "Port 5003 is free now: a plain bind succeeds.",
        "jobs: active",
        "Waiting for slow.service to stop",
        "Port 5004 is free now: a plain bind succeeds.",
    ] {
        assert_says(&output, expected);
    }
}

/// A UDP port leaves nothing behind, but has a holder as well; the TCP port of the same number is
/// not touched.
#[test]
fn frees_udp_ports() {
    own_network();
    let mut tcp = server(5000).start();
    tcp.expect("listening");
    let mut udp = Program::python(
        "
holder = socket.socket(type=socket.SOCK_DGRAM)
holder.bind(('127.0.0.1', 5000))
client = socket.socket(type=socket.SOCK_DGRAM)
client.bind(('127.0.0.1', 5001))
client.connect(('127.0.0.1', 5000))
print('bound')
sys.stdin.read()",
    )
    .start();
    udp.expect("bound");
    let shown = reuseaddr(["5000/udp"]).run();
    assert_eq!(code(&shown), 1, "{shown:#?}");
    let expected = format!("UDP port 5000 is held by python3 (pid {})", udp.pid());
    assert_says(&shown.stdout, &expected);
    // What is connected is a client's.
    let client = reuseaddr(["free", "--yes", "5001/udp"]).run();
    assert_eq!(code(&client), 1, "{client:#?}");
    assert!(!udp.has_ended());

    let answer = json(&reuseaddr(["free", "--json", "--yes", "5000/udp"]));
    assert_eq!(
        answer["asked"][0]["pids"],
        serde_json::json!([udp.pid()]),
        "{answer}"
    );
    assert_eq!(answer["ports"][0]["protocol"], "udp", "{answer}");
    assert_eq!(answer["ports"][0]["free"], true, "{answer}");
    assert_eq!(udp.finish().signal(), Some(libc::SIGTERM));
    let again = reuseaddr(["free", "5000/udp"]).run();
    assert_eq!(code(&again), 0, "{again:#?}");
    assert_says(&again.stdout, "Port 5000/udp is free already");
    assert!(!tcp.has_ended());
    let refused = reuseaddr(["evict", "5000/udp"]).run();
    assert_eq!(code(&refused), 2, "{refused:#?}");
    assert_says(&refused.stderr, "only `status` and `free` know UDP ports");
}
