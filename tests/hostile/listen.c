// A listen that does not come to its end, or fails: the socket must be as it was. The argument says which.
#include "host.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <sys/prctl.h>

static sigjmp_buf out;
static volatile sig_atomic_t inside;

static void on_signal(int signal) {
    (void)signal;
    if (inside) {
        inside = 0;
        siglongjmp(out, 1);
    }
}

// A handler jumps out of it: signals_itself.c sends the signal at the moment at which the option has just been set.
static void jump(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (volatile int round = 0; round < 100; round++) {
        volatile int fd = tcp();
        SUCCEEDS(bind(fd, AT(7001), IN));
        if (sigsetjmp(out, 1) == 0) {
            inside = 1;
            listen(fd, 1);
            inside = 0;
        }
        CHECK(option(fd, SOL_SOCKET, SO_ACCEPTCONN) || option(fd, SOL_SOCKET, SO_REUSEADDR) == 0);
        CHECK(close(fd) == 0);
    }
}

// Sockets that can't listen.
static void fails(void) {
    int live = tcp();
    SUCCEEDS(bind(live, AT(7001), IN));
    SUCCEEDS(listen(live, 1));

    int connected = tcp();
    SUCCEEDS(bind(connected, AT(7002), IN));
    SUCCEEDS(connect(connected, AT(7001), IN));
    FAILS(listen(connected, 1), EINVAL);
    CHECK(option(connected, SOL_SOCKET, SO_REUSEADDR) == 0);

    // A backlog that is full takes no more: the SYN is not answered.
    int more = tcp(), connecting = -1;
    SUCCEEDS(connect(more, AT(7001), IN));
    connecting = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SUCCEEDS(bind(connecting, AT(7003), IN));
    FAILS(connect(connecting, AT(7001), IN), EINPROGRESS);
    FAILS(listen(connecting, 1), EINVAL);
    CHECK(option(connecting, SOL_SOCKET, SO_REUSEADDR) == 0);

    // One that may not.
    int forbidden = tcp();
    SUCCEEDS(bind(forbidden, AT(7004), IN));
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_listen, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    FAILS(listen(forbidden, 1), EPERM);
    CHECK(option(forbidden, SOL_SOCKET, SO_REUSEADDR) == 0);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    if (strcmp(argv[1], "jump") == 0) {
        jump();
    } else {
        fails();
    }
    puts("as it was");
    return 0;
}
