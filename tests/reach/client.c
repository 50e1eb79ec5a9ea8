/* Reads what the server on port 49200 says to its end, so that the server closes first. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(49200), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int client = socket(AF_INET, SOCK_STREAM, 0);
    char byte;

    if (connect(client, (struct sockaddr *)&server, sizeof server) != 0)
        return 1;
    while (read(client, &byte, 1) > 0)
        ;
    return close(client) != 0;
}
