/* SPDX-License-Identifier: GPL-2.0 */
/* Connects to unix sockets: the way to a container runtime's door, among others. */
#include "unix.h"

char _license[] SEC("license") = "GPL";

const struct connection_event *anchor_connection __attribute__((unused));

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
