//! What a traced program sees of itself and of its children.

use crate::{PORT, crash, run, run_with, status, victim};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use support::{Program, Running, TcpState, compile_c, own_network, slowness, wait_for, wait_until};

const STAYS: [&str; 4] = ["--trace-quiet", "300s", "--trace-limit", "300s"];

/// Says all that a program can notice.
fn witness() -> Program {
    let path = compile_c("faithful", include_str!("observer.c"), &["-static"]);
    Program::new(path).with("PARENT", std::process::id().to_string())
}

/// A starter in Python that prepares this, and becomes the program that follows.
fn after(preparation: &str, program: &Program) -> Program {
    let text = format!("{preparation}\nos.execv(sys.argv[1], sys.argv[1:])");
    Program::python(&text)
        .with("PARENT", std::process::id().to_string())
        .command(program)
}

#[test]
fn is_noticed_by_nothing_in_the_program() {
    for preparation in [
        "",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD, signal.SIGUSR1])",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.signal(signal.SIGPIPE, \
         signal.SIG_IGN)",
        "os.setsid() if os.getpid() != os.getpgrp() else None; os.nice(3); os.umask(0o77)",
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); os.dup2(1, 9); \
         os.close(0); os.open('/dev/null', 0)",
        "signal.setitimer(signal.ITIMER_REAL, 1000); open('/proc/self/oom_score_adj', \
         'w').write('7')",
    ] {
        let run = |program: &Program| {
            own_network();
            let finished = after(preparation, program).run();
            assert_eq!(finished.status.code(), Some(42), "{finished:#?}");
            (finished.stdout, finished.stderr)
        };
        let expected = run(&witness());
        assert!(expected.0.contains("epoll: 0"), "{}", expected.0);
        let traced = run(&run_with::<&str>([], &witness()));
        assert_eq!(traced, expected, "{preparation}");
    }
}

/// A signal that ends the program ends it in the same way, before it listens and afterwards.
#[test]
fn hands_on_every_signal() {
    const SIGNALS: [i32; 14] = [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 34];
    let sleeper = Program::new(compile_c(
        "sleeper",
        "#include <stdio.h>\n#include <unistd.h>\n\
         int main(void) { setvbuf(stdout, NULL, _IOLBF, 0); puts(\"listening\"); for (;;) pause(); \
         }",
        &["-static"],
    ));
    own_network();
    for signal in SIGNALS {
        for program in [victim(), sleeper.clone()] {
            let traced = run()
                .argument("--trace-limit")
                .argument("20s")
                .command(&program);
            // What nohup or a shell's background has ignored stays ignored.
            let mut traced = Program::new("/usr/bin/env")
                .argument("--default-signal")
                .command(&traced)
                .start();
            traced.expect("listening");
            assert_eq!(traced.signal(signal).finish_after_signal(), Some(signal));
        }
    }
}

/// Ways to end that a test of signals needs.
trait Ends {
    fn finish_after_signal(&mut self) -> Option<i32>;
}

impl Ends for Running {
    fn finish_after_signal(&mut self) -> Option<i32> {
        wait_until("it to end", || self.has_ended());
        self.ended_by()
    }
}

/// A signal that is on its way when the tracer goes arrives all the same.
#[test]
fn loses_no_signal_when_it_lets_go() {
    let text = r#"
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
static volatile sig_atomic_t handled;
static void on_signal(int number) { (void)number; handled++; }
static int is_traced(void)
{
    char line[1000];
    int tracer = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "TracerPid: %d", &tracer) == 1)
            break;
    fclose(file);
    return tracer;
}
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), lost = 0;
    signal(SIGUSR1, on_signal);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 9) != 0)
        return 1;
    printf("%s", is_traced() ? "traced, " : "");
    do
        for (int i = 0; i < 200; i++) {
            int before = handled;
            raise(SIGUSR1);
            lost += handled == before;
        }
    while (is_traced());
    printf("lost %d\n", lost);
    return 0;
}
"#;
    let raising = Program::new(compile_c("raising", text, &["-static"]));
    own_network();
    let (mut traced, mut runs) = (0, 0);
    while traced < 100 {
        // The tracer goes in the middle of them, or on a busy machine before the first.
        let seen = run_with(["--trace-quiet", "5ms"], &raising).output();
        assert!(seen.ends_with("lost 0\n"), "{seen}");
        traced += i32::from(seen.starts_with("traced"));
        runs += 1;
        assert!(runs < 2000, "{traced} of {runs} were traced");
    }
}

/// Stopped and continued by whoever has the right to, as a shell does with its jobs.
#[test]
fn stops_and_continues_with_its_process_group() {
    own_network();
    let mut server = run_with(STAYS, &victim()).start();
    server.expect("listening");
    let pid = server.pid();
    assert_ne!(status(pid, "TracerPid"), "0");
    for _ in 0..20 {
        server.signal(libc::SIGSTOP);
        wait_until("it to stop", || {
            ["t (tracing stop)", "T (stopped)"].contains(&status(pid, "State").as_str())
        });
        // Whoever waits for it is told, and it stays stopped.
        assert_eq!(stopped_by(pid), libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(5));
        assert!(status(pid, "State").contains("stop"));
        server.signal(libc::SIGCONT);
        wait_until("it to go on", || status(pid, "State").starts_with('S'));
    }
    // It stays stopped when the tracer goes.
    server.signal(libc::SIGSTOP);
    assert_eq!(stopped_by(pid), libc::SIGSTOP);
    let tracer: i32 = status(pid, "TracerPid").parse().expect("a number");
    // SAFETY: kill takes numbers; the program has just named its tracer.
    unsafe { libc::kill(tracer, libc::SIGKILL) };
    wait_until("the tracer to go", || status(pid, "TracerPid") == "0");
    // The kernel wakes it for a moment, to go from the tracer's stop to its own.
    wait_until("it to stand still", || {
        status(pid, "State") == "T (stopped)"
    });
    server.signal(libc::SIGCONT);
    wait_until("it to go on", || status(pid, "State").starts_with('S'));
    drop(std::net::TcpStream::connect(("127.0.0.1", PORT)).expect("it listens"));
}

/// The signal that has stopped a child, as its parent is told.
fn stopped_by(pid: u32) -> i32 {
    let mut status = 0;
    let pid = i32::try_from(pid).expect("a pid");
    wait_until("the parent to be told of a stop", || {
        // SAFETY: the status is written to an int that outlives the call; a child that has only
        // stopped is not taken away.
        let told = unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED | libc::WNOHANG) };
        assert!(told == 0 || told == pid, "{told}");
        told == pid
    });
    assert!(libc::WIFSTOPPED(status), "{status:x}");
    libc::WSTOPSIG(status)
}

/// Where descriptors can't be copied, a program's thread is made to ask for the tracer: stops and
/// signals come in the middle, and the thread, its options and its signal mask are as they would
/// be.
#[test]
fn stops_and_handles_signals_while_it_is_asked() {
    let text = r#"
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
static volatile sig_atomic_t handled, wrong;
static void on_alarm(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    handled++;
    wrong += info->si_code != SI_KERNEL;
}
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sigaction alarm = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    sigset_t none, mask;

    sigemptyset(&none);
    setvbuf(stdout, NULL, _IOLBF, 0);
    sigaction(SIGALRM, &alarm, NULL);
    for (int i = 0; i < 100000000; i++) {
        int listener = socket(AF_INET, SOCK_STREAM, 0), option = -1;
        socklen_t length = sizeof option;
        // One a round, anywhere in it. By a periodic timer a slow machine would run nothing but
        // the handler.
        struct itimerval soon = {{0, 0}, {0, 50 + i * 37 % 1500}};
        setitimer(ITIMER_REAL, &soon, NULL);
        if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) {
            perror("bind");
            return 1;
        }
        if (getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &option, &length) != 0 || option != 0) {
            printf("option %d\n", option);
            return 1;
        }
        if (listen(listener, 9) != 0) {
            perror("listen");
            return 1;
        }
        sigprocmask(SIG_BLOCK, NULL, &mask);
        if (wrong || memcmp(&mask, &none, 8) != 0) {
            puts("a signal or the mask is another");
            return 1;
        }
        close(listener);
        if (i == 0)
            puts("ready");
        if (handled > 1000) {
            puts("handled");
            handled = 0;
        }
    }
}
"#;
    let forbids = compile_c(
        "no-copies-while-stopped",
        include_str!("exec_under_seccomp.c"),
        &["-DFORBIDDEN=SYS_pidfd_getfd"],
    );
    let listening = Program::new(compile_c("listening", text, &["-static"]));
    own_network();
    let mut before = run_with::<&str>([], &victim()).start();
    before.expect("listening");
    crash(before, PORT);
    let mut server = Program::new(forbids)
        .command(&run_with(STAYS, &listening))
        .start();
    server.expect("ready");
    let pid = server.pid();
    for round in 0..1000 {
        // Anywhere in its work, and not always right behind its awakening.
        std::thread::sleep(Duration::from_micros(round * 37 % 1500));
        server.signal(libc::SIGSTOP);
        assert_eq!(stopped_by(pid), libc::SIGSTOP);
        server.signal(libc::SIGCONT);
    }
    server.expect("handled");
    assert_ne!(status(pid, "TracerPid"), "0");
    assert!(!server.has_ended(), "{}", server.stderr_so_far());
}

/// A `bind` that waits for its port lets the program's handlers run, and goes on waiting for as
/// long as it would have.
#[test]
fn waits_through_signals() {
    own_network();
    let mut holder = victim().start();
    holder.expect("listening");
    let text = r#"
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/time.h>
static volatile sig_atomic_t handled;
static void on_signal(int number) { (void)number; puts("handled"); }
static void on_alarm(int number) { (void)number; handled++; }
int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int every = count > 1 ? atoi(arguments[1]) : 0;
    struct itimerval often = {{0, every}, {0, every}};
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGUSR1, on_signal);
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &often, NULL);
    puts("ready");
    puts(bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address) ? strerror(errno) : "bound");
    if (every)
        puts(handled > 5 ? "often" : "seldom");
    return 0;
}
"#;
    let waiter = Program::new(compile_c("waiter", text, &["-static"]));
    for every_us in ["5000", "50000"] {
        let finished = run_with(
            ["--wait", "3s,listeners"],
            &waiter.clone().argument(every_us),
        )
        .run();
        assert_eq!(
            finished.stdout, "ready\nAddress already in use\noften\n",
            "{finished:#?}"
        );
        let said = |what| finished.stderr.matches(what).count();
        assert_eq!(said("waiting for up to 3000 ms"), 1, "{finished:#?}");
        assert_eq!(said("still in use after"), 1, "{finished:#?}");
    }
    // Longer than the tracer stays for anything else.
    let limit = Duration::from_secs(4) * slowness();
    let limited = format!("{}ms", limit.as_millis());
    let options = ["--wait", "60s,listeners", "--trace-limit", &limited];
    let mut waiter = run_with(options, &waiter).start();
    waiter.expect("ready");
    wait_until("it to wait", || {
        waiter
            .stderr_so_far()
            .contains("waiting for up to 60000 ms")
    });
    let until = Instant::now() + limit * 2;
    let mut signals = 0;
    while signals < 50 || Instant::now() < until {
        waiter.signal(libc::SIGUSR1);
        waiter.expect("handled");
        signals += 1;
    }
    holder.kill();
    wait_for(PORT, TcpState::Listen, 0);
    waiter.expect("bound");
    assert!(waiter.finish().status.success());
}

/// Other threads of a program go on while one waits for its port.
#[test]
fn stops_no_other_thread_while_one_waits() {
    own_network();
    let mut holder = victim().start();
    holder.expect("listening");
    let text = r#"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
static void *binds(void *nothing)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address) == 0)
        puts("bound");
    return nothing;
}
int main(void)
{
    pthread_t thread;
    char line[10];
    setvbuf(stdout, NULL, _IOLBF, 0);
    pthread_create(&thread, NULL, binds, NULL);
    while (fgets(line, sizeof line, stdin))
        puts("here");
    pthread_join(thread, NULL);
    return 0;
}
"#;
    let program = Program::new(compile_c("waiting-thread", text, &["-static"]));
    let mut program = run_with(["--wait", "60s,listeners"], &program).start();
    wait_until("a thread to wait", || {
        program
            .stderr_so_far()
            .contains("waiting for up to 60000 ms")
    });
    for _ in 0..100 {
        program.say("").expect("here");
    }
    holder.kill();
    wait_for(PORT, TcpState::Listen, 0);
    program.expect("bound");
}

/// A program with more rights than its caller, started by a traced one, keeps them, whichever way
/// the kernel comes to it: it would take them away. An exec that fails changes nothing.
#[test]
fn lets_go_of_a_child_that_gains_rights() {
    let starter = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **arguments)
{
    char *own[] = {arguments[2], NULL}, path[50];
    int file = open(arguments[2], O_RDONLY), listener = socket(AF_INET, SOCK_STREAM, 0), option;
    socklen_t length = sizeof option;
    (void)count;
    if (strcmp(arguments[1], "path") == 0)
        execve(arguments[2], own, NULL);
    if (strcmp(arguments[1], "descriptor") == 0)
        fexecve(file, own, (char *[]){NULL});
    snprintf(path, sizeof path, arguments[1], file);
    execve(path, own, NULL);
    listen(listener, 5);
    getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &option, &length);
    printf("option %d\n", option);
    return 0;
}
"#;
    let folder = support::Folder::for_other_users("engines-setuid");
    let id = folder.copy(
        compile_c(
            "id",
            "#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf(\"%d\\n\", \
             geteuid()); return 0; }",
            &["-static"],
        ),
        "id",
    );
    let starter = folder.copy(
        compile_c(
            "id-starter",
            starter,
            &["-static", "-Wno-format-nonliteral", "-Wno-format-security"],
        ),
        "starter",
    );
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let script = folder.script("script", format!("#!{}\n", id.display()));
    let of_script = folder.script("of-script", format!("#! {} -x\n", script.display()));
    let not_there = folder.join("not-there");
    fs::set_permissions(&id, fs::Permissions::from_mode(0o4755)).expect("the file is ours");
    for (how, program, expected) in [
        ("path", &id, "0\n"),
        ("path", &script, "0\n"),
        ("path", &of_script, "0\n"),
        ("descriptor", &id, "0\n"),
        ("/proc/self/fd/%d", &id, "0\n"),
        ("/proc/thread-self/fd/%d", &id, "0\n"),
        ("/dev/fd/%d", &id, "0\n"),
        ("path", &not_there, "option 1\n"),
    ] {
        let seen = crate::nobody(&folder)
            .argument(&command)
            .argument("run")
            .argument(&starter)
            .argument(how)
            .argument(program)
            .output();
        assert_eq!(seen, expected, "{how} {}", program.display());
    }
}
