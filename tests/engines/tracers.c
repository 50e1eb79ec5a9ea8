/* Traces children of its own, in each of the ways that there are, and says what comes of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Prints the next change of a child's state. */
static void state(pid_t child)
{
    int status;
    if (waitpid(child, &status, __WALL) != child)
        printf("wait: %s\n", strerror(errno));
    else if (WIFSTOPPED(status))
        printf("stopped by %d, event %d\n", WSTOPSIG(status), status >> 16);
    else if (WIFEXITED(status))
        printf("exit %d\n", WEXITSTATUS(status));
    else
        printf("ended by %d\n", WTERMSIG(status));
}

static void result(const char *what, long value)
{
    printf("%s: %s\n", what, value == 0 ? "ok" : strerror(errno));
}

/* A child that waits for an event which never comes, for so many ms or without end. */
static pid_t sleeper(int limit)
{
    int ends[2];
    char byte;
    pid_t child;
    if (pipe(ends) || (child = fork()) < 0)
        return -1;
    if (child == 0) {
        struct epoll_event event;
        int queue = epoll_create1(0);
        (void)!write(ends[1], "x", 1);
        _exit(epoll_wait(queue, &event, 1, limit) < 0 ? errno : 0);
    }
    (void)!read(ends[0], &byte, 1);
    usleep(20000);
    return child;
}

static void *rest(void *end)
{
    pid_t own = syscall(SYS_gettid);
    (void)!write(*(int *)end, &own, sizeof own);
    for (;;)
        pause();
    return NULL;
}

/* A child with a second thread, whose number is put there. Whoever asks may trace it (Yama). */
static pid_t threaded(pid_t *second)
{
    int ends[2];
    pid_t child;
    if (pipe(ends) || (child = fork()) < 0)
        return -1;
    if (child == 0) {
        pthread_t thread;
        prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
        pthread_create(&thread, NULL, rest, &ends[1]);
        for (;;)
            pause();
    }
    (void)!read(ends[0], second, sizeof *second);
    return child;
}

static void seize_threads(const char *who, pid_t first, pid_t second)
{
    printf("%s: ", who);
    result("seize", ptrace(PTRACE_SEIZE, first, 0, 0));
    result("seize its thread", ptrace(PTRACE_SEIZE, second, 0, 0));
    result("interrupt its thread", ptrace(PTRACE_INTERRUPT, second, 0, 0));
    state(second);
}

static void trace_threads(void)
{
    pid_t target[3], thread[3], other;
    for (int i = 0; i < 3; i++)
        target[i] = threaded(&thread[i]);
    seize_threads("parent", target[0], thread[0]);
    /* The one that is no leader comes first. */
    seize_threads("parent again", thread[1], target[1]);
    other = fork();
    if (other == 0) {
        seize_threads("sibling", target[2], thread[2]);
        fflush(stdout);
        _exit(0);
    }
    state(other);
    for (int i = 0; i < 3; i++)
        kill(target[i], SIGKILL);
    while (waitpid(-1, NULL, __WALL) > 0)
        ;
}

/* Traces where threads have other numbers. */
static void trace_in_a_namespace(void)
{
    pid_t child, first;
    if (unshare(CLONE_NEWPID) && unshare(CLONE_NEWUSER | CLONE_NEWPID)) {
        printf("unshare: %s\n", strerror(errno));
        return;
    }
    first = fork();
    if (first == 0) {
        pid_t thread;
        child = threaded(&thread);
        printf("%d, %d, ", child, thread);
        seize_threads("in a namespace", child, thread);
        kill(child, SIGKILL);
        while (waitpid(-1, NULL, __WALL) > 0)
            ;
        fflush(stdout);
        _exit(0);
    }
    state(first);
}

/* Seizes a child in the middle of its wait, of which it has been in one part before a signal that
   it ignores. */
static void trace_timed(void)
{
    int status;
    pid_t child;
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    child = sleeper(8000);
    sleep(1);
    kill(child, SIGWINCH);
    sleep(5);
    ptrace(PTRACE_SEIZE, child, 0, 0);
    waitpid(child, &status, __WALL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    puts(end.tv_sec - begin.tv_sec < 13 ? "in time" : "late");
}

int main(int count, char **arguments)
{
    pid_t child;
    (void)arguments;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count > 1) {
        trace_timed();
        return 0;
    }
    /* What is traced is made before the first call of ptrace. */
    child = fork();
    if (child == 0) {
        trace_in_a_namespace();
        fflush(stdout);
        _exit(0);
    }
    state(child);
    trace_threads();

    child = fork();
    if (child == 0) {
        long refused = ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGUSR1);
        _exit(refused ? 1 : 7);
    }
    state(child);
    result("continue", ptrace(PTRACE_CONT, child, 0, 0));
    state(child);

    child = sleeper(-1);
    result("attach", ptrace(PTRACE_ATTACH, child, 0, 0));
    state(child);
    result("detach", ptrace(PTRACE_DETACH, child, 0, SIGTERM));
    state(child);

    child = sleeper(-1);
    result("seize", ptrace(PTRACE_SEIZE, child, 0, 0));
    result("interrupt", ptrace(PTRACE_INTERRUPT, child, 0, 0));
    state(child);
    result("kill", kill(child, SIGKILL));
    state(child);

    child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        _exit(3);
    }
    waitpid(child, NULL, WUNTRACED);
    result("seize a stopped one", ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACEEXIT));
    kill(child, SIGCONT);
    result("listen, kill", kill(child, SIGKILL));
    while (waitpid(child, NULL, __WALL) == child)
        ptrace(PTRACE_CONT, child, 0, 0);
    puts("over");
    return 0;
}
