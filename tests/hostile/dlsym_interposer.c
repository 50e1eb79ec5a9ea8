// Another library that interposes dlsym and passes the question on by an ordinary call. It then is this library that
// libc takes for the one that asks, so that RTLD_NEXT finds what comes after it. It may hide a name.
#include "host.h"
#include <dlfcn.h>

void *dlsym(void *restrict handle, const char *restrict name) {
    static void *(*real)(void *, const char *);
    if (real == NULL) {
        // The versions of each glibc for this processor, the oldest one last.
        static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.0"};
        for (size_t i = 0; real == NULL && i < sizeof versions / sizeof *versions; i++) {
            real = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", versions[i]);
        }
        CHECK(real != NULL);
    }
#ifdef HIDDEN
    if (strcmp(name, HIDDEN) == 0) {
        return NULL;
    }
#endif
    void *found = real(handle, name);
    // Keeps the call from becoming a jump.
    __asm__ volatile("" : "+r"(found));
    return found;
}
