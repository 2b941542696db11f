/* SPDX-License-Identifier: GPL-2.0 */
/* Payloads on their way to the dissector, piece by piece: a packet at the cgroup may be many on the wire. */
#pragma once
#include "view.h"

enum {
	PORT_DNS = 53,
	PAYLOAD_BYTES = TEXT_BYTES - 1,
	MOST_PIECES = 128, /* datagrams that one send may make (UDP_MAX_SEGMENTS), and segments of a stream */
};

struct pieces {
	struct __sk_buff *skb;
	const struct socket_process *process;
	const struct view *view;
	__u32 size; /* of each but the last */
	__u32 end; /* how far the payload is wanted */
	__u32 offset; /* of the payload in its stream */
	__u8 stream, out, kind, pad;
};

static __always_inline void fill_packet(struct packet_event *packet, const struct socket_process *process,
					const struct view *view, __u64 cookie)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->process = *process;
	fill_view(&packet->ends, view, cookie);
}

/* One piece; behind the last of a stream its true length says how much was not copied. */
static long send_piece(__u32 index, struct pieces *all)
{
	__u32 at = index * all->size, length = all->view->length - at, wanted;
	struct packet_event *packet;
	struct draft draft;
	__u8 *to;

	if (!begin(&draft, sizeof(*packet)))
		return 0;
	if (length > all->size && (!all->stream || at + all->size < all->end))
		length = all->size;
	packet = (void *)draft.record->data;
	fill_packet(packet, all->process, all->view, bpf_get_socket_cookie(all->skb));
	packet->stream_offset = all->stream ? all->offset + at : 0;
	packet->payload_length = length;
	packet->direction = all->out ? DIRECTION_OUT : DIRECTION_IN;
	packet->packet_kind = all->kind;
	to = draft.record->data + sizeof(*packet);
	wanted = length > PAYLOAD_BYTES ? PAYLOAD_BYTES : length;
	/* From 1 on: a comparison with 0 is not enough for 6.1's verifier. */
	asm volatile("" : "+r"(wanted));
	wanted = ((wanted - 1) & PAYLOAD_BYTES) + 1;
	if (bpf_skb_load_bytes(all->skb, all->view->payload + at, to, wanted))
		count(FAILURE_PACKET_READ);
	else
		placed(&draft, &packet->payload, wanted);
	finish(&draft, RECORD_PACKET, RING_ORDINARY);
	return 0;
}

/* How many there are; more than MOST_PIECES no kernel sends at once. */
static __always_inline __u32 pieces_in(__u32 length, __u32 size)
{
	return size && length > size ? (length + size - 1) / size : 1;
}

static __always_inline void send_pieces(struct pieces *all)
{
	__u32 many = pieces_in(all->end, all->size);

	bpf_loop(many < MOST_PIECES ? many : MOST_PIECES, send_piece, all, 0);
}

static __always_inline bool is_dns(const struct view *view)
{
	return view->peer_port == PORT_DNS || view->local_port == PORT_DNS;
}
