// Opens the shim with values that no execve could pass on: of 1 MiB.
#include "host.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
    static const char *const NAMES[] = {"LIBREUSE_REUSEADDR", "LIBREUSE_LINGER", "LIBREUSE_WAIT",
                                        "LIBREUSE_REUSEPORT", "LIBREUSE_PORTS",  "LIBREUSE_PROGRAMS",
                                        "LIBREUSE_LOG",       "LIBREUSE_LOG_FILE", "LIBREUSE_"};
    static const char FILLINGS[] = {'0', '9', ',', '-', '*', '/', '%', '\n', '\xff', 'm'};
    enum { LENGTH = 1 << 20 };
    char *value = malloc(LENGTH + 1);
    CHECK(value != NULL);
    CHECK(argc == 2);
    for (size_t i = 0; i < sizeof FILLINGS; i++) {
        pid_t child = fork();
        if (child == 0) {
            memset(value, FILLINGS[i], LENGTH);
            value[LENGTH] = '\0';
            for (size_t j = 0; j < sizeof NAMES / sizeof *NAMES; j++) {
                // The last one lets the shim speak.
                CHECK(setenv(NAMES[j], value, 1) == 0);
            }
            CHECK(dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL) != NULL);
            call_every_hook();
            _exit(0);
        }
        printf("%d: %d\n", FILLINGS[i], end_of(child));
        fflush(stdout);
    }
    return 0;
}
