// A program with a library that opens a port in its constructor, as agents do. Both serve one client,
// and close first.
#include "host.h"

int agent(void);

static int serve(const char *who, int port) {
    struct sockaddr_in here = at(port);
    int fd = tcp();
    errno = 0;
    if (bind(fd, (struct sockaddr *)&here, sizeof here) != 0) {
        printf("%s: bind: %s\n", who, strerror(errno));
        exit(0);
    }
    CHECK(listen(fd, 5) == 0);
    printf("%s: SO_REUSEADDR is %d\n", who, option(fd, SOL_SOCKET, SO_REUSEADDR));
    int client = tcp();
    CHECK(connect(client, (struct sockaddr *)&here, sizeof here) == 0);
    int served = accept(fd, NULL, NULL);
    char byte;
    CHECK(served >= 0 && close(served) == 0 && read(client, &byte, 1) == 0 && close(client) == 0);
    return fd;
}

#ifdef AGENT
static int fd;

__attribute__((constructor)) static void open_port(void) {
    fd = serve("agent", 5000);
}

int agent(void) {
    return fd;
}
#else
int main(void) {
    CHECK(agent() >= 0);
    serve("program", 5001);
    return 0;
}
#endif
