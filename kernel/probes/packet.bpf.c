/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets of sockets that are remembered: flows of datagrams, DNS messages, and the first bytes of streams. Runs at the
 * root of cgroup v2 for every packet of every socket, so what is of no interest is left at once.
 */
#include "brief.h"

char _license[] SEC("license") = "GPL";

const struct packet_event *anchor_packet __attribute__((unused));

enum {
	CLOCK_BOOTTIME = 7,
	PORT_DNS = 53,
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	PAYLOAD_BYTES = TEXT_BYTES - 1,
	HEAD_BYTES = 2048, /* of an HTTP request, or of what is not known yet */
	HELLO_BYTES = 16384, /* of a ClientHello, the largest record of TLS */
	STREAM_BYTES = 65536, /* of DNS over TCP */
	ALLOW = 1,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweeper);
} sweepers SEC(".maps");

/* Where things lie in a packet; the network header is at 0. */
struct view {
	__u8 local[16], peer[16]; /* first, to be aligned */
	__u32 payload; /* where the payload begins */
	__u32 length; /* of the payload */
	__u16 local_port, peer_port;
	__u8 protocol, syn;
};

static __always_inline void load_addresses(struct __sk_buff *skb, struct view *view, bool out, bool six)
{
	__be32 from, to;

	if (six) {
		bpf_skb_load_bytes(skb, 8, out ? view->local : view->peer, 16);
		bpf_skb_load_bytes(skb, 24, out ? view->peer : view->local, 16);
		return;
	}
	bpf_skb_load_bytes(skb, 12, &from, 4);
	bpf_skb_load_bytes(skb, 16, &to, 4);
	mapped(view->local, out ? from : to);
	mapped(view->peer, out ? to : from);
}

/* The transport's header. IPv6 with extension headers in front of it is left. */
static __always_inline bool look(struct __sk_buff *skb, struct view *view, bool out, bool six)
{
	__u16 ports[2];
	__u8 first, offset;
	__u32 at = 40;

	if (!six) {
		bpf_skb_load_bytes(skb, 0, &first, 1);
		at = (first & 15) * 4;
	}
	if (bpf_skb_load_bytes(skb, at, ports, 4))
		return false;
	view->local_port = __builtin_bswap16(ports[out ? 0 : 1]);
	view->peer_port = __builtin_bswap16(ports[out ? 1 : 0]);
	if (view->protocol == IPPROTO_UDP) {
		view->payload = at + 8;
	} else {
		if (bpf_skb_load_bytes(skb, at + 12, &offset, 1))
			return false;
		view->payload = at + (offset >> 4) * 4;
	}
	view->length = skb->len > view->payload ? skb->len - view->payload : 0;
	return true;
}

static __always_inline void fill_view(struct socket_ends *ends, const struct view *view, __u64 cookie)
{
	ends->cookie = cookie;
	__builtin_memcpy(ends->local_address, view->local, 16);
	__builtin_memcpy(ends->peer_address, view->peer, 16);
	ends->local_port = view->local_port;
	ends->peer_port = view->peer_port;
	ends->transport = view->protocol == IPPROTO_UDP ? TRANSPORT_UDP : TRANSPORT_TCP;
}

static __always_inline void fill_packet(struct packet_event *packet, const struct socket_process *process,
					const struct view *view, __u64 cookie)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->process = *process;
	fill_view(&packet->ends, view, cookie);
}

static __always_inline void send_packet(struct __sk_buff *skb, const struct socket_process *process,
					const struct view *view, __u32 offset, bool out, __u8 kind)
{
	__u32 length = view->length > PAYLOAD_BYTES ? PAYLOAD_BYTES : view->length;
	struct packet_event *packet;
	struct draft draft;
	__u8 *to;

	if (!begin(&draft, sizeof(*packet)))
		return;
	packet = (void *)draft.record->data;
	fill_packet(packet, process, view, bpf_get_socket_cookie(skb));
	packet->stream_offset = offset;
	packet->payload_length = view->length;
	packet->direction = out ? DIRECTION_OUT : DIRECTION_IN;
	packet->packet_kind = kind;
	to = draft.record->data + sizeof(*packet);
	/* From 1 on: a comparison with 0 is not enough for 6.1's verifier. */
	asm volatile("" : "+r"(length));
	length = ((length - 1) & PAYLOAD_BYTES) + 1;
	if (bpf_skb_load_bytes(skb, view->payload, to, length))
		count(FAILURE_PACKET_READ);
	else
		placed(&draft, &packet->payload, length);
	finish(&draft, RECORD_PACKET, RING_ORDINARY);
}

static __always_inline bool is_dns(const struct view *view)
{
	return view->peer_port == PORT_DNS || view->local_port == PORT_DNS;
}

/* ---- flows of datagrams ---- */

static __always_inline void tell_flow(struct flow *flow, __u16 kind, __u64 flags)
{
	struct connection_event *row = reserve(sizeof(*row));

	if (!row)
		return;
	row->process = flow->process;
	row->ends = flow->ends;
	row->duration = row->header.ktime - flow->first;
	row->bytes_sent = flow->bytes_sent;
	row->bytes_received = flow->bytes_received;
	row->segments_sent = flow->sent;
	row->segments_received = flow->received;
	row->flags = flags | flow->flags | (flow->incoming ? CONNECTION_INCOMING : 0);
	if (kind == RECORD_CONNECTION_CLOSE)
		row->outcome = OUTCOME_CLOSED;
	submit(&row->header, kind);
}

/* How long a flow lives before a row says that it began; a shorter one has its end's row alone. */
#define FLOW_TOLD_AFTER 1000000000ULL

static long sweep_flow(void *map, struct flow_key *key, struct flow *flow, __u64 *now)
{
	if (*now > flow->last && *now - flow->last > settings.flow_idle * 1000000000ULL) {
		tell_flow(flow, RECORD_CONNECTION_CLOSE, CONNECTION_IDLE);
		bpf_map_delete_elem(map, key);
	} else if (!flow->told && *now > flow->first && *now - flow->first > FLOW_TOLD_AFTER) {
		flow->told = 1;
		tell_flow(flow, flow->incoming ? RECORD_CONNECTION_ACCEPT : RECORD_CONNECTION_CONNECT, 0);
	}
	return 0;
}

static int sweep(void *map, __u32 *key, struct sweeper *sweeper)
{
	__u64 now = bpf_ktime_get_boot_ns();

	bpf_for_each_map_elem(&flows, sweep_flow, &now, 0);
	bpf_timer_start(&sweeper->timer, 1000000000, 0);
	return 0;
}

/* The sweep goes by a timer of the kernel's, so that it goes on while nobody reads; a new program sets its own. */
static __always_inline void keep_sweeping(void)
{
	__u32 zero = 0;
	struct sweeper *sweeper = bpf_map_lookup_elem(&sweepers, &zero);
	__u64 before;

	if (!sweeper)
		return;
	before = sweeper->stamp;
	if (before == settings.stamp || __sync_val_compare_and_swap(&sweeper->stamp, before, settings.stamp) != before)
		return;
	bpf_timer_init(&sweeper->timer, &sweepers, CLOCK_BOOTTIME);
	bpf_timer_set_callback(&sweeper->timer, sweep);
	bpf_timer_start(&sweeper->timer, 1000000000, 0);
}

static __always_inline struct flow *new_flow(struct __sk_buff *skb, struct flow_key *key,
					     const struct socket_memory *memory, const struct view *view, bool out)
{
	struct flow fresh = {.first = bpf_ktime_get_boot_ns(), .incoming = !out};

	fresh.process = memory->process;
	fill_view(&fresh.ends, view, key->cookie);
	fresh.flags = memory_flags(memory) | end_flags(&fresh.ends);
	if (skb->sk)
		fresh.flags |= mapped_flag(skb->sk->family, &fresh.ends);
	if (bpf_map_update_elem(&flows, key, &fresh, BPF_NOEXIST) == -7 /* E2BIG */)
		count(FAILURE_FLOW_MAP);
	keep_sweeping();
	return bpf_map_lookup_elem(&flows, key);
}

static __always_inline void datagram(struct __sk_buff *skb, struct socket_memory *memory, const struct view *view,
				     bool out)
{
	struct flow_key key = {.cookie = bpf_get_socket_cookie(skb), .port = view->peer_port};
	struct flow *flow;

	__builtin_memcpy(key.peer, view->peer, 16);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow)
		flow = new_flow(skb, &key, memory, view, out);
	if (flow) {
		flow->last = bpf_ktime_get_boot_ns();
		__sync_fetch_and_add(out ? &flow->bytes_sent : &flow->bytes_received, view->length);
		__sync_fetch_and_add(out ? &flow->sent : &flow->received, 1);
	}
	__builtin_memcpy(memory->last.peer, view->peer, 16);
	memory->last.port = view->peer_port;
	if (settings.read_names && view->length && is_dns(view))
		send_packet(skb, &memory->process, view, 0, out, PACKET_DNS);
}

/* ---- heads of streams ---- */

/* How far the head goes, by its first bytes: TLS says how long it is; 0: nothing that anybody would read. */
static __always_inline __u32 head_length(struct __sk_buff *skb, const struct view *view)
{
	__u8 first[6] = {};

	if (is_dns(view))
		return STREAM_BYTES;
	if (view->length < 6 || bpf_skb_load_bytes(skb, view->payload, first, 6))
		return view->length ? HEAD_BYTES : 0;
	if (first[0] == 0x16 && first[1] == 3 && first[5] == 1) { /* a handshake record that holds a ClientHello */
		__u32 length = 5 + (first[3] << 8 | first[4]);

		return length < HELLO_BYTES ? length : HELLO_BYTES;
	}
	for (int i = 0; i < 3; i++) {
		if (first[i] < 'A' || first[i] > 'Z')
			return 0;
	}
	return HEAD_BYTES;
}

/* The end of an HTTP head, at the end of what was sent: most requests come whole in one segment. */
static __always_inline bool ends_here(struct __sk_buff *skb, const struct view *view)
{
	__u32 end = 0;

	return view->length >= 4 && !bpf_skb_load_bytes(skb, view->payload + view->length - 4, &end, 4) &&
	       end == 0x0a0d0a0d;
}

static __always_inline void stream(struct __sk_buff *skb, struct socket_memory *memory, const struct view *view,
				   bool out)
{
	bool dns = is_dns(view), wanted_at_all = dns ? settings.read_names : settings.read_requests;
	bool asks = out == !(memory->state & SOCKET_INCOMING); /* from who connected to who accepted */
	__u32 *seen = &memory->head[out ? 0 : 1], *wanted = &memory->wanted[out ? 0 : 1];

	if (!wanted_at_all)
		memory->state |= SOCKET_NO_HEADS;
	if (!view->length || (!asks && !dns) || memory->state & SOCKET_NO_HEADS)
		return;
	if (!*seen)
		*wanted = head_length(skb, view);
	if (*seen < *wanted)
		send_packet(skb, &memory->process, view, *seen, out, dns ? PACKET_DNS : PACKET_HEAD);
	*seen += view->length;
	if (!dns && (*seen >= *wanted || (*wanted == HEAD_BYTES && ends_here(skb, view))))
		memory->state |= SOCKET_NO_HEADS;
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
	return settings.read_plain && !(memory->state & SOCKET_PLAIN_TOLD);
}

static __always_inline bool is_unaccepted(const struct socket_memory *memory)
{
	return memory->state & SOCKET_INCOMING && !(memory->state & SOCKET_ACCEPT_TOLD);
}

/* By the socket's own word for its ends: a packet's may be translated already. */
static __always_inline void tell_accepted(struct __sk_buff *skb, struct sock *sk, struct socket_memory *memory)
{
	struct connection_event *row;

	memory->state |= SOCKET_ACCEPT_TOLD;
	if (settings.fold_connections) {
		tell_brief(sk, memory, bpf_get_socket_cookie(skb), RECORD_CONNECTION_ACCEPT, OUTCOME_ESTABLISHED);
		return;
	}
	row = begin_row(memory);
	if (!row)
		return;
	fill_tcp(row, sk, bpf_get_socket_cookie(skb));
	row->outcome = OUTCOME_ESTABLISHED;
	submit(&row->header, RECORD_CONNECTION_ACCEPT);
}

/* Who sends a datagram is its flow's process, and who writes to an accepted connection has accepted it. */
static __always_inline void sender(struct __sk_buff *skb, struct bpf_sock *sk, struct socket_memory *memory,
				   const struct view *view)
{
	struct task_struct *task = bpf_get_current_task_btf();
	bool accepts = is_unaccepted(memory) && view->length;
	struct sock *full = NULL;
	__u64 cgroup;

	if (!accepts && (view->protocol != IPPROTO_UDP || same_process(&memory->process, task)))
		return;
	if (accepts && !(full = held(sk)))
		return;
	if (!is_wanted(task, &cgroup))
		return;
	take_over(memory, task, cgroup);
	if (full)
		tell_accepted(skb, full, memory);
}

/* The peer that a connected datagram socket was given: on the host's own way out packets are translated already. */
static __always_inline void as_asked(struct bpf_sock *sk, struct view *view)
{
	__u32 *words = (__u32 *)view->peer;

	if (!sk->dst_port)
		return;
	view->peer_port = __builtin_bswap16(sk->dst_port);
	if (sk->family == AF_INET) {
		mapped(view->peer, sk->dst_ip4);
		return;
	}
	for (int i = 0; i < 4; i++)
		words[i] = sk->dst_ip6[i];
}

static __always_inline int packet(struct __sk_buff *skb, bool out)
{
	struct bpf_sock *sk = skb->sk;
	struct socket_memory *memory;
	struct view view = {};
	bool six;

	if (!sk)
		return ALLOW;
	memory = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!memory || memory->state & SOCKET_LISTENS)
		return ALLOW;
	if (memory->state & SOCKET_NO_HEADS && !(out && (is_unaccepted(memory) || wants_plain(memory))))
		return ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->type == SOCK_RAW || (sk->protocol != IPPROTO_TCP && sk->protocol != IPPROTO_UDP))
		return ALLOW;
	view.protocol = sk->protocol;
	six = skb->protocol == __builtin_bswap16(ETH_P_IPV6);
	if (!look(skb, &view, out, six))
		return ALLOW;
	if (view.protocol == IPPROTO_TCP && !view.length)
		return ALLOW;
	load_addresses(skb, &view, out, six);
	if (out)
		sender(skb, sk, memory, &view);
	if (view.protocol == IPPROTO_UDP) {
		if (out)
			as_asked(sk, &view);
		datagram(skb, memory, &view, out);
		return ALLOW;
	}
	stream(skb, memory, &view, out);
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

/* A datagram socket is made: its process is who made it, until another sends. A raw one is told at once. */
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
	if (sk->type == SOCK_RAW)
		tell_endless(memory, bpf_get_socket_cookie(sk), TRANSPORT_RAW, sk->protocol, RECORD_CONNECTION_OPEN);
	return ALLOW;
}

/* A raw socket is closed, or one of datagrams: its last flow ends here, others when they are idle for long enough. */
SEC("cgroup/sock_release")
int socket_release(struct bpf_sock *sk)
{
	struct flow_key key = {};
	struct socket_memory *memory;
	struct flow *flow;

	if (sk->protocol != IPPROTO_UDP && sk->type != SOCK_RAW)
		return ALLOW;
	memory = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!memory)
		return ALLOW;
	if (sk->type == SOCK_RAW)
		tell_endless(memory, bpf_get_socket_cookie(sk), TRANSPORT_RAW, sk->protocol, RECORD_CONNECTION_CLOSE);
	if (sk->type == SOCK_RAW || !memory->last.port)
		return ALLOW;
	key.cookie = bpf_get_socket_cookie(sk);
	key.port = memory->last.port;
	__builtin_memcpy(key.peer, memory->last.peer, 16);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (flow) {
		tell_flow(flow, RECORD_CONNECTION_CLOSE, 0);
		bpf_map_delete_elem(&flows, &key);
	}
	return ALLOW;
}
