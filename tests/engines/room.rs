//! Tests the tracer short of resources: 128 busy threads, or no thread or process for itself.

use crate::{nobody, run_with, status, victim, victim_file};
use std::fs;
use support::{Folder, Program, compile_c, own_network, program, slowness, wait_until};

/// A program with 128 threads that call `connect` in a loop, and one that binds and listens.
const BUSY: &str = r#"
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
enum { THREADS = 128 };
static volatile unsigned long calls[THREADS];
static void *dials(void *number)
{
    struct sockaddr_in dead = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int client = socket(AF_INET, SOCK_STREAM, 0);
    for (;;) {
        connect(client, (struct sockaddr *)&dead, sizeof dead);
        calls[(long)number]++;
    }
    return NULL;
}
int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    unsigned long before[THREADS], most = 0;
    pthread_t thread;
    pthread_attr_t small;
    int listener;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (long i = 0; i < THREADS; i++)
        pthread_create(&thread, &small, dials, (void *)i);
    for (int i = 0; i < THREADS; i++)
        while (calls[i] == 0)
            usleep(1000);
    for (int i = 0; i < THREADS; i++)
        before[i] = calls[i];
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 9))
        return 1;
    for (int i = 0; i < THREADS; i++)
        if (calls[i] - before[i] > most)
            most = calls[i] - before[i];
    printf("%s\n", most < 100 ? "in turn" : "late");
    return 0;
}
"#;

/// Tracees that stop at the same time are resumed in turn: while one thread makes three calls, no
/// other makes 100.
#[test]
fn lets_each_of_128_threads_have_its_turn() {
    own_network();
    let busy = Program::new(compile_c("busy", BUSY, &["-static", "-pthread"]));
    let traced = run_with(["--ports", "5000", "--trace-limit", "300s"], &busy);
    assert_eq!(traced.output(), "in turn\n");
}

/// Starts 1 000 threads that sleep, and waits for a line.
const MANY: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *sleeps(void *nothing)
{
    pause();
    return nothing;
}
int main(void)
{
    pthread_t thread;
    pthread_attr_t small;
    int threads = 0;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    while (threads < 1000 && pthread_create(&thread, &small, sleeps, NULL) == 0)
        threads++;
    printf("%d\n", threads);
    fflush(stdout);
    return getchar();
}
"#;

/// The tracer does not look at each sleeping thread at each stop of another one, which took it 2 s
/// and more of the processor's time where it takes 0.1 s.
#[test]
fn looks_at_few_of_a_thousand_threads_that_sleep() {
    own_network();
    let many = Program::new(compile_c("many", MANY, &["-static", "-pthread"]));
    let mut program = run_with(["--trace-limit", "300s"], &many).start();
    program.expect("1000");
    let stat = format!("/proc/{}/stat", status(program.pid(), "TracerPid"));
    let stat = fs::read_to_string(stat).expect("it is traced");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u32 = ticks
        .map(|field| field.parse::<u32>().expect("a number"))
        .sum();
    assert!(ticks < 60 * slowness(), "{ticks} ticks");
}

/// In a seccomp sandbox where clone3(2), with which glibc creates threads, fails with EPERM, as in
/// older container runtimes.
#[test]
fn traces_nothing_where_it_can_have_no_thread() {
    let sandbox = compile_c(
        "no-threads",
        include_str!("exec_under_seccomp.c"),
        &["-DFORBIDDEN=SYS_clone3"],
    );
    own_network();
    let mut control = Program::new(&sandbox).command(&victim()).start();
    control.expect("listening");
    control.kill();
    let finished = Program::new(&sandbox)
        .command(&run_with(["--engine", "trace"], &victim()))
        .run();
    assert_eq!(finished.status.code(), Some(125), "{finished:#?}");
    own_network();
    let mut server = Program::new(&sandbox)
        .command(&run_with(["--ports", "5000"], &victim()))
        .start();
    server.expect("listening");
    assert_eq!(status(server.pid(), "TracerPid"), "0");
}

/// The message names the limit, besides the kernel's "temporarily unavailable". A program whose
/// ports are not known starts unchanged.
#[test]
fn says_which_limits_leave_no_room_for_a_tracer() {
    let folder = Folder::for_other_users("engines-room");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let victim = folder.copy(victim_file(), "victim");
    for (options, says) in [
        (&["--ports", "5000"][..], "so `run` waits for its ports"),
        (&[], "is started unchanged"),
    ] {
        own_network();
        let mut server = nobody(&folder)
            .argument(program(&["prlimit"]))
            .argument("--nproc=1")
            .argument(&command)
            .argument("run")
            .arguments(options)
            .argument(&victim)
            .argument("5000")
            .start();
        server.expect("listening");
        wait_until("what is in the way", || {
            let said = server.stderr_so_far();
            let words: Vec<_> = said.split_whitespace().collect();
            let said = words.join(" ");
            said.contains("no room for the tracer")
                && said.contains("RLIMIT_NPROC")
                && said.contains(says)
        });
    }
}

/// The tracer is a process of the same user, and counts where those are limited.
#[test]
fn counts_among_the_users_processes() {
    let text = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *waits(void *nothing)
{
    pause();
    return nothing;
}
int main(void)
{
    int threads = 0;
    pthread_t thread;
    while (pthread_create(&thread, NULL, waits, NULL) == 0)
        threads++;
    printf("%d\n", threads);
    return 0;
}
"#;
    let folder = Folder::for_other_users("engines-counts");
    let command = folder.copy(support::reuseaddr(), "reuseaddr");
    let counts = compile_c("counts-threads", text, &["-static", "-pthread"]);
    let counts = folder.copy(counts, "counts");
    // Somebody who has no other process.
    let limited = Program::new(program(&["setpriv"]))
        .with("TMPDIR", folder.join("tmp"))
        .arguments([
            "--reuid",
            "61357",
            "--clear-groups",
            "prlimit",
            "--nproc=12",
        ]);
    assert_eq!(limited.clone().argument(&counts).output(), "11\n");
    let traced = limited.argument(command).argument("run").argument(counts);
    assert_eq!(traced.output(), "10\n");
}
