// Calls every hook where memory is short.
#include "host.h"

// Takes the address space that is left, page by page.
static void take_all_memory(void) {
    struct rlimit little = {64 << 20, 64 << 20};
    CHECK(setrlimit(RLIMIT_AS, &little) == 0);
    for (size_t size = 32 << 20; size >= 4096; size /= 2) {
        while (mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) {
        }
    }
    errno = PRESET;
    CHECK(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    if (strcmp(argv[1], "no memory") == 0) {
        // What it prints is buffered before there is no room for a buffer.
        printf("every hook was called without memory\n");
        take_all_memory();
        for (int i = 0; i < 100; i++) {
            call_every_hook();
        }
    } else {
        for (int i = 0; i < 10000; i++) {
            call_every_hook();
        }
        puts("done");
    }
    return 0;
}
