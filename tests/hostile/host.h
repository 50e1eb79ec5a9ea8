// What the programs of the hostile-host suite share. Each of them prints what it saw, and the suite compares that with
// and without the shim; what must hold in any case is a CHECK.
#ifndef HOST_H
#define HOST_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

// No call sets errno to this.
#define PRESET 12345

// Only what a signal handler may call; stdout, because stderr may be gone.
UNUSED static void fail(const char *file, int line, const char *what, long result, int error) {
    char text[400];
    int length = snprintf(text, sizeof text, "%s:%d: not so: %s (%ld, errno %d)\n", file, line, what, result, error);
    if (write(1, text, (size_t)length) < 0) {
        _exit(3);
    }
    _exit(1);
}

#define CHECK(holds)                                                                                                   \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            fail(__FILE__, __LINE__, #holds, 0, errno);                                                                \
        }                                                                                                              \
    } while (0)

// The call returns this and leaves this in errno, which is preset.
#define GIVES(call, expected, error)                                                                                   \
    do {                                                                                                               \
        errno = PRESET;                                                                                                \
        long result_ = (call);                                                                                         \
        int errno_ = errno;                                                                                            \
        if (result_ != (expected) || errno_ != (error)) {                                                              \
            fail(__FILE__, __LINE__, #call " gives " #expected ", " #error, result_, errno_);                          \
        }                                                                                                              \
    } while (0)

#define SUCCEEDS(call) GIVES(call, 0, PRESET)
#define FAILS(call, error) GIVES(call, -1, error)

// How many times as long as on a machine of today anything may take.
#ifndef PATIENCE
#define PATIENCE 1
#endif

// A hang ends the program, and so the test.
__attribute__((constructor)) UNUSED static void bound_the_time(void) {
    alarm(110 * PATIENCE);
}

UNUSED static struct sockaddr_in at(int port) {
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

#ifndef __cplusplus
#define AT(port) ((const struct sockaddr *)&(const struct sockaddr_in){                                                \
    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}})
#endif
#define IN ((socklen_t)sizeof(struct sockaddr_in))

UNUSED static int tcp(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    return fd;
}

UNUSED static int port_of(int fd) {
    struct sockaddr_in address = at(0);
    socklen_t length = sizeof address;
    CHECK(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
    return ntohs(address.sin_port);
}

UNUSED static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    CHECK(getsockopt(fd, level, name, &value, &length) == 0);
    return value;
}

// A listener on a port that the kernel chooses.
UNUSED static int listener(void) {
    int fd = tcp();
    struct sockaddr_in any = at(0);
    SUCCEEDS(bind(fd, (struct sockaddr *)&any, sizeof any));
    SUCCEEDS(listen(fd, 16));
    return fd;
}

// A connect is over before the listener has the connection.
UNUSED static void wait_for_client(int listener) {
    struct pollfd client = {listener, POLLIN, 0};
    CHECK(poll(&client, 1, -1) == 1);
}

// Calls all five hooked functions, where they succeed and where they fail, and checks results and errno. Fit for a
// signal handler: the caller's errno stays.
UNUSED static void call_every_hook(void) {
    int before = errno;
    int one = 1, none = 0;
    int fd = listener();
    struct sockaddr_in taken = at(port_of(fd));
    SUCCEEDS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    // The shim sets it again.
    SUCCEEDS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
    FAILS(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, 1), EINVAL);
    FAILS(connect(fd, (struct sockaddr *)&taken, sizeof taken), EISCONN);

    int other = tcp();
    // The shim tries it again.
    FAILS(bind(other, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
    CHECK(option(other, SOL_SOCKET, SO_REUSEADDR) == 0);
    SUCCEEDS(connect(other, (struct sockaddr *)&taken, sizeof taken));
    int accepted = accept(fd, NULL, NULL);
    CHECK(accepted >= 0);
    SUCCEEDS(close(accepted));
    SUCCEEDS(close(other));
    SUCCEEDS(close(fd));

    FAILS(close(-1), EBADF);
    FAILS(bind(-1, (struct sockaddr *)&taken, sizeof taken), EBADF);
    FAILS(listen(-1, 1), EBADF);
    FAILS(connect(-1, (struct sockaddr *)&taken, sizeof taken), EBADF);
    FAILS(setsockopt(-1, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), EBADF);
    errno = before;
}

// The hooks that neither take a descriptor nor give one back, each where the shim has work: for callers that are
// interrupted anywhere. `fd` listens, `other` is a TCP socket with no address.
UNUSED static void call_hooks_on(int fd, int other) {
    int none = 0;
    struct sockaddr_in taken = at(port_of(fd));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none);
    bind(other, (struct sockaddr *)&taken, sizeof taken);
    listen(fd, 16);
    connect(fd, (struct sockaddr *)&taken, sizeof taken);
    close(-1);
}

// Which descriptors are open, as a set of bits: asked of each, since opening /proc/self/fd would take one.
UNUSED static uint64_t open_descriptors(void) {
    uint64_t found = 0;
    for (int fd = 0; fd < 64; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            found |= UINT64_C(1) << fd;
        }
    }
    return found;
}

// Waits for a child, and returns what it exited with; 1000 and its signal if that ended it.
UNUSED static int end_of(pid_t child) {
    int status = 0;
    pid_t ended;
    do {
        ended = waitpid(child, &status, 0);
    } while (ended < 0 && errno == EINTR);
    CHECK(ended == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// Starts the program again with one argument more, so that what was set up holds from before the shim is loaded.
UNUSED static void again(char **argv, const char *stage) {
    char *arguments[] = {argv[0], argv[1], (char *)stage, NULL};
    execv("/proc/self/exe", arguments);
    CHECK(!"exec");
}

// The same, where no file may grow. stderr is a file then, so that both places for the log have the limit.
UNUSED static void again_without_file_size(char **argv) {
    char path[] = "/tmp/libreuse-limit-XXXXXX";
    int fd = mkstemp(path);
    CHECK(unlink(path) == 0 && dup2(fd, 2) == 2 && close(fd) == 0);
    struct rlimit zero = {0, 0};
    CHECK(setrlimit(RLIMIT_FSIZE, &zero) == 0);
    again(argv, "again");
}

#endif
