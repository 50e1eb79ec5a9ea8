//! Where descriptors can't be copied, as in containers: the program's own thread is made to set the
//! options.

use crate::{own_time_wait, run_with, victim_file};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};
use support::{Folder, Program, compile_c, own_network, patience};

/// A sandbox that forbids `pidfd_getfd(2)`, as the filters of container runtimes do, and a command
/// to follow.
fn container() -> Program {
    Program::new(compile_c(
        "container",
        include_str!("exec_under_seccomp.c"),
        &["-DFORBIDDEN=SYS_pidfd_getfd"],
    ))
}

/// One that also answers a call that it does not know by an error, as those of podman, Docker and
/// systemd-nspawn do.
fn answering_container(error: &str) -> Program {
    let answer = format!("-DANSWER=SECCOMP_RET_ERRNO|{error}");
    let flags = ["-DFORBIDDEN=SYS_pidfd_getfd", "-DKNOWN=0x10000", &answer];
    let text = include_str!("exec_under_seccomp.c");
    Program::new(compile_c("answering-container", text, &flags))
}

const STAYS: [&str; 2] = ["--trace-quiet", "60s"];

/// Binds over `TIME_WAIT` in one thread, and executes itself in another one, some times.
const EXECUTES: &str = r#"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
static char **own, left[20];
static void *executes(void *nothing)
{
    usleep(500 + atoi(left) * 7919 % 4000);
    execl("/proc/self/exe", own[0], left, NULL);
    perror("exec");
    return nothing;
}
int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int times = count > 1 ? atoi(arguments[1]) : 0;
    pthread_t thread;
    own = arguments;
    if (times == 0) {
        puts("done");
        return 0;
    }
    snprintf(left, sizeof left, "%d", times - 1);
    pthread_create(&thread, NULL, executes, NULL);
    for (;;) {
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0)
            listen(listener, 5);
        close(listener);
    }
}
"#;

/// Another thread's exec ends the call that is intercepted, and nothing of the old program is put
/// into the new one.
#[test]
fn executes_in_one_thread_while_another_one_binds() {
    own_time_wait();
    let file = compile_c("executes", EXECUTES, &["-static", "-pthread"]);
    let program = Program::new(file).argument("80");
    assert_eq!(program.output(), "done\n");
    let traced = container().command(&run_with(STAYS, &program));
    assert_eq!(traced.output(), "done\n");
    assert_eq!(run_with(STAYS, &program).output(), "done\n");
}

/// Waits for a line, and binds and listens over `TIME_WAIT` while numbered signals come; says what
/// came of it all.
const STEPS: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
static volatile sig_atomic_t next = 1, wrong;
static pid_t child;
static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    wrong += info->si_code != SI_QUEUE || info->si_pid != child || info->si_value.sival_int != next;
    next = info->si_value.sival_int + 1;
}
static const char *word(int result)
{
    return result == 0 ? "ok" : errno == EADDRINUSE ? "in use" : strerror(errno);
}
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigset_t none, all, mask;
    char line[10];
    int ends[2], listener;
    pid_t parent = getpid();

    sigemptyset(&none);
    sigfillset(&all);
    sigaction(SIGRTMIN, &action, NULL);
    puts("ready");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL || pipe(ends))
        return 3;
    sigprocmask(SIG_BLOCK, &all, NULL);
    child = fork();
    if (child == 0) {
        union sigval value;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)!read(ends[0], line, 1);
        for (value.sival_int = 1; value.sival_int <= 50; value.sival_int++) {
            sigqueue(parent, SIGRTMIN, value);
            usleep(500);
        }
        _exit(0);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
    (void)!write(ends[1], "x", 1);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    printf("bind %s, ", word(bind(listener, (struct sockaddr *)&address, sizeof address)));
    printf("listen %s, ", word(listen(listener, 5)));
    sigprocmask(SIG_BLOCK, NULL, &mask);
    printf("mask %s, ", memcmp(&mask, &none, 8) == 0 ? "kept" : "changed");
    sigprocmask(SIG_SETMASK, &none, NULL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    printf("%d wrong\n", wrong);
    return 0;
}
"#;

/// Killed at any moment, the tracer leaves a thread with its own registers and signal mask: at the
/// worst it is told that the address is in use.
#[test]
fn may_lose_its_tracer_at_any_moment() {
    let times: u32 = std::env::var("LIBREUSE_TEST_KILLS").map_or(100, |times| {
        times.parse().expect("LIBREUSE_TEST_KILLS is a number")
    });
    let steps = Program::new(compile_c("steps", STEPS, &["-static"]));
    let ways = [container(), answering_container("ENOSYS")]
        .map(|container| container.command(&run_with(STAYS, &steps)));
    let (mut helped, mut refused) = (0, 0);
    // How long the program takes, from time to time: a machine may have much to do.
    let mut whole = Duration::ZERO;
    for (round, traced) in (0..times).zip(ways.iter().cycle()) {
        if round % 20 == 0 {
            // What the last one has there is over in a minute.
            own_time_wait();
            let mut program = traced.start();
            program.expect("ready");
            program.say("go");
            let begin = Instant::now();
            program.expect("bind ok, listen ok, mask kept, 0 wrong");
            whole = begin.elapsed();
        }
        let mut program = traced.start();
        program.expect("ready");
        let status = fs::read_to_string(format!("/proc/{}/status", program.pid()));
        let pid: i32 = status
            .expect("it is there")
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:")?.trim().parse().ok())
            .expect("the kernel says who traces it");
        assert_ne!(pid, 0);
        program.say("go");
        let until = Instant::now() + whole * (round * 7919 % 1000) / 1000;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        // SAFETY: kill takes numbers; the tracer stays for longer than the program.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        let said = program.line_within(patience()).unwrap_or_default();
        match said.as_str() {
            "bind ok, listen ok, mask kept, 0 wrong" => helped += 1,
            "bind in use, listen ok, mask kept, 0 wrong"
            | "bind ok, listen in use, mask kept, 0 wrong" => refused += 1,
            _ => panic!("{said:?}, {round}"),
        }
    }
    println!("{times} tracers killed: {helped} programs served, {refused} told that it is in use");
    assert!(helped > 0 && refused > 0);
}

/// Neither its name nor the paths of its files need be UTF-8.
#[test]
fn serves_a_program_of_any_name() {
    let folder = Folder::new("engines-named");
    for name in [&b"stra\xdfe"[..], "fourteen-bytes\u{fc}".as_bytes()] {
        let file = folder.copy(victim_file(), OsStr::from_bytes(name));
        let victim = Program::new(file).argument("5000");
        let control = container().command(&victim);
        assert_eq!(crate::second_run(&control), crate::BUSY);
        let traced = container().command(&run_with(STAYS, &victim));
        let seen = crate::second_run(&traced);
        assert_eq!(seen, "listening", "{}", name.escape_ascii());
    }
}

/// A filter that ends whoever makes a call that it does not know, as systemd's do, sees that a call
/// is put off: then `listen` is made first, and the option set after it.
#[test]
fn serves_where_a_call_that_is_not_known_ends_the_program() {
    let flags = ["-DFORBIDDEN=SYS_pidfd_getfd", "-DKNOWN=0x10000"];
    let text = include_str!("exec_under_seccomp.c");
    let strict = Program::new(compile_c("strict-container", text, &flags));
    let bits = |name: &str, flags: &[&str]| {
        Program::new(compile_c(name, include_str!("../spec/victim.c"), flags)).argument("5000")
    };
    for victim in [
        bits("strict-victim", &["-static"]),
        bits("strict-victim-32", &["-static", "-m32"]),
    ] {
        let control = strict.clone().command(&victim);
        assert_eq!(crate::second_run(&control), crate::BUSY);
        let traced = strict.clone().command(&run_with(STAYS, &victim));
        assert_eq!(crate::second_run(&traced), "listening");
    }
}

/// Listens on sockets of every kind, and says what came of it.
const LISTENS: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
static void listens(int socket)
{
    puts(listen(socket, 5) == 0 ? "listening" : strerror(errno));
}
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr unnamed = {.sa_family = AF_UNIX};
    int local = socket(AF_UNIX, SOCK_STREAM, 0), own = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    bind(local, &unnamed, sizeof unnamed.sa_family);
    setsockopt(own, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bind(own, (struct sockaddr *)&address, sizeof address);
    listens(local);
    listens(own);
    listens(own);
    listens(socket(AF_INET, SOCK_STREAM, 0));
    listens(socket(AF_INET, SOCK_DGRAM, 0));
    listens(0);
    listens(99);
    return 0;
}
"#;

/// A call is put off while the thread is asked about the socket. What the filter answers in its
/// place is not what the program gets.
#[test]
fn listens_where_a_call_that_is_not_known_fails() {
    own_network();
    for (name, flags) in [
        ("listens", &["-static"][..]),
        ("listens-32", &["-static", "-m32"]),
    ] {
        if flags.contains(&"-m32") && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let program = Program::new(compile_c(name, LISTENS, flags));
        for error in ["EPERM", "ENOSYS"] {
            let container = answering_container(error);
            let expected = container.clone().command(&program).output();
            assert_eq!(expected.matches("listening").count(), 4, "{expected}");
            let traced = container.command(&run_with(STAYS, &program));
            assert_eq!(traced.output(), expected, "{name}, {error}");
        }
    }
}

/// A program's own filter may end it for a call that it does not make itself, or answer its calls:
/// it is left alone.
#[test]
fn leaves_a_program_with_a_filter_of_its_own_alone() {
    for forbidden in ["SYS_mmap", "SYS_getsockname", "SYS_rt_sigprocmask"] {
        let text = include_str!("kills.c").replace("FORBIDDEN", forbidden);
        let program = Program::new(compile_c("kills", &text, &["-static"]));
        own_time_wait();
        let expected = program.output();
        assert_eq!(expected, "\nbind -1, listen 0, option 0\n", "{forbidden}");
        // On a slow machine the first one's has been over for long.
        own_time_wait();
        let traced = container().command(&run_with(STAYS, &program));
        assert_eq!(traced.output(), expected, "{forbidden}");
    }
    // The control: without a filter it is served.
    let text = include_str!("kills.c").replace("FORBIDDEN", "0x7fff");
    let program = Program::new(compile_c("kills-nothing", &text, &["-static"]));
    let served = |program: &Program| {
        own_time_wait();
        program.output()
    };
    assert_eq!(served(&program), "\nbind -1, listen 0, option 0\n");
    assert_eq!(
        served(&run_with(STAYS, &program)),
        "\nbind 0, listen 0, option 1\n"
    );
}

/// What a filter of the program's own does to `bind` and `listen` is what the program gets: the
/// signal, or the end. A listen that was not made leaves no option on.
#[test]
fn hands_on_what_a_filter_of_the_program_does() {
    let answers = [
        (
            "SYS_listen",
            "SECCOMP_RET_TRAP",
            "signal 31 for call 50, bind 0",
        ),
        (
            "SYS_bind",
            "SECCOMP_RET_TRAP",
            "signal 31 for call 49, bind",
        ),
        ("SYS_listen", "SECCOMP_RET_KILL_PROCESS", ""),
        ("SYS_bind", "SECCOMP_RET_KILL_PROCESS", ""),
    ];
    for (call, answer, says) in answers {
        let text = include_str!("kills.c").replace("FORBIDDEN", call);
        let answer = format!("-DANSWER={answer}");
        let program = Program::new(compile_c("answers", &text, &["-static", &answer]));
        let ways = [
            program.clone(),
            run_with(STAYS, &program),
            container().command(&run_with(STAYS, &program)),
        ];
        let came = ways.map(|way| {
            own_network();
            let finished = way.run();
            (finished.status, finished.stdout)
        });
        // The control: it is what the filter was asked for.
        if cfg!(target_arch = "x86_64") {
            assert!(came[0].1.contains(says), "{came:?}");
        }
        assert_eq!(came[0].0.success(), !says.is_empty(), "{came:?}");
        if call == "SYS_listen" {
            assert_eq!(came[1], came[0]);
            assert_eq!(came[2], came[0]);
        } else {
            // Listening works, and sets the option.
            let served = came[0].1.replace("option 0", "option 1");
            assert_eq!(came[1], (came[0].0, served));
            assert_eq!(came[2], came[0]);
        }
    }
}

/// Binds and listens by the calls of 32-bit programs, in a 64-bit one; says what came of it, and
/// whether the listener carries the option.
#[cfg(target_arch = "x86_64")]
const CALLS_AS_32_BIT: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
static int call(int number, long first, long second, long third)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}
int main(void)
{
    struct sockaddr_in *address = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    int listener = call(359, AF_INET, SOCK_STREAM, 0), option = -1, bound, listens;
    socklen_t length = sizeof option;

    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bound = call(361, listener, (long)address, sizeof *address);
    listens = call(363, listener, 5, 0);
    getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &option, &length);
    printf("bind %d, listen %d, option %d\n", bound, listens, option);
    return 0;
}
"#;

/// The code that would set the options can't be where such calls reach it.
#[cfg(target_arch = "x86_64")]
#[test]
fn leaves_a_program_that_calls_as_32_bit_ones_alone() {
    own_time_wait();
    let file = compile_c("calls-as-32-bit", CALLS_AS_32_BIT, &["-static", "-O1"]);
    let program = Program::new(file);
    let unserved = "bind -98, listen 0, option 0\n";
    assert_eq!(program.output(), unserved);
    let traced = run_with(STAYS, &program);
    assert_eq!(traced.output(), "bind 0, listen 0, option 1\n");
    assert_eq!(container().command(&traced).output(), unserved);
}
