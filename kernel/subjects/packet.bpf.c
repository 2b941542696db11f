/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets of sockets that are remembered: flows of datagrams, DNS messages, and the first bytes of streams. Runs at the
 * root of cgroup v2 for every packet of every socket, so what is of no interest is left at once.
 */
#include "flow.h"
#include "holder.h"
#include "stream.h"

char _license[] SEC("license") = "GPL";

const struct packet_event *anchor_packet __attribute__((unused));

enum {
	ALLOW = 1,
};

/* ---- flows of datagrams ---- */

static __always_inline bool same_address(const __u8 *one, const __u8 *other)
{
	const __u64 *a = (const __u64 *)one, *b = (const __u64 *)other;

	return a[0] == b[0] && a[1] == b[1];
}

/* The peer that a datagram socket is connected to, and its port; 0: it is not. */
static __attribute__((noinline)) int connected_to(struct bpf_sock *sk, __u32 *address)
{
	no_address((__u8 *)address);
	if (!sk->dst_port)
		return 0;
	if (sk->family == AF_INET) {
		mapped((__u8 *)address, sk->dst_ip4);
	} else {
		address[0] = sk->dst_ip6[0];
		address[1] = sk->dst_ip6[1];
		address[2] = sk->dst_ip6[2];
		address[3] = sk->dst_ip6[3];
	}
	return __builtin_bswap16(sk->dst_port);
}

static __always_inline bool goes_to(const struct view *view, const __u8 *address, __u16 port)
{
	return view->peer_port == port && same_address(view->peer, address);
}

/*
 * The peer that was asked for: on the host's own way out packets are translated already. The packet's own address
 * counts where it is one that the program named, by connect or for this datagram; else it is a translation of what this
 * thread named just now, or of what the socket is connected to.
 */
static __always_inline void as_asked(struct bpf_sock *sk, struct socket_memory *memory, struct view *view)
{
	bool mine = memory->asked.thread == bpf_get_current_task_btf()->pid;
	__u8 address[16] __attribute__((aligned(8)));
	__u16 port = connected_to(sk, (__u32 *)address);

	if (mine)
		memory->asked.thread = 0;
	if (port && goes_to(view, address, port))
		return;
	if (memory->asked.port && goes_to(view, memory->asked.peer, memory->asked.port))
		return;
	if (memory->asked.unsure)
		return;
	if (mine) {
		__builtin_memcpy(view->peer, memory->asked.peer, 16);
		view->peer_port = memory->asked.port;
	} else if (port) {
		__builtin_memcpy(view->peer, address, 16);
		view->peer_port = port;
	}
}

static __always_inline struct flow *new_flow(struct __sk_buff *skb, struct flow_key *key, struct bpf_sock *sk,
					     struct socket_memory *memory, const struct view *view, bool out)
{
	struct flow fresh = {.first = bpf_ktime_get_boot_ns(), .incoming = !out};

	fresh.process = memory->process;
	fill_view(&fresh.ends, view, key->cookie);
	fresh.flags = memory_flags(memory) | end_flags(&fresh.ends) | mapped_flag(sk->family, &fresh.ends);
	fresh.protocol = view->protocol == IPPROTO_UDP ? 0 : view->protocol;
	fresh.connected_port = connected_to(sk, (__u32 *)fresh.connected_address);
	if (!fresh.connected_port || goes_to(view, fresh.connected_address, fresh.connected_port)) {
		no_address(fresh.connected_address);
		fresh.connected_port = 0;
	}
	if (bpf_map_update_elem(&flows, key, &fresh, BPF_NOEXIST) == -E2BIG)
		count(FAILURE_FLOW_MAP);
	__sync_fetch_and_add(&memory->flows, 1);
	keep_sweeping();
	return bpf_map_lookup_elem(&flows, key);
}

static __always_inline void datagram(struct __sk_buff *skb, struct bpf_sock *sk, struct socket_memory *memory,
				     const struct view *view, bool out)
{
	struct flow_key key = {.cookie = bpf_get_socket_cookie(skb), .port = view->peer_port};
	__u32 size = skb->gso_size, many;
	struct flow *flow;

	asm volatile("" : "+r"(size)); /* else it is loaded by way of a pointer, which the verifier refuses */
	many = pieces_in(view->length, size);
	__builtin_memcpy(key.peer, view->peer, 16);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		flow = new_flow(skb, &key, sk, memory, view, out);
	if (flow) {
		flow->last = bpf_ktime_get_boot_ns();
		__sync_fetch_and_add(out ? &flow->bytes_sent : &flow->bytes_received, view->length);
		__sync_fetch_and_add(out ? &flow->sent : &flow->received, many);
	}
	__builtin_memcpy(memory->last.peer, view->peer, 16);
	memory->last.port = view->peer_port;
	if (network.names && view->length && view->protocol == IPPROTO_UDP && view->found && is_dns(view)) {
		struct pieces all = {
			.skb = skb,
			.process = &memory->process,
			.view = view,
			.size = many > 1 ? size : view->length,
			.end = view->length,
			.out = out,
			.kind = PACKET_DNS,
		};

		send_pieces(&all);
	}
}

/*
 * The socket, where a process is writing to it right now. What softirq has to send for a socket that a process holds
 * waits until that lets go (include/net/sock.h, the socket's backlog), so a held socket sends for its holder, who is
 * current.
 */
static __always_inline struct sock *held(struct bpf_sock *sk)
{
	struct sock *full = (void *)bpf_skc_to_tcp_sock(sk);

	return full && full->sk_lock.owned ? full : NULL;
}

/* What the sending thread gave to libssl just before: its first segment says which connection that is for. */
static __always_inline void plain(struct __sk_buff *skb, struct bpf_sock *sk, struct socket_memory *memory,
				  const struct view *view)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct plain *given = bpf_map_lookup_elem(&plains, &thread);
	struct packet_event *packet;
	struct draft draft;
	__u8 *to;

	if (!given || !view->length || !held(sk))
		return;
	memory->state |= SOCKET_PLAIN_TOLD;
	if (begin(&draft, sizeof(*packet))) {
		packet = (void *)draft.record->data;
		fill_packet(packet, &memory->process, view, bpf_get_socket_cookie(skb));
		packet->payload_length = given->length;
		packet->direction = DIRECTION_OUT;
		packet->packet_kind = PACKET_PLAIN;
		to = draft.record->data + sizeof(*packet);
		if (bpf_probe_read_kernel(to, PLAIN_BYTES, given->head))
			count(FAILURE_PACKET_READ);
		else
			placed(&draft, &packet->payload, given->length < PLAIN_BYTES ? given->length : PLAIN_BYTES);
		finish(&draft, RECORD_PACKET, RING_ORDINARY);
	}
	bpf_map_delete_elem(&plains, &thread);
}

/* ---- at the cgroup ---- */

static __always_inline bool wants_plain(const struct socket_memory *memory)
{
	return network.plaintext && !(memory->state & SOCKET_PLAIN_TOLD);
}

/* Whether it may be another process than the one that is known who sends. */
static __always_inline bool may_be_used(const struct socket_memory *memory)
{
	return !is_known(memory, bpf_get_current_task_btf());
}

/* Who sends a datagram is its flow's process; who writes to a connection has accepted or taken it. */
static __always_inline void sender(struct __sk_buff *skb, struct bpf_sock *sk, struct socket_memory *memory,
				   const struct view *view)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sock *full = NULL;
	__u64 cgroup;

	if (view->protocol == IPPROTO_TCP) {
		if (!view->length || is_known(memory, task))
			return;
		full = held(sk);
		if (!full)
			return;
	} else if (same_process(&memory->process, task)) {
		return;
	}
	if (!is_wanted(task, &cgroup))
		return;
	if (full)
		used_by(full, memory, bpf_get_socket_cookie(skb), task, cgroup);
	else
		take_over(memory, task, cgroup);
}

static __always_inline bool is_datagram(__u32 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE || is_ping(protocol);
}

static __always_inline int packet(struct __sk_buff *skb, bool out)
{
	struct bpf_sock *sk = skb->sk;
	struct socket_memory *memory;
	struct view view = {.out = out};

	if (!sk)
		return ALLOW;
	memory = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!memory || memory->state & SOCKET_LISTENS)
		return ALLOW;
	if (memory->state & SOCKET_NO_HEADS && !(out && (wants_plain(memory) || may_be_used(memory))))
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->type == SOCK_RAW || (sk->protocol != IPPROTO_TCP && !is_datagram(sk->protocol)))
		return ALLOW;
	view.protocol = sk->protocol;
	view.six = skb->protocol == __builtin_bswap16(ETH_P_IPV6);
	if (!is_ping(view.protocol)) {
		view.local_port = sk->src_port;
		view.peer_port = __builtin_bswap16(sk->dst_port);
	}
	look(skb, &view);
	if (!view.found)
		memory->state |= SOCKET_UNREAD;
	if (view.protocol == IPPROTO_TCP && (!view.length || !view.found))
		return ALLOW;
	if (out)
		sender(skb, sk, memory, &view);
	if (view.protocol != IPPROTO_TCP) {
		if (out)
			as_asked(sk, memory, &view);
		datagram(skb, sk, memory, &view, out);
		return ALLOW;
	}
	stream(skb, sk, memory, &view, out);
	if (out && wants_plain(memory))
		plain(skb, sk, memory, &view);
	return ALLOW;
}

SEC("cgroup_skb/egress")
int packet_out(struct __sk_buff *skb)
{
	return packet(skb, true);
}

SEC("cgroup_skb/ingress")
int packet_in(struct __sk_buff *skb)
{
	return packet(skb, false);
}
