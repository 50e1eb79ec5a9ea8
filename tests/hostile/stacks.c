// Hooks on small stacks: threads of 16 KiB, and signal handlers on an alternate stack of the smallest useful size.
#include "host.h"
#include <pthread.h>
#include <sys/auxv.h>

static void *small(void *unused) {
    for (int i = 0; i < 10; i++) {
        call_every_hook();
    }
    return unused;
}

static volatile sig_atomic_t handled;

static void on_signal(int signal) {
    (void)signal;
    call_every_hook();
    handled++;
}

// What the kernel puts on a signal stack: AT_MINSIGSTKSZ, which old headers do not know.
static size_t frame_size(void) {
    size_t size = getauxval(51);
    return size > 0 ? size : MINSIGSTKSZ;
}

int main(void) {
    pthread_attr_t attributes;
    CHECK(pthread_attr_init(&attributes) == 0);
    // Some processors want more.
    size_t least = PTHREAD_STACK_MIN > 16384 ? PTHREAD_STACK_MIN : 16384;
    CHECK(pthread_attr_setstacksize(&attributes, least) == 0);
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        CHECK(pthread_create(&threads[i], &attributes, small, NULL) == 0);
    }
    for (int i = 0; i < 8; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }

    // The page before the stack may not be touched.
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    // What the promise is about: 8 KiB, whatever the processor's registers take of a signal's frame.
    size_t size = 8192 + (frame_size() + 15) / 16 * 16;
    char *place = mmap(NULL, page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(place != MAP_FAILED && mprotect(place, page, PROT_NONE) == 0);
    stack_t stack = {.ss_sp = place + page, .ss_size = size};
    CHECK(sigaltstack(&stack, NULL) == 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 10; i++) {
        CHECK(raise(SIGUSR1) == 0);
    }
    CHECK(handled == 10);
    puts("the stacks were large enough");
    return 0;
}
