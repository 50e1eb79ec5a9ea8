/* calls SCENARIO BATCHES
 *
 * Makes one hooked call a hundred times per batch, and prints the nanoseconds per call of the fastest batch and of the
 * median one. Everything around the call goes to the kernel by itself, so that nothing but the call itself meets
 * the preloaded library; the difference between two numbers of batches, run under callgrind or strace, is then the
 * cost of the calls without that of starting up.
 */
#define _GNU_SOURCE
#include "network.h"
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 100, PORT = 20000 };

static int mine[BATCH], peers[BATCH];
static int listener, file;

static void raw_bind(int fd, int port)
{
	struct sockaddr_in address = loopback(port);
	if (raw(SYS_bind, fd, (long)&address, sizeof address, 0, 0))
		err(1, "bind");
}

static void raw_connect(int fd)
{
	struct sockaddr_in address = loopback(PORT);
	if (raw(SYS_connect, fd, (long)&address, sizeof address, 0, 0))
		err(1, "connect");
}

/* Resets the connection: no state is left on either side to fill the ports over the batches. */
static void reset(int fd)
{
	struct linger at_once = { 1, 0 };
	if (raw(SYS_setsockopt, fd, SOL_SOCKET, SO_LINGER, (long)&at_once, sizeof at_once))
		err(1, "setsockopt");
	raw_close(fd);
}

static void nothing(void)
{
}

static void open_sockets(void)
{
	for (int i = 0; i < BATCH; i++)
		mine[i] = tcp_socket();
}

static void close_sockets(void)
{
	for (int i = 0; i < BATCH; i++)
		raw_close(mine[i]);
}

static void open_bound_sockets(void)
{
	open_sockets();
	for (int i = 0; i < BATCH; i++)
		raw_bind(mine[i], PORT + 1 + i);
}

static void accept_peers(void)
{
	for (int i = 0; i < BATCH; i++) {
		peers[i] = raw(SYS_accept4, listener, 0, 0, SOCK_CLOEXEC, 0);
		if (peers[i] < 0)
			err(1, "accept");
	}
}

static void reset_peers(void)
{
	for (int i = 0; i < BATCH; i++)
		reset(peers[i]);
}

static void open_connections(void)
{
	open_sockets();
	for (int i = 0; i < BATCH; i++)
		raw_connect(mine[i]);
	accept_peers();
}

static void end_connections(void)
{
	accept_peers();
	reset_peers();
	close_sockets();
}

static void open_files(void)
{
	for (int i = 0; i < BATCH; i++)
		if ((mine[i] = fcntl(file, F_DUPFD_CLOEXEC, 0)) < 0)
			err(1, "F_DUPFD_CLOEXEC");
}

/* Makes each port of a batch one that was listened on, and its sockets. */
static void open_served_sockets(void)
{
	static int done;
	for (int i = 0; i < BATCH && !done; i++) {
		int fd = tcp_socket();
		raw_bind(fd, PORT + 1 + i);
		if (raw(SYS_listen, fd, 8, 0, 0, 0))
			err(1, "listen");
		raw_close(fd);
	}
	done = 1;
	open_sockets();
}

static int call_bind(int i)
{
	struct sockaddr_in address = loopback(PORT + 1 + i);
	return bind(mine[i], (struct sockaddr *)&address, sizeof address);
}

static int call_listen(int i)
{
	return listen(mine[i], 8);
}

static int call_connect(int i)
{
	struct sockaddr_in address = loopback(PORT);
	return connect(mine[i], (struct sockaddr *)&address, sizeof address);
}

/* All that a server does until it listens, and its end. */
static int call_server(int i)
{
	int fd = tcp_socket();
	struct sockaddr_in address = loopback(PORT + 1 + i);
	return bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 8) || close(fd);
}

/* A connection from its start to its end, on both sides. */
static int call_connection(int i)
{
	int fd = tcp_socket();
	struct sockaddr_in address = loopback(PORT);
	if (connect(fd, (struct sockaddr *)&address, sizeof address))
		return -1;
	int peer = raw(SYS_accept4, listener, 0, 0, SOCK_CLOEXEC, 0);
	if (peer < 0)
		return -1;
	reset(peer);
	(void)i;
	return close(fd);
}

/* A bind that is refused: somebody listens there. */
static int call_refused(int i)
{
	struct sockaddr_in address = loopback(PORT);
	return bind(mine[i], (struct sockaddr *)&address, sizeof address) == -1 && errno == EADDRINUSE ? 0 : -1;
}

static int call_setsockopt(int i)
{
	int on = 1;
	return setsockopt(mine[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int call_close(int i)
{
	return close(mine[i]);
}

/* Without an error to look up or a file to let go of: the shortest way into the kernel and back. */
static int call_close_nothing(int i)
{
	(void)i;
	return close(-1) == -1 ? 0 : -1;
}

static const struct scenario {
	const char *name;
	void (*before)(void);
	int (*call)(int);
	void (*after)(void);
} scenarios[] = {
	{ "close-nothing", nothing, call_close_nothing, nothing },
	{ "close-file", open_files, call_close, nothing },
	{ "close", open_connections, call_close, reset_peers },
	{ "setsockopt", open_sockets, call_setsockopt, close_sockets },
	{ "bind", open_sockets, call_bind, close_sockets },
	{ "listen", open_bound_sockets, call_listen, close_sockets },
	{ "connect", open_sockets, call_connect, end_connections },
	{ "bind-served", open_served_sockets, call_bind, close_sockets },
	{ "server", nothing, call_server, nothing },
	{ "connection", nothing, call_connection, nothing },
	{ "refused", open_sockets, call_refused, close_sockets },
};

static int ascending(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

int main(int count, char **arguments)
{
	const struct scenario *scenario = NULL;
	int batches = count == 3 ? atoi(arguments[2]) : 0;
	for (size_t i = 0; batches > 0 && i < sizeof scenarios / sizeof *scenarios; i++)
		if (!strcmp(scenarios[i].name, arguments[1]))
			scenario = &scenarios[i];
	if (!scenario)
		errx(2, "usage: calls SCENARIO BATCHES");

	own_network();
	file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	listener = tcp_socket();
	raw_bind(listener, PORT);
	if (file < 0 || raw(SYS_listen, listener, 4096, 0, 0, 0))
		err(1, "listen");

	double *times = calloc(batches, sizeof *times);
	if (!times)
		err(1, "calloc");
	for (int batch = 0; batch < batches; batch++) {
		scenario->before();
		long start = nanoseconds();
		for (int i = 0; i < BATCH; i++)
			if (scenario->call(i))
				err(1, "%s", scenario->name);
		times[batch] = (double)(nanoseconds() - start) / BATCH;
		scenario->after();
	}
	qsort(times, batches, sizeof *times, ascending);
	printf("%.1f %.1f\n", times[0], times[batches / 2]);
	return 0;
}
