/* Binds and listens, with a filter of its own that ends it for a call, or answers that by SIGSYS. */
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef ANSWER
#define ANSWER SECCOMP_RET_KILL_PROCESS
#endif
static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    printf("signal %d for call %d, ", number, info->si_syscall);
}
int main(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FORBIDDEN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, ANSWER),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {4, code};
    int listener = socket(AF_INET, SOCK_STREAM, 0), bound, listening, option;
    socklen_t length = sizeof option;

    puts("");
    sigaction(SIGSYS, &action, NULL);
    if (FORBIDDEN != 0x7fff && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)))
        return 1;
    bound = bind(listener, (struct sockaddr *)&address, sizeof address);
    listening = listen(listener, 5);
    getsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &option, &length);
    printf("bind %d, listen %d, option %d\n", bound, listening, option);
    return 0;
}
