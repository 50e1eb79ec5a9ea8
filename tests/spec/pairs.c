// Two copies of a program whose lock is a bind alone: in each round both bind port 5000 at the same
// time of the clock, on processors of their own, and hold what they got until both have answered.
// Prints in how many rounds none, one and both got it. With the argument "listen" they listen as well,
// and how often that failed comes last. Ends early where a busy machine takes too long for so many rounds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// From when both are awake until they bind.
enum { AWAKE_NS = 100000, LONGEST_S = 20 };

struct shared {
    pthread_barrier_t barrier;
    long start;
    int listens, winners, failures, is_over;
};

static long now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static int copy(int number, struct shared *shared, int rounds, int found[3]) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(5000), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    cpu_set_t processor;
    CPU_ZERO(&processor);
    CPU_SET(number % sysconf(_SC_NPROCESSORS_ONLN), &processor);
    sched_setaffinity(0, sizeof processor, &processor);
    long begin = now();
    for (int round = 0; round < rounds; round++) {
        int lock = socket(AF_INET, SOCK_STREAM, 0);
        if (number == 0) {
            shared->winners = 0;
            shared->is_over = now() - begin > LONGEST_S * 1000000000L;
        }
        pthread_barrier_wait(&shared->barrier);
        if (shared->is_over) {
            break;
        }
        __atomic_store_n(&shared->start, now() + AWAKE_NS, __ATOMIC_SEQ_CST);
        while (now() < __atomic_load_n(&shared->start, __ATOMIC_SEQ_CST)) {
        }
        if (bind(lock, (struct sockaddr *)&address, sizeof address) == 0) {
            int lost = shared->listens && listen(lock, 5) != 0;
            __atomic_add_fetch(lost ? &shared->failures : &shared->winners, 1, __ATOMIC_SEQ_CST);
        }
        pthread_barrier_wait(&shared->barrier);
        found[shared->winners]++;
        close(lock);
        pthread_barrier_wait(&shared->barrier);
    }
    return 0;
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 1, found[3] = {0};
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared->listens = argc > 2 && strcmp(argv[2], "listen") == 0;
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &attributes, 2);
    if (fork() == 0) {
        _exit(copy(1, shared, rounds, found));
    }
    copy(0, shared, rounds, found);
    wait(NULL);
    printf("%d %d %d", found[0], found[1], found[2]);
    printf(shared->listens ? ", %d\n" : "\n", shared->failures);
    return 0;
}
