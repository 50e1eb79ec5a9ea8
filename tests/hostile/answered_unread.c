// Calls that succeed only because another library swallows them.
#include "host.h"

int main(void) {
    int fd = tcp();
    int one = 1;
    SUCCEEDS(bind(fd, NULL, IN));
    SUCCEEDS(bind(fd, (void *)&one, 0));
    SUCCEEDS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, NULL, 4));
    SUCCEEDS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, (void *)1, 0));
    SUCCEEDS(setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, NULL, 4));
    SUCCEEDS(setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, (void *)-1, 3));
    puts("swallowed");
    return 0;
}
