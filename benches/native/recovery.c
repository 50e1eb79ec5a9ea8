/* recovery hold PORT NUMBER     a server with NUMBER connections, which waits to be killed
 * recovery dial PORT NUMBER     its clients, which close when it does
 * recovery bind PORT            the next server: waits for a line, then binds as often as it takes
 *
 * The server is one that knows nothing of SO_REUSEADDR. `bind` prints the time of its success on the monotonic clock,
 * in nanoseconds, and the number of its tries.
 */
#define _GNU_SOURCE
#include "network.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

static void say(const char *what)
{
	puts(what);
	fflush(stdout);
}

static void hold(int port, int number)
{
	struct sockaddr_in address = loopback(port);
	int listener = tcp_socket();
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
		err(1, "port %d", port);
	say("listening");
	for (int i = 0; i < number; i++)
		if (accept4(listener, NULL, NULL, SOCK_CLOEXEC) < 0)
			err(1, "accept");
	say("ready");
	for (;;)
		pause();
}

static void dial(int port, int number)
{
	int poll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < number; i++) {
		struct sockaddr_in address = loopback(port);
		int fd = tcp_socket();
		struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.fd = fd };
		if (connect(fd, (struct sockaddr *)&address, sizeof address))
			err(1, "connection %d", i);
		if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event))
			err(1, "epoll_ctl");
	}
	say("connected");
	while (number > 0) {
		struct epoll_event events[256];
		int ready = epoll_wait(poll, events, 256, -1);
		if (ready < 0)
			err(1, "epoll_wait");
		for (int i = 0; i < ready; i++, number--)
			close(events[i].data.fd);
	}
	say("closed");
}

static void next(int port)
{
	struct sockaddr_in address = loopback(port);
	struct timespec pause = { .tv_nsec = 1000000 };
	long tries = 1;
	int fd = tcp_socket();
	say("ready");
	if (getchar() == EOF)
		errx(1, "nobody is listening");
	while (bind(fd, (struct sockaddr *)&address, sizeof address)) {
		if (errno != EADDRINUSE)
			err(1, "bind");
		nanosleep(&pause, NULL);
		tries++;
	}
	long bound = nanoseconds();
	if (listen(fd, 128))
		err(1, "listen");
	printf("%ld %ld\n", bound, tries);
}

int main(int count, char **arguments)
{
	if (count < 3)
		errx(2, "usage: recovery hold|dial|bind PORT [NUMBER]");
	int port = atoi(arguments[2]), number = count > 3 ? atoi(arguments[3]) : 0;
	allow_descriptors(number + 64);
	if (!strcmp(arguments[1], "hold"))
		hold(port, number);
	else if (!strcmp(arguments[1], "dial"))
		dial(port, number);
	else
		next(port);
	return 0;
}
