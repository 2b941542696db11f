/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Connects to unix sockets where the kernel refuses fentry. An object of its own: to find that an older kernel lacks
 * this kfunc libbpf goes through the modules' types, which takes CAP_SYS_ADMIN, and without it the whole object would
 * be refused.
 */
#include "unix.h"

char _license[] SEC("license") = "GPL";

const struct connection_event *anchor_connection __attribute__((unused));

enum {
	ALLOW = 1,
};

extern void *bpf_cast_to_kern_ctx(void *context) __ksym __weak;

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
