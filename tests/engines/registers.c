/* Waits while a signal that is ignored and one that is handled follow each other closely, and looks whether the registers that
   system calls preserve have their values behind the call. Prints what has changed. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CALLS = 100, MARK = 0x5a5a1234 };
static volatile sig_atomic_t handled;
static void on_signal(int number) { (void)number, handled = 1; }

/* How many registers have changed. */
static int wait_for_events(int epoll)
{
    struct epoll_event event;
#if defined __x86_64__
    register long mask __asm__("r8") = 0, size __asm__("r9") = 8, time __asm__("r10") = 100;
    register long first __asm__("r12") = MARK, second __asm__("r13") = MARK, third __asm__("r14") = MARK;
    long call = SYS_epoll_pwait;
    __asm__ volatile("syscall" : "+a"(call), "+r"(size), "+r"(mask), "+r"(first), "+r"(second), "+r"(third)
                     : "D"((long)epoll), "S"(&event), "d"(1L), "r"(time) : "rcx", "r11", "memory");
    return (mask != 0) + (size != 8) + (first != MARK) + (second != MARK) + (third != MARK);
#elif defined __aarch64__
    register long x0 __asm__("x0") = epoll, x1 __asm__("x1") = (long)&event, x2 __asm__("x2") = 1, x3 __asm__("x3") = 100;
    register long x4 __asm__("x4") = 0, x5 __asm__("x5") = 8, x8 __asm__("x8") = SYS_epoll_pwait;
    register long x6 __asm__("x6") = MARK, x7 __asm__("x7") = MARK, x9 __asm__("x9") = MARK, x15 __asm__("x15") = MARK;
    __asm__ volatile("svc 0" : "+r"(x0), "+r"(x4), "+r"(x5), "+r"(x6), "+r"(x7), "+r"(x9), "+r"(x15)
                     : "r"(x1), "r"(x2), "r"(x3), "r"(x8) : "memory");
    return (x4 != 0) + (x5 != 8) + (x6 != MARK) + (x7 != MARK) + (x9 != MARK) + (x15 != MARK);
#endif
}

static long elapsed(const struct timespec *since)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since->tv_sec) * 1000000000L + now.tv_nsec - since->tv_nsec;
}

int main(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    int epoll = epoll_create1(0), ends[2], changed = 0;
    pid_t parent = getpid();
    struct timespec sent;
    char byte = 0;

    sigaction(SIGUSR1, &action, NULL);
    signal(SIGUSR2, SIG_IGN);
    if (epoll < 0 || pipe(ends) != 0)
        return 1;
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[1]);
        for (long call = 0; read(ends[0], &byte, 1) == 1; call++) {
            usleep(5000);
            clock_gettime(CLOCK_MONOTONIC, &sent);
            kill(parent, SIGUSR2);
            /* At many moments of what a tracer does meanwhile: up to 6 ms, where a processor is emulated. */
            while (elapsed(&sent) < call * 37 % CALLS * 60000)
                ;
            kill(parent, SIGUSR1);
        }
        _exit(0);
    }
    for (int call = 0; call < CALLS; call++) {
        handled = 0;
        if (write(ends[1], &byte, 1) != 1)
            return 1;
        changed += wait_for_events(epoll);
        while (!handled)
            usleep(100);
    }
    printf("%d registers have changed\n", changed);
    return 0;
}
