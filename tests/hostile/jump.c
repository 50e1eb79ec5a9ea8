// A handler that jumps out of whatever hook it interrupted, again and again: it must leave nothing behind. The argument
// says how: `sig` puts the signal mask back, `plain` does not.
#include "host.h"
#include <setjmp.h>

static timer_t timer;
static sigjmp_buf out;
static volatile sig_atomic_t jumped;
static volatile sig_atomic_t inside;

static void on_timer(int signal) {
    (void)signal;
    if (inside) {
        inside = 0;
        jumped++;
        siglongjmp(out, 1);
    }
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    int save_mask = strcmp(argv[1], "sig") == 0;
    // With SA_NODEFER the mask in the handler is the interrupted one: whoever changed that, the jump makes it stay.
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_NODEFER};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);

    int fd = listener();
    int other = tcp();
    uint64_t descriptors = open_descriptors();
    sigset_t mask, now;
    CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
    volatile unsigned seed = 1;
    for (volatile int round = 0; round < 1500; round++) {
        seed = seed * 1103515245 + 12345;
        struct itimerspec soon = {.it_value = {.tv_nsec = 1000 + (long)(seed >> 8) % 60000}};
        if (sigsetjmp(out, save_mask) == 0) {
            inside = 1;
            CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
            while (inside) {
                call_hooks_on(fd, other);
            }
        }
        CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
        CHECK(memcmp(&mask, &now, 8) == 0);
        CHECK(open_descriptors() == descriptors);
        CHECK(option(other, SOL_SOCKET, SO_REUSEADDR) == 0);
    }
    CHECK(jumped == 1500);
    // All of it still works.
    call_every_hook();
    puts("nothing left behind");
    return 0;
}
