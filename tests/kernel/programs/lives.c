/*
 * lives TRUTH [PAUSE]: lives of several kinds in turn, until standard input is closed; each executes this binary again with its
 * kind as the only argument. In TRUTH stand native longs after each life: forks, execs and exits, then the lives of each kind
 * in the order of `kinds`. PAUSE in microseconds.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EQUAL, UNLIKE, CODED, KILLED, FORKING, TWICE, BARE, RENAMED, LOWERED, LONG, KINDS };
static const char *kinds[] = {"equal",	"unlike", "coded",   "killed",	"forking",
			      "twice",	"bare",	  "renamed", "lowered", "long"};
/* Of each kind in every twenty lives. */
static const int turns[] = {EQUAL, EQUAL, UNLIKE, EQUAL,   CODED, EQUAL,   KILLED, EQUAL, FORKING, EQUAL,
			    EQUAL, TWICE, EQUAL,  RENAMED, EQUAL, LOWERED, EQUAL,  BARE,  EQUAL,   LONG};

static void wait_for(pid_t child)
{
	while (waitpid(child, NULL, 0) < 0)
		;
}

static int live(const char *kind)
{
	if (!strcmp(kind, "coded")) /* another code each time the clock's lowest bit is set */
		return getpid() & 1;
	if (!strcmp(kind, "killed"))
		kill(getpid(), SIGTERM);
	if (!strcmp(kind, "forking")) {
		pid_t child = fork();

		if (!child)
			_exit(0);
		wait_for(child);
	}
	if (!strcmp(kind, "twice"))
		execl("/proc/self/exe", "lives", "equal", (char *)0);
	if (!strcmp(kind, "renamed"))
		prctl(PR_SET_NAME, "other");
	if (!strcmp(kind, "lowered") && (setgid(65534) || setuid(65534)))
		return 9;
	if (!strcmp(kind, "long"))
		usleep(250 * 1000);
	return 0;
}

static pid_t begin(int kind, long number)
{
	char unlike[32];
	pid_t child = fork();

	if (child)
		return child;
	if (kind == BARE)
		_exit(0);
	snprintf(unlike, sizeof(unlike), "unlike-%ld", number);
	execl("/proc/self/exe", "lives", kind == UNLIKE ? unlike : kinds[kind], (char *)0);
	_exit(127);
}

/* Forks, execs and exits of one life. */
static void add(long *truth, int kind)
{
	truth[0] += kind == FORKING ? 2 : 1;
	truth[1] += kind == BARE ? 0 : kind == TWICE ? 2 : 1;
	truth[2] += kind == FORKING ? 2 : 1;
	truth[3 + kind]++;
}

int main(int argc, char **argv)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	long *truth, number = 0;
	int file;

	if (argc == 2 && argv[1][0] != '/')
		return live(argv[1]);
	file = open(argv[1], O_RDWR | O_CREAT, 0644);
	if (file < 0 || ftruncate(file, (3 + KINDS) * sizeof(long)))
		return 1;
	truth = mmap(NULL, (3 + KINDS) * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	while (!poll(&input, 1, 0)) {
		int kind = turns[number++ % (sizeof(turns) / sizeof(*turns))];

		wait_for(begin(kind, number));
		add(truth, kind);
		if (argc > 2)
			usleep(atoi(argv[2]));
	}
	return 0;
}
