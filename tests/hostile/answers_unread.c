// Another library whose functions succeed without a look at the caller's memory.
#include "host.h"

int bind(int fd, const struct sockaddr *address, socklen_t length) {
    (void)fd, (void)address, (void)length;
    return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    (void)fd, (void)level, (void)name, (void)value, (void)length;
    return 0;
}
