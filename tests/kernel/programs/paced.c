/*
 * paced RATE SECONDS [SEED]: lives of this binary (posix_spawn, exec, exit) at moments of a Poisson process, RATE a second in the
 * mean, each begun at its moment whatever became of those before. Prints how many there were, and how late the last one began (ns).
 */
#define _GNU_SOURCE
#include <math.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SECOND = 1000000000 };

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static void await(long moment)
{
	struct timespec t = {moment / SECOND, moment % SECOND};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
}

int main(int argc, char **argv)
{
	char *child[] = {argv[0], NULL}, *none[] = {NULL};
	long began = now(), made = 0;
	double next = began, rate, end;
	pid_t pid;

	if (argc < 3)
		return 0;
	rate = atof(argv[1]);
	end = began + atof(argv[2]) * SECOND;
	srand48(argc > 3 ? atol(argv[3]) : 7);
	signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
	while ((next -= log(1 - drand48()) / rate * SECOND) < end) {
		await((long)next);
		if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, child, none))
			return 1;
		made++;
	}
	printf("%ld %ld\n", made, now() - (long)end);
	return 0;
}
