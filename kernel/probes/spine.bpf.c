/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is attached, and stays attached while user space restarts or is upgraded: each program does nothing but call the
 * one that stands in its own pinned array. An upgrade swaps that entry; attaching anew would lose or double events.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

#define SPINE(program, where)                                                                                          \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, __u32);                                                                                  \
	} entry_##program SEC(".maps");                                                                                \
	SEC(where) int spine_##program(__u64 *ctx)                                                                     \
	{                                                                                                              \
		bpf_tail_call(ctx, &entry_##program, 0);                                                               \
		return 0;                                                                                              \
	}

/* At a cgroup: 1 lets the packet or call go on, whatever stands in the array. */
#define SPINE_AT_CGROUP(program, where, context)                                                                       \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, __u32);                                                                                  \
	} entry_##program SEC(".maps");                                                                                \
	SEC(where) int spine_##program(struct context *ctx)                                                            \
	{                                                                                                              \
		bpf_tail_call(ctx, &entry_##program, 0);                                                               \
		return 1;                                                                                              \
	}

SPINE(cgroup_create, "tp_btf/cgroup_mkdir")
SPINE(cgroup_remove, "tp_btf/cgroup_rmdir")
SPINE(cgroup_move, "tp_btf/cgroup_attach_task")
SPINE(process_exit, "tp_btf/sched_process_exit")
SPINE(process_fork, "tp_btf/sched_process_fork")
SPINE(process_prepare, "tp_btf/sched_prepare_exec")
SPINE(process_prepare_fentry, "fentry/security_bprm_creds_for_exec")
SPINE(process_exec, "tp_btf/sched_process_exec")
SPINE(connection_state, "tp_btf/inet_sock_set_state")
SPINE(connection_retry, "tp_btf/tcp_retransmit_skb")
SPINE(connection_accept, "fentry/security_sock_graft")
SPINE(connection_use, "tp_btf/tcp_rcv_space_adjust")
SPINE(connection_read, "tp_btf/tcp_rcv_space_adjust")
SPINE_AT_CGROUP(packet_out, "cgroup_skb/egress", __sk_buff)
SPINE_AT_CGROUP(packet_in, "cgroup_skb/ingress", __sk_buff)
SPINE_AT_CGROUP(socket_open, "cgroup/sock_create", bpf_sock)
SPINE_AT_CGROUP(socket_release, "cgroup/sock_release", bpf_sock)
SPINE_AT_CGROUP(datagram_to4, "cgroup/sendmsg4", bpf_sock_addr)
SPINE_AT_CGROUP(datagram_to6, "cgroup/sendmsg6", bpf_sock_addr)
SPINE(sniff_open, "fentry/security_socket_post_create")
SPINE(sniff_allowed, "tp_btf/cap_capable")
SPINE(sniff_close, "fentry/packet_release")
SPINE(tunnel_open, "fentry/security_tun_dev_create")
SPINE(tunnel_allowed, "tp_btf/cap_capable")
SPINE(unix_connect, "fentry/security_unix_stream_connect")
SPINE_AT_CGROUP(unix_connect_raw, "cgroup_connect_unix", bpf_sock_addr)
