// A listen that does not come to its end, or fails: the socket must be as it was. The argument says which.
#include "host.h"
#include <setjmp.h>

static timer_t timer;
static sigjmp_buf out;
static volatile sig_atomic_t inside;

static void on_timer(int signal) {
    (void)signal;
    if (inside) {
        inside = 0;
        siglongjmp(out, 1);
    }
}

// A handler jumps out of it, now here, now there.
static void jump(void) {
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_NODEFER};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    volatile unsigned seed = 1;
    volatile int rounds = 0;
    while (rounds < 3000) {
        seed = seed * 1103515245 + 12345;
        struct itimerspec soon = {.it_value = {.tv_nsec = 500 + (long)(seed >> 8) % 8000}};
        volatile int fd = tcp();
        SUCCEEDS(bind(fd, AT(7001), IN));
        if (sigsetjmp(out, 1) == 0) {
            inside = 1;
            CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
            listen(fd, 1);
            inside = 0;
        } else {
            rounds++;
        }
        int listens = option(fd, SOL_SOCKET, SO_ACCEPTCONN);
        CHECK(listens || option(fd, SOL_SOCKET, SO_REUSEADDR) == 0);
        CHECK(close(fd) == 0);
    }
}

// Two sockets bound to one port, of which one can listen; and some that never can.
static void fails(void) {
    int one = 1, none = 0;
    int first = tcp(), second = tcp();
    CHECK(setsockopt(first, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    CHECK(setsockopt(second, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    SUCCEEDS(bind(first, AT(7001), IN));
    SUCCEEDS(bind(second, AT(7001), IN));
    SUCCEEDS(listen(first, 1));
    CHECK(setsockopt(second, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none) == 0);
    FAILS(listen(second, 1), EADDRINUSE);
    CHECK(option(second, SOL_SOCKET, SO_REUSEADDR) == 0);

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
