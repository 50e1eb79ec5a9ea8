/* What a program can notice of being traced: its own state, threads, children of every kind, signals, stops, exit codes, and
   a thread that executes another program. Everything is printed, and is to be the same with and without a tracer. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char *self;
static volatile sig_atomic_t alarms, children, value, from;

static void on_alarm(int number) { (void)number; alarms++; }
static void on_child(int number) { (void)number; children++; }
static void on_value(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    value = info->si_value.sival_int;
    from = info->si_code == SI_QUEUE && info->si_pid == getpid();
}

static void print_state(void)
{
    static const char *const fields[] = {"Umask:", "SigQ:", "SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:",
        "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "Uid:",
        "Gid:", "Groups:", "Threads:", "Cpus_allowed:", "CoreDumping:"};
    char line[1000], adjustment[20] = "";
    FILE *file = fopen("/proc/self/status", "r");
    struct itimerval timer;
    siginfo_t info = {0};

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            /* Of SigQ the limit alone: others of the same user count in the number. */
            if (strncmp(line, fields[i], strlen(fields[i])) == 0)
                fputs(strcmp(fields[i], "SigQ:") == 0 ? strchr(line, '/') : line, stdout);
    fclose(file);
    printf("parent %d, group and session %d %d, nice %d\n", getppid() == atoi(getenv("PARENT")), getpgrp() == getpid(),
        getsid(0) == getppid(), getpriority(PRIO_PROCESS, 0));
    for (int i = 0; i < RLIM_NLIMITS; i++) {
        struct rlimit limit;
        getrlimit(i, &limit);
        printf("limit %d: %ju %ju\n", i, (uintmax_t)limit.rlim_cur, (uintmax_t)limit.rlim_max);
    }
    for (int i = 0; i < 3; i++) {
        getitimer(i, &timer);
        printf("timer %d: %d\n", i, timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0);
    }
    file = fopen("/proc/self/oom_score_adj", "r");
    printf("oom %s", fgets(adjustment, sizeof adjustment, file));
    fclose(file);
    for (int fd = 0; fd < 100; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("descriptor %d %x %x\n", fd, fcntl(fd, F_GETFD), fcntl(fd, F_GETFL));
    printf("dumpable %d, reaper %d, death signal %d\n", prctl(PR_GET_DUMPABLE), prctl(PR_GET_CHILD_SUBREAPER, &alarms), alarms);
    alarms = 0;
    errno = 0;
    printf("children %d", waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL));
    printf(" %s\n", strerror(errno));
}

static void *call_much(void *nothing)
{
    for (int i = 0; i < 100; i++)
        getppid();
    return nothing;
}

static void *become_another(void *nothing)
{
    execl(self, self, "second", (char *)NULL);
    return nothing;
}

static int in_clone(void *nothing) { (void)nothing; return 11; }

static void ends(const char *what, pid_t child, int flags)
{
    int status = 0;
    pid_t ended = waitpid(child, &status, flags);

    printf("%s: %d exit %d signal %d stop %d\n", what, ended == child, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        WIFSIGNALED(status) ? WTERMSIG(status) : -1, WIFSTOPPED(status) ? WSTOPSIG(status) : -1);
}

static int second(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0);
    struct epoll_event event;
    char byte;

    printf("second: %d\n", getpid() == atoi(getenv("SELF")));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 9) != 0) {
        perror("listen");
        return 1;
    }
    puts("listening");
    /* Longer than a tracer stays: it goes meanwhile. */
    printf("epoll: %d\n", epoll_wait(poll, &event, 1, 600));
    while (read(0, &byte, 1) == 1)
        ;
    return 42;
}

int main(int count, char **arguments)
{
    static char stack[65536] __attribute__((aligned(16)));
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    struct sigaction alarm = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, child = {.sa_handler = on_child,
        .sa_flags = SA_RESTART}, with_value = {.sa_sigaction = on_value, .sa_flags = SA_SIGINFO};
    union sigval number = {.sival_int = 4711};
    pthread_t threads[5];
    char own[20];
    pid_t pid;

    self = arguments[0];
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count > 1)
        return strcmp(arguments[1], "second") == 0 ? second() : 7;
    print_state();
    sigaction(SIGALRM, &alarm, NULL);
    sigaction(SIGCHLD, &child, NULL);
    sigaction(SIGRTMIN + 3, &with_value, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 5; i++)
        pthread_create(&threads[i], NULL, call_much, NULL);
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    sigqueue(getpid(), SIGRTMIN + 3, number);
    printf("queued: %d %d\n", value, from);
    if ((pid = fork()) == 0)
        _exit(3);
    ends("fork", pid, 0);
    if ((pid = vfork()) == 0) {
        execl(self, self, "child", (char *)NULL);
        _exit(1);
    }
    ends("vfork", pid, 0);
    ends("clone", clone(in_clone, stack + sizeof stack, CLONE_VM, NULL), __WALL);
    if ((pid = fork()) == 0) {
        raise(SIGSTOP);
        _exit(5);
    }
    ends("stop", pid, WUNTRACED);
    ends("still stopped", pid, WNOHANG);
    kill(pid, SIGCONT);
    ends("continued", pid, 0);
    if ((pid = fork()) == 0)
        for (;;)
            pause();
    kill(pid, SIGKILL);
    ends("killed", pid, 0);
    /* An orphan: its parent ends first, and it is not ours. */
    if ((pid = fork()) == 0) {
        if (fork() == 0)
            usleep(1000);
        _exit(0);
    }
    ends("parent of an orphan", pid, 0);
    while (alarms == 0)
        usleep(100);
    setitimer(ITIMER_REAL, &never, NULL);
    printf("alarms %d, ends of children %d\n", alarms > 0, children > 0);
    printf("nothing left: %d\n", waitpid(-1, NULL, WNOHANG | __WALL));
    snprintf(own, sizeof own, "%d", getpid());
    setenv("SELF", own, 1);
    pthread_create(&threads[0], NULL, become_another, NULL);
    for (;;)
        pause();
}
