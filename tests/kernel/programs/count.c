/*
 * count TRUTH [PAUSE]: children, one after another, each of which executes this binary again, until standard input is closed.
 * The numbers of forks, execs and exits seen here stand in TRUTH, three native longs, after each; PAUSE in microseconds.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	int file, status;
	long *truth;

	if (argc < 2)
		return 0;
	file = open(argv[1], O_RDWR | O_CREAT, 0644);
	if (file < 0 || ftruncate(file, 3 * sizeof(long)))
		return 1;
	truth = mmap(NULL, 3 * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	while (!poll(&input, 1, 0)) {
		pid_t child = fork();

		if (child < 0)
			return 2;
		if (!child) {
			execl("/proc/self/exe", "counted", (char *)0);
			_exit(127);
		}
		truth[0]++;
		if (waitpid(child, &status, 0) != child || status)
			return 3;
		truth[1]++;
		truth[2]++;
		if (argc > 2)
			usleep(atoi(argv[2]));
	}
	return 0;
}
