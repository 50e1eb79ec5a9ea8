/* spawn RUNS PROGRAM {-- NAME [VARIABLE=VALUE]...}...
 *
 * Starts PROGRAM over and over, in each of the named environments in turn, and prints for every run the name, the
 * time from posix_spawn to the end in nanoseconds, and the page faults. The turns rotate, so that none of the
 * environments always follows the same one.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

struct variant {
	char *name;
	char *environment[16];
};

/* What a service has: enough to scan, and the same on every machine. */
static char *usual[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "USER=root", "LOGNAME=root",
	"SHELL=/bin/sh", "LANG=C.UTF-8", "TERM=dumb", "INVOCATION_ID=0123456789abcdef0123456789abcdef",
};
enum { USUAL = sizeof usual / sizeof *usual };

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

int main(int count, char **arguments)
{
	static struct variant variants[64];
	int known = 0, variables = 0;
	if (count < 5)
		errx(2, "usage: spawn RUNS PROGRAM {-- NAME [VARIABLE=VALUE]...}...");
	for (int i = 3; i < count; i++) {
		if (!strcmp(arguments[i], "--")) {
			if (++i == count || known == 64)
				errx(2, "no name, or too many of them");
			variants[known].name = arguments[i];
			memcpy(variants[known].environment, usual, sizeof usual);
			known++;
			variables = USUAL;
		} else if (variables < 15) {
			variants[known - 1].environment[variables++] = arguments[i];
		} else {
			errx(2, "too many variables");
		}
	}
	char *argv[] = { arguments[2], NULL };
	for (long run = 0, runs = atol(arguments[1]); run < runs; run++) {
		for (int turn = 0; turn < known; turn++) {
			struct variant *variant = &variants[(run + turn) % known];
			pid_t child;
			int status;
			struct rusage usage;
			long start = now();
			errno = posix_spawn(&child, argv[0], NULL, NULL, argv, variant->environment);
			if (errno)
				err(1, "%s", argv[0]);
			if (wait4(child, &status, 0, &usage) != child || status)
				errx(1, "%s: %s ended with status %d", variant->name, argv[0], status);
			printf("%s %ld %ld\n", variant->name, now() - start, usage.ru_minflt);
		}
	}
	return 0;
}
