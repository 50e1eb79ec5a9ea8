// Children that share memory with their parent, and every way to make a child or to close many descriptors.
#include "host.h"
#include <sched.h>
#include <spawn.h>

extern char **environ;

static char stack[64 * 1024] __attribute__((aligned(64)));

static int in_shared_memory(void *unused) {
    (void)unused;
    call_every_hook();
    return 7;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        call_every_hook();
        puts("spawned");
        return 9;
    }
    errno = PRESET;
    pid_t child = vfork();
    if (child == 0) {
        call_every_hook();
        _exit(5);
    }
    CHECK(errno == PRESET);
    printf("vfork: %d\n", end_of(child));

    errno = PRESET;
    child = clone(in_shared_memory, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    CHECK(errno == PRESET);
    printf("clone: %d\n", end_of(child));

    // One that shares the descriptors as well.
    child = clone(in_shared_memory, stack + sizeof stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, NULL);
    CHECK(child > 0);
    printf("clone with files: %d\n", end_of(child));

    fflush(stdout);
    int unwanted = tcp();
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_addclose(&actions, unwanted) == 0);
    char *arguments[] = {argv[0], (char *)"again", NULL};
    CHECK(posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ) == 0);
    printf("posix_spawn: %d\n", end_of(child));
    CHECK(posix_spawn_file_actions_destroy(&actions) == 0);

    FILE *shell = popen("exit 3", "r");
    CHECK(shell != NULL);
    printf("popen: %d\n", WEXITSTATUS(pclose(shell)));
    printf("system: %d\n", WEXITSTATUS(system("exit 4")));

    call_every_hook();
    int closed = 0;
    for (int fd = 3; fd < 3 + 65536; fd++) {
        errno = PRESET;
        int result = close(fd);
        CHECK((result == 0 && errno == PRESET) || (result == -1 && errno == EBADF));
        closed += result == 0;
    }
    printf("closed: %d\n", closed);
    call_every_hook();
    return 0;
}
