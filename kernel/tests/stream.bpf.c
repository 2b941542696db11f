/* SPDX-License-Identifier: GPL-2.0 */
/* For tests/kernel/functions/test_stream.py: view.h, stream.h and pieces.h on a packet that a test gives. */
#include "stream.h"

char _license[] SEC("license") = "GPL";

const struct packet_event *anchor_packet __attribute__((unused));

struct stream_call {
	struct view view; /* given: protocol, out, six and the socket's ports; then what `look` found */
	__u32 head; /* head_length */
	__u32 ends; /* ends_here */
	__u32 size, end, offset, stream; /* given: of struct pieces */
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct stream_call, 1)
calls SEC(".maps");

SEC("cgroup_skb/egress")
int run_view(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct stream_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct view view;

	if (!call)
		return 0;
	view = call->view;
	look(skb, &view);
	call->view = view;
	call->head = head_length(skb, &view);
	call->ends = ends_here(skb, &view);
	return 1;
}

SEC("cgroup_skb/egress")
int run_pieces(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct stream_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct socket_process process = {};
	struct view view;

	if (!call)
		return 0;
	view = call->view;
	look(skb, &view);

	struct pieces all = {
		.skb = skb,
		.process = &process,
		.view = &view,
		.size = call->size,
		.end = call->end,
		.offset = call->offset,
		.stream = call->stream,
		.out = view.out,
		.kind = PACKET_HEAD,
	};

	send_pieces(&all);
	return 1;
}
