/* A server that makes so many system calls before it binds its port, says when it listens, and answers each request.
 *
 *   listener PORT CALLS
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), calls = count > 2 ? atoi(arguments[2]) : 0;
    char request[4096];

    for (int i = 0; i < calls; i++)
        getppid();
    address.sin_port = htons(count > 1 ? atoi(arguments[1]) : 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) {
        perror("listen");
        return 1;
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            return 1;
        if (read(client, request, sizeof request) > 0 && write(client, ANSWER, strlen(ANSWER)) < 0)
            perror("write");
        close(client);
    }
}
