// Another process sends signals that the shim holds back while it writes: each must arrive.
#include "host.h"

static volatile sig_atomic_t arrived;

static void on_signal(int signal) {
    (void)signal;
    arrived++;
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 2000;
    static const int SENT[] = {SIGPIPE, SIGXFSZ, SIGTTOU, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal};
    int ask[2];
    CHECK(pipe(ask) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(sigaction(SENT[i], &action, NULL) == 0);
    }
    pid_t parent = getpid();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char signal;
        close(ask[1]);
        while (read(ask[0], &signal, 1) == 1) {
            CHECK(kill(parent, signal) == 0);
        }
        _exit(0);
    }
    close(ask[0]);
    for (int i = 0; i < rounds; i++) {
        char signal = (char)SENT[i % 4];
        arrived = 0;
        CHECK(write(ask[1], &signal, 1) == 1);
        // The next one is asked for when this one has arrived: standard signals do not queue.
        while (!arrived) {
            close(-1);
            bind(-1, NULL, 0);
        }
        CHECK(arrived == 1);
    }
    close(ask[1]);
    printf("every signal arrived; the sender: %d\n", end_of(child));
    return 0;
}
