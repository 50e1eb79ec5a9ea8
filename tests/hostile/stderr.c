// What becomes of stderr: closed and used for data, a pipe that nobody reads, and the like. The first argument says
// which; the program then starts itself again, so that it is so before the shim is loaded.
#include "host.h"
#include <poll.h>
#include <pty.h>
#include <termios.h>

static const char PAYLOAD[] = "the program's own data\n";

// The file that is descriptor 2 now must hold what the program writes to it and nothing else.
static void write_data(const char *path) {
    for (int i = 0; i < 10; i++) {
        call_every_hook();
        CHECK(write(2, PAYLOAD, sizeof PAYLOAD - 1) == sizeof PAYLOAD - 1);
    }
    call_every_hook();
    char text[4096];
    int fd = open(path, O_RDONLY);
    ssize_t length = read(fd, text, sizeof text);
    CHECK(length == 10 * (sizeof PAYLOAD - 1));
    for (int i = 0; i < 10; i++) {
        CHECK(memcmp(text + (size_t)i * (sizeof PAYLOAD - 1), PAYLOAD, sizeof PAYLOAD - 1) == 0);
    }
    CHECK(close(fd) == 0);
}

static void data_in_place_of_stderr(void) {
    char path[] = "/var/tmp/libreuse-data-XXXXXX";
    CHECK(close(2) == 0);
    CHECK(mkstemp(path) == 2);
    write_data(path);
    // By dup2, which no hook sees.
    char other[] = "/var/tmp/libreuse-data-XXXXXX";
    int fd = mkstemp(other);
    CHECK(dup2(fd, 2) == 2);
    write_data(other);
    CHECK(unlink(path) == 0 && unlink(other) == 0);
}

// A new file may have the number of one that is gone: ext4 gives it to the next one.
static void data_with_the_inode_of_stderr(int at_once) {
    struct stat before, now;
    struct timespec tick;
    CHECK(fstat(2, &before) == 0);
    // Files are dated by a clock that ticks a few hundred times a second.
    do {
        CHECK(clock_gettime(CLOCK_REALTIME_COARSE, &tick) == 0);
    } while (!at_once &&
             (tick.tv_sec - before.st_ctim.tv_sec) * 1000000000 + tick.tv_nsec - before.st_ctim.tv_nsec < 20000000);
    CHECK(close(2) == 0);
    for (int i = 0; i < 20; i++) {
        char path[] = "/var/tmp/libreuse-data-XXXXXX";
        CHECK(mkstemp(path) == 2);
        CHECK(fstat(2, &now) == 0);
        write_data(path);
        CHECK(unlink(path) == 0);
        if (now.st_ino == before.st_ino) {
            break;
        }
        CHECK(close(2) == 0);
    }
}

static void many_calls(void) {
    for (int i = 0; i < 300; i++) {
        call_every_hook();
    }
    puts("still here");
}

static void full(int fd) {
    static const char block[4096];
    CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
    while (write(fd, block, sizeof block) > 0) {
    }
    while (write(fd, block, 1) > 0) {
    }
    CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0);
}

int main(int argc, char **argv) {
    // As the constructors have left it: the shim's looks at stderr, which may be closed.
    CHECK(errno == 0);
    const char *what = argv[1];
    int there = argc > 2;
    int ends[2];
    if (strcmp(what, "data") == 0) {
        data_in_place_of_stderr();
    } else if (strcmp(what, "closed") == 0) {
        if (!there) {
            CHECK(close(2) == 0);
            again(argv, "again");
        }
        call_every_hook();
        char path[] = "/var/tmp/libreuse-data-XXXXXX";
        CHECK(mkstemp(path) == 2);
        write_data(path);
        CHECK(unlink(path) == 0);
    } else if (strcmp(what, "inode") == 0 || strcmp(what, "inode at once") == 0) {
        if (!there) {
            char path[] = "/var/tmp/libreuse-data-XXXXXX";
            int fd = mkstemp(path);
            CHECK(unlink(path) == 0 && dup2(fd, 2) == 2 && close(fd) == 0);
            again(argv, "again");
        }
        data_with_the_inode_of_stderr(strcmp(what, "inode") != 0);
    } else if (strcmp(what, "pipe without reader") == 0) {
        if (!there) {
            CHECK(pipe(ends) == 0 && dup2(ends[1], 2) == 2 && close(ends[0]) == 0 && close(ends[1]) == 0);
            again(argv, "again");
        }
        many_calls();
    } else if (strcmp(what, "pipe whose reader goes") == 0) {
        if (!there) {
            CHECK(pipe(ends) == 0 && dup2(ends[1], 2) == 2 && dup2(ends[0], 9) == 9);
            again(argv, "again");
        }
        call_every_hook();
        CHECK(close(9) == 0 && close(3) == 0 && close(4) == 0);
        many_calls();
    } else if (strcmp(what, "pipe that nobody reads") == 0) {
        if (!there) {
            CHECK(pipe(ends) == 0 && dup2(ends[1], 2) == 2);
            full(2);
            again(argv, "again");
        }
        many_calls();
    } else if (strcmp(what, "socket without reader") == 0) {
        if (!there) {
            CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && dup2(ends[1], 2) == 2);
            CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
            again(argv, "again");
        }
        many_calls();
    } else if (strcmp(what, "socket that nobody reads") == 0) {
        if (!there) {
            CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && dup2(ends[1], 2) == 2);
            full(2);
            again(argv, "again");
        }
        many_calls();
    } else if (strcmp(what, "terminal that nobody reads") == 0) {
        if (!there) {
            int terminal, its_end;
            CHECK(openpty(&terminal, &its_end, NULL, NULL, NULL) == 0 && dup2(its_end, 2) == 2);
            again(argv, "again");
        }
        // More than it takes.
        for (int i = 0; i < 10; i++) {
            many_calls();
        }
    } else if (strcmp(what, "terminal in the background") == 0) {
        // A background process that writes to such a terminal is stopped: by its own words, not by ours.
        int terminal;
        pid_t session = forkpty(&terminal, NULL, NULL, NULL);
        CHECK(session >= 0);
        if (session == 0) {
            struct termios settings;
            CHECK(tcgetattr(2, &settings) == 0);
            settings.c_lflag |= TOSTOP;
            CHECK(tcsetattr(2, TCSANOW, &settings) == 0);
            pid_t background = fork();
            CHECK(background >= 0);
            if (background == 0) {
                CHECK(setpgid(0, 0) == 0);
                execl("/proc/self/exe", argv[0], "many calls", NULL);
                _exit(9);
            }
            int status;
            CHECK(waitpid(background, &status, WUNTRACED) == background);
            _exit(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1);
        }
        char text[4096];
        while (read(terminal, text, sizeof text) > 0) {
        }
        printf("the session: %d\n", end_of(session));
    } else if (strcmp(what, "many calls") == 0) {
        // stdout is that terminal as well.
        CHECK(close(1) == 0);
        for (int i = 0; i < 50; i++) {
            call_every_hook();
        }
        _exit(0);
    } else {
        CHECK(!"a known argument");
    }
    puts("as it should be");
    return 0;
}
