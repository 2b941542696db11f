/* The leader ends first; a thread lives until its standard input is closed, then ends the process with code 7. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *linger(void *argument)
{
	char byte;

	(void)argument;
	write(1, "t", 1);
	while (read(0, &byte, 1) > 0)
		;
	exit(7);
}

int main(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, linger, NULL))
		return 1;
	pthread_exit(NULL);
}
