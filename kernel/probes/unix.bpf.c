/* SPDX-License-Identifier: GPL-2.0 */
/* Connects to unix sockets: the way to a container runtime's door, among others. */
#include "socket.h"

char _license[] SEC("license") = "GPL";

const struct connection_event *anchor_connection __attribute__((unused));

enum {
	SUN_PATH_BYTES = 108,
	ALLOW = 1,
};

extern void *bpf_cast_to_kern_ctx(void *context) __ksym __weak;

static __always_inline struct connection_event *begin_unix(struct draft *draft, __u64 cookie)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct connection_event *row;
	__u64 cgroup;

	if (!is_wanted(task, &cgroup) || !begin(draft, sizeof(*row)))
		return NULL;
	row = (void *)draft->record->data;
	__builtin_memset(row, 0, sizeof(*row));
	fill_process(&row->process, task, cgroup);
	row->process.ns_net = task->nsproxy->net_ns->ns.inum;
	row->ends.cookie = cookie;
	row->ends.transport = TRANSPORT_UNIX;
	no_address(row->ends.local_address);
	no_address(row->ends.peer_address);
	return row;
}

/*
 * Behind a NUL and not ended by one: a name in the abstract namespace, as long as the address says. A path ends at a
 * NUL or with the address: what lies behind that in the kernel's memory is not the caller's.
 */
static __always_inline void put_name(struct draft *draft, struct connection_event *row, struct sockaddr_un *address,
				     __u32 length)
{
	const char *path = (void *)address + bpf_core_field_offset(struct sockaddr_un, sun_path);
	__u8 *to = room(draft);
	char first = 0;
	long read;

	length -= 2;
	if (!to || length - 1 >= SUN_PATH_BYTES) /* none at all included */
		return;
	asm volatile("" : "+r"(length));
	length &= 127;
	bpf_probe_read_kernel(&first, 1, path);
	if (!first)
		row->flags |= CONNECTION_ABSTRACT;
	if (first)
		read = bpf_probe_read_kernel_str(to, length + 1, path) - 1;
	else
		read = bpf_probe_read_kernel(to, length, path + 1) ? 0 : length - 1;
	if (read > 0)
		placed(draft, &row->path, read & 127);
}

/* Best: the peer was found, so its own path is known, whatever the caller's word for it was. */
SEC("fentry/security_unix_stream_connect")
int BPF_PROG(unix_connect, struct sock *sk, struct sock *other, struct sock *fresh)
{
	struct unix_sock *peer = (void *)other;
	struct dentry *dentry = BPF_CORE_READ(peer, path.dentry);
	struct unix_address *address = BPF_CORE_READ(peer, addr);
	struct connection_event *row;
	struct draft draft;
	__u64 raced = 0;

	row = begin_unix(&draft, bpf_get_socket_cookie(sk));
	if (!row)
		return 0;
	row->peer_tgid = BPF_CORE_READ(other, sk_peer_pid, numbers[0].nr);
	row->outcome = OUTCOME_ESTABLISHED;
	if (dentry) {
		if (put_path(&draft, &row->path, dentry, BPF_CORE_READ(peer, path.mnt), &raced) & WALK_TRUNCATED)
			row->flags |= CONNECTION_PATH_TRUNCATED;
	} else if (address) {
		put_name(&draft, row, (void *)address + bpf_core_field_offset(struct unix_address, name),
			 BPF_CORE_READ(address, len));
	}
	finish(&draft, RECORD_CONNECTION_CONNECT, RING_ORDINARY);
	return 0;
}

/* Else, from 6.7 (859051dd165e) on: the caller's word, before the peer is looked for. */
SEC("cgroup_connect_unix")
int unix_connect_raw(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_addr_kern *given = bpf_cast_to_kern_ctx(ctx);
	struct connection_event *row;
	struct draft draft;

	row = begin_unix(&draft, bpf_get_socket_cookie(ctx));
	if (!row)
		return ALLOW;
	row->flags |= CONNECTION_PATH_RAW;
	put_name(&draft, row, given->uaddr, given->uaddrlen);
	finish(&draft, RECORD_CONNECTION_CONNECT, RING_ORDINARY);
	return ALLOW;
}
