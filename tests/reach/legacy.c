/*
 * A server as nobody can change any more: it takes the next port where its own is in use, does not set SO_REUSEADDR,
 * says hello to each client, and is the first to close. With an argument it hears the client first.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argv;
	struct sockaddr_in address;
	int listener;
	unsigned port;

	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (port = 49200;; port++) {
		address.sin_port = htons(port);
		listener = socket(AF_INET, SOCK_STREAM, 0);
		if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0)
			break;
		if (errno != EADDRINUSE) {
			perror("bind");
			return 1;
		}
		close(listener);
	}
	if (listen(listener, 16)) {
		perror("listen");
		return 1;
	}
	printf("port %u\n", port);
	fflush(stdout);
	for (;;) {
		char heard[16];
		int client = accept(listener, NULL, NULL);
		if (argc > 1 && read(client, heard, sizeof heard) < 0)
			perror("read");
		if (client < 0 || write(client, "hello\n", 6) != 6 || close(client)) {
			perror("serve");
			return 1;
		}
	}
}
