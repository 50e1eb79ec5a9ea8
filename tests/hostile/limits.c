// Limits that a write or an open of ours could run into, and the descriptors that the program can see.
#include "host.h"
#include <dirent.h>

static void list_descriptors(void) {
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    char found[256] = "";
    int numbers[64], count = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            CHECK(count < 64);
            numbers[count++] = atoi(entry->d_name);
        }
    }
    CHECK(closedir(folder) == 0);
    for (int fd = 0; fd < 64; fd++) {
        for (int i = 0; i < count; i++) {
            if (numbers[i] == fd) {
                sprintf(found + strlen(found), " %d", fd);
            }
        }
    }
    printf("descriptors:%s\n", found);
}

static uint64_t expected;
static volatile sig_atomic_t looked;
static timer_t timer;

static void look(int signal) {
    (void)signal;
    // One of the program's own may be on its way.
    CHECK(open_descriptors() == expected);
    looked++;
    struct itimerspec soon = {.it_value = {.tv_nsec = 1000 + looked * 7919L % 50000}};
    CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
}

int main(int argc, char **argv) {
    const char *what = argv[1];
    if (strcmp(what, "descriptors") == 0) {
        list_descriptors();
        int fd = listener();
        int other = tcp();
        call_every_hook();
        list_descriptors();
        // A handler looks too, between any two instructions of a hook.
        struct sigaction action = {.sa_handler = look, .sa_flags = SA_RESTART};
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
        CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
        expected = open_descriptors();
        CHECK(raise(SIGUSR1) == 0);
        while (looked < 2000) {
            call_hooks_on(fd, other);
        }
        // One that waits to be delivered would arm a timer that is gone.
        CHECK(signal(SIGUSR1, SIG_IGN) != SIG_ERR);
        CHECK(timer_delete(timer) == 0);
        pid_t child = fork();
        if (child == 0) {
            list_descriptors();
            call_every_hook();
            list_descriptors();
            fflush(stdout);
            _exit(0);
        }
        CHECK(end_of(child) == 0);
    } else if (strcmp(what, "three descriptors") == 0) {
        if (argc == 2) {
            int fd = listener();
            CHECK(dup2(fd, 0) == 0);
            CHECK(close(fd) == 0);
            again(argv, "again");
        }
        struct rlimit three = {3, 3};
        CHECK(setrlimit(RLIMIT_NOFILE, &three) == 0);
        struct sockaddr_in here = at(port_of(0));
        int none = 0;
        for (int i = 0; i < 20; i++) {
            FAILS(socket(AF_INET, SOCK_STREAM, 0), EMFILE);
            FAILS(close(3), EBADF);
            SUCCEEDS(setsockopt(0, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none));
            SUCCEEDS(listen(0, 1));
            FAILS(bind(0, (struct sockaddr *)&here, sizeof here), EINVAL);
            FAILS(connect(0, (struct sockaddr *)&here, sizeof here), EISCONN);
        }
        SUCCEEDS(close(0));
        GIVES(socket(AF_INET, SOCK_STREAM, 0), 0, PRESET);
        SUCCEEDS(close(0));
        puts("three were enough");
    } else if (strcmp(what, "no file size") == 0) {
        if (argc == 2) {
            again_without_file_size(argv);
        }
        for (int i = 0; i < 20; i++) {
            call_every_hook();
        }
        sigset_t pending;
        // Not all of it is written by sigpending.
        CHECK(sigemptyset(&pending) == 0 && sigpending(&pending) == 0 && sigisemptyset(&pending));
        struct stat status;
        CHECK(fstat(2, &status) == 0 && status.st_size == 0);
        puts("no signal");
    } else {
        CHECK(!"a known argument");
    }
    return 0;
}
