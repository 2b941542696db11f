/*
 * One pid, many owners: `reuse_pid PID TIMES` makes that many processes in turn with clone3's set_tid on the same pid. Each
 * forks a child that outlives it (an orphan), and the child runs until the next owner of the pid has started. Prints
 * "PID ORPHAN START" lines: START is field 22 of /proc/PID/stat of each owner, in clock ticks.
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int pid_of_owner;

/* The owner: reports its orphan's pid and ends; the orphan waits for the pipe to close, then runs true. */
static void own(int report, int hold)
{
	pid_t orphan = fork();
	char byte;

	if (orphan == 0) {
		close(report);
		while (read(hold, &byte, 1) > 0)
			;
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	if (write(report, &orphan, sizeof(orphan)) != sizeof(orphan))
		_exit(2);
	_exit(pid_of_owner & 0x7f);
}

static pid_t clone_as(pid_t pid)
{
	struct clone_args arguments = {.exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid, .set_tid_size = 1};

	return syscall(SYS_clone3, &arguments, sizeof(arguments));
}

int main(int argc, char **argv)
{
	int times, previous = -1;

	if (argc < 3)
		return 1;
	pid_of_owner = atoi(argv[1]);
	times = atoi(argv[2]);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (int i = 0; i < times; i++) {
		int report[2], hold[2];
		pid_t orphan = 0, owner;

		if (pipe(report) || pipe(hold))
			return 2;
		owner = clone_as(pid_of_owner);
		if (owner == 0) {
			close(report[0]);
			close(hold[1]);
			if (previous >= 0)
				close(previous);
			own(report[1], hold[0]);
		}
		if (owner < 0) {
			perror("clone3");
			return 3;
		}
		close(report[1]);
		close(hold[0]);
		if (read(report[0], &orphan, sizeof(orphan)) != sizeof(orphan))
			return 4;
		close(report[0]);
		if (previous >= 0)
			close(previous); /* the former owner's orphan may go now that its parent's pid is taken again */
		previous = hold[1];
		waitpid(owner, NULL, 0);
		printf("%d %d\n", owner, orphan);
	}
	close(previous);
	while (wait(NULL) > 0)
		;
	return 0;
}
