/* reset PORT COUNT
 *
 * What `reuseaddr evict` asks of the kernel where it has no right, and no more: ends COUNT TIME_WAIT of the server's port from
 * their peers' side, which are those of `churn dial ... spreads`. A process for each processor.
 */
#define _GNU_SOURCE
#include "network.h"
#include <stdlib.h>
#include <sys/wait.h>

static void end(int port, long number)
{
	struct sockaddr_in server = loopback(port), peer = spread(number);
	struct linger at_once = { .l_onoff = 1 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) ||
	    bind(fd, (struct sockaddr *)&peer, sizeof peer))
		err(1, "peer %ld", number);
	if (!connect(fd, (struct sockaddr *)&server, sizeof server))
		errx(1, "somebody listens on port %d", port);
	close(fd);
}

int main(int count, char **arguments)
{
	if (count != 3)
		errx(2, "usage: reset PORT COUNT");
	long entries = atol(arguments[2]), processors = sysconf(_SC_NPROCESSORS_ONLN);
	for (long mine = 0; mine < processors; mine++) {
		pid_t pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (!pid) {
			for (long number = mine * entries / processors; number < (mine + 1) * entries / processors; number++)
				end(atoi(arguments[1]), number);
			return 0;
		}
	}
	for (int status; wait(&status) > 0;)
		if (status)
			return 1;
	return 0;
}
