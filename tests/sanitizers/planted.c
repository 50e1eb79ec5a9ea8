// A shim with an error in it, for the control: its bind reads more than the caller's address.
#define _GNU_SOURCE
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int bind(int fd, __CONST_SOCKADDR_ARG address, socklen_t length) {
    char copy[256];
    memcpy(copy, address.__sockaddr__, length + 1);
    return (int)syscall(SYS_bind, fd, copy, length);
}
