/* Binds a port that TIME_WAIT is on, and listens on another one: in a child that nobody can trace, where nobody may inspect it, or
   as it is. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int listener_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 5) == 0)
        return 0;
    return errno;
}

int main(int count, char **arguments)
{
    const char *how = count > 1 ? arguments[1] : "";
    int error;
    long child = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(how, "untraced") == 0)
        child = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
    if (child > 0)
        return waitpid(child, NULL, 0) != child;
    if (child < 0 || (strcmp(how, "undumpable") == 0 && prctl(PR_SET_DUMPABLE, 0)))
        return 1;
    error = listener_on(5000);
    printf("%s\n", error ? strerror(error) : "bound");
    error = listener_on(5001);
    printf("%s\n", error ? strerror(error) : "listening");
    printf("%d\n", (int)getpid());
    (void)!getchar();
    return 0;
}
