// A connection whose descriptor several processes hold. The client must get every byte and then a clean end, whoever
// closes first.
#include "host.h"
#include <poll.h>

enum { SIZE = 3 * 1000 * 1000 };

static void send_all(int fd) {
    char block[10000];
    for (int i = 0; i < SIZE / (int)sizeof block; i++) {
        memset(block, 'a' + i % 26, sizeof block);
        for (size_t done = 0; done < sizeof block;) {
            ssize_t length = write(fd, block + done, sizeof block - done);
            CHECK(length > 0);
            done += (size_t)length;
        }
    }
}

// Reads all of it, slowly at first, through a small window.
static pid_t client(int port) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child > 0) {
        return child;
    }
    int fd = tcp();
    int small = 4096;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) == 0);
    struct sockaddr_in there = at(port);
    CHECK(connect(fd, (struct sockaddr *)&there, sizeof there) == 0);
    CHECK(write(fd, "GET", 3) == 3);
    long got = 0, wrong = 0;
    ssize_t length;
    char block[20000];
    while ((length = read(fd, block, sizeof block)) > 0) {
        for (ssize_t i = 0; i < length; i++) {
            wrong += block[i] != 'a' + (got + i) / 10000 % 26;
        }
        got += length;
        if (got < 100000) {
            poll(NULL, 0, 1);
        }
    }
    int error = length < 0 ? errno : 0;
    printf("client: %ld bytes, %ld wrong, error %d\n", got, wrong, error);
    fflush(stdout);
    _exit(0);
}

static int accepted_from(int fd) {
    int accepted = accept(fd, NULL, NULL);
    CHECK(accepted >= 0);
    char request[3];
    CHECK(read(accepted, request, sizeof request) == sizeof request);
    return accepted;
}

static void pass(int channel, int fd) {
    char byte = 0, control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    CHECK(sendmsg(channel, &message, 0) == 1);
}

static int passed(int channel) {
    int fd;
    char byte, control[CMSG_SPACE(sizeof fd)];
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(channel, &message, 0) == 1);
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

// Told by the other process that it has closed its copy.
static void wait_for_byte(int fd) {
    char byte;
    CHECK(read(fd, &byte, 1) == 1);
}

static void tell(int fd) {
    CHECK(write(fd, "", 1) == 1);
}

int main(int argc, char **argv) {
    const char *how = argv[1];
    int worker_first = strstr(how, "worker first") != NULL;
    int fd, ends[2];
    if (strncmp(how, "activated", 9) == 0) {
        if (argc == 2) {
            // As systemd does: descriptor 3, and no option of ours on it, for which listen goes past the shim.
            fd = socket(AF_INET, SOCK_STREAM, 0);
            CHECK(bind(fd, AT(6000), IN) == 0);
            CHECK(syscall(SYS_listen, fd, 16) == 0);
            CHECK(dup2(fd, 3) == 3);
            CHECK(setenv("LISTEN_FDS", "1", 1) == 0);
            again(argv, "again");
        }
        CHECK(strcmp(getenv("LISTEN_FDS"), "1") == 0);
        fd = 3;
    } else {
        fd = tcp();
        CHECK(bind(fd, AT(6000), IN) == 0 && listen(fd, 16) == 0);
    }
    pid_t reader = client(port_of(fd));
    int accepted = accepted_from(fd);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    if (strncmp(how, "activated", 9) == 0) {
        send_all(accepted);
        CHECK(close(accepted) == 0);
    } else {
        int by_message = strncmp(how, "passed", 6) == 0;
        pid_t worker = fork();
        CHECK(worker >= 0);
        if (worker == 0) {
            if (by_message) {
                CHECK(close(accepted) == 0);
                accepted = passed(ends[1]);
            }
            if (!worker_first) {
                wait_for_byte(ends[1]);
            }
            send_all(accepted);
            if (strstr(how, "exits") == NULL) {
                CHECK(close(accepted) == 0);
            }
            if (worker_first) {
                tell(ends[1]);
            }
            _exit(0);
        }
        if (by_message) {
            pass(ends[0], accepted);
        }
        if (worker_first) {
            wait_for_byte(ends[0]);
        }
        CHECK(close(accepted) == 0);
        if (!worker_first) {
            tell(ends[0]);
        }
        CHECK(end_of(worker) == 0);
    }
    CHECK(end_of(reader) == 0);
    return 0;
}
