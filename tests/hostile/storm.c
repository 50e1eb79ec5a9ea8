// A signal handler calls every hook, up to 10 000 times a second, while the main flow does the same and allocates.
#include "host.h"

enum { HANDLED = 1000, DONE = 300 };

static int wanted[2];
static volatile sig_atomic_t handled;

// One signal, from the end of the last one: a handler that takes longer must not keep the main flow from running.
static void ask_for_a_signal(void) {
    CHECK(write(wanted[1], "", 1) == 1);
}

// Another process sends them. In qemu timer_settime gives EINVAL from some moment on, in one of a hundred runs.
static void send_signals(pid_t to) {
    CHECK(close(wanted[1]) == 0);
    char byte;
    while (read(wanted[0], &byte, 1) == 1) {
        CHECK(nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL) == 0);
        CHECK(kill(to, SIGUSR1) == 0);
    }
    _exit(0);
}

static void on_signal(int signal) {
    (void)signal;
    int before = errno;
    call_every_hook();
    handled++;
    ask_for_a_signal();
    errno = before;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(pipe(wanted) == 0);
    pid_t self = getpid();
    pid_t sender = fork();
    CHECK(sender >= 0);
    if (sender == 0) {
        send_signals(self);
    }
    CHECK(close(wanted[0]) == 0);
    uint64_t before = open_descriptors();
    ask_for_a_signal();
    for (int done = 0; done < DONE || handled < HANDLED; done++) {
        char *memory = malloc(1 + (size_t)done * 7919 % 70000);
        CHECK(memory != NULL);
        memory[0] = 1;
        call_every_hook();
        free(memory);
    }
    CHECK(open_descriptors() == before);
    // The one that is still to come.
    CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
    CHECK(close(wanted[1]) == 0);
    int status;
    CHECK(waitpid(sender, &status, 0) == sender && status == 0);
    puts("every call as it should be");
    return 0;
}
