/* A service that nobody can change: binds the port of its first argument without any option, or with DRIFT in its environment the
   next one that it gets; says so in a file of /run; serves one connection, and crashes. Its last argument is the type of service:
   simple, forking or notify (sd_notify(3)). */
#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void notify(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    int sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    socklen_t length;

    if (path == NULL || strlen(path) >= sizeof address.sun_path)
        return;
    strcpy(address.sun_path, path);
    length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
    if (address.sun_path[0] == '@')
        address.sun_path[0] = 0;
    sendto(sender, "READY=1", 7, 0, (struct sockaddr *)&address, length);
    close(sender);
}

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener, port = count == 4 ? atoi(arguments[1]) : 0;
    char path[100];
    FILE *log;

    for (;;) {
        listener = socket(AF_INET, SOCK_STREAM, 0);
        address.sin_port = htons(port);
        if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0)
            break;
        if (getenv("DRIFT") == NULL) {
            perror("bind");
            return 1;
        }
        port++;
    }
    if (listen(listener, 128) != 0) {
        perror("listen");
        return 1;
    }
    if (strcmp(arguments[3], "forking") == 0 && fork() != 0)
        return 0;
    if (strcmp(arguments[3], "notify") == 0)
        notify();
    snprintf(path, sizeof path, "/run/%s", arguments[2]);
    log = fopen(path, "a");
    if (log != NULL) {
        fprintf(log, "%d\n", port);
        fclose(log);
    }
    close(accept(listener, NULL, NULL));
    abort();
}
