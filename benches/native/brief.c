/* A server that ends before it begins: of a program that never calls `bind`, the launcher would have to look further. */
#include <sys/socket.h>

int main(int count, char **arguments)
{
	(void)arguments;
	return count > 1 ? bind(-1, 0, 0) : 0;
}
