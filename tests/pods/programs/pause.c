/* Holds a pod's namespaces, as registry.k8s.io/pause does. */
#include <signal.h>
#include <unistd.h>

static void end(int number)
{
	_exit(number == SIGTERM ? 0 : 1);
}

int main(void)
{
	signal(SIGTERM, end);
	signal(SIGINT, end);
	for (;;)
		pause();
}
