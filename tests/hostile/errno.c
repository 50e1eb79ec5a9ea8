// Every hook, where it succeeds and where it fails: result and errno, which is preset, are printed.
#include "host.h"
#include <linux/capability.h>

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        errno = PRESET;                                                                                                \
        long result_ = (call);                                                                                         \
        int errno_ = errno;                                                                                            \
        printf("%s: %ld, errno %d\n", #call, result_, errno_);                                                         \
    } while (0)

static void on_alarm(int signal) {
    (void)signal;
}

static void without_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    CHECK(syscall(SYS_capset, &header, none) == 0);
}

int main(void) {
    int one = 1, none = 0;
    int file = open("/dev/null", O_RDWR | O_CLOEXEC);
    int path = open("/", O_PATH | O_CLOEXEC);
    int live = listener();
    struct sockaddr_in taken = at(port_of(live));
    const struct sockaddr *there = (const struct sockaddr *)&taken;

    // EBADF
    TRY(bind(-1, there, IN));
    TRY(bind(999, there, IN));
    TRY(bind(path, there, IN));
    TRY(listen(-1, 1));
    TRY(listen(path, 1));
    TRY(connect(-1, there, IN));
    TRY(connect(path, there, IN));
    TRY(setsockopt(-1, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    TRY(setsockopt(path, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
    TRY(close(-1));
    TRY(close(999));
    TRY(close(INT_MIN));
    TRY(close(path));
    TRY(close(path));

    // ENOTSOCK
    TRY(bind(file, there, IN));
    TRY(listen(file, 1));
    TRY(connect(file, there, IN));
    TRY(setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
    TRY(setsockopt(file, IPPROTO_TCP, TCP_LINGER2, &none, sizeof none));

    // EADDRINUSE, of every family that has it; EADDRNOTAVAIL; EINVAL for a second bind
    int fd = tcp();
    TRY(bind(fd, there, IN));
    struct sockaddr_in foreign = taken;
    foreign.sin_addr.s_addr = htonl(0xc0000201);
    TRY(bind(fd, (struct sockaddr *)&foreign, IN));
    TRY(connect(fd, AT(1), IN));
    TRY(bind(fd, AT(0), IN));
    TRY(bind(fd, AT(0), IN));
    TRY(listen(fd, -1));
    TRY(listen(fd, INT_MAX));
    TRY(close(fd));
    int datagram[2] = {socket(AF_INET, SOCK_DGRAM, 0), socket(AF_INET, SOCK_DGRAM, 0)};
    TRY(bind(datagram[0], there, IN));
    TRY(bind(datagram[1], there, IN));
    TRY(listen(datagram[0], 1));
    TRY(connect(datagram[1], there, IN));
    TRY(setsockopt(datagram[0], SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
    TRY(close(datagram[0]));
    TRY(close(datagram[1]));
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "\0libreuse-hostile"};
    int local[3] = {socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_STREAM, 0), socket(AF_UNIX, SOCK_STREAM, 0)};
    TRY(bind(local[0], (struct sockaddr *)&name, sizeof name));
    TRY(bind(local[1], (struct sockaddr *)&name, sizeof name));
    TRY(connect(local[1], (struct sockaddr *)&name, sizeof name));
    TRY(listen(local[0], 1));
    TRY(connect(local[1], (struct sockaddr *)&name, sizeof name));
    TRY(connect(local[1], (struct sockaddr *)&name, sizeof name));
    TRY(setsockopt(local[0], SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
    for (int i = 0; i < 3; i++) {
        TRY(close(local[i]));
    }

    // EISCONN, EINPROGRESS, EALREADY, ECONNREFUSED, EINTR
    int connected = tcp();
    TRY(connect(connected, there, IN));
    TRY(connect(connected, there, IN));
    TRY(bind(connected, AT(0), IN));
    TRY(listen(connected, 1));
    TRY(setsockopt(connected, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
    TRY(setsockopt(connected, IPPROTO_TCP, TCP_LINGER2, &one, sizeof one));
    TRY(close(connected));
    fd = tcp();
    TRY(connect(fd, AT(1), IN));
    TRY(close(fd));
    // A backlog of none takes one connection; the next one's SYN is dropped.
    int full = tcp();
    TRY(bind(full, AT(0), IN));
    TRY(listen(full, 0));
    struct sockaddr_in crowded = at(port_of(full));
    int first = tcp();
    TRY(connect(first, (struct sockaddr *)&crowded, IN));
    wait_for_client(full);
    int waiting = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    TRY(connect(waiting, (struct sockaddr *)&crowded, IN));
    TRY(connect(waiting, (struct sockaddr *)&crowded, IN));
    TRY(close(waiting));
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    // Again and again: one of them falls into the call.
    struct itimerspec soon = {.it_value = {.tv_nsec = 20000000}, .it_interval = {.tv_nsec = 20000000}};
    waiting = tcp();
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
    TRY(connect(waiting, (struct sockaddr *)&crowded, IN));
    CHECK(timer_delete(timer) == 0);
    TRY(close(waiting));
    TRY(close(first));
    TRY(close(full));

    // EAFNOSUPPORT, and what connect takes for a wish to be unconnected
    fd = tcp();
    struct sockaddr nothing = {.sa_family = AF_UNSPEC};
    TRY(connect(fd, &nothing, sizeof nothing));
    TRY(bind(fd, &nothing, sizeof nothing));
    TRY(close(fd));
    fd = tcp();
    struct sockaddr alien = {.sa_family = 250};
    TRY(bind(fd, &alien, sizeof alien));
    TRY(connect(fd, &alien, sizeof alien));
    TRY(setsockopt(fd, 12345, 1, &one, sizeof one));
    TRY(setsockopt(fd, SOL_SOCKET, 12345, &one, sizeof one));
    TRY(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, 3));
    TRY(close(fd));

    // EACCES
    without_capabilities();
    fd = tcp();
    TRY(bind(fd, AT(80), IN));
    TRY(close(fd));
    TRY(close(live));
    TRY(close(file));
    return 0;
}
