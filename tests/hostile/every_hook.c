// Calls every hook: in main, and after main has returned.
#include "host.h"

static void at_exit(void) {
    call_every_hook();
    puts("at exit");
    fflush(stdout);
}

__attribute__((constructor)) static void before_main(void) {
    call_every_hook();
}

__attribute__((destructor)) static void after_exit(void) {
    call_every_hook();
    static const char text[] = "after exit\n";
    CHECK(write(1, text, sizeof text - 1) == sizeof text - 1);
}

int main(void) {
    CHECK(atexit(at_exit) == 0);
    uint64_t before = open_descriptors();
    for (int i = 0; i < 20; i++) {
        call_every_hook();
    }
    CHECK(open_descriptors() == before);
    puts("main");
    return 3;
}
