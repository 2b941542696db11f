/*
 * life spawn N: N processes that execute this binary and end, one after another; life fork N: the same without exec;
 * life call N: N getppid calls; life many N: N processes that wait until this one's standard input ends.
 * Prints the nanoseconds for each (many: how many there are).
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void one(const char *self)
{
	char *argv[] = {"life", "end", NULL}, *env[] = {NULL};
	int status;
	pid_t child;

	if (posix_spawn(&child, self, NULL, NULL, argv, env) || waitpid(child, &status, 0) != child || status)
		exit(1);
}

static long many(long wanted)
{
	long made = 0;
	int ends[2];
	char byte;

	if (pipe(ends))
		return 0;
	for (; made < wanted; made++) {
		pid_t child = fork();

		if (child < 0)
			break;
		if (!child) {
			close(ends[1]);
			_exit(read(ends[0], &byte, 1));
		}
	}
	return made;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 0;
	long n = atol(argv[2]), began = now();
	char byte;

	if (!strcmp(argv[1], "many")) {
		printf("%ld\n", many(n));
		fflush(stdout);
		return read(0, &byte, 1);
	}
	for (long i = 0; i < n; i++) {
		if (!strcmp(argv[1], "spawn"))
			one("/proc/self/exe");
		else
			syscall(SYS_getppid);
	}
	printf("%.3f\n", (double)(now() - began) / n);
	return 0;
}
