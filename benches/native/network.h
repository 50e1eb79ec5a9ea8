/* A network of the program's own, with nothing in it but loopback: no port of the machine is ever used. */
#ifndef NETWORK_H
#define NETWORK_H

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A call behind the preloaded library's back, for what is not being measured. Some libraries interpose syscall(2) too,
 * so this goes to the kernel by itself where it is known how.
 */
static inline long raw(long number, long a, long b, long c, long d, long e)
{
#ifdef __x86_64__
	long result;
	register long fourth __asm__("r10") = d;
	register long fifth __asm__("r8") = e;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth)
			 : "rcx", "r11", "memory");
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
#else
	return syscall(number, a, b, c, d, e);
#endif
}

static inline long raw_close(int fd)
{
	return raw(SYS_close, fd, 0, 0, 0, 0);
}

static inline void own_network(void)
{
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		err(1, "no network namespace: run this as root, or where users may have their own");
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = raw(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback))
		err(1, "loopback");
	raw_close(fd);
}

static inline struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/* An address and a port for each number. */
static inline struct sockaddr_in spread(long number)
{
	enum { FIRST_PORT = 10000, PORTS = 1000 };
	struct sockaddr_in address = loopback(FIRST_PORT + number % PORTS);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number / PORTS);
	return address;
}

static inline int tcp_socket(void)
{
	int fd = raw(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		err(1, "socket");
	return fd;
}

static inline void allow_descriptors(rlim_t number)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		err(1, "getrlimit");
	if (limit.rlim_cur >= number)
		return;
	limit.rlim_cur = number;
	if (limit.rlim_max < number)
		limit.rlim_max = number;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		err(1, "%lu descriptors", (unsigned long)number);
}

static inline long nanoseconds(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

#endif
