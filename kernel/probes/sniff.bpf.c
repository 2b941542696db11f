/* SPDX-License-Identifier: GPL-2.0 */
/* Packet sockets (AF_PACKET), below the internet protocols: they see, and may send, whatever passes an interface. */
#include "socket.h"

char _license[] SEC("license") = "GPL";

const struct connection_event *anchor_connection __attribute__((unused));

/* Best: the one place that every new socket passes with its process, and that is not the family's own. */
SEC("fentry/security_socket_post_create")
int BPF_PROG(sniff_open, struct socket *socket, int family, int type, int protocol)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket_memory *memory;
	struct sock *sk;
	__u64 cgroup;

	if (family != AF_PACKET || !is_wanted(task, &cgroup))
		return 0;
	sk = socket->sk;
	if (!sk)
		return 0;
	memory = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!memory) {
		count(FAILURE_SOCKET_MAP);
		return 0;
	}
	fill_process(&memory->process, task, cgroup);
	memory->process.ns_net = sk->__sk_common.skc_net.net->ns.inum;
	memory->began = bpf_ktime_get_boot_ns();
	tell_endless(memory, bpf_get_socket_cookie(sk), TRANSPORT_PACKET, __builtin_bswap16(protocol),
		     RECORD_CONNECTION_OPEN);
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
	tell_endless(memory, bpf_get_socket_cookie(sk), TRANSPORT_PACKET, packet_protocol(sk), RECORD_CONNECTION_CLOSE);
	bpf_sk_storage_delete(&sockets, sk);
	return 0;
}

#define CAP_NET_RAW 13
/* Number of socket(2), and where its call's number and words are. */
#ifdef __TARGET_ARCH_arm64
#define SYS_SOCKET 198
#define NUMBER(call) (((struct user_pt_regs *)(call))->regs[8])
#define FAMILY(call) (((struct user_pt_regs *)(call))->regs[0])
#define PROTOCOL(call) (((struct user_pt_regs *)(call))->regs[2])
#else
#define SYS_SOCKET 41
#define NUMBER(call) ((call)->orig_rax)
#define FAMILY(call) ((call)->rdi)
#define PROTOCOL(call) ((call)->rdx)
#endif

/*
 * Else, from 6.14 (d48da4d5ed7e) on: socket(AF_PACKET, ...) has passed the check of CAP_NET_RAW, the last that can
 * refuse it for want of a right. The call's words are in the registers; by io_uring, or by a 32-bit program, they are
 * not.
 */
SEC("tp_btf/cap_capable")
int BPF_PROG(sniff_allowed, const struct cred *cred, void *target, void *holder, int capability, int refused)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket_memory memory = {};
	struct pt_regs *call;
	__u64 cgroup;

	if (capability != CAP_NET_RAW || refused)
		return 0;
	call = (void *)bpf_task_pt_regs(task);
	if (NUMBER(call) != SYS_SOCKET || (int)FAMILY(call) != AF_PACKET)
		return 0;
	if (!is_wanted(task, &cgroup))
		return 0;
	fill_process(&memory.process, task, cgroup);
	memory.process.ns_net = task->nsproxy->net_ns->ns.inum;
	memory.began = bpf_ktime_get_boot_ns();
	memory.state = SOCKET_ALLOWED;
	tell_endless(&memory, 0, TRANSPORT_PACKET, __builtin_bswap16(PROTOCOL(call)), RECORD_CONNECTION_OPEN);
	return 0;
}
