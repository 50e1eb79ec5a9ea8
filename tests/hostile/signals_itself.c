// A preloaded library that sends its own thread a signal as soon as SO_REUSEADDR has been set.
#include <dlfcn.h>
#include <signal.h>
#include <sys/socket.h>

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
    int (*next)(int, int, int, const void *, socklen_t);
    *(void **)&next = dlsym(RTLD_NEXT, "setsockopt");
    int result = next(fd, level, name, value, length);
    if (result == 0 && level == SOL_SOCKET && name == SO_REUSEADDR && *(const int *)value == 1) {
        raise(SIGUSR1);
    }
    return result;
}
