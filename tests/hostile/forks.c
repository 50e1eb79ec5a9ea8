// Four busy threads, and as many forks as the argument says, whose children call every hook.
#include "host.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { BATCH = 40 };

static atomic_bool enough;

static void *busy(void *rounds) {
    // Without connections: so many of them would use up the ports.
    int fd = listener();
    int other = tcp();
    while (!enough) {
        char *memory = malloc(5000);
        CHECK(memory != NULL);
        memory[0] = 1;
        call_hooks_on(fd, other);
        SUCCEEDS(close(tcp()));
        free(memory);
        atomic_fetch_add((atomic_int *)rounds, 1);
    }
    return NULL;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    pthread_t threads[4];
    atomic_int rounds[4] = {0};
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, busy, &rounds[i]) == 0);
    }
    for (int forked = 0; forked < atoi(argv[1]);) {
        pid_t children[BATCH];
        for (int i = 0; i < BATCH; i++, forked++) {
            children[i] = fork();
            CHECK(children[i] >= 0);
            if (children[i] == 0) {
                alarm(100 * PATIENCE);
                call_every_hook();
                _exit(0);
            }
        }
        for (int i = 0; i < BATCH; i++) {
            int end = end_of(children[i]);
            if (end != 0) {
                printf("a child after %d: %d\n", forked, end);
                return 1;
            }
        }
    }
    for (int i = 0; i < 4; i++) {
        while (rounds[i] == 0) {
            sched_yield();
        }
    }
    enough = true;
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    puts("every child ended well");
    return 0;
}
