/*
 * spawn TOKEN N: N children, one after another, each waited for; every second one executes this binary again.
 * Prints "forks execs exits" as counted here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	long wanted = argc > 2 ? atol(argv[2]) : 0, forks = 0, execs = 0, exits = 0;

	if (argc > 2 && !strcmp(argv[2], "end"))
		return 0;
	for (long i = 0; i < wanted; i++) {
		pid_t child = fork();
		int status;

		if (child < 0)
			return 1;
		if (!child) {
			if (i % 2)
				execl("/bin/spawn", "spawn", argv[1], "end", (char *)0);
			_exit(i % 2 ? 127 : 0);
		}
		forks++;
		if (waitpid(child, &status, 0) != child || status)
			return 2;
		execs += i % 2;
		exits++;
	}
	printf("%ld %ld %ld\n", forks, execs, exits);
	return 0;
}
