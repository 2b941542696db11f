/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TCP connections: attempts and their outcomes, listeners, acceptances, ends. A socket remembers its process from the
 * moments that have one (connect, listen, first use); the others, in softirq, only read that.
 */
#include "holder.h"

char _license[] SEC("license") = "GPL";

const struct connection_event *anchor_connection __attribute__((unused));
const struct packet_event *anchor_packet __attribute__((unused));

enum {
	EPIPE = 32,
	ENETUNREACH = 101,
	ECONNRESET = 104,
	ETIMEDOUT = 110,
	ECONNREFUSED = 111,
	EHOSTUNREACH = 113,
};

/* The socket's memory, made anew for the current process; NULL where that is not to be recorded. */
static __always_inline struct socket_memory *remember(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct socket_memory *memory;
	__u64 cgroup;

	if (!is_wanted(task, &cgroup)) {
		bpf_sk_storage_delete(&sockets, sk);
		return NULL;
	}
	memory = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!memory) {
		count(FAILURE_SOCKET_MAP);
		return NULL;
	}
	__builtin_memset(memory, 0, sizeof(*memory));
	fill_process(&memory->process, task, cgroup);
	memory->process.ns_net = sk->__sk_common.skc_net.net->ns.inum;
	memory->began = bpf_ktime_get_boot_ns();
	return memory;
}

/* An attempt has no row yet: a question about this moment waits for it (stats.untold). */
static __always_inline void tries(struct sock *sk)
{
	struct socket_memory *memory = remember(sk);
	__u64 cookie;

	if (!memory)
		return;
	cookie = bpf_get_socket_cookie(sk);
	bpf_map_update_elem(&attempts, &cookie, &memory->began, BPF_ANY); /* full: stats.untold knows nothing then */
}

/* Its row: only then it is none without one. */
static __always_inline void tried(struct sock *sk, struct socket_memory *memory, __u8 outcome)
{
	__u64 cookie = bpf_get_socket_cookie(sk);

	tell(sk, memory, cookie, RECORD_CONNECTION_CONNECT, outcome, 0);
	bpf_map_delete_elem(&attempts, &cookie);
}

static __always_inline void listens(struct sock *sk)
{
	struct socket_memory *memory = remember(sk);

	if (!memory)
		return;
	memory->state = SOCKET_LISTENS;
	tell(sk, memory, bpf_get_socket_cookie(sk), RECORD_CONNECTION_LISTEN, OUTCOME_NONE, 0);
}

/* A child of a listener: what was cloned is the listener's; who accepts it is known at the first use. */
static __always_inline void handshake_done(struct socket_memory *memory)
{
	memory->opener_tgid = memory->process.exec_tgid;
	memory->opener_start = memory->process.exec_start;
	memory->opener_number = memory->process.exec_number;
	memory->began = bpf_ktime_get_boot_ns();
	memory->state = SOCKET_ESTABLISHED | SOCKET_INCOMING | (memory->state & SOCKET_BEFORE);
	memory->taken = 0;
	memory->wanted[0] = memory->wanted[1] = 0;
}

static __always_inline void established(struct sock *sk, int before)
{
	struct socket_memory *memory = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (!memory)
		return;
	if (before == TCP_SYN_RECV && memory->state & SOCKET_LISTENS) {
		handshake_done(memory);
		return;
	}
	memory->state |= SOCKET_ESTABLISHED;
	tried(sk, memory, OUTCOME_ESTABLISHED);
}

static __always_inline __u8 failed_outcome(int error)
{
	switch (error) {
	case 0:
		return OUTCOME_ABORTED;
	case ECONNREFUSED:
		return OUTCOME_REFUSED;
	case ETIMEDOUT:
		return OUTCOME_TIMED_OUT;
	case ENETUNREACH:
	case EHOSTUNREACH:
		return OUTCOME_UNREACHABLE;
	case ECONNRESET:
		return OUTCOME_RESET;
	}
	return OUTCOME_FAILED;
}

/* A reset after the peer's FIN is EPIPE (tcp_reset of net/ipv4/tcp_input.c). */
static __always_inline __u8 closed_outcome(int error)
{
	return error == ECONNRESET || error == EPIPE ? OUTCOME_RESET
	       : error == ETIMEDOUT                  ? OUTCOME_TIMED_OUT
						     : OUTCOME_CLOSED;
}

static __always_inline void closed(struct sock *sk, int before)
{
	struct socket_memory *memory = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (!memory)
		return;
	/* Closed with bytes that nobody read: the process that holds it has accepted it and sends a reset, no FIN. */
	if (memory->state & SOCKET_ESTABLISHED && sk->sk_lock.owned)
		used(sk, memory, bpf_get_socket_cookie(sk));
	if (before == TCP_LISTEN)
		tell(sk, memory, bpf_get_socket_cookie(sk), RECORD_CONNECTION_CLOSE, OUTCOME_NONE,
		     CONNECTION_LISTENING);
	else if (memory->state & SOCKET_ESTABLISHED)
		tell(sk, memory, bpf_get_socket_cookie(sk), RECORD_CONNECTION_CLOSE, closed_outcome(sk->sk_err), 0);
	else if (before == TCP_SYN_SENT)
		tried(sk, memory, failed_outcome(error_of(sk, memory)));
	bpf_sk_storage_delete(&sockets, sk);
}

static __always_inline void used_here(struct sock *sk)
{
	struct socket_memory *memory = bpf_sk_storage_get(&sockets, sk, 0, 0);

	if (memory && memory->state & SOCKET_ESTABLISHED)
		used(sk, memory, bpf_get_socket_cookie(sk));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(connection_state, struct sock *sk, int before, int now)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	switch (now) {
	case TCP_SYN_SENT:
		tries(sk);
		break;
	case TCP_LISTEN:
		listens(sk);
		break;
	case TCP_ESTABLISHED:
		established(sk, before);
		break;
	case TCP_FIN_WAIT1:
	case TCP_LAST_ACK: /* both by the process that closes or shuts down */
		used_here(sk);
		break;
	case TCP_CLOSE:
		closed(sk, before);
		break;
	}
	return 0;
}

/* The first segment was sent again: nobody has answered for a second. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(connection_retry, struct sock *sk)
{
	struct socket_memory *memory;

	if (sk->__sk_common.skc_state != TCP_SYN_SENT)
		return 0;
	memory = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!memory || memory->state & SOCKET_STARTED_TOLD)
		return 0;
	memory->state |= SOCKET_STARTED_TOLD;
	tried(sk, memory, OUTCOME_STARTED);
	return 0;
}

/* Best: the socket is given to whoever accepts it. */
SEC("fentry/security_sock_graft")
int BPF_PROG(connection_accept, struct sock *sk, struct socket *parent)
{
	if (sk->sk_protocol == IPPROTO_TCP)
		used_here(sk);
	return 0;
}

/* Else: a process reads its first bytes. One that writes first is seen by packet.bpf.c, one that does neither at the
 * end. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(connection_use, struct sock *sk)
{
	used_here(sk);
	return 0;
}

/* Whatever tells of acceptances: a process that reads a connection which it has from another has taken it. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(connection_read, struct sock *sk)
{
	used_here(sk);
	return 0;
}
