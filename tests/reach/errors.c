/* What each interposed function returns for a descriptor that is closed, and for one that is no socket. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHOW(call) \
	(errno = 0, result = (call), printf("%s: %d, %s\n", #call, result, result ? strerror(errno) : "no error"))

int main(void)
{
	struct sockaddr_in address;
	struct sockaddr *any = (struct sockaddr *)&address;
	int on = 1, result, fd, pipes[2];

	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || pipe(pipes))
		return 1;
	SHOW(bind(fd, any, sizeof address));
	SHOW(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	SHOW(listen(fd, 1));
	SHOW(connect(fd, any, sizeof address));
	SHOW(close(fd));
	SHOW(close(fd));
	SHOW(bind(fd, any, sizeof address));
	SHOW(listen(pipes[0], 1));
	SHOW(setsockopt(pipes[0], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
	SHOW(connect(pipes[0], any, sizeof address));
	return 0;
}
