// For a program with more rights than its caller: says so, and leaves a TIME_WAIT that a plain bind fails over.
#include "host.h"
#include <sys/auxv.h>

int main(void) {
    printf("secure: %lu\n", getauxval(AT_SECURE));
    int fd = listener();
    struct sockaddr_in here = at(port_of(fd));
    int client = tcp();
    CHECK(connect(client, (struct sockaddr *)&here, sizeof here) == 0);
    int accepted = accept(fd, NULL, NULL);
    CHECK(accepted >= 0);
    printf("TCP_LINGER2 of the accepted socket: %d\n", option(accepted, IPPROTO_TCP, TCP_LINGER2));
    CHECK(close(accepted) == 0 && close(client) == 0 && close(fd) == 0);
    fd = tcp();
    printf("bind over TIME_WAIT: %s\n", bind(fd, (struct sockaddr *)&here, sizeof here) == 0 ? "bound" : "in use");
    return 0;
}
