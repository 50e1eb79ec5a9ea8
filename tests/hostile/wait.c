// A bind that waits, while signals arrive. The address is held by a listener of another process for as long as the
// parent wants. Without the shim there is no wait: then nothing but the results is compared.
#include "host.h"
#include <setjmp.h>

enum { LONGEST_PAUSE = 100 };

static volatile sig_atomic_t handled;
static volatile sig_atomic_t inside;
static sigjmp_buf out;

static void on_signal(int signal) {
    (void)signal;
    handled++;
}

static void on_signal_jump(int signal) {
    (void)signal;
    if (inside) {
        inside = 0;
        siglongjmp(out, 1);
    }
}

static long now_ms(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static timer_t every(long ns, int flags, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec times = {.it_value = {.tv_nsec = ns}, .it_interval = {.tv_nsec = ns}};
    CHECK(timer_settime(timer, 0, &times, NULL) == 0);
    return timer;
}

// What the socket was: unflagged, unbound, blocking.
static void untouched(int fd) {
    CHECK(option(fd, SOL_SOCKET, SO_REUSEADDR) == 0);
    CHECK(option(fd, SOL_SOCKET, SO_REUSEPORT) == 0);
    CHECK(option(fd, IPPROTO_TCP, TCP_LINGER2) == 60);
    CHECK(port_of(fd) == 0);
    struct linger linger;
    socklen_t length = sizeof linger;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && linger.l_onoff == 0);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0);
}

int main(int argc, char **argv) {
    long wait_ms = argc > 1 ? atol(argv[1]) : 0;
    int live = listener();
    struct sockaddr_in taken = at(port_of(live));
    int fd = tcp();

    static const int FLAGS[] = {0, SA_RESTART};
    for (int i = 0; i < 2; i++) {
        timer_t timer = every(2000000, FLAGS[i], on_signal);
        handled = 0;
        // On a busy machine the scheduler may come late, but hardly every time.
        long took;
        int tries = 0;
        do {
            long start = now_ms();
            FAILS(bind(fd, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
            took = now_ms() - start;
            CHECK(took >= wait_ms);
            CHECK(tries++ < 200);
        } while (took > wait_ms + LONGEST_PAUSE);
        CHECK(timer_delete(timer) == 0);
        CHECK(wait_ms == 0 || handled > 0);
        untouched(fd);
    }

    // Out of the wait by a jump.
    for (int i = 0; i < 20; i++) {
        timer_t timer = every(3000000 + i * 500000, SA_NODEFER, on_signal_jump);
        volatile int jumped = 0;
        if (sigsetjmp(out, 1) == 0) {
            inside = 1;
            for (;;) {
                bind(fd, (struct sockaddr *)&taken, sizeof taken);
            }
        } else {
            jumped = 1;
        }
        CHECK(timer_delete(timer) == 0);
        CHECK(jumped);
        untouched(fd);
    }

    // The program's own value stays as well.
    int one = 1;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    FAILS(bind(fd, (struct sockaddr *)&taken, sizeof taken), EADDRINUSE);
    CHECK(option(fd, SOL_SOCKET, SO_REUSEADDR) == 1);

    // The holder leaves: the next bind succeeds, and with a wait so does the one that is under way.
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t holder = fork();
    if (holder == 0) {
        char byte;
        CHECK(read(ends[0], &byte, 1) == 1);
        struct timespec pause = {.tv_nsec = 50000000};
        CHECK(wait_ms == 0 || nanosleep(&pause, NULL) == 0);
        _exit(0);
    }
    CHECK(close(live) == 0);
    CHECK(write(ends[1], "", 1) == 1);
    if (wait_ms == 0) {
        CHECK(end_of(holder) == 0);
        SUCCEEDS(bind(fd, (struct sockaddr *)&taken, sizeof taken));
    } else {
        // On a busy machine the holder may leave only after the first wait.
        int result;
        do {
            errno = PRESET;
            result = bind(fd, (struct sockaddr *)&taken, sizeof taken);
        } while (result != 0 && errno == EADDRINUSE);
        CHECK(result == 0 && errno == PRESET);
        CHECK(end_of(holder) == 0);
    }
    puts("the wait leaves no trace");
    return 0;
}
