/*
 * uring HOW DIRECTORY: one conversation of each kind between this process, the client, and a child of it, the server: TCP, an
 * attempt that is refused, UDP, and a unix socket in DIRECTORY. HOW the operations are done: `plain` system calls, or io_uring:
 * `ring`, `worker` (by a thread of the kernel's pool for this process), `poll` (by the thread that polls the queue).
 *
 * Prints a line for each socket: its process, what it is, its cookie.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *how;

static struct {
	int fd;
	unsigned *tail, *mask, *array, *head_done, *tail_done, *mask_done;
	struct io_uring_sqe *wanted;
	struct io_uring_cqe *done;
} ring;

static void need(int condition, int code)
{
	if (condition)
		return;
	perror(how);
	_exit(code);
}

static void *mapped(unsigned long length, unsigned long where)
{
	void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, where);

	need(at != MAP_FAILED, 2);
	return at;
}

/* A ring of this process's own; see io_uring(7). */
static void begin(void)
{
	struct io_uring_params told = {.flags = strcmp(how, "poll") ? 0 : IORING_SETUP_SQPOLL, .sq_thread_idle = 10};
	char *in, *out;

	if (!strcmp(how, "plain"))
		return;
	ring.fd = syscall(SYS_io_uring_setup, 8, &told);
	need(ring.fd >= 0, 3);
	in = mapped(told.sq_off.array + told.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	out = mapped(told.cq_off.cqes + told.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.wanted = mapped(told.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	ring.tail = (void *)(in + told.sq_off.tail);
	ring.mask = (void *)(in + told.sq_off.ring_mask);
	ring.array = (void *)(in + told.sq_off.array);
	ring.head_done = (void *)(out + told.cq_off.head);
	ring.tail_done = (void *)(out + told.cq_off.tail);
	ring.mask_done = (void *)(out + told.cq_off.ring_mask);
	ring.done = (void *)(out + told.cq_off.cqes);
}

/* One operation, and what it returned: below 0 the error's number. */
static int done(struct io_uring_sqe wanted)
{
	unsigned slot = *ring.tail & *ring.mask, flags = IORING_ENTER_GETEVENTS;
	int result;

	wanted.flags = strcmp(how, "worker") ? 0 : IOSQE_ASYNC;
	ring.wanted[slot] = wanted;
	ring.array[slot] = slot;
	__atomic_store_n(ring.tail, *ring.tail + 1, __ATOMIC_RELEASE);
	if (!strcmp(how, "poll"))
		flags |= IORING_ENTER_SQ_WAKEUP;
	while (__atomic_load_n(ring.tail_done, __ATOMIC_ACQUIRE) == *ring.head_done) {
		need(syscall(SYS_io_uring_enter, ring.fd, 1, 1, flags, NULL, 0) >= 0 || errno == EINTR, 4);
	}
	result = ring.done[*ring.head_done & *ring.mask_done].res;
	__atomic_store_n(ring.head_done, *ring.head_done + 1, __ATOMIC_RELEASE);
	return result;
}

static int told(int result)
{
	return result < 0 ? -errno : result;
}

static int do_socket(int family, int type)
{
	if (!ring.fd)
		return socket(family, type, 0);
	return done((struct io_uring_sqe){.opcode = IORING_OP_SOCKET, .fd = family, .off = type});
}

static int do_connect(int fd, const void *address, socklen_t length)
{
	if (!ring.fd)
		return told(connect(fd, address, length));
	return done((struct io_uring_sqe){
		.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (unsigned long)address, .off = length});
}

static int do_accept(int fd)
{
	if (!ring.fd)
		return accept(fd, NULL, NULL);
	return done((struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = fd});
}

static int do_send(int fd, const void *from, unsigned length)
{
	if (!ring.fd)
		return send(fd, from, length, 0);
	return done((struct io_uring_sqe){
		.opcode = IORING_OP_SEND, .fd = fd, .addr = (unsigned long)from, .len = length});
}

static int do_receive(int fd, void *to, unsigned length)
{
	if (!ring.fd)
		return recv(fd, to, length, 0);
	return done((struct io_uring_sqe){
		.opcode = IORING_OP_RECV, .fd = fd, .addr = (unsigned long)to, .len = length});
}

static void do_close(int fd)
{
	need(!(ring.fd ? done((struct io_uring_sqe){.opcode = IORING_OP_CLOSE, .fd = fd}) : close(fd)), 5);
}

static void name(const char *what, int fd)
{
	unsigned long cookie;
	socklen_t length = sizeof(cookie);

	need(!getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length), 6);
	printf("%d %s %lu\n", getpid(), what, cookie);
	fflush(stdout);
}

/* What the server has before there is a client. */
struct doors {
	int listener, datagrams, unix_listener;
	struct sockaddr_in tcp, udp, nobody;
	struct sockaddr_un path;
};

static int bound(int type, struct sockaddr_in *address)
{
	int made = socket(AF_INET, type, 0);
	socklen_t length = sizeof(*address);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	need(!bind(made, (void *)address, length) && !getsockname(made, (void *)address, &length), 7);
	return made;
}

static void open_doors(struct doors *doors, const char *folder)
{
	doors->listener = bound(SOCK_STREAM, &doors->tcp);
	doors->datagrams = bound(SOCK_DGRAM, &doors->udp);
	close(bound(SOCK_STREAM, &doors->nobody));
	doors->unix_listener = socket(AF_UNIX, SOCK_STREAM, 0);
	doors->path.sun_family = AF_UNIX;
	snprintf(doors->path.sun_path, sizeof(doors->path.sun_path), "%s/%s", folder, how);
	need(!bind(doors->unix_listener, (void *)&doors->path, sizeof(doors->path)), 8);
	need(!listen(doors->listener, 8) && !listen(doors->unix_listener, 8), 9);
}

static char block[1 << 16];

static void receive_all(int fd, long length)
{
	while (length > 0) {
		int got = do_receive(fd, block, length < (long)sizeof(block) ? length : (long)sizeof(block));

		need(got > 0, 10);
		length -= got;
	}
}

static void send_all(int fd, long length)
{
	while (length > 0) {
		int put = do_send(fd, block, length < (long)sizeof(block) ? length : (long)sizeof(block));

		need(put > 0, 11);
		length -= put;
	}
}

static void serve(struct doors *doors)
{
	int made = do_accept(doors->listener);

	need(made > 0, 12);
	name("accepted", made);
	receive_all(made, 1000000);
	send_all(made, 3);
	need(!do_receive(made, block, 1), 13);
	do_close(made);
	name("datagrams", doors->datagrams);
	need(do_receive(doors->datagrams, block, sizeof(block)) == 1200, 14);
	do_close(doors->datagrams);
}

static void ask(const struct doors *doors)
{
	int made = do_socket(AF_INET, SOCK_STREAM);

	need(!do_connect(made, &doors->tcp, sizeof(doors->tcp)), 15);
	name("connected", made);
	send_all(made, 1000000);
	receive_all(made, 3);
	do_close(made);
	made = do_socket(AF_INET, SOCK_STREAM);
	need(do_connect(made, &doors->nobody, sizeof(doors->nobody)) == -ECONNREFUSED, 16);
	name("refused", made);
	do_close(made);
	made = do_socket(AF_INET, SOCK_DGRAM);
	need(!do_connect(made, &doors->udp, sizeof(doors->udp)), 17);
	name("sent", made);
	need(do_send(made, block, 1200) == 1200, 18);
	do_close(made);
	made = do_socket(AF_UNIX, SOCK_STREAM);
	need(!do_connect(made, &doors->path, sizeof(doors->path)), 19);
	name("unix", made);
	do_close(made);
}

int main(int argc, char **argv)
{
	struct doors doors = {};
	int status;
	pid_t child;

	if (argc != 3)
		return 1;
	how = argv[1];
	open_doors(&doors, argv[2]);
	child = fork();
	begin();
	if (!child) {
		serve(&doors);
		_exit(0);
	}
	ask(&doors);
	need(waitpid(child, &status, 0) == child && !status, 20);
	return 0;
}
