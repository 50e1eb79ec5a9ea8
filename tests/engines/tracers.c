/* Traces children of its own, in each of the ways that there are, and says what comes of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
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

/* A child that waits for an event which never comes, and is interrupted by nothing. */
static pid_t sleeper(void)
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
        _exit(epoll_wait(queue, &event, 1, 5000) < 0 ? errno : 0);
    }
    (void)!read(ends[0], &byte, 1);
    usleep(20000);
    return child;
}

int main(void)
{
    pid_t child = fork();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (child == 0) {
        long refused = ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGUSR1);
        _exit(refused ? 1 : 7);
    }
    state(child);
    result("continue", ptrace(PTRACE_CONT, child, 0, 0));
    state(child);

    child = sleeper();
    result("attach", ptrace(PTRACE_ATTACH, child, 0, 0));
    state(child);
    result("detach", ptrace(PTRACE_DETACH, child, 0, SIGTERM));
    state(child);

    child = sleeper();
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
