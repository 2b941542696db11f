/* A thread other than the leader calls exec: argv[1] is what it runs. */
#include <pthread.h>
#include <unistd.h>

static void *run(void *argument)
{
	char **argv = argument;

	execv(argv[1], argv + 1);
	_exit(127);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2 || pthread_create(&thread, NULL, run, argv))
		return 1;
	pthread_join(thread, NULL);
	return 1;
}
