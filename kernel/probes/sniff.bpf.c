/* SPDX-License-Identifier: GPL-2.0 */
/* Packet sockets (AF_PACKET), below the internet protocols: they see, and may send, whatever passes an interface. */
#include "socket.h"

char _license[] SEC("license") = "GPL";

const struct connection_event *anchor_connection __attribute__((unused));

/* The one place that every new socket passes with its process, and that is not the family's own. */
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
