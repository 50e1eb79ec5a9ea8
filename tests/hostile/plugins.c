// Opens the plug-in in every way there is. Further arguments are libraries to be opened first.
#include "host.h"
#include <dlfcn.h>

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
        CHECK(dlmopen(LM_ID_NEWLM, argv[i], RTLD_NOW) != NULL);
        call_every_hook();
    }
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    call(library);
    CHECK(dlclose(library) == 0);
    library = dlopen(argv[1], RTLD_LAZY | RTLD_DEEPBIND);
    call(library);
    CHECK(dlclose(library) == 0);
    call(dlmopen(LM_ID_NEWLM, argv[1], RTLD_NOW));
    int (*close_found)(int) = (int (*)(int))dlsym(RTLD_DEFAULT, "close");
    FAILS(close_found(-1), EBADF);
    puts("opened and called");
    return 0;
}
