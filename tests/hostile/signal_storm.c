// A signal handler calls every hook, up to 10 000 times a second, while the main flow does the same and allocates.
#include "host.h"

static timer_t timer;
static long pause_ns = 100000;
static volatile sig_atomic_t handled;

static void arm(void) {
    // One shot, from the end of the last one: a handler that takes longer must not keep the main flow from running.
    struct itimerspec soon = {.it_value = {.tv_nsec = pause_ns}};
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
}

static void on_timer(int signal) {
    (void)signal;
    int before = errno;
    call_every_hook();
    handled++;
    arm();
    errno = before;
}

// storm [ROUNDS MICROSECONDS]
int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 300;
    pause_ns = argc > 2 ? atol(argv[2]) * 1000 : pause_ns;
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    uint64_t before = open_descriptors();
    arm();
    for (int done = 0; done < rounds || handled < 3 * rounds; done++) {
        char *memory = malloc(1 + (size_t)done * 7919 % 70000);
        CHECK(memory != NULL);
        memory[0] = 1;
        call_every_hook();
        free(memory);
    }
    // One that waits to be delivered would arm a timer that is gone.
    CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    CHECK(timer_delete(timer) == 0);
    CHECK(open_descriptors() == before);
    puts("every call as it should be");
    return 0;
}
