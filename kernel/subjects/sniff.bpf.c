/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What lies beside the internet protocols: packet sockets (AF_PACKET, AF_XDP), which see and may send whatever passes
 * an interface; sockets of other families; TUN and TAP devices, by which a program makes and takes packets itself.
 */
#include "socket.h"

char _license[] SEC("license") = "GPL";

const struct connection_event *anchor_connection __attribute__((unused));

/* Families whose sockets other programs record, and netlink, which every program that asks for an address uses. */
static __always_inline bool is_other(int family)
{
	return family != AF_UNIX && family != AF_INET && family != AF_INET6 && family != AF_NETLINK;
}

static __always_inline __u8 transport_of_family(int family)
{
	return family == AF_PACKET ? TRANSPORT_PACKET : TRANSPORT_OTHER;
}

static __always_inline void begin_memory(struct socket_memory *memory, struct task_struct *task, __u64 cgroup)
{
	fill_process(&memory->process, task, cgroup);
	memory->process.ns_net = task->nsproxy->net_ns->ns.inum;
	memory->began = bpf_ktime_get_boot_ns();
}

/* Best: the one place that every new socket passes with its process, and that is not the family's own. */
SEC("fentry/security_socket_post_create")
int BPF_PROG(sniff_open, struct socket *socket, int family, int type, int protocol, int kern)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket_memory *memory;
	struct sock *sk;
	__u64 cgroup;

	if (kern || !is_other(family) || !is_wanted(task, &cgroup))
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	memory = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!memory) {
		count(FAILURE_SOCKET_MAP);
		return 0;
	}
	begin_memory(memory, task, cgroup);
	if (family == AF_PACKET)
		protocol = __builtin_bswap16(protocol);
	tell_endless(memory, bpf_get_socket_cookie(sk), transport_of_family(family), family == AF_PACKET ? 0 : family,
		     protocol, RECORD_CONNECTION_OPEN);
	return 0;
}

/* The last descriptor is gone; a function of the family's own, since a socket's end passes no other with it whole. */
SEC("fentry/packet_release")
int BPF_PROG(sniff_close, struct socket *socket)
{
	struct sock *sk = socket->sk;
	struct socket_memory *memory;

	if (!sk)
		return 0;
	memory = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!memory)
		return 0;
	tell_endless(memory, bpf_get_socket_cookie(sk), TRANSPORT_PACKET, 0, packet_protocol(sk),
		     RECORD_CONNECTION_CLOSE);
	bpf_sk_storage_delete(&sockets, sk);
	return 0;
}

#define CAP_NET_RAW 13
#define CAP_NET_ADMIN 12
#define TUNSETIFF 0x400454ca /* include/uapi/linux/if_tun.h */
/* Numbers of socket(2) and ioctl(2), and where a call's number and words are. */
#ifdef __TARGET_ARCH_arm64
#define SYS_SOCKET 198
#define SYS_IOCTL 29
#define NUMBER(call) (((struct user_pt_regs *)(call))->regs[8])
#define FAMILY(call) (((struct user_pt_regs *)(call))->regs[0])
#define COMMAND(call) (((struct user_pt_regs *)(call))->regs[1])
#define PROTOCOL(call) (((struct user_pt_regs *)(call))->regs[2])
#else
#define SYS_SOCKET 41
#define SYS_IOCTL 16
#define NUMBER(call) ((call)->orig_rax)
#define FAMILY(call) ((call)->rdi)
#define COMMAND(call) ((call)->rsi)
#define PROTOCOL(call) ((call)->rdx)
#endif

static __always_inline void tell_allowed(struct task_struct *task, __u8 transport, __u8 family, __u16 protocol)
{
	struct socket_memory memory = {};
	__u64 cgroup;

	if (!is_wanted(task, &cgroup))
		return;
	begin_memory(&memory, task, cgroup);
	memory.state = SOCKET_ALLOWED;
	tell_endless(&memory, 0, transport, family, protocol, RECORD_CONNECTION_OPEN);
}

/*
 * Else, from 6.14 (d48da4d5ed7e) on: socket(AF_PACKET, ...) or AF_XDP has passed the check of CAP_NET_RAW, the last
 * that can refuse it for want of a right. The call's words are in the registers; by io_uring, or by a 32-bit program,
 * they are not.
 */
SEC("tp_btf/cap_capable")
int BPF_PROG(sniff_allowed, const struct cred *cred, void *target, void *holder, int capability, int refused)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *call;
	int family;

	if (capability != CAP_NET_RAW || refused)
		return 0;
	call = (void *)bpf_task_pt_regs(task);
	family = FAMILY(call);
	if (NUMBER(call) != SYS_SOCKET || (family != AF_PACKET && family != AF_XDP))
		return 0;
	tell_allowed(task, transport_of_family(family), family == AF_PACKET ? 0 : family,
		     family == AF_PACKET ? __builtin_bswap16(PROTOCOL(call)) : PROTOCOL(call));
	return 0;
}

/* Best: a TUN or TAP device is about to be made, and may be. */
SEC("fentry/security_tun_dev_create")
int BPF_PROG(tunnel_open)
{
	tell_allowed(bpf_get_current_task_btf(), TRANSPORT_TUN, 0, 0);
	return 0;
}

/* Else, as above: ioctl(TUNSETIFF) has passed the check of CAP_NET_ADMIN. */
SEC("tp_btf/cap_capable")
int BPF_PROG(tunnel_allowed, const struct cred *cred, void *target, void *holder, int capability, int refused)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *call;

	if (capability != CAP_NET_ADMIN || refused)
		return 0;
	call = (void *)bpf_task_pt_regs(task);
	if (NUMBER(call) == SYS_IOCTL && (__u32)COMMAND(call) == TUNSETIFF)
		tell_allowed(task, TRANSPORT_TUN, 0, 0);
	return 0;
}
