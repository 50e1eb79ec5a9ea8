// Somebody else sends signals that the shim blocks while it writes: each must arrive. They come from another
// process; with the argument "thread" from another thread, to this one alone, and at a limit of file sizes, where each line
// of the log would raise SIGXFSZ.
#include "host.h"
#include <pthread.h>

static const int SENT[] = {SIGPIPE, SIGXFSZ, SIGTTOU, SIGUSR1};
static volatile sig_atomic_t arrived;
static pthread_t worker;
static int ask[2];

static void on_signal(int signal) {
    (void)signal;
    arrived++;
}

static void *sender(void *unused) {
    char signal;
    while (read(ask[0], &signal, 1) == 1) {
        CHECK(pthread_kill(worker, signal) == 0);
    }
    return unused;
}

int main(int argc, char **argv) {
    int from_thread = argc > 1 && strcmp(argv[1], "thread") == 0;
    int rounds = argc > 1 && !from_thread ? atoi(argv[1]) : 2000;
    if (from_thread && argc == 2) {
        again_without_file_size(argv);
    }
    struct sigaction action = {.sa_handler = on_signal};
    CHECK(pipe(ask) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(sigaction(SENT[i], &action, NULL) == 0);
    }
    pid_t parent = getpid(), child = 0;
    pthread_t thread;
    if (from_thread) {
        worker = pthread_self();
        CHECK(pthread_create(&thread, NULL, sender, NULL) == 0);
    } else {
        child = fork();
        CHECK(child >= 0);
    }
    if (!from_thread && child == 0) {
        char signal;
        close(ask[1]);
        while (read(ask[0], &signal, 1) == 1) {
            CHECK(kill(parent, signal) == 0);
        }
        _exit(0);
    }
    for (int i = 0; i < rounds; i++) {
        char signal = (char)SENT[from_thread ? 1 : i % 4];
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
    if (from_thread) {
        CHECK(pthread_join(thread, NULL) == 0);
    } else {
        close(ask[0]);
        CHECK(end_of(child) == 0);
    }
    puts("every signal arrived");
    return 0;
}
