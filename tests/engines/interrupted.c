/* Waits in each call that signal(7) says is never restarted, and in some that are, while signals keep coming that are ignored:
   by SIG_IGN, by default, and by default in the first process of a PID namespace. No handler is installed but in the last rows. Prints
   what each call came to. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int pair[2], full[2], ready, listener, epoll, semaphore, queue, ring, file;
static struct timespec span = {0, 120000000};
static char bytes[100];

static long epoll_wait_(void) { struct epoll_event e; return epoll_wait(epoll, &e, 1, 120); }
static long epoll_wait_for_ever(void) { struct epoll_event e; return epoll_wait(epoll, &e, 1, -1); }
static long epoll_pwait_(void) { struct epoll_event e; sigset_t s; sigemptyset(&s); sigaddset(&s, SIGURG); return epoll_pwait(epoll, &e, 1, 120, &s); }
static long epoll_pwait2_(void) { struct epoll_event e; return syscall(SYS_epoll_pwait2, epoll, &e, 1, &span, NULL, 8); }
static long read_(void) { return read(pair[0], bytes, 1); }
static long recv_(void) { return recv(pair[0], bytes, 1, 0); }
static long recvmsg_(void) { struct iovec v = {bytes, 1}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; return recvmsg(pair[0], &m, 0); }
static long recvmmsg_(void) { struct iovec v = {bytes, 1}; struct mmsghdr m = {.msg_hdr = {.msg_iov = &v, .msg_iovlen = 1}}; return recvmmsg(pair[0], &m, 1, 0, NULL); }
static long accept_(void) { return accept(listener, NULL, NULL); }
static long accept4_(void) { return accept4(listener, NULL, NULL, SOCK_CLOEXEC); }
static long write_(void) { return write(full[0], bytes, 100); }
static long send_(void) { return send(full[0], bytes, 100, 0); }
static long sendmsg_(void) { struct iovec v = {bytes, 100}; struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1}; return sendmsg(full[0], &m, 0); }
static long connect_(void)
{
    /* To a listener whose queue is full, which answers no further one. */
    struct sockaddr_in a; socklen_t l = sizeof a; struct timeval t = {0, 120000}; int s = socket(AF_INET, SOCK_STREAM, 0);
    getsockname(ready, (struct sockaddr *)&a, &l);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
    return connect(s, (struct sockaddr *)&a, l);
}
static long semop_(void) { struct sembuf o = {0, -1, 0}; return semop(semaphore, &o, 1); }
static long semtimedop_(void) { struct sembuf o = {0, -1, 0}; return semtimedop(semaphore, &o, 1, &span); }
static long sigtimedwait_(void) { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGXFSZ); return sigtimedwait(&s, NULL, &span); }
static long io_getevents_(void)
{
    aio_context_t c = 0; struct io_event e;
    if (syscall(SYS_io_setup, 1, &c))
        return -1;
    return syscall(SYS_io_getevents, c, 1, 1, &e, &span);
}
static long io_uring_(void)
{
    struct __kernel_timespec t = {0, 120000000};
    struct { uint64_t mask; uint32_t size, pad; uint64_t time; } a = {0, 0, 0, (uintptr_t)&t};
    return syscall(SYS_io_uring_enter, ring, 0, 1, 1 /* IORING_ENTER_GETEVENTS */ | 8 /* IORING_ENTER_EXT_ARG */, &a, sizeof a);
}
static long poll_(void) { return poll(NULL, 0, 120); }
static long ppoll_(void) { return ppoll(NULL, 0, &span, NULL); }
static long select_(void) { struct timeval t = {0, 120000}; return select(0, NULL, NULL, NULL, &t); }
/* Of a time that the kernel can't write what is left to, and of calls that are handed a socket. */
static const struct { long seconds, nanoseconds; } fixed = {0, 120000000};
static long ppoll_fixed(void) { return syscall(SYS_ppoll, NULL, 0, &fixed, NULL, 8); }
static long pselect_fixed(void) { return syscall(SYS_pselect6, 0, NULL, NULL, NULL, &fixed, NULL); }
static long preadv2_(void) { struct iovec v = {bytes, 1}; return syscall(SYS_preadv2, pair[0], &v, 1, -1L, -1L, 0); }
static long pwritev2_(void) { struct iovec v = {bytes, 100}; return syscall(SYS_pwritev2, full[0], &v, 1, -1L, -1L, 0); }
static long sendfile_(void) { off_t begin = 0; return sendfile(full[0], file, &begin, 100); }
static long pselect_(void) { return pselect(0, NULL, NULL, NULL, &span, NULL); }
static long nanosleep_(void) { return nanosleep(&span, NULL); }
static long clock_nanosleep_(void) { int e = clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL); errno = e; return -(e != 0); }
static long pause_(void) { return pause(); }
static long msgrcv_(void) { struct { long type; char text[1]; } m; return msgrcv(queue, &m, 1, 0, 0); }

static void wakes_epoll(void) { (void)!write(pair[1], "x", 1); }
static void wakes_semaphore(void) { struct sembuf o = {0, 1, 0}; semop(semaphore, &o, 1); }
static void wakes_queue(void) { struct { long type; char text[1]; } m = {1, "x"}; msgsnd(queue, &m, 1, 0); }
/* Waits until a process is in one of these states and no SIGSTOP is on its way: a traced one stands still for other reasons too. */
static void wait_for_state(pid_t process, const char *states)
{
    char path[50], line[200], state = 'R';
    unsigned long pending = 0;

    snprintf(path, sizeof path, "/proc/%d/status", process);
    for (;;) {
        FILE *file = fopen(path, "r");
        while (file != NULL && fgets(line, sizeof line, file) != NULL) {
            sscanf(line, "State: %c", &state);
            sscanf(line, "ShdPnd: %lx", &pending);
        }
        if (file != NULL)
            fclose(file);
        if (strchr(states, state) != NULL && (pending >> (SIGSTOP - 1) & 1) == 0)
            return;
        usleep(1000);
    }
}
/* A signal that comes before the call would not end it. */
static void handled(void) { wait_for_state(getppid(), "S"); kill(getppid(), SIGUSR2); }
static void stops(void)
{
    wait_for_state(getppid(), "S");
    kill(getppid(), SIGSTOP);
    wait_for_state(getppid(), "Tt");
    kill(getppid(), SIGCONT);
}

static void row(const char *name, long (*call)(void), void (*event)(void))
{
    struct timespec begin, end;
    pid_t parent = getpid(), child;
    long result;

    /* Before it forks: the child may be well ahead on a busy machine. */
    clock_gettime(CLOCK_MONOTONIC, &begin);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* It may have ended before. */
        if (getppid() != parent)
            _exit(1);
        static const int ignored[] = {SIGCHLD, SIGCONT, SIGWINCH, SIGURG, SIGUSR1, SIGPIPE, SIGTERM};
        for (int i = 0; i < 6 || event != stops; i++) {
            if (i == 6 && event != NULL)
                event();
            kill(parent, ignored[i % (parent == 1 ? 7 : 6)]);
            usleep(4000);
        }
        stops();
        for (;;)
            pause();
    }
    if (event == NULL)
        clock_gettime(CLOCK_MONOTONIC, &begin);
    result = call();
    printf("%s: %s", name, result < 0 ? strerror(errno) : "done");
    clock_gettime(CLOCK_MONOTONIC, &end);
    /* It lasts as long as it should at least. */
    if ((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 < (event == NULL ? 118 : 20))
        printf(", too early");
    puts("");
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0)
        ;
}

static void on_signal(int number) { (void)number; }
static void *calls(void *nothing) { for (;;) syscall(SYS_getppid); return nothing; }

int main(int count, char **arguments)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval limit = {0, 120000};
    struct io_uring_params parameters = {0};
    struct sigaction handler = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct epoll_event input = {.events = EPOLLIN};
    socklen_t length = sizeof any;
    pthread_t thread;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    socketpair(AF_UNIX, SOCK_STREAM, 0, full);
    while (send(full[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    ready = socket(AF_INET, SOCK_STREAM, 0);
    if (listen(listener, 1) || bind(ready, (struct sockaddr *)&any, length) || listen(ready, 0))
        return 1;
    getsockname(ready, (struct sockaddr *)&any, &length);
    for (int i = 0; i < 3; i++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(client, (struct sockaddr *)&any, length);
    }
    poll(&(struct pollfd){ready, POLLIN, 0}, 1, -1);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(full[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    epoll = epoll_create1(0);
    semaphore = semget(IPC_PRIVATE, 1, 0600);
    queue = msgget(IPC_PRIVATE, 0600);
    file = memfd_create("file", 0);
    if (ftruncate(file, 100))
        return 1;
    ring = syscall(SYS_io_uring_setup, 1, &parameters);
    if (count > 1)
        /* Other threads take the signals that were meant to wake this one, or the other way round. */
        for (int i = 0; i < atoi(arguments[1]); i++)
            pthread_create(&thread, NULL, calls, NULL);
    row("epoll_wait", epoll_wait_, NULL);
    row("epoll_pwait", epoll_pwait_, NULL);
    row("epoll_pwait2", epoll_pwait2_, NULL);
    row("read", read_, NULL);
    row("recv", recv_, NULL);
    row("recvmsg", recvmsg_, NULL);
    row("recvmmsg", recvmmsg_, NULL);
    row("accept", accept_, NULL);
    row("accept4", accept4_, NULL);
    row("write", write_, NULL);
    row("send", send_, NULL);
    row("sendmsg", sendmsg_, NULL);
    row("connect", connect_, NULL);
    row("semop", semop_, wakes_semaphore);
    row("semtimedop", semtimedop_, NULL);
    row("sigtimedwait", sigtimedwait_, NULL);
    row("io_getevents", io_getevents_, NULL);
    if (ring >= 0)
        row("io_uring_enter", io_uring_, NULL);
    row("poll", poll_, NULL);
    row("ppoll", ppoll_, NULL);
    row("select", select_, NULL);
    row("pselect", pselect_, NULL);
    row("ppoll, which may not write the rest", ppoll_fixed, NULL);
    row("pselect, which may not write the rest", pselect_fixed, NULL);
    row("preadv2", preadv2_, NULL);
    row("pwritev2", pwritev2_, NULL);
    row("sendfile", sendfile_, NULL);
    row("nanosleep", nanosleep_, NULL);
    row("clock_nanosleep", clock_nanosleep_, NULL);
    row("msgrcv", msgrcv_, wakes_queue);
    epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &input);
    row("epoll_wait for ever", epoll_wait_for_ever, wakes_epoll);
    recv(pair[0], bytes, 1, 0);
    /* Of those that are not ignored the call is to be told. */
    if (count == 1) {
        sigaction(SIGUSR2, &handler, NULL);
        /* Until the signal comes, which is later on a busy machine. */
        limit.tv_sec = 60;
        setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        row("epoll_wait and a handler", epoll_wait_for_ever, handled);
        row("recv and a handler", recv_, handled);
        row("pause and a handler", pause_, handled);
        if (getpid() != 1)
            row("epoll_wait and a stop", epoll_wait_for_ever, stops);
    }
    semctl(semaphore, 0, IPC_RMID);
    msgctl(queue, IPC_RMID, NULL);
    puts("end");
    return 0;
}
