// Threads that are cancelled at close and connect: what C++ and C have to clean up is cleaned up, and the cancellation
// acts where it would have acted. It is C as well, for musl, whose cancellation knows cleanup handlers alone.
#include "host.h"
#include <pthread.h>
#include <sched.h>

#ifdef __cplusplus
#include <atomic>
using std::atomic_int;

static atomic_int destroyed;

struct Guard {
    ~Guard() { destroyed++; }
};
#define GUARD Guard guard
enum { GUARDS = 1 };
#else
#include <stdatomic.h>

static atomic_int destroyed;
#define GUARD (void)0
enum { GUARDS = 0 };
#endif

static atomic_int cleaned, ready;

static void cleanup(void *unused) {
    (void)unused;
    cleaned++;
}

// A listener whose queue is full: a connect to it blocks.
static struct sockaddr_in crowded;
static int descriptor;

static void blocking_connect(void) {
    int fd = tcp();
    ready = 1;
    connect(fd, (struct sockaddr *)&crowded, sizeof crowded);
    // Only a signal ends it.
    CHECK(!"connected");
}

// Returns with a cancellation pending.
static void await_cancellation(void) {
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    ready = 1;
    while (ready != 2) {
        sched_yield();
    }
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
}

static void pending_close(void) {
    await_cancellation();
    close(descriptor);
    CHECK(!"closed");
}

static void pending_connect(void) {
    await_cancellation();
    connect(-1, NULL, 0);
    CHECK(!"connect returned");
}

// bind, listen and setsockopt are no cancellation points, not even where the shim has much to do.
static void pending_elsewhere(void) {
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    int live = listener();
    int fd = tcp();
    struct sockaddr_in taken = at(port_of(live));
    ready = 1;
    while (ready != 2) {
        sched_yield();
    }
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    int none = 0;
    setsockopt(live, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none);
    FAILS(bind(fd, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
    SUCCEEDS(listen(live, 4));
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    close(live);
    close(fd);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
    cleaned += 10;
    pthread_testcancel();
}

static int asynchronous_listener, asynchronous_socket;

// Interrupted anywhere in here and in the hooks.
__attribute__((noinline)) static void hooks_for_ever(void) {
    int old;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    ready = 1;
    for (;;) {
        call_hooks_on(asynchronous_listener, asynchronous_socket);
    }
}

static void *guarded(void *body) {
    pthread_cleanup_push(cleanup, NULL);
    GUARD;
    ((void (*)(void))body)();
    pthread_cleanup_pop(0);
    return NULL;
}

static void run(const char *name, void (*body)(void), int pause_us) {
    pthread_t thread;
    destroyed = cleaned = ready = 0;
    CHECK(pthread_create(&thread, NULL, guarded, (void *)body) == 0);
    while (ready != 1) {
        sched_yield();
    }
    struct timespec pause = {0, pause_us * 1000L};
    nanosleep(&pause, NULL);
    CHECK(pthread_cancel(thread) == 0);
    ready = 2;
    void *result;
    CHECK(pthread_join(thread, &result) == 0);
    if (name != NULL) {
        printf("%s: cancelled %d, destructors %d, cleanup handlers %d\n", name, result == PTHREAD_CANCELED,
               (int)destroyed, (int)cleaned);
    } else {
        CHECK(result == PTHREAD_CANCELED && destroyed == GUARDS && cleaned == 1);
    }
}

// With an argument only the first part, which is enough where bind waits.
int main(int argc, char **argv) {
    (void)argv;
    int full = tcp();
    struct sockaddr_in any = at(0);
    CHECK(bind(full, (struct sockaddr *)&any, sizeof any) == 0 && listen(full, 0) == 0);
    crowded = at(port_of(full));
    int first = tcp();
    CHECK(connect(first, (struct sockaddr *)&crowded, sizeof crowded) == 0);
    wait_for_client(full);

    run("blocked in connect", blocking_connect, 2000);
    run("blocked in connect, soon", blocking_connect, 0);
    descriptor = tcp();
    run("pending at close", pending_close, 0);
    printf("still open: %d\n", fcntl(descriptor, F_GETFD) >= 0);
    run("pending at connect", pending_connect, 0);
    run("pending at bind, listen, setsockopt", pending_elsewhere, 0);

    if (argc > 1) {
        return 0;
    }
    asynchronous_listener = listener();
    asynchronous_socket = tcp();
    uint64_t descriptors = open_descriptors();
    for (int i = 0; i < 60; i++) {
        run(NULL, hooks_for_ever, i % 40);
        CHECK(open_descriptors() == descriptors);
        CHECK(option(asynchronous_socket, SOL_SOCKET, SO_REUSEADDR) == 0);
    }
    puts("asynchronously: everything cleaned up");
    return 0;
}
