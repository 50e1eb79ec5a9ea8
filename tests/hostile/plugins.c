// Opens the plug-in in every way there is. Further arguments are libraries to be opened first.
#include "host.h"
#include <dlfcn.h>

// musl has one scope of names for the whole process.
#ifdef RTLD_DEEPBIND
#define OPEN_APART(library) dlmopen(LM_ID_NEWLM, library, RTLD_NOW)
#else
#define RTLD_DEEPBIND 0
#define OPEN_APART(library) dlopen(library, RTLD_NOW)
#endif

static void call(void *library) {
    if (library == NULL) {
        printf("%s\n", dlerror());
        exit(1);
    }
    void (*plugin)(void) = (void (*)(void))dlsym(library, "plugin");
    CHECK(plugin != NULL);
    errno = PRESET;
    plugin();
    CHECK(errno == PRESET);
}

int main(int argc, char **argv) {
    for (int i = 2; i < argc; i++) {
        errno = PRESET;
        CHECK(dlopen(argv[i], RTLD_NOW | RTLD_GLOBAL) != NULL);
        CHECK(dlopen(argv[i], RTLD_NOW | RTLD_DEEPBIND) != NULL);
        CHECK(OPEN_APART(argv[i]) != NULL);
        call_every_hook();
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    call(library);
    CHECK(dlclose(library) == 0);
    library = dlopen(argv[1], RTLD_LAZY | RTLD_DEEPBIND);
    call(library);
    CHECK(dlclose(library) == 0);
    call(OPEN_APART(argv[1]));
    int (*close_found)(int) = (int (*)(int))dlsym(RTLD_DEFAULT, "close");
    FAILS(close_found(-1), EBADF);
    puts("opened and called");
    return 0;
}
