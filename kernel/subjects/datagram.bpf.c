/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sockets of the internet families without connections: who made them, which address a send names, and their end. Raw
 * ones, and those of protocols whose packets are not read, have a row for their beginning and one for their end.
 */
#include "flow.h"

char _license[] SEC("license") = "GPL";

enum {
	ALLOW = 1,
};

/* Whether a socket's beginning and end are rows of their own: its packets do not say which process it is of. */
static __always_inline bool is_told_of(struct bpf_sock *sk)
{
	return sk->type == SOCK_RAW || sk->protocol != IPPROTO_UDP;
}

static __always_inline void tell_made(struct bpf_sock *sk, const struct socket_memory *memory, __u16 kind)
{
	__u8 transport = sk->type == SOCK_RAW ? TRANSPORT_RAW : transport_of_protocol(sk->protocol);

	tell_endless(memory, bpf_get_socket_cookie(sk), transport, 0, sk->protocol, kind);
}

/* A socket is made: its process is who made it, until another sends. */
SEC("cgroup/sock_create")
int socket_open(struct bpf_sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket_memory *memory;
	__u64 cgroup;

	if ((sk->protocol == IPPROTO_TCP && sk->type != SOCK_RAW) || !is_wanted(task, &cgroup))
		return ALLOW;
	memory = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!memory) {
		count(FAILURE_SOCKET_MAP);
		return ALLOW;
	}
	fill_process(&memory->process, task, cgroup);
	memory->process.ns_net = task->nsproxy->net_ns->ns.inum;
	memory->began = bpf_ktime_get_boot_ns();
	if (is_told_of(sk))
		tell_made(sk, memory, RECORD_CONNECTION_OPEN);
	return ALLOW;
}

static __always_inline void end_flows(struct socket_memory *memory, __u64 cookie)
{
	struct flow_key key = {.cookie = cookie, .port = memory->last.port};
	struct flow *flow;

	if (!memory->flows)
		return;
	__builtin_memcpy(key.peer, memory->last.peer, 16);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow)
		end_flow(&flows, &key, flow, 0);
	if (memory->flows > 1)
		end_others(cookie);
}

/* A socket is closed: the flow that came last ends here, its others by the next sweep. */
SEC("cgroup/sock_release")
int socket_release(struct bpf_sock *sk)
{
	struct socket_memory *memory;

	if (sk->protocol == IPPROTO_TCP && sk->type != SOCK_RAW)
		return ALLOW;
	memory = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!memory)
		return ALLOW;
	end_flows(memory, bpf_get_socket_cookie(sk));
	if (is_told_of(sk))
		tell_made(sk, memory, RECORD_CONNECTION_CLOSE);
	return ALLOW;
}

/*
 * A send names an address, whether the socket is connected or not: packet.bpf.c finds it by the packet, which may be
 * translated already. Where two threads send at once on one socket, translations are not undone any more.
 */
static __always_inline void ask(struct bpf_sock_addr *ctx, const __u8 *peer)
{
	__s32 thread = bpf_get_current_task_btf()->pid;
	struct socket_memory *memory;
	const __u64 *words = (const __u64 *)peer;
	struct bpf_sock *sk = ctx->sk;
	__s32 before;

	if (!sk || !ctx->user_port || (!words[0] && (!words[1] || words[1] == 0xffff0000)))
		return; /* none was named, or any: the loopback is meant */
	memory = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!memory)
		return;
	before = __sync_val_compare_and_swap(&memory->asked.thread, 0, thread);
	if (before && before != thread) {
		memory->asked.unsure = 1;
		return;
	}
	__builtin_memcpy(memory->asked.peer, peer, 16);
	memory->asked.port = __builtin_bswap16(ctx->user_port);
}

SEC("cgroup/sendmsg4")
int datagram_to4(struct bpf_sock_addr *ctx)
{
	__u8 peer[16] __attribute__((aligned(8)));

	mapped(peer, ctx->user_ip4);
	ask(ctx, peer);
	return ALLOW;
}

SEC("cgroup/sendmsg6")
int datagram_to6(struct bpf_sock_addr *ctx)
{
	__u32 peer[4] __attribute__((aligned(8)));

	for (int i = 0; i < 4; i++)
		peer[i] = ctx->user_ip6[i];
	ask(ctx, (__u8 *)peer);
	return ALLOW;
}
