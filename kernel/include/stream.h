/* SPDX-License-Identifier: GPL-2.0 */
/* Heads of streams, with which clients begin them, and DNS over TCP: what is copied of a connection, and how far. */
#pragma once
#include "pieces.h"

enum {
	HEAD_BYTES = 8192, /* of an HTTP request, or of what is not known yet */
	HELLO_BYTES = 16384, /* of a ClientHello, in however many records */
	WHOLE_STREAM = ~0U, /* of DNS over TCP */
	TLS_ALERT = 21,
	TLS_HANDSHAKE = 22,
};

/* What servers pass over before a request line (RFC 9112, 2.2), and what some of them do. */
static __always_inline bool is_blank(__u8 byte)
{
	return byte == '\r' || byte == '\n' || byte == ' ' || byte == '\t';
}

/* That a request's method begins with: servers take either case, and some of them (nginx) these two. */
static __always_inline bool is_letter(__u8 byte)
{
	return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || byte == '_' || byte == '-';
}

/* Of a method, which may have any other token's characters inside, or of the blanks behind one of one or two letters.
 */
static __always_inline bool is_in_line(__u8 byte)
{
	return (byte >= ' ' && byte < 0x7f) || byte == '\t';
}

static __always_inline bool may_be_method(const __u8 *bytes)
{
	return is_letter(bytes[0]) && is_in_line(bytes[1]) && is_in_line(bytes[2]);
}

/*
 * A ClientHello may be in many records: the handshake's own length says where it ends, where one record holds it.
 * Alerts and empty records may come before it: servers pass them over.
 */
static __always_inline __u32 hello_length(struct __sk_buff *skb, const struct view *view)
{
	__u32 record, message;
	__u8 told[9];

	if (view->length < sizeof(told) || bpf_skb_load_bytes(skb, view->payload, told, sizeof(told)))
		return HELLO_BYTES;
	record = told[3] << 8 | told[4];
	if (told[1] != 3)
		return 0;
	if (told[0] == TLS_ALERT || !record)
		return HELLO_BYTES;
	if (told[5] != 1)
		return 0;
	message = 4 + (told[6] << 16 | told[7] << 8 | told[8]);
	return message <= record && message < HELLO_BYTES ? 5 + message : HELLO_BYTES;
}

/* How far the head goes, by its first bytes; 0: nothing that anybody would read. */
static __always_inline __u32 head_length(struct __sk_buff *skb, const struct view *view)
{
	__u8 first[3] = {};

	if (is_dns(view))
		return WHOLE_STREAM;
	if (bpf_skb_load_bytes(skb, view->payload, first, 1))
		return 0;
	if (first[0] == TLS_HANDSHAKE || first[0] == TLS_ALERT)
		return hello_length(skb, view);
	if (is_blank(first[0]))
		return HELLO_BYTES;
	if (view->length < sizeof(first) || bpf_skb_load_bytes(skb, view->payload, first, sizeof(first)))
		return is_letter(first[0]) ? HEAD_BYTES : 0;
	return may_be_method(first) ? HEAD_BYTES : 0;
}

/* The end of an HTTP head, at the end of what was sent: most requests come whole in one segment. */
static __always_inline bool ends_here(struct __sk_buff *skb, const struct view *view)
{
	__u32 end = 0;

	return view->length >= 4 && !bpf_skb_load_bytes(skb, view->payload + view->length - 4, &end, 4) &&
	       end == 0x0a0d0a0d;
}

/* Where a stream begins: with the first byte that goes out, or that has not come yet (bytes_received are behind it). */
static __always_inline bool begin_head(struct __sk_buff *skb, struct tcp_sock *tcp, struct socket_memory *memory,
				       const struct view *view, bool out)
{
	__u32 way = out ? 0 : 1;

	memory->first[way] = out ? view->sequence : tcp->rcv_nxt - (__u32)tcp->bytes_received;
	memory->wanted[way] =
		view->sequence == memory->first[way] || is_dns(view) ? head_length(skb, view) : HEAD_BYTES;
	return memory->wanted[way];
}

/* How far the stream is known without a gap, this packet included: what comes in may be out of order. */
static __always_inline __u32 known_until(struct tcp_sock *tcp, __u32 first, const struct view *view, bool out)
{
	if (out || view->sequence == tcp->rcv_nxt)
		return view->sequence + view->length - first;
	return tcp->rcv_nxt - first;
}

static __always_inline void stream(struct __sk_buff *skb, struct bpf_sock *sk, struct socket_memory *memory,
				   const struct view *view, bool out)
{
	bool dns = is_dns(view), wanted_at_all = dns ? network.names : network.requests;
	bool asks = out == !(memory->state & SOCKET_INCOMING); /* from who connected to who accepted */
	__u32 way = out ? 0 : 1, offset, wanted;
	struct tcp_sock *tcp;

	if (!wanted_at_all)
		memory->state |= SOCKET_NO_HEADS;
	if (!view->length || (!asks && !dns) || memory->state & SOCKET_NO_HEADS)
		return;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	if (!memory->wanted[way] && !begin_head(skb, tcp, memory, view, out)) {
		memory->state |= SOCKET_NO_HEADS;
		return;
	}
	wanted = memory->wanted[way];
	offset = view->sequence - memory->first[way];
	if (offset < wanted) {
		struct pieces all = {
			.skb = skb,
			.process = &memory->process,
			.view = view,
			.size = PAYLOAD_BYTES,
			.end = view->length < wanted - offset ? view->length : wanted - offset,
			.offset = offset,
			.stream = 1,
			.out = out,
			.kind = dns ? PACKET_DNS : PACKET_HEAD,
		};

		send_pieces(&all);
	}
	if (!dns && (known_until(tcp, memory->first[way], view, out) >= wanted ||
		     (wanted == HEAD_BYTES && ends_here(skb, view))))
		memory->state |= SOCKET_NO_HEADS;
}
