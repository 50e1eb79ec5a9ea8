// Calls all five hooked functions, where the shim has work and where it has none, with every address and value at the
// very end of a block of its own: what reads a byte too many is seen.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(holds)                                                                                                   \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            printf("%d: not so: %s, errno %d\n", __LINE__, #holds, errno);                                             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static const char *try_bind(int fd, const void *address, size_t length) {
    // Not a byte more than the caller says.
    struct sockaddr *copy = malloc(length);
    CHECK(copy != NULL);
    memcpy(copy, address, length);
    errno = 0;
    int result = bind(fd, copy, (socklen_t)length);
    int error = errno;
    free(copy);
    return result == 0 ? "bound" : strerrorname_np(error);
}

static void set(int fd, int level, int name, int value) {
    int *copy = malloc(sizeof value);
    CHECK(copy != NULL);
    *copy = value;
    CHECK(setsockopt(fd, level, name, copy, sizeof value) == 0);
    free(copy);
}

// Serves one connection on this address, whose server closes first, and binds the address again.
static const char *restart(const void *address, size_t length) {
    int family = ((const struct sockaddr *)address)->sa_family;
    int listener = socket(family, SOCK_STREAM, 0);
    CHECK(strcmp(try_bind(listener, address, length), "bound") == 0);
    CHECK(listen(listener, 8) == 0);
    // The program's own way: the shim sets these again.
    set(listener, SOL_SOCKET, SO_REUSEADDR, 0);
    set(listener, IPPROTO_TCP, TCP_LINGER2, 5);

    int client = socket(family, SOCK_STREAM, 0);
    CHECK(connect(client, address, (socklen_t)length) == 0);
    int accepted = accept(listener, NULL, NULL);
    CHECK(accepted >= 0);
    CHECK(write(accepted, "text", 4) == 4);
    CHECK(close(accepted) == 0);
    char text[16];
    CHECK(read(client, text, sizeof text) == 4);
    CHECK(close(client) == 0);

    // A live listener keeps its port.
    int other = socket(family, SOCK_STREAM, 0);
    const char *kept = try_bind(other, address, length);
    CHECK(strcmp(kept, getenv("SHARED") == NULL ? "EADDRINUSE" : "bound") == 0);
    CHECK(close(other) == 0);
    CHECK(close(listener) == 0);

    int again = socket(family, SOCK_STREAM, 0);
    const char *result = try_bind(again, address, length);
    CHECK(close(again) == 0);
    return result;
}

static void every_other_case(void) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    // The kernel chooses the port, for bind and for listen.
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(strcmp(try_bind(fd, &any, sizeof any), "bound") == 0);
    int unbound = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(listen(unbound, 1) == 0);
    CHECK(close(unbound) == 0);

    // A connection from a port of the program's own.
    struct sockaddr_in there = any;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&any, sizeof any) == 0);
    CHECK(listen(listener, 1) == 0);
    socklen_t length = sizeof there;
    CHECK(getsockname(listener, (struct sockaddr *)&there, &length) == 0);
    CHECK(connect(fd, (struct sockaddr *)&there, sizeof there) == 0);
    CHECK(connect(fd, (struct sockaddr *)&there, sizeof there) == -1 && errno == EISCONN);
    CHECK(close(fd) == 0 && close(listener) == 0);

    // What fails, and what is none of the shim's business.
    CHECK(close(-1) == -1 && errno == EBADF);
    CHECK(listen(-1, 1) == -1 && errno == EBADF);
    CHECK(connect(-1, (struct sockaddr *)&there, sizeof there) == -1 && errno == EBADF);
    int one = 1;
    CHECK(setsockopt(-1, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == -1 && errno == EBADF);
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    set(pair[0], SOL_SOCKET, SO_REUSEADDR, 0);
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(datagrams, (struct sockaddr *)&any, sizeof any) == 0);
    CHECK(close(datagrams) == 0);
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0libreuse-sanitizers"};
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(strcmp(try_bind(local, &name, sizeof(sa_family_t) + 20), "bound") == 0);
    int second = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(strcmp(try_bind(second, &name, sizeof(sa_family_t) + 20), "EADDRINUSE") == 0);
    CHECK(close(local) == 0 && close(second) == 0);
}

static void on_signal(int number) {
    (void)number;
    int before = errno;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
    close(fd);
    errno = before;
}

static void *in_a_thread(void *nothing) {
    every_other_case();
    return nothing;
}

int main(void) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(5001), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    printf("again on IPv4: %s\n", restart(&v4, sizeof v4));
    printf("again on IPv6: %s\n", restart(&v6, sizeof v6));

    every_other_case();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, in_a_thread, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
    CHECK(raise(SIGUSR1) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        every_other_case();
        exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    puts("done");
    return 0;
}
