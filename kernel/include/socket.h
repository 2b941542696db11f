/* SPDX-License-Identifier: GPL-2.0 */
/* Whose a socket is, its ends, and the rows that tell of it. Memory lies in the socket itself and goes with it. */
#pragma once
#include "withhold.h"
#include "address.h"

enum {
	AF_UNIX = 1,
	AF_INET = 2,
	AF_INET6 = 10,
	AF_NETLINK = 16,
	AF_PACKET = 17,
	AF_XDP = 44,
	SOCK_RAW = 3,
	IPPROTO_ICMP = 1,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_UDPLITE = 136,
	PF_KTHREAD = 0x00200000,
	MOST_TAKEN = 4,
};

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};

enum socket_state {
	SOCKET_STARTED_TOLD = 1 << 0,
	SOCKET_ESTABLISHED = 1 << 1,
	SOCKET_INCOMING = 1 << 2,
	SOCKET_ACCEPT_TOLD = 1 << 3,
	SOCKET_LISTENS = 1 << 4,
	SOCKET_BEFORE = 1 << 5,
	SOCKET_SHARED = 1 << 6,
	SOCKET_NO_HEADS = 1 << 7, /* both heads were seen, or are of no interest */
	SOCKET_PLAIN_TOLD = 1 << 8,
	SOCKET_ALLOWED = 1 << 9,
	SOCKET_WITHHELD = 1 << 10, /* the row of its beginning may not be written yet */
	SOCKET_UNREAD = 1 << 11, /* a packet's transport header was not found */
};

#define SOCK_DONE_BIT 1 /* enum sock_flags of include/net/sock.h: the peer's FIN came */

static __always_inline void fill_parent_of(struct socket_process *process, struct task_struct *task)
{
	struct process_memory *memory = memory_of(task);

	process->parent_start = task->real_parent->group_leader->start_boottime;
	process->parent_number = task->parent_exec_id;
	process->parent_tgid = task->real_parent->tgid;
	/* Else the compiler makes one load of both, which the verifier refuses: they have different types. */
	asm volatile("" ::: "memory");
	if (!memory)
		return;
	process->parent_start = memory->parent_start;
	process->parent_number = memory->parent_number;
	process->parent_tgid = memory->parent_tgid;
}

static __always_inline void fill_process(struct socket_process *process, struct task_struct *task, __u64 cgroup)
{
	fill_parent_of(process, task);
	process->exec_start = task->group_leader->start_boottime;
	process->exec_number = task->self_exec_id;
	process->exec_tgid = task->tgid;
	process->cap_permitted = capability_set(&task->real_cred->cap_permitted);
	process->cap_effective = capability_set(&task->real_cred->cap_effective);
	process->uid = task->real_cred->uid.val;
	process->euid = task->real_cred->euid.val;
	process->cgroup_id = cgroup;
	process->cgroup_hierarchy = settings.container_hierarchy;
}

/* Of a datagram socket (ping, net/ipv4/ping.c) or of none. */
static __always_inline bool is_ping(__u32 protocol)
{
	return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

static __always_inline bool is_process(struct task_struct *task)
{
	return !(task->flags & PF_KTHREAD);
}

static __always_inline bool same_process(const struct socket_process *process, struct task_struct *task)
{
	return process->exec_tgid == task->tgid && process->exec_number == task->self_exec_id &&
	       process->exec_start == task->group_leader->start_boottime;
}

/* Whether a task is one to be recorded; its cgroup's id, said once before any row names it, and what was withheld. */
static __always_inline bool is_wanted(struct task_struct *task, __u64 *id)
{
	struct cgroup *cgroup = cgroup_of(task);

	if (!is_process(task) || !in_scope(cgroup))
		return false;
	*id = cgroup_id(cgroup);
	know_cgroup(cgroup, *id);
	if (folding.processes)
		unfold(memory_of(task));
	return true;
}

static __always_inline void take_over(struct socket_memory *memory, struct task_struct *task, __u64 cgroup)
{
	__u32 net = memory->process.ns_net;

	fill_process(&memory->process, task, cgroup);
	memory->process.ns_net = net;
}

static __always_inline void mapped(__u8 *to, __be32 address)
{
	__builtin_memset(to, 0, 10);
	to[10] = to[11] = 0xff;
	__builtin_memcpy(to + 12, &address, 4);
}

static __always_inline void no_address(__u8 *to)
{
	__builtin_memset(to, 0xff, 16);
}

static __always_inline __u64 end_flags(const struct socket_ends *ends)
{
	const __u64 *ours = (const __u64 *)ends->local_address, *theirs = (const __u64 *)ends->peer_address;

	if (is_loopback(ends->peer_address) || (ends->peer_port && ours[0] == theirs[0] && ours[1] == theirs[1]))
		return CONNECTION_LOOPBACK;
	return 0;
}

/* Of a socket that may be of either family. */
static __always_inline __u64 mapped_flag(__u32 family, const struct socket_ends *ends)
{
	return family == AF_INET6 && is_mapped(ends->peer_address) ? CONNECTION_MAPPED : 0;
}

/* At the close the number of a port that the kernel chose is gone from the hash's key, but not from inet_sport. */
static __always_inline void fill_ends(struct socket_ends *ends, struct sock *sk)
{
	struct inet_sock *inet = (void *)sk;

	ends->peer_port = __builtin_bswap16(sk->__sk_common.skc_dport);
	ends->local_port = sk->__sk_common.skc_num;
	if (!ends->local_port)
		ends->local_port = __builtin_bswap16(BPF_CORE_READ(inet, inet_sport));
	if (sk->__sk_common.skc_family == AF_INET6) {
		bpf_core_read(ends->local_address, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(ends->peer_address, 16, &sk->__sk_common.skc_v6_daddr);
	} else {
		mapped(ends->local_address, sk->__sk_common.skc_rcv_saddr);
		mapped(ends->peer_address, sk->__sk_common.skc_daddr);
	}
	if (!ends->peer_port)
		no_address(ends->peer_address);
}

static __always_inline __u64 memory_flags(const struct socket_memory *memory)
{
	__u64 flags = 0;

	if (!memory->process.exec_tgid)
		flags |= CONNECTION_UNOWNED;
	if (memory->state & SOCKET_INCOMING && !(memory->state & SOCKET_ACCEPT_TOLD))
		flags |= CONNECTION_LISTENER;
	if (memory->state & SOCKET_INCOMING)
		flags |= CONNECTION_INCOMING;
	if (memory->state & SOCKET_BEFORE)
		flags |= CONNECTION_BEFORE;
	if (memory->state & SOCKET_SHARED)
		flags |= CONNECTION_SHARED;
	if (memory->state & SOCKET_ALLOWED)
		flags |= CONNECTION_ALLOWED;
	if (memory->state & SOCKET_UNREAD)
		flags |= CONNECTION_UNREAD;
	return flags;
}

/*
 * The error of a socket. What the network says while a process holds it, as in connect itself, is kept apart
 * (tcp_v4_err of net/ipv4/tcp_ipv4.c): the only answer that an attempt may get. Of a connection it is none: it goes on.
 */
static __always_inline int error_of(struct sock *sk, const struct socket_memory *memory)
{
	return sk->sk_err || memory->state & SOCKET_ESTABLISHED ? sk->sk_err : sk->sk_err_soft;
}

/* All that a socket's memory knows. */
static __always_inline void fill_row(struct connection_event *row, const struct socket_memory *memory)
{
	row->process = memory->process;
	row->opener_tgid = memory->opener_tgid;
	row->opener_start = memory->opener_start;
	row->opener_number = memory->opener_number;
	row->duration = row->header.ktime - memory->began;
	row->flags = memory_flags(memory);
	no_address(row->connected_address);
}

/* A row without a path in the making; to be submitted. */
static __always_inline struct connection_event *begin_row(const struct socket_memory *memory)
{
	struct connection_event *row = reserve(sizeof(*row));

	if (row)
		fill_row(row, memory);
	return row;
}

/* What the socket itself tells of its ends. */
static __always_inline void fill_tcp(struct connection_event *row, struct sock *sk, __u64 cookie)
{
	row->ends.cookie = cookie;
	row->ends.transport = TRANSPORT_TCP;
	fill_ends(&row->ends, sk);
	row->flags |= end_flags(&row->ends) | mapped_flag(sk->__sk_common.skc_family, &row->ends);
}

/* The EtherType that a packet socket is for now. */
static __always_inline __u16 packet_protocol(struct sock *sk)
{
	struct packet_sock *packet = (void *)sk;

	return bpf_core_field_exists(packet->num) ? __builtin_bswap16(BPF_CORE_READ(packet, num)) : 0;
}

/* A socket whose rows have no addresses (raw, packet and others): its beginning or its end. `family`: 0 where
 * `transport` names it. */
static __always_inline void tell_endless(const struct socket_memory *memory, __u64 cookie, __u8 transport, __u8 family,
					 __u16 protocol, __u16 kind)
{
	struct connection_event *row = begin_row(memory);

	if (!row)
		return;
	row->ends.cookie = cookie;
	row->ends.transport = transport;
	no_address(row->ends.local_address);
	no_address(row->ends.peer_address);
	row->protocol = protocol;
	row->family = family;
	row->outcome = kind == RECORD_CONNECTION_CLOSE ? OUTCOME_CLOSED : OUTCOME_NONE;
	submit(&row->header, kind);
}
