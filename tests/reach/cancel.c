/*
 * pthread_cancel through each interposed function. One that POSIX makes a cancellation point ends its thread there; one
 * that is none returns first. Either way the thread's cleanup handler runs.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum call { BIND, LISTEN, SETSOCKOPT, CONNECT, CLOSE, CALLS };

static const char *const names[] = { "bind", "listen", "setsockopt", "connect", "close", "blocked connect" };
static struct sockaddr_in address;
static int fd, returned, cleaned;

static void clean(void *unused)
{
	(void)unused;
	cleaned = 1;
}

static void make(enum call call)
{
	const int on = 1;

	switch (call) {
	case BIND:
		bind(fd, (struct sockaddr *)&address, sizeof address);
		break;
	case LISTEN:
		listen(fd, 1);
		break;
	case SETSOCKOPT:
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		break;
	case CONNECT:
		connect(fd, (struct sockaddr *)&address, sizeof address);
		break;
	default:
		close(fd);
	}
}

/* Cancelled before the call: it acts at the first cancellation point. */
static void *pending(void *call)
{
	int old;

	pthread_cleanup_push(clean, NULL);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	make(*(enum call *)call);
	returned = 1;
	pthread_testcancel();
	pthread_cleanup_pop(0);
	return NULL;
}

static void *blocked(void *unused)
{
	(void)unused;
	pthread_cleanup_push(clean, NULL);
	connect(fd, (struct sockaddr *)&address, sizeof address);
	returned = 1;
	pthread_cleanup_pop(0);
	return NULL;
}

static void report(int call, pthread_t thread)
{
	void *result;

	if (pthread_join(thread, &result))
		_exit(1);
	printf("%s: %s, %s, %s\n", names[call], returned ? "returned" : "ended there",
	       cleaned ? "cleaned" : "not cleaned", result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
	returned = cleaned = 0;
}

int main(void)
{
	socklen_t length = sizeof address;
	struct tcp_info info;
	pthread_t thread;
	int call, listener;

	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(5000);
	for (call = BIND; call < CALLS; call++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0 || pthread_create(&thread, NULL, pending, &call))
			return 1;
		report(call, thread);
	}

	/* A listener whose queue is full leaves a connect waiting. */
	address.sin_port = 0;
	listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 0) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		return 1;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, length))
		return 1;
	/* It is over before the listener has the connection. */
	if (poll(&(struct pollfd){ listener, POLLIN, 0 }, 1, -1) != 1)
		return 1;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (pthread_create(&thread, NULL, blocked, NULL))
		return 1;
	do {
		sched_yield();
		length = sizeof info;
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length))
			return 1;
	} while (info.tcpi_state != TCP_SYN_SENT);
	pthread_cancel(thread);
	report(CALLS, thread);
	return 0;
}
