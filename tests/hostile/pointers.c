// Addresses and values that are short, odd, null, wild, or end at the end of a page: the kernel's answer to each is
// printed.
#include "host.h"

static const socklen_t LENGTHS[] = {0,  1,  2,  3,  4,   7,   8,   15,    16,         17,         24,
                                    27, 28, 29, 60, 127, 128, 129, 60000, 0x7fffffff, 0x80000000, 0xffffffff};
#define COUNT(array) (sizeof(array) / sizeof *(array))

static int fresh(int kind) {
    switch (kind) {
    case 0:
        return tcp();
    case 1:
        return socket(AF_INET6, SOCK_STREAM, 0);
    case 2:
        return socket(AF_INET, SOCK_DGRAM, 0);
    case 3:
        return socket(AF_UNIX, SOCK_STREAM, 0);
    case 4:
        return listener();
    default:
        return open("/dev/null", O_RDWR);
    }
}

static void say(const char *call, int kind, long place, socklen_t length, long result) {
    int error = errno;
    printf("%s %d %ld %u: %ld, errno %d\n", call, kind, place, length, result, error);
}

int main(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    CHECK(mprotect(pages + page, page, PROT_NONE) == 0);
    char *end = pages + page;

    int live = listener();
    struct sockaddr_in taken = at(port_of(live));
    static const struct sockaddr_in constant = {.sin_family = AF_INET};
    const void *const wild[] = {NULL,       (void *)1,           (void *)4096,   (void *)-1, (void *)-4096,
                                (void *)(UINTPTR_MAX / 2 + 1), end, end + page / 2, &constant};

    for (int kind = 0; kind < 6; kind++) {
        for (size_t i = 0; i < COUNT(LENGTHS); i++) {
            socklen_t length = LENGTHS[i];
            for (size_t j = 0; j < COUNT(wild); j++) {
                int fd = fresh(kind);
                errno = PRESET;
                say("bind", kind, (long)j, length, bind(fd, wild[j], length));
                errno = PRESET;
                say("connect", kind, (long)j, length, connect(fd, wild[j], length));
                CHECK(close(fd) == 0);
                fd = fresh(kind);
                const int options[][2] = {
                    {SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_LINGER}, {IPPROTO_TCP, TCP_LINGER2}};
                for (size_t k = 0; k < COUNT(options); k++) {
                    errno = PRESET;
                    say("setsockopt", kind, (long)j, length,
                        setsockopt(fd, options[k][0], options[k][1], wild[j], length));
                }
                CHECK(close(fd) == 0);
            }
            // So many bytes before the end of the page, of an address that is in use.
            for (long there = 0; there <= 29; there++) {
                char *place = end - there;
                memset(pages, 0, page);
                size_t size = (size_t)there < sizeof taken ? (size_t)there : sizeof taken;
                memcpy(place, &taken, size);
                int fd = fresh(kind);
                errno = PRESET;
                say("bind at page end", kind, there, length, bind(fd, (struct sockaddr *)place, length));
                memset(place, 0, (size_t)there);
                errno = PRESET;
                say("setsockopt at page end", kind, there, length,
                    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, place, length));
                CHECK(close(fd) == 0);
            }
        }
    }
    return 0;
}
