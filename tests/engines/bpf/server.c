/* A server that nobody can change: takes the first port that it can have, from FIRST on, and sets no option. With BARE it
 * makes system calls of its own, with URING it has io_uring make them, with LATE it first
 * listens somewhere else for so many seconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef URING
#include <linux/io_uring.h>
#include <sys/mman.h>
#endif

#ifndef FIRST
#define FIRST 49200
#endif

#ifdef URING
/* One operation of io_uring(7): IORING_OP_SOCKET is 45, _BIND 56, _LISTEN 57. */
static int submit(int code, int fd, void *address, unsigned long offset, unsigned length)
{
    static int ring;
    static struct io_uring_params parameters;
    static char *queues;
    static struct io_uring_sqe *entries;

    if (!queues) {
        ring = syscall(SYS_io_uring_setup, 4, &parameters);
        queues = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
        entries = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    }
    unsigned *tail = (unsigned *)(queues + parameters.sq_off.tail);
    unsigned *head = (unsigned *)(queues + parameters.cq_off.head);
    unsigned slot = *tail & 3;

    memset(&entries[slot], 0, sizeof entries[slot]);
    entries[slot].opcode = code;
    entries[slot].fd = fd;
    entries[slot].addr = (unsigned long)address;
    entries[slot].off = offset;
    entries[slot].len = length;
    ((unsigned *)(queues + parameters.sq_off.array))[slot] = slot;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
    struct io_uring_cqe *answers = (struct io_uring_cqe *)(queues + parameters.cq_off.cqes);
    int result = answers[*head & *(unsigned *)(queues + parameters.cq_off.ring_mask)].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    errno = result < 0 ? -result : 0;
    return result < 0 ? -1 : result;
}
#define socket(family, kind, protocol) submit(45, family, 0, kind, protocol)
#define bind(fd, address, length) submit(56, fd, address, length, 0)
#define listen(fd, backlog) submit(57, fd, 0, 0, backlog)
#endif

#ifdef BARE
#define socket(family, kind, protocol) syscall(SYS_socket, family, kind, protocol)
#define bind(fd, address, length) syscall(SYS_bind, fd, address, length)
#define listen(fd, backlog) syscall(SYS_listen, fd, backlog)
#endif

static int served(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_port = htons(port);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) {
        close(listener);
        return -1;
    }
    return listen(listener, 128) == 0 ? listener : -1;
}

int main(void)
{
    int port = FIRST, listener;

#ifdef LATE
    served(5000);
    sleep(getenv("LATE") ? atoi(getenv("LATE")) : LATE);
#endif
    while ((listener = served(port)) < 0)
        if (++port == FIRST + 10)
            return 1;
    printf("%d\n", port);
    fflush(stdout);
    while (accept(listener, NULL, NULL) >= 0)
        ;
    return 1;
}
