/* A server that nobody can change: binds the port it is given, without SO_REUSEADDR, and keeps what it accepts. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), accepted = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    address.sin_port = htons(count > 1 ? atoi(arguments[1]) : 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) {
        /* The message on stdout, where the test reads. */
        dup2(STDOUT_FILENO, STDERR_FILENO);
        perror("bind");
        return 1;
    }
    if (listen(listener, 128) != 0) {
        perror("listen");
        return 1;
    }
    puts("listening");
    while (accept(listener, NULL, NULL) >= 0)
        if (++accepted == 100)
            puts("100 connections");
    perror("accept");
    return 1;
}
