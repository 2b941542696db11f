/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Packets that are picked out for the dissector. */
#pragma once
#include "connection.h"

enum packet_record_kind {
	RECORD_PACKET = 48,
};

enum direction {
	DIRECTION_OUT = 1,
	DIRECTION_IN = 2,
};

enum packet_kind {
	PACKET_DNS = 1,
	PACKET_HEAD = 2, /* the first bytes of a stream */
	PACKET_PLAIN = 3, /* the first bytes that were given to libssl for a TLS connection */
};

RECORDS_BEGIN

/* Picked out for user space to read: it becomes rows of `name` and `request` and is itself never kept. */
struct packet_event {
	struct record_header header;
	struct socket_process process;
	struct socket_ends ends;
	__u32 stream_offset DOC("bytes of this direction's stream before this payload; 0 for datagrams") UNIT("bytes");
	__u32 payload_length DOC("true length of the payload") UNIT("bytes");
	struct text payload DOC("the payload, up to 4095 bytes") ROLE("bytes");
	__u8 direction DOC("out: this socket's process sent it; in: it was sent to it") ROLE("enum:direction");
	__u8 packet_kind DOC("dns; head: the first bytes of a stream; plain: the same before TLS encrypted them")
	ROLE("enum:packet_kind");
	__u8 pad[2];
} TAG("table:packet") TAG("record:RECORD_PACKET:packet");

RECORDS_END

/* A type that only helper calls or tags mention is dropped from BTF. */
enum packet_record_kind anchor_packet_record_kind __attribute__((unused));
enum direction anchor_direction __attribute__((unused));
enum packet_kind anchor_packet_kind __attribute__((unused));
