/* The limit: the work of libreuse.so in as little C as it takes, to measure the real one against.
 *
 * Same five hooks, same system calls in the same cases. Left out is everything that costs the usual path nothing but
 * code: LIBREUSE_WAIT, LIBREUSE_REUSEPORT, LIBREUSE_PORTS, LIBREUSE_PROGRAMS, the log, complaints about wrong values,
 * and calls that arrive before the constructor has run. Not for use.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int (*real_bind)(int, const struct sockaddr *, socklen_t);
static int (*real_close)(int);
static int (*real_connect)(int, const struct sockaddr *, socklen_t);
static int (*real_listen)(int, int);
static int (*real_setsockopt)(int, int, int, const void *, socklen_t);

static int reuse = 1;
static enum { OFF, GRACEFUL, ZERO } linger_mode;

__attribute__((constructor)) static void load(void)
{
	real_bind = dlsym(RTLD_NEXT, "bind");
	real_close = dlsym(RTLD_NEXT, "close");
	real_connect = dlsym(RTLD_NEXT, "connect");
	real_listen = dlsym(RTLD_NEXT, "listen");
	real_setsockopt = dlsym(RTLD_NEXT, "setsockopt");

	const char *value = secure_getenv("LIBREUSE_REUSEADDR");
	reuse = !value || strcmp(value, "off");
	value = secure_getenv("LIBREUSE_LINGER");
	if (value)
		linger_mode = !strcmp(value, "graceful") ? GRACEFUL : !strcmp(value, "zero") ? ZERO : OFF;
}

/* The local port, 0 for none, -1 for what is not an internet socket. */
static int port(int fd)
{
	struct sockaddr_in6 address;
	socklen_t length = sizeof address;
	if (getsockname(fd, (struct sockaddr *)&address, &length))
		return -1;
	if (address.sin6_family != AF_INET && address.sin6_family != AF_INET6)
		return -1;
	return ntohs(address.sin6_port);
}

/* The TCP state, -1 for what is not TCP. */
static int state(int fd)
{
	unsigned char number = 0;
	socklen_t length = sizeof number;
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &number, &length) ? -1 : number;
}

static int set(int fd, int level, int name, int value)
{
	return real_setsockopt(fd, level, name, &value, sizeof value);
}

/* Whether it carries SO_REUSEADDR, or -1 if it is no socket. */
static int carries_reuse(int fd)
{
	int value = 0;
	socklen_t size = sizeof value;
	return getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, &size) ? -1 : value;
}

/* What is never held back: a signal that comes from the instruction itself. */
#define BIT(signal) (1ull << ((signal) - 1))
#define SYNCHRONOUS (BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGSEGV) | BIT(SIGSYS) | BIT(SIGTRAP))

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	int before = errno;
	int result = real_bind(fd, address, length);
	if (!result || errno != EADDRINUSE || !reuse || state(fd) < 0)
		return result;
	int value = 0;
	socklen_t size = sizeof value;
	if (!getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, &size) && !value)
		set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	result = real_bind(fd, address, length);
	int after = errno;
	if (!value)
		set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
	errno = result ? after : before;
	return result;
}

static void prepare_listener(int fd, int carries)
{
	if (reuse && !carries)
		set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (linger_mode == GRACEFUL)
		set(fd, IPPROTO_TCP, TCP_LINGER2, -1);
}

int listen(int fd, int backlog)
{
	int before = errno;
	int carries = reuse ? carries_reuse(fd) : 0;
	int now, bound, result, after;
	unsigned long long held = ~SYNCHRONOUS, mask;

	if (carries < 0 || (carries && linger_mode != GRACEFUL) || (!reuse && linger_mode != GRACEFUL))
		goto plain;
	now = state(fd);
	if (now != TCP_CLOSE && now != TCP_LISTEN)
		goto plain;
	bound = port(fd);
	if (bound < 0)
		goto plain;
	if (bound == 0) {
		errno = before;
		result = real_listen(fd, backlog);
		if (!result && port(fd) > 0)
			prepare_listener(fd, carries);
		if (!result)
			errno = before;
		return result;
	}
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &held, &mask, sizeof mask);
	prepare_listener(fd, carries);
	errno = before;
	result = real_listen(fd, backlog);
	after = errno;
	if (result && reuse && !carries)
		set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
	errno = after;
	return result;
plain:
	errno = before;
	return real_listen(fd, backlog);
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
	if (linger_mode == GRACEFUL) {
		int before = errno;
		if (state(fd) == TCP_CLOSE)
			set(fd, IPPROTO_TCP, TCP_LINGER2, -1);
		errno = before;
	}
	return real_connect(fd, address, length);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
	int ours = level == SOL_SOCKET && name == SO_REUSEADDR;
	int before = errno;
	int carried = ours && reuse && carries_reuse(fd) > 0;
	errno = before;
	int result = real_setsockopt(fd, level, name, value, length);
	if (result)
		return result;
	before = errno;
	if (ours) {
		if (reuse && !*(const int *)value) {
			int now = state(fd);
			if (now == TCP_LISTEN || (carried && now >= 0 && now != TCP_CLOSE))
				set(fd, level, name, 1);
		}
	} else if (level == IPPROTO_TCP && name == TCP_LINGER2) {
		if (linger_mode == GRACEFUL && *(const int *)value >= 0 && state(fd) != TCP_CLOSE)
			set(fd, level, name, -1);
	}
	errno = before;
	return result;
}

int close(int fd)
{
	if (linger_mode) {
		int before = errno;
		if (linger_mode == GRACEFUL) {
			set(fd, IPPROTO_TCP, TCP_LINGER2, -1);
		} else {
			int now = state(fd);
			/* Not before a connection, not on a listener, not where the peer closed first. */
			if (now == TCP_ESTABLISHED || (now >= TCP_SYN_RECV && now <= TCP_FIN_WAIT2) || now == TCP_CLOSING) {
				struct linger reset = { 1, 0 };
				real_setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
			}
		}
		errno = before;
	}
	return real_close(fd);
}
