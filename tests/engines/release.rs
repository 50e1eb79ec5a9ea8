//! When the tracer detaches, and what it leaves behind.

use crate::{PORT, crash, exists, own_time_wait, run_with, status, victim, with_time_wait_left_by};
use std::fs;
use std::time::{Duration, Instant};
use support::{Program, Running, TcpState, compile_c, own_network, slowness, wait_for, wait_until};

/// The process that traces another one.
fn tracer(process: u32) -> Option<i32> {
    Some(status(process, "TracerPid").parse().expect("a number")).filter(|&tracer| tracer != 0)
}

/// What of ours there is among the processes and in the files of this one.
fn is_gone(tracer: i32) -> bool {
    // A process that was orphaned is its reaper's to take away: of a zombie nothing is left.
    let stat = fs::read_to_string(format!("/proc/{tracer}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

fn files(process: u32) -> Vec<String> {
    let folder = format!("/proc/{process}/fd");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("it is ours")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    files.sort();
    files
}

/// Within a second after it listens. On a busy machine the tracer may get its turn late, but hardly
/// every time.
#[test]
fn leaves_nothing_behind() {
    own_network();
    let mut plain = victim().start();
    plain.expect("listening");
    let expected = files(plain.pid());
    plain.kill();

    for options in [&[][..], &["--ports", "5000"]] {
        let mut took = Vec::new();
        let server = loop {
            own_network();
            let mut server = run_with(options, &victim()).start();
            server.expect("listening");
            let begin = Instant::now();
            wait_until("the tracer to detach", || tracer(server.pid()).is_none());
            took.push(begin.elapsed());
            if took.iter().any(|&time| time < Duration::from_secs(1)) {
                break server;
            }
            assert!(took.len() < 20, "{options:?}: {took:?}");
        };
        let pid = server.pid();
        for (field, value) in [("TracerPid", "0"), ("NoNewPrivs", "0"), ("Seccomp", "0")] {
            assert_eq!(status(pid, field), value, "{field}");
        }
        assert_eq!(files(pid), expected);
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        assert_eq!(children.expect("the kernel tells").trim(), "");
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it is ours");
        // The project's folder may be called so.
        let files = maps.lines().filter_map(|line| line.rsplit('/').next());
        let ours = files.filter(|name| name.contains("libreuse") || name.contains("reuseaddr"));
        assert_eq!(ours.collect::<Vec<_>>(), [""; 0], "{maps}");
        crash(server, PORT);
    }
}

/// Says what it is told to: listens on a port, or makes a system call now and then.
const TALKER: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
int main(void)
{
    char line[100];
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("here");
    while (fgets(line, sizeof line, stdin)) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(line))};
        int listener = socket(AF_INET, SOCK_STREAM, 0);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 9))
            perror("listen");
        puts("done");
    }
    return 0;
}
"#;

fn talker(options: &[&str]) -> Running {
    let running = talker_for_now(options);
    assert!(tracer(running.pid()).is_some(), "it is not traced");
    running
}

/// The same, from which the tracer may have detached already.
fn talker_for_now(options: &[&str]) -> Running {
    let program = Program::new(compile_c("talker", TALKER, &["-static"]));
    let mut running = run_with(options, &program).start();
    running.expect("here");
    running
}

/// The tracer is in the session of the program, whose share of the processor it has (autogroups in
/// sched(7)), and yet a terminal neither ends it with Ctrl-C nor stops it for what it reports.
#[test]
fn is_left_alone_by_the_programs_terminal() {
    let text = r"
import os, pty, signal, sys, termios
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    modes = termios.tcgetattr(0)
    modes[3] = (modes[3] | termios.TOSTOP) & ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, modes)
    os.execv(sys.argv[1], sys.argv[1:])
def until(word):
    seen = b''
    while word not in seen:
        seen += os.read(terminal, 65536)
    return seen.decode().replace('\r', '')
print(until(b'here\r\n'), end='')
tracer = [line.split()[1] for line in open(f'/proc/{pid}/status') if line.startswith('TracerPid')][0]
if tracer != '0':
    print('session', os.getsid(int(tracer)) == pid, 'group', os.getpgid(int(tracer)) == pid)
os.write(terminal, b'\x03')
os.write(terminal, b'5000\n')
print(until(b'done\r\n'), end='')
os.kill(pid, signal.SIGKILL)
";
    let on_terminal = |program: &Program| Program::python(text).command(program).output();
    let program = Program::new(compile_c("talker", TALKER, &["-static"]));
    own_time_wait();
    let alone = on_terminal(&program);
    assert_eq!(alone, "here\nlisten: Address already in use\ndone\n");
    own_time_wait();
    let traced = on_terminal(&run_with(["--log", "info"], &program));
    assert!(
        traced.contains("here\nsession True group False\n"),
        "{traced}"
    );
    assert!(
        traced.contains(": bind") && !traced.contains("in use\ndone\n"),
        "{traced}"
    );
}

/// A service manager sends its signals to every process of a service, and so to the tracer.
#[test]
fn leaves_a_services_signals_to_the_program() {
    own_time_wait();
    let mut program = talker(&["--trace-quiet", "300s", "--trace-limit", "300s"]);
    let process = tracer(program.pid()).expect("it is traced");
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1] {
        // SAFETY: kill takes numbers; the tracer stays for longer than the program.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
    }
    // Over TIME_WAIT.
    program.say("5000").expect("done");
    assert_eq!(tracer(program.pid()), Some(process));
    program.kill();
    wait_until("the tracer to end", || is_gone(process));
}

#[test]
fn waits_for_all_ports_that_are_named() {
    own_network();
    let mut program = talker(&["--ports", "5000,5001", "--trace-quiet", "1ms"]);
    program.say("5000").expect("done");
    program.say("5002").expect("done");
    assert!(tracer(program.pid()).is_some());
    program.say("5001").expect("done");
    wait_until("the tracer to detach", || tracer(program.pid()).is_none());
    assert!(program.finish().status.success());
}

/// A port may have several addresses, which servers listen on one after the other.
#[test]
fn serves_a_second_address_of_a_port_that_is_named() {
    let text = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void)
{
    struct sockaddr_in first = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 second = {.sin6_family = AF_INET6, .sin6_port = htons(5000), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int listeners[2] = {socket(AF_INET, SOCK_STREAM, 0), socket(AF_INET6, SOCK_STREAM, 0)}, option;
    socklen_t length = sizeof option;
    if (bind(listeners[0], (struct sockaddr *)&first, sizeof first) || listen(listeners[0], 9))
        perror("first");
    usleep(20000);
    if (bind(listeners[1], (struct sockaddr *)&second, sizeof second) || listen(listeners[1], 9))
        perror("second");
    for (int i = 0; i < 2; i++) {
        getsockopt(listeners[i], SOL_SOCKET, SO_REUSEADDR, &option, &length);
        printf("%d\n", option);
    }
    return 0;
}
"#;
    own_network();
    let program = Program::new(compile_c("two-addresses", text, &["-static"]));
    assert_eq!(program.output(), "0\n0\n");
    for ports in ["5000", "5000-5020"] {
        own_network();
        let traced = run_with(["--ports", ports, "--trace-quiet", "10s"], &program);
        assert_eq!(traced.output(), "1\n1\n", "--ports {ports}");
    }
}

/// A program that has accepted a connection is at work. A port that is named and still does not
/// listen will hardly be its own, and to wait for it would make each of its calls slow.
#[test]
fn detaches_from_a_program_that_serves_whatever_else_is_named() {
    own_network();
    let mut server = run_with(["--ports", "5000,5001"], &victim()).start();
    server.expect("listening");
    assert!(tracer(server.pid()).is_some());
    let client = std::net::TcpStream::connect(("127.0.0.1", PORT)).expect("it listens");
    wait_until("the tracer to detach", || tracer(server.pid()).is_none());
    drop(client);
}

#[test]
fn waits_for_quiet_where_no_port_is_named() {
    own_network();
    let mut program = talker(&["--trace-quiet", "2s"]);
    program.say("5000").expect("done");
    let first = Instant::now();
    program.say("5001").expect("done");
    assert!(tracer(program.pid()).is_some() || first.elapsed() > Duration::from_secs(2));
    wait_until("the tracer to detach", || tracer(program.pid()).is_none());
    assert!(first.elapsed() >= Duration::from_millis(1900));
    assert!(program.finish().status.success());
}

#[test]
fn lets_go_after_the_limit_in_any_case() {
    own_network();
    // The control: without a limit that is so near it stays.
    let lasting = talker(&[]);
    let begin = Instant::now();
    let mut program = talker_for_now(&["--trace-limit", "1s"]);
    wait_until("the tracer to detach", || tracer(program.pid()).is_none());
    assert!(begin.elapsed() >= Duration::from_secs(1));
    let stays = tracer(lasting.pid()).is_some();
    assert!(stays || begin.elapsed() > Duration::from_secs(50));
    program.say("5000").expect("done");
    assert!(program.finish().status.success());
}

#[test]
fn ends_with_the_program() {
    own_network();
    let program = talker(&[]);
    let tracer = tracer(program.pid()).expect("it is traced");
    assert!(program.finish().status.success());
    wait_until("the tracer to end", || is_gone(tracer));
}

/// Whoever waits for the end of the program's output does not wait for the tracer.
#[test]
fn holds_none_of_the_programs_descriptors() {
    own_network();
    let program = talker(&[]);
    let tracer = tracer(program.pid()).expect("it is traced");
    let theirs: Vec<_> = (0..3)
        .map(|fd| fs::read_link(format!("/proc/{}/fd/{fd}", program.pid())).expect("it is open"))
        .collect();
    for file in files(u32::try_from(tracer).expect("a pid")) {
        // It may have closed it since.
        let link = fs::read_link(format!("/proc/{tracer}/fd/{file}")).unwrap_or_default();
        assert!(!theirs.contains(&link), "{file}");
    }
    assert_eq!(
        fs::read_link(format!("/proc/{tracer}/cwd")).expect("it is there"),
        std::path::Path::new("/")
    );
}

/// A generator of numbers that a failure can be repeated with (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Binds over `TIME_WAIT` and listens while a child sends it numbered signals.
const SIGNALLED: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
enum { SIGNALS = 50 };
static volatile sig_atomic_t seen, wrong;
static void on(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    wrong |= info->si_value.sival_int != ++seen;
}
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sigaction action = {.sa_sigaction = on, .sa_flags = SA_SIGINFO | SA_RESTART};
    int listener = socket(AF_INET, SOCK_STREAM, 0), child;
    sigaction(SIGRTMIN, &action, NULL);
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    child = fork();
    if (child == 0) {
        for (int i = 1; i <= SIGNALS; i++) {
            sigqueue(getppid(), SIGRTMIN, (union sigval){.sival_int = i});
            usleep(100);
        }
        return 0;
    }
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0)
        listen(listener, 9);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    printf("%d of %d signals, %d wrong\n", (int)seen, SIGNALS, (int)wrong);
    return 0;
}
"#;

/// Killed at any moment, the tracer takes no signal with it that it was about to hand on.
#[test]
fn may_be_killed_between_signals() {
    const ALL: &str = "50 of 50 signals, 0 wrong";
    let program = Program::new(compile_c("signalled", SIGNALLED, &["-static"]));
    let traced = run_with(["--trace-quiet", "60s"], &program);
    let start = |program: &Program| {
        let mut running = program.start();
        running.expect("ready");
        running
    };
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut whole = 0;
    for round in 0..100 {
        if round % 25 == 0 {
            own_time_wait();
            start(&program).say("go").expect(ALL);
            let mut unharmed = start(&traced);
            let begin = Instant::now();
            unharmed.say("go").expect(ALL);
            whole = u64::try_from(begin.elapsed().as_micros()).expect("some seconds");
        }
        let mut program = start(&traced);
        let its_tracer = tracer(program.pid()).expect("it is traced");
        program.say("go");
        std::thread::sleep(Duration::from_micros(numbers.below(whole)));
        // SAFETY: kill takes numbers; the tracer stays for longer than the program.
        unsafe { libc::kill(its_tracer, libc::SIGKILL) };
        program.expect(ALL);
    }
}

/// Killed at any moment, the tracer takes nothing with it: neither on a free port nor in the middle
/// of a bind over `TIME_WAIT`, where the program is told that the port is in use if it has not been
/// helped yet.
#[test]
fn may_be_killed_at_any_moment() {
    let times: u32 = std::env::var("LIBREUSE_TEST_KILLS").map_or(200, |times| {
        times.parse().expect("LIBREUSE_TEST_KILLS is a number")
    });
    with_time_wait_left_by(&run_with::<&str>([], &victim()));
    let server = run_with(["--trace-limit", "10s", "--trace-quiet", "10s"], &victim());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut killed, mut helped, mut refused) = (0, 0, 0);
    for _ in 0..times {
        let mut server = server.start();
        let pid = server.pid();
        let mut found = None;
        wait_until("a tracer, or the program's first word", || {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            found = status
                .lines()
                .find_map(|line| line.strip_prefix("TracerPid:\t")?.parse::<i32>().ok())
                .filter(|&tracer| tracer != 0);
            found.is_some() || !exists(&format!("/proc/{pid}/exe"))
        });
        let until = Instant::now() + Duration::from_micros(numbers.below(6000)) * slowness();
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        if let Some(tracer) = found.filter(|_| tracer(pid) == found) {
            // SAFETY: kill takes numbers; the tracer is there as long as the program says so.
            unsafe { libc::kill(tracer, libc::SIGKILL) };
            killed += 1;
        }
        let line = server.line_within(support::patience());
        // Of `listen`, which the kernel may refuse over TIME_WAIT as well, the program tells on
        // stderr.
        let line = line.unwrap_or_else(|| "listen: in use".into());
        if line == "listening" {
            helped += 1;
            // It works.
            drop(std::net::TcpStream::connect(("127.0.0.1", PORT)).expect("it listens"));
            server.kill();
            wait_for(PORT, TcpState::Listen, 0);
        } else {
            assert!(line.contains("in use"), "{line}");
            refused += 1;
            // The program's, or that of `run`, which starts nothing if its tracer dies while it is
            // being attached.
            let code = server.finish().status.code();
            assert!(matches!(code, Some(1 | 125)), "{code:?}");
        }
    }
    println!(
        "{killed} of {times} tracers killed: {helped} programs listened, {refused} found the port \
         in use"
    );
    assert!(killed > times / 2, "{killed}");
    assert!(helped > 0 && refused > 0);
}

/// Whoever reads what the program says until its end, as `$(...)` of a shell does, does not wait
/// for the tracer.
#[test]
fn keeps_nobody_waiting_for_the_end_of_stderr() {
    own_network();
    let text = r#"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    if (fork() > 0)
        return 0;
    /* A daemon, which nothing ends but its stdin's end. */
    if (dup2(open("/dev/null", O_WRONLY), 1) < 0 || dup2(1, 2) < 0)
        return 1;
    while (getchar() >= 0)
        ;
    return 0;
}
"#;
    let daemon = Program::new(compile_c("quiet-daemon", text, &["-static"]));
    for options in [&["--wait", "5s"][..], &["--log", "debug"]] {
        let shell = Program::new("/bin/sh")
            .arguments(["-c", "x=$(\"$@\" 2>&1); echo over", "sh"])
            .command(&run_with(
                options.iter().chain(&["--trace-limit", "300s"]),
                &daemon,
            ));
        let mut running = shell.start();
        running.expect("over");
    }
}

/// What `run` starts may be another `run`: the program has one tracer, which is ours already.
#[test]
fn traces_what_another_run_starts() {
    own_network();
    for _ in 0..2 {
        let inner = run_with::<&str>([], &victim());
        let mut server = run_with(["--engine", "trace"], &inner).start();
        server.expect("listening");
        crash(server, PORT);
    }
}
