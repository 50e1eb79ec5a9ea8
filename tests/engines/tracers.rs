//! Programs that trace others, and whoever has a name of theirs: what they do decides.

use crate::{own_time_wait, run_with, victim_file};
use std::path::Path;
use support::{Folder, Program, compile_c, own_network};

/// The program, started by a static one, which is what is traced first.
fn behind_a_starter(program: &Program) -> Program {
    let text = include_str!("exec_arguments.c");
    Program::new(compile_c("tracers-starter", text, &["-static"])).command(program)
}

/// Asserts that a program prints this where it is traced, and where a static one starts it.
fn prints_the_same_traced(program: &Program, expected: &str) {
    own_network();
    let traced = run_with(["--engine", "trace"], program);
    assert_eq!(traced.output(), expected);
    let behind = behind_a_starter(program);
    assert_eq!(run_with::<&str>([], &behind).output(), expected, "started");
}

/// A thread has one tracer at a time, so ours makes way for another one, whatever that is called.
#[test]
fn makes_way_for_another_tracer() {
    let text = include_str!("tracers.c");
    let folder = Folder::new("engines-tracers");
    for (width, flags) in [
        ("64", &["-static", "-pthread"][..]),
        ("32", &["-static", "-pthread", "-m32"]),
    ] {
        let binary = compile_c(&format!("tracers-{width}"), text, flags);
        let expected = Program::new(&binary).output();
        assert!(expected.contains("\nstopped by 10"), "{expected}");
        assert!(
            !expected.contains("not permitted") && expected.ends_with("over\n"),
            "{expected}"
        );
        for name in ["rr", "gdb", "tracks"] {
            own_network();
            let program = folder.copy(&binary, name);
            let traced = run_with(["--engine", "trace"], &Program::new(&program));
            assert_eq!(traced.output(), expected, "{name}, {width} bits");
            let behind = behind_a_starter(&Program::new(&program));
            let seen = run_with::<&str>([], &behind);
            assert_eq!(seen.output(), expected, "{name}, {width} bits, started");
        }
    }
}

/// A call whose wait only our tracer knows the rest of does not begin anew when that goes.
#[test]
fn leaves_no_wait_longer_for_another_tracer() {
    let text = include_str!("tracers.c");
    let binary = compile_c("tracers-timed", text, &["-static", "-pthread"]);
    let program = Program::new(binary).argument("timed");
    assert_eq!(program.output(), "in time\n");
    own_network();
    let traced = run_with(["--engine", "trace"], &program);
    assert_eq!(traced.output(), "in time\n");
}

/// strace(1), which tries out on a child of its own what the kernel can do before it attaches to
/// each thread of what it is told to.
#[test]
fn makes_way_for_strace() {
    let target = compile_c(
        "strace-target",
        r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
static int has_strace(int thread)
{
    char path[64], line[256], name[32] = "";
    int tracer = 0;
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", thread);
    if (!(file = fopen(path, "r")))
        return 0;
    while (fgets(line, sizeof line, file) && !sscanf(line, "TracerPid: %d", &tracer))
        ;
    fclose(file);
    snprintf(path, sizeof path, "/proc/%d/comm", tracer);
    if (!(file = fopen(path, "r")))
        return 0;
    (void)!fscanf(file, "%31s", name);
    fclose(file);
    return !strcmp(name, "strace");
}
static volatile int second;
static void *rest(void *nothing)
{
    second = gettid();
    for (;;)
        pause();
    return nothing;
}
int main(void)
{
    pthread_t thread;
    int looks = 0;
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    pthread_create(&thread, NULL, rest, NULL);
    while (!second)
        usleep(1000);
    printf("%d\n", getpid());
    fflush(stdout);
    while (!(has_strace(getpid()) && has_strace(second)) && ++looks < 10000)
        usleep(10000);
    fputs(looks < 10000 ? "traced\n" : "not traced\n", stderr);
    return 0;
}
"#,
        &["-static", "-pthread"],
    );
    let script = r#""$0" 2>&3 | { read pid; strace -f -o /dev/null -p "$pid" 2>/dev/null; }"#;
    let both = Program::new("/bin/sh")
        .arguments(["-c", &format!("{{ {script}; }} 3>&1")])
        .argument(target);
    assert_eq!(both.output(), "traced\n");
    prints_the_same_traced(&both, "traced\n");
}

/// gdb(1) attaches to both threads of a program, whose number it is told, and the program runs on
/// when it has detached. A thread that gdb had not got would be ended by the breakpoint.
#[test]
fn makes_way_for_gdb() {
    if !Path::new("/usr/bin/gdb").exists() {
        println!("skipped: gdb is not installed");
        return;
    }
    let target = compile_c(
        "gdb-target",
        r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>
static volatile sig_atomic_t is_over;
__attribute__((noinline)) void turn(void) { usleep(1000); }
static void end(int signal) { is_over = signal; }
static void *work(void *nothing) { while (!is_over) turn(); return nothing; }
int main(void)
{
    pthread_t thread;
    signal(SIGTERM, end);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    pthread_create(&thread, NULL, work, NULL);
    printf("%d\n", getpid());
    fflush(stdout);
    work(NULL);
    pthread_join(thread, NULL);
    fputs("ran on\n", stderr);
    return 0;
}
"#,
        &["-static", "-pthread", "-g"],
    );
    let script = r#"{ "$0" 2>&3 | {
    read pid
    gdb -nx -batch -p "$pid" -ex 'break turn' -ex continue -ex 'thread apply all -q -s echo one\n' \
        -ex delete -ex detach 2>&1 | grep -oE 'hit Breakpoint|^one|detached|Cannot attach' >&3
    kill "$pid"
}; } 3>&1"#;
    let both = Program::new("/bin/sh")
        .arguments(["-c", script])
        .argument(target);
    let expected = "hit Breakpoint\none\none\ndetached\nran on\n";
    assert_eq!(both.output(), expected);
    prints_the_same_traced(&both, expected);
}

/// A server that is called as one of them is served, even if it could trace, and so is one behind a
/// program that was not there.
#[test]
fn serves_a_server_that_has_the_name_of_a_tracer() {
    let folder = Folder::new("engines-names");
    let tries = compile_c(
        "tries",
        r"
#include <stdio.h>
#include <unistd.h>
int main(int count, char **arguments)
{
    (void)count;
    execlp(arguments[1], arguments[1], NULL);
    execv(arguments[2], arguments + 2);
    return 1;
}
",
        &["-static"],
    );
    for name in ["rr", "strace", "podman", "docker", "ssh", "systemctl"] {
        let server = Program::new(folder.copy(victim_file(), name)).argument("5000");
        own_time_wait();
        assert_eq!(server.start().line(), crate::BUSY, "{name}");
        for options in [&[][..], &["--engine", "trace"]] {
            let line = run_with(options, &server).start().line();
            assert_eq!(line, "listening", "{name}, {options:?}");
        }
    }
    let text = include_str!("../spec/victim.c")
        .replace("int main(", "const char *word = \"ptrace\";\nint main(");
    let could = folder.copy(compile_c("could-trace", &text, &["-static"]), "gdbserver");
    for server in [victim_file(), &could] {
        let server = Program::new(&tries)
            .argument("youki")
            .argument(server)
            .argument("5000");
        own_time_wait();
        assert_eq!(server.start().line(), crate::BUSY);
        assert_eq!(run_with::<&str>([], &server).start().line(), "listening");
    }
}
