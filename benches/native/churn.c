/* churn serve FIRST COUNT closes|waits
 * churn dial FIRST COUNT closes|waits|spreads LIMIT [CHECKPOINT]...
 *
 * Short connections, one after the other, to COUNT ports in turn: a byte there, a byte back, and the end. Who `closes`
 * closes first, the other one waits for the end. Who `spreads` waits too, and takes an address and port of its own for
 * every connection. The dialler prints what happened at each checkpoint, where it waits
 * for a line, and at the first connection that fails or at the limit:
 *
 *     CONNECTIONS NANOSECONDS ERRNO CUT
 *
 * where CUT is how many connections ended by a reset instead of an end of file, or before the answer.
 */
#define _GNU_SOURCE
#include "network.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_PORTS = 16 };

static void serve(int first, int count, int closes)
{
	struct pollfd listeners[MOST_PORTS];
	for (int i = 0; i < count; i++) {
		struct sockaddr_in address = loopback(first + i);
		listeners[i] = (struct pollfd){ .fd = tcp_socket(), .events = POLLIN };
		if (bind(listeners[i].fd, (struct sockaddr *)&address, sizeof address) || listen(listeners[i].fd, 128))
			err(1, "port %d", first + i);
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (poll(listeners, count, -1) < 0)
			err(1, "poll");
		for (int i = 0; i < count; i++) {
			if (!(listeners[i].revents & POLLIN))
				continue;
			int fd = accept4(listeners[i].fd, NULL, NULL, SOCK_CLOEXEC);
			char byte;
			if (fd < 0)
				err(1, "accept");
			if (read(fd, &byte, 1) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && !closes)
				while (read(fd, &byte, 1) > 0)
					;
			close(fd);
		}
	}
}

static void say(long connections, long start, int error, long cut)
{
	printf("%ld %ld %d %ld\n", connections, nanoseconds() - start, error, cut);
	fflush(stdout);
}

/* connect() would choose a port that had its turn already, now and then. */
static void bind_to(int fd, long number)
{
	struct sockaddr_in source = spread(number);
	if (bind(fd, (struct sockaddr *)&source, sizeof source))
		err(1, "connection %ld", number);
}

static void dial(int first, int count, const char *how, long limit, int checkpoints, char **at)
{
	int closes = !strcmp(how, "closes"), spreads = !strcmp(how, "spreads");
	long start = nanoseconds(), cut = 0, made = 0;
	int error = 0;
	while (made < limit && !error) {
		struct sockaddr_in address = loopback(first + made % count);
		int fd = tcp_socket();
		char byte = 'x';
		if (spreads)
			bind_to(fd, made);
		if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
			error = errno;
		} else {
			made++;
			int whole = send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && read(fd, &byte, 1) == 1;
			if (!closes)
				whole = whole && read(fd, &byte, 1) == 0;
			cut += !whole;
		}
		close(fd);
		if (checkpoints && made == atol(*at)) {
			say(made, start, 0, cut);
			long before = nanoseconds();
			if (getchar() == EOF)
				errx(1, "nobody is listening");
			start += nanoseconds() - before;
			checkpoints--;
			at++;
		}
	}
	say(made, start, error, cut);
}

int main(int count, char **arguments)
{
	if (count < 5 || atoi(arguments[3]) < 1 || atoi(arguments[3]) > MOST_PORTS)
		errx(2, "usage: churn serve|dial FIRST COUNT closes|waits|spreads [LIMIT [CHECKPOINT]...]");
	int first = atoi(arguments[2]), ports = atoi(arguments[3]);
	if (!strcmp(arguments[1], "serve"))
		serve(first, ports, !strcmp(arguments[4], "closes"));
	else if (count > 5)
		dial(first, ports, arguments[4], atol(arguments[5]), count - 6, arguments + 6);
	else
		errx(2, "no limit");
	return 0;
}
