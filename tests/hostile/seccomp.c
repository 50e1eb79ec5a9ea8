// A seccomp filter that kills the program at any system call which it does not make itself, or that lets a handler of
// the program's answer it.
#include "host.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <ucontext.h>

enum { LONGEST = 64 };

static void install(struct sock_filter *filter, size_t length) {
    struct sock_fprog program = {.len = (unsigned short)length, .filter = filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void allow(const int *calls, size_t count, uint32_t otherwise) {
    struct sock_filter filter[LONGEST + 4];
    size_t length = 0;
    CHECK(count <= LONGEST);
    filter[length++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < count; i++) {
        filter[length++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i], (uint8_t)(count - i), 0);
    }
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    install(filter, length);
}

static void refuse(int call) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof *filter);
}

// Refuses to take a message that was looked at off its socket, or says that there is an empty one.
static void spoil_messages(int looks, uint32_t answer) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_recvmsg, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)looks, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install(filter, sizeof filter / sizeof *filter);
}

static volatile sig_atomic_t refused;
static volatile sig_atomic_t stopped;

static void stop_the_clock(int signal) {
    (void)signal;
    refuse(SYS_clock_gettime);
    stopped = 1;
}

// Answers EPERM.
static void on_sigsys(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = -EPERM;
    refused++;
}

// A child that sends this process a signal once it sleeps, in a system call that waits.
static pid_t signal_when_it_sleeps(int number) {
    pid_t sleeper = getpid(), child = fork();
    CHECK(child >= 0);
    if (child > 0) {
        return child;
    }
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)sleeper);
    for (;;) {
        FILE *stat = fopen(path, "r");
        CHECK(stat != NULL && fgets(line, sizeof line, stat) != NULL);
        fclose(stat);
        // The state follows the name.
        if (strncmp(strrchr(line, ')'), ") S", 3) == 0) {
            CHECK(kill(sleeper, number) == 0);
            _exit(0);
        }
        usleep(1000);
    }
}

int main(int argc, char **argv) {
    const char *what = argv[1];
    int none = 0;
    if (strcmp(what, "strict") == 0) {
        // What the program calls by itself; whatever an extra call would be is not among it.
        static const int OWN[] = {SYS_bind, SYS_connect, SYS_close, SYS_setsockopt, SYS_write, SYS_exit_group};
        int any = tcp(), unbound = tcp(), again_bound = tcp(), connected = tcp(), live = listener();
        int file = open("/dev/null", O_RDONLY);
        struct sockaddr_in there = at(port_of(live)), nowhere = at(0);
        nowhere.sin_addr.s_addr = htonl(0xc0000201);
        allow(OWN, sizeof OWN / sizeof *OWN, SECCOMP_RET_KILL_PROCESS);
        SUCCEEDS(bind(any, AT(0), IN));
        SUCCEEDS(bind(again_bound, AT(7001), IN));
        FAILS(bind(again_bound, AT(7002), IN), EINVAL);
        FAILS(bind(unbound, (struct sockaddr *)&nowhere, sizeof nowhere), EADDRNOTAVAIL);
        FAILS(bind(-1, AT(0), IN), EBADF);
        FAILS(bind(file, AT(0), IN), ENOTSOCK);
        FAILS(bind(any, NULL, IN), EFAULT);
        SUCCEEDS(connect(connected, (struct sockaddr *)&there, sizeof there));
        FAILS(connect(-1, (struct sockaddr *)&there, sizeof there), EBADF);
        SUCCEEDS(setsockopt(any, SOL_SOCKET, SO_KEEPALIVE, &none, sizeof none));
        SUCCEEDS(setsockopt(connected, IPPROTO_TCP, TCP_NODELAY, &none, sizeof none));
        SUCCEEDS(setsockopt(connected, IPPROTO_TCP, TCP_LINGER2, &none, sizeof none));
        FAILS(setsockopt(any, SOL_SOCKET, SO_KEEPALIVE, NULL, sizeof none), EFAULT);
        FAILS(setsockopt(-1, SOL_SOCKET, SO_KEEPALIVE, &none, sizeof none), EBADF);
        SUCCEEDS(close(any));
        SUCCEEDS(close(again_bound));
        SUCCEEDS(close(connected));
        SUCCEEDS(close(live));
        SUCCEEDS(close(file));
        FAILS(close(file), EBADF);
    } else if (strcmp(what, "start") == 0) {
        // What the loader and libc call to start a program: loading the shim takes nothing else.
        static const int OWN[] = {
            SYS_execve, SYS_brk,     SYS_arch_prctl, SYS_mmap,    SYS_access,          SYS_openat,          SYS_newfstatat,
            SYS_read,   SYS_close,   SYS_mprotect,   SYS_munmap,  SYS_set_tid_address, SYS_set_robust_list, SYS_rseq,
            SYS_write,  SYS_pread64, SYS_prlimit64,  SYS_getrandom, SYS_alarm,         SYS_exit_group,
#ifndef __GLIBC__
            SYS_open,   SYS_fcntl,   SYS_fstat,      SYS_setitimer,
#endif
        };
        if (argc == 2) {
            allow(OWN, sizeof OWN / sizeof *OWN, SECCOMP_RET_KILL_PROCESS);
            again(argv, "again");
        }
    } else if (strcmp(what, "timeless") == 0) {
        // Programs ask for the time without a system call, and a sandbox may know of none; nor of a wait.
        int live = listener(), other = tcp();
        struct sockaddr_in taken = at(port_of(live));
        refuse(SYS_clock_nanosleep);
        FAILS(bind(other, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
        refuse(SYS_clock_gettime);
        FAILS(bind(other, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
    } else if (strcmp(what, "stopping") == 0) {
        // The port of a client's connection: with a wait the handler comes while that goes on.
        int held = tcp(), other = tcp(), live = listener();
        struct sockaddr_in there = at(port_of(live));
        SUCCEEDS(bind(held, AT(7001), IN));
        SUCCEEDS(connect(held, (struct sockaddr *)&there, sizeof there));
        struct sigaction action = {.sa_handler = stop_the_clock};
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        pid_t observer = signal_when_it_sleeps(SIGUSR1);
        FAILS(bind(other, AT(7001), IN), EADDRINUSE);
        while (!stopped) {
            pause();
        }
        SUCCEEDS(waitpid(observer, NULL, 0) == observer ? 0 : -1);
    } else if (strcmp(what, "untaken") == 0 || strcmp(what, "empty") == 0) {
        // Over what a connection of an earlier run left behind.
        int live = listener(), client = tcp(), other = tcp();
        struct sockaddr_in there = at(port_of(live));
        char byte;
        SUCCEEDS(connect(client, (struct sockaddr *)&there, sizeof there));
        int accepted = accept(live, NULL, NULL);
        SUCCEEDS(close(accepted));
        CHECK(read(client, &byte, 1) == 0);
        SUCCEEDS(close(client));
        SUCCEEDS(close(live));
        if (strcmp(what, "untaken") == 0) {
            spoil_messages(MSG_PEEK, EPERM);
        } else {
            spoil_messages(0, 0);
        }
        static const char in_use[] = "in use\n";
        if (bind(other, (struct sockaddr *)&there, sizeof there) != 0) {
            CHECK(errno == EADDRINUSE);
            CHECK(write(1, in_use, sizeof in_use - 1) == sizeof in_use - 1);
        }
    } else if (strcmp(what, "seeing") == 0 || strcmp(what, "unseeing") == 0) {
        int live = listener(), other = tcp();
        struct sockaddr_in taken = at(port_of(live));
        if (strcmp(what, "unseeing") == 0) {
            refuse(SYS_socket);
        }
        FAILS(bind(other, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
    } else if (strcmp(what, "trapping") == 0) {
        // A sandbox whose handler answers the calls that the log needs. It must be asked, not be passed over: where
        // SIGSYS is held back the kernel ends the program.
        struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
        CHECK(sigaction(SIGSYS, &action, NULL) == 0);
        static const int OWN[] = {SYS_bind,        SYS_close,      SYS_setsockopt,    SYS_write,         SYS_exit_group,
                                  SYS_rt_sigreturn, SYS_getsockopt, SYS_getsockname,   SYS_rt_sigprocmask, SYS_getpid,
                                  SYS_rt_sigpending};
        int live = listener(), other = tcp();
        struct sockaddr_in taken = at(port_of(live));
        allow(OWN, sizeof OWN / sizeof *OWN, SECCOMP_RET_TRAP);
        FAILS(bind(other, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
        SUCCEEDS(setsockopt(live, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
        SUCCEEDS(close(other));
        SUCCEEDS(close(live));
        FAILS(close(-1), EBADF);
    } else {
        CHECK(!"a known argument");
    }
    static const char text[] = "alive\n";
    CHECK(write(1, text, sizeof text - 1) == sizeof text - 1);
    _exit(0);
}
