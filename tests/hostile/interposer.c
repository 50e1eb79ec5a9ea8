// Another library that interposes what the shim does, and passes every call on.
#include "host.h"
#include <dlfcn.h>

static int calls;

#define NEXT(type, name) ((type)(calls++, dlsym(RTLD_NEXT, name)))

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    return NEXT(int (*)(int, const struct sockaddr *, socklen_t), "bind")(fd, address, length);
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
    return NEXT(int (*)(int, const struct sockaddr *, socklen_t), "connect")(fd, address, length);
}

int listen(int fd, int backlog) {
    return NEXT(int (*)(int, int), "listen")(fd, backlog);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    return NEXT(int (*)(int, int, int, const void *, socklen_t), "setsockopt")(fd, level, name, value, length);
}

int close(int fd) {
    return NEXT(int (*)(int), "close")(fd);
}

__attribute__((destructor)) static void tell(void) {
    const char *text = calls > 100 ? "the interposer was called\n" : "the interposer was not called\n";
    CHECK(write(1, text, strlen(text)) > 0);
}
