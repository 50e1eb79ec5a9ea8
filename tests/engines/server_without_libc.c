/* A server that nobody can change, with no libc: bare system calls on port 5000 of loopback, and no option. */
#ifdef __x86_64__
enum { WRITE = 1, SOCKET = 41, ACCEPT = 43, BIND = 49, LISTEN = 50, EXIT = 60 };
static long call(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
#else
enum { EXIT = 1, WRITE = 4, SOCKETCALL = 102, SOCKET = 359, BIND = 361, LISTEN = 363, ACCEPT4 = 364 };
static long call(long number, long a, long b, long c)
{
    long result;

    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(0) : "memory");
    return result;
}
#endif

#if defined MULTIPLEXED
static long of_sockets(long number, long a, long b, long c)
{
    volatile long arguments[3] = {a, b, c};

    return call(SOCKETCALL, number, (long)arguments, 0);
}
#define SOCKET_(a, b, c) of_sockets(1, a, b, c)
#define BIND_(a, b, c) of_sockets(2, a, b, c)
#define LISTEN_(a, b) of_sockets(4, a, b, 0)
#define ACCEPT_(a) of_sockets(5, a, 0, 0)
#else
#define SOCKET_(a, b, c) call(SOCKET, a, b, c)
#define BIND_(a, b, c) call(BIND, a, b, c)
#define LISTEN_(a, b) call(LISTEN, a, b, 0)
#ifdef __x86_64__
#define ACCEPT_(a) call(ACCEPT, a, 0, 0)
#else
#define ACCEPT_(a) call(ACCEPT4, a, 0, 0)
#endif
#endif

struct address {
    unsigned short family;
    unsigned char port[2];
    unsigned char host[4];
    unsigned char rest[8];
};

void _start(void)
{
    static const char in_use[] = "bind: in use\n", failed[] = "failed\n", listening[] = "listening\n";
    struct address address = {2, {5000 >> 8, 5000 & 255}, {127, 0, 0, 1}, {0}};
    long listener = SOCKET_(2, 1, 0);
    long result = BIND_(listener, (long)&address, sizeof address);

    if (result == -98) {
        call(WRITE, 1, (long)in_use, sizeof in_use - 1);
        call(EXIT, 1, 0, 0);
    }
    if (result != 0 || LISTEN_(listener, 128) != 0) {
        call(WRITE, 1, (long)failed, sizeof failed - 1);
        call(EXIT, 2, 0, 0);
    }
    call(WRITE, 1, (long)listening, sizeof listening - 1);
    for (;;)
        ACCEPT_(listener);
}
