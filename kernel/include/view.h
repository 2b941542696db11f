/* SPDX-License-Identifier: GPL-2.0 */
/* Where things lie in a packet that a program at the root of cgroup v2 is given; the network header is at 0. */
#pragma once
#include "socket.h"

enum {
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	IPV4_BYTES = 20,
	IPV6_BYTES = 40,
	MOST_HEADERS = 8, /* IPv6 headers before the transport's that are walked; more are marked */
};

/* IPv6 extension headers (include/uapi/linux/in6.h, in.h); all but two say their length in 8 bytes, the first not
 * counted. */
enum {
	HEADER_HOP_BY_HOP = 0,
	HEADER_ROUTING = 43,
	HEADER_FRAGMENT = 44, /* always 8 bytes */
	HEADER_AUTHENTICATION = 51, /* in 4 bytes, the first two not counted (RFC 4302) */
	HEADER_DESTINATION = 60,
	HEADER_MOBILITY = 135,
	HEADER_HIP = 139,
	HEADER_SHIM6 = 140,
};

struct view {
	__u8 local[16], peer[16]; /* first, to be aligned */
	__u32 payload; /* where the payload begins */
	__u32 length; /* of the payload; where the transport's header was not found, of all behind the IP header */
	__u32 sequence; /* TCP: number of the payload's first byte */
	__u16 local_port, peer_port; /* the socket's own, where the packet's are not found */
	__u8 protocol; /* the socket's */
	__u8 out; /* from the socket; else to it */
	__u8 six; /* IPv6 */
	__u8 found; /* the transport's header was found: ports and payload are known */
};

static __always_inline void load_addresses(struct __sk_buff *skb, struct view *view)
{
	__be32 from, to;

	if (view->six) {
		bpf_skb_load_bytes(skb, 8, view->out ? view->local : view->peer, 16);
		bpf_skb_load_bytes(skb, 24, view->out ? view->peer : view->local, 16);
		return;
	}
	bpf_skb_load_bytes(skb, 12, &from, 4);
	bpf_skb_load_bytes(skb, 16, &to, 4);
	mapped(view->local, view->out ? from : to);
	mapped(view->peer, view->out ? to : from);
}

static __always_inline bool is_extension(__u8 header)
{
	return header == HEADER_HOP_BY_HOP || header == HEADER_ROUTING || header == HEADER_FRAGMENT ||
	       header == HEADER_AUTHENTICATION || header == HEADER_DESTINATION || header == HEADER_MOBILITY ||
	       header == HEADER_HIP || header == HEADER_SHIM6;
}

/* Where the transport's header begins, IPv6's extension headers passed over; 0: it was not found (encrypted, or behind
 * more headers than are walked). */
static __always_inline __u32 behind_extensions(struct __sk_buff *skb, __u8 wanted)
{
	__u32 at = IPV6_BYTES;
	__u8 header, told[2];

	if (bpf_skb_load_bytes(skb, 6, &header, 1))
		return 0;
#pragma unroll
	for (int i = 0; i < MOST_HEADERS; i++) {
		if (header == wanted)
			return at;
		if (!is_extension(header) || bpf_skb_load_bytes(skb, at, told, 2))
			return 0;
		at += header == HEADER_FRAGMENT         ? 8
		      : header == HEADER_AUTHENTICATION ? (told[1] + 2) * 4
							: (told[1] + 1) * 8;
		header = told[0];
	}
	return header == wanted ? at : 0;
}

/* The same for IPv4, where the header's length includes the options; IPsec puts its own protocol there. */
static __always_inline __u32 behind_options(struct __sk_buff *skb, __u8 wanted)
{
	__u8 first, protocol;

	if (bpf_skb_load_bytes(skb, 0, &first, 1) || bpf_skb_load_bytes(skb, 9, &protocol, 1))
		return 0;
	return protocol == wanted ? (first & 15) * 4 : 0;
}

static __always_inline bool look_tcp(struct __sk_buff *skb, struct view *view, __u32 at)
{
	__u8 told[10]; /* from the sequence number on, to the flags */

	if (bpf_skb_load_bytes(skb, at + 4, told, sizeof(told)))
		return false;
	view->sequence = (__u32)told[0] << 24 | told[1] << 16 | told[2] << 8 | told[3];
	view->sequence += told[9] >> 1 & 1; /* a SYN takes a number of its own */
	view->payload = at + (told[8] >> 4) * 4;
	return true;
}

/*
 * Fills a view of which protocol, out, six and the socket's ports are given: addresses, ports, payload. Global, so that
 * the verifier goes through it once and its callers know nothing of the way it took: always 0.
 */
__attribute__((noinline)) int look(struct __sk_buff *skb, struct view *view)
{
	__u16 ports[2];
	__u32 at;

	if (!view)
		return 0;
	load_addresses(skb, view);
	at = view->six ? behind_extensions(skb, view->protocol) : behind_options(skb, view->protocol);
	view->found = at && !bpf_skb_load_bytes(skb, at, ports, 4);
	if (view->found && view->protocol == IPPROTO_TCP)
		view->found = look_tcp(skb, view, at);
	else
		view->payload = view->found ? at + 8 : view->six ? IPV6_BYTES : IPV4_BYTES;
	view->length = skb->len > view->payload ? skb->len - view->payload : 0;
	if (!view->found || is_ping(view->protocol))
		return 0;
	view->local_port = __builtin_bswap16(ports[view->out ? 0 : 1]);
	view->peer_port = __builtin_bswap16(ports[view->out ? 1 : 0]);
	return 0;
}

/* enum transport of an IP protocol; global, as `look` is. */
__attribute__((noinline)) __u32 transport_of_protocol(__u32 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return TRANSPORT_TCP;
	case IPPROTO_UDP:
		return TRANSPORT_UDP;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return TRANSPORT_ICMP;
	}
	return TRANSPORT_OTHER;
}

static __always_inline void fill_view(struct socket_ends *ends, const struct view *view, __u64 cookie)
{
	ends->cookie = cookie;
	__builtin_memcpy(ends->local_address, view->local, 16);
	__builtin_memcpy(ends->peer_address, view->peer, 16);
	ends->local_port = view->local_port;
	ends->peer_port = view->peer_port;
	ends->transport = transport_of_protocol(view->protocol);
}
