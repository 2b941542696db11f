/*
 * burst TRUTH NUMBER: that many TCP connections over loopback, 500 open at once, between this process and a child of it. Each
 * carries its number, in eight bytes, there and back. What both ends did stands in TRUTH, native longs: connected, accepted,
 * closed by the client, closed by the server, bytes that came at the server, bytes that came at the client.
 *
 * The client's addresses are 127.0.0.2 to 127.0.0.9, since each has ports of its own, and closed ones wait for a minute.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONNECTED, ACCEPTED, CLOSED_BY_CLIENT, CLOSED_BY_SERVER, BYTES_AT_SERVER, BYTES_AT_CLIENT, COUNTS };
enum { AT_ONCE = 500, ADDRESSES = 8 };

static long *truth;

static void need(int condition, int code)
{
	if (!condition)
		_exit(code);
}

/* Its first byte begins neither a head of TLS nor one of HTTP: no packet of it is recorded. */
static long message(long number)
{
	return number << 8 | 0xff;
}

static void serve(int listener, long number)
{
	for (long i = 0; i < number; i++) {
		int made = accept(listener, NULL, NULL);
		long told;

		need(made >= 0, 10);
		truth[ACCEPTED]++;
		need(recv(made, &told, sizeof(told), MSG_WAITALL) == sizeof(told) && told == message(i), 11);
		truth[BYTES_AT_SERVER] += sizeof(told);
		need(send(made, &told, sizeof(told), 0) == sizeof(told), 12);
		need(recv(made, &told, sizeof(told), 0) == 0, 13);
		need(!close(made), 14);
		truth[CLOSED_BY_SERVER]++;
	}
}

static int opened(const struct sockaddr_in *server, long number)
{
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + number % ADDRESSES)};
	int made = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	long text = message(number);

	need(made >= 0 && !setsockopt(made, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)), 20);
	need(!bind(made, (void *)&own, sizeof(own)) && !connect(made, (void *)server, sizeof(*server)), 21);
	truth[CONNECTED]++;
	need(send(made, &text, sizeof(text), 0) == sizeof(text), 22);
	return made;
}

static void ended(int made, long number)
{
	long told;

	need(recv(made, &told, sizeof(told), MSG_WAITALL) == sizeof(told) && told == message(number), 23);
	truth[BYTES_AT_CLIENT] += sizeof(told);
	need(!close(made), 24);
	truth[CLOSED_BY_CLIENT]++;
}

static void ask(const struct sockaddr_in *server, long number)
{
	int open[AT_ONCE];

	for (long first = 0; first < number; first += AT_ONCE) {
		long past = first + AT_ONCE < number ? first + AT_ONCE : number;

		for (long i = first; i < past; i++)
			open[i - first] = opened(server, i);
		for (long i = first; i < past; i++)
			ended(open[i - first], i);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(server);
	int file, listener, status;
	pid_t child;

	need(argc == 3, 1);
	file = open(argv[1], O_RDWR | O_CREAT, 0644);
	need(file >= 0 && !ftruncate(file, COUNTS * sizeof(long)), 2);
	truth = mmap(NULL, COUNTS * sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	need(!bind(listener, (void *)&server, length) && !listen(listener, 2 * AT_ONCE), 3);
	need(!getsockname(listener, (void *)&server, &length), 4);
	child = fork();
	need(child >= 0, 5);
	if (!child) {
		serve(listener, atol(argv[2]));
		_exit(0);
	}
	ask(&server, atol(argv[2]));
	need(waitpid(child, &status, 0) == child && !status, 6);
	return 0;
}
