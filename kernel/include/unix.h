/* SPDX-License-Identifier: GPL-2.0 */
/* What both ways to see a connect to a unix socket have in common: whose row it is, and the name in an address. */
#pragma once
#include "socket.h"

enum {
	SUN_PATH_BYTES = 108,
};

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
	no_address(row->connected_address);
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
