/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Sockets: who connected, accepted and listened, with whom, and what they carried. */
#pragma once
#include "events.h"

enum connection_record_kind {
	RECORD_CONNECTION_CONNECT = 32,
	RECORD_CONNECTION_ACCEPT = 33,
	RECORD_CONNECTION_LISTEN = 34,
	RECORD_CONNECTION_CLOSE = 35,
	RECORD_CONNECTION_TAKEN = 36,
	RECORD_CONNECTION_SEEN = 37,
	RECORD_CONNECTION_OPEN = 38,
	RECORD_CONNECTION_FOLDED = 39,
};

enum transport {
	TRANSPORT_TCP = 1,
	TRANSPORT_UDP = 2,
	TRANSPORT_UNIX = 3,
	TRANSPORT_RAW = 4, /* SOCK_RAW of an internet family */
	TRANSPORT_PACKET = 5, /* AF_PACKET: below the internet protocols */
	TRANSPORT_ICMP = 6,
	TRANSPORT_OTHER = 7, /* the column `protocol` or `family` says which */
	TRANSPORT_TUN = 8, /* a TUN or TAP device: packets that a program itself makes and takes */
};

/* Families of sockets, as in include/linux/socket.h; families that `transport` names in full are not listed. */
enum family {
	FAMILY_AX25 = 3,
	FAMILY_IPX = 4,
	FAMILY_APPLETALK = 5,
	FAMILY_NETROM = 6,
	FAMILY_BRIDGE = 7,
	FAMILY_ATMPVC = 8,
	FAMILY_X25 = 9,
	FAMILY_ROSE = 11,
	FAMILY_DECNET = 12,
	FAMILY_NETBEUI = 13,
	FAMILY_SECURITY = 14,
	FAMILY_KEY = 15,
	FAMILY_NETLINK = 16,
	FAMILY_ASH = 18,
	FAMILY_ECONET = 19,
	FAMILY_ATMSVC = 20,
	FAMILY_RDS = 21,
	FAMILY_SNA = 22,
	FAMILY_IRDA = 23,
	FAMILY_PPPOX = 24,
	FAMILY_WANPIPE = 25,
	FAMILY_LLC = 26,
	FAMILY_IB = 27,
	FAMILY_MPLS = 28,
	FAMILY_CAN = 29,
	FAMILY_TIPC = 30,
	FAMILY_BLUETOOTH = 31,
	FAMILY_IUCV = 32,
	FAMILY_RXRPC = 33,
	FAMILY_ISDN = 34,
	FAMILY_PHONET = 35,
	FAMILY_IEEE802154 = 36,
	FAMILY_CAIF = 37,
	FAMILY_ALG = 38,
	FAMILY_NFC = 39,
	FAMILY_VSOCK = 40,
	FAMILY_KCM = 41,
	FAMILY_QIPCRTR = 42,
	FAMILY_SMC = 43,
	FAMILY_XDP = 44,
	FAMILY_MCTP = 45,
};

/* What became of an attempt to connect, or how a connection ended. */
enum outcome {
	OUTCOME_NONE = 0,
	OUTCOME_STARTED = 1, /* no answer to the first try within a second */
	OUTCOME_ESTABLISHED = 2,
	OUTCOME_REFUSED = 3,
	OUTCOME_TIMED_OUT = 4,
	OUTCOME_UNREACHABLE = 5,
	OUTCOME_RESET = 6,
	OUTCOME_ABORTED = 7, /* given up before there was an answer */
	OUTCOME_FAILED = 8,
	OUTCOME_CLOSED = 9,
};

enum connection_flag {
	CONNECTION_MAPPED = 1 << 0, /* IPv4 through an IPv6 socket */
	CONNECTION_LOOPBACK = 1 << 1, /* the peer's address is a loopback one, or the socket's own */
	CONNECTION_UNOWNED = 1 << 2, /* no process is known: the kernel's own, or older than the observer */
	CONNECTION_LISTENER = 1 << 3, /* the process is the listener's: who accepted is not known yet */
	CONNECTION_BEFORE = 1 << 4, /* the socket is older than the observer */
	CONNECTION_LISTENING = 1 << 5, /* a `seen` one that listens */
	CONNECTION_ABSTRACT = 1 << 6, /* a unix socket's name in the abstract namespace, without its leading NUL */
	CONNECTION_PATH_RAW = 1 << 7, /* the path is the caller's word, not resolved */
	CONNECTION_PATH_TRUNCATED = 1 << 8,
	CONNECTION_SHARED = 1 << 9, /* more processes used it than `taken` rows tell */
	CONNECTION_IDLE = 1 << 10, /* a flow whose row was written because nothing more came */
	CONNECTION_INCOMING = 1 << 11, /* the peer began it */
	CONNECTION_ALLOWED = 1 << 12, /* recorded when it was allowed, before it was made: no cookie (0), and no end */
	CONNECTION_UNREAD = 1
		<< 13, /* the transport's header was not found in a packet: no DNS, TLS or HTTP was read */
	CONNECTION_BEGUN = 1 << 14, /* a flow's end, whose beginning has a row */
};

RECORDS_BEGIN

/* The ends of a connection. */
struct socket_ends {
	__u64 cookie DOC("the socket's cookie (SO_COOKIE): the same in every row of one socket");
	__u8 local_address[16] DOC("the socket's own address; null while it is bound to none") ROLE("address");
	__u8 peer_address[16] DOC("the other end's address as the socket knows it: before any translation")
	ROLE("address");
	__u16 local_port DOC("the socket's own port") NULL_IS("0");
	__u16 peer_port DOC("the other end's port") NULL_IS("0");
	__u8 transport DOC("tcp, udp, unix, raw, packet, icmp, tun, other") ROLE("enum:transport");
	__u8 pad[3];
};

struct connection_event {
	struct record_header header;
	struct socket_process process;
	struct socket_ends ends;
	__u64 opener_start DOC("start_boottime of the process that had it before: the listener of an accepted one, who "
			       "handed it on") UNIT("ns") NULL_IS("0");
	__u64 opener_number DOC("its self_exec_id");
	__u64 duration DOC("since the attempt, the acceptance or the first packet") UNIT("ns");
	__u64 bytes_sent DOC("payload sent, each byte once") UNIT("bytes");
	__u64 bytes_received DOC("payload received in order") UNIT("bytes");
	__u64 flags DOC("what is remarkable about it") ROLE("flags:connection_flag");
	__s32 opener_tgid DOC("its id in the host's pid namespace; null where there is none") NULL_IS("0");
	__u32 segments_sent DOC("segments or datagrams sent, retransmitted ones included");
	__u32 segments_received DOC("segments or datagrams received");
	__u32 retransmits DOC("segments sent again (tcp_sock.total_retrans)");
	__u32 rtt DOC("smoothed round-trip time; null where none was measured") UNIT("us") NULL_IS("0");
	__s32 error DOC("errno of the socket (sk_err); null for none") NULL_IS("0");
	__s32 peer_tgid DOC("unix sockets: the process at the other end; null where unknown") NULL_IS("0");
	struct text path DOC("unix sockets: the path or abstract name of the listening end");
	__u16 protocol
		DOC("raw, icmp and other sockets: the IP protocol; packet sockets: the EtherType, 3 for every packet; "
		    "else null") NULL_IS("0");
	__u8 outcome DOC("what became of it") ROLE("enum:outcome") NULL_IS("0");
	__u8 family DOC("other sockets of no internet family: the address family; else null") ROLE("enum:family")
	NULL_IS("0");
	__u16 connected_port DOC("the port of connected_address") NULL_IS("0");
	__u8 pad[2];
	__u8 connected_address[16]
		DOC("a datagram socket that sent to another address than that which it is connected to: the latter")
		ROLE("address");
} TAG("table:connection") TAG("record:RECORD_CONNECTION_CONNECT:connect") TAG("record:RECORD_CONNECTION_ACCEPT:accept")
TAG("record:RECORD_CONNECTION_LISTEN:listen") TAG("record:RECORD_CONNECTION_CLOSE:close")
TAG("record:RECORD_CONNECTION_TAKEN:taken") TAG("record:RECORD_CONNECTION_SEEN:seen")
TAG("record:RECORD_CONNECTION_OPEN:open");

/*
 * Equal short connections in one row (kernel/include/brief.h): bytes, segments and retransmits of all together, the
 * longest duration. The cookie, the port that the kernel chose, and the round-trip time are those of one of them.
 */
struct connection_folded {
	struct connection_event event;
	__u64 folded_count
		DOC("how many equal short connections this one row stands for; null: the row is one connection's own");
	__u64 folded_last DOC("ktime at which the last one was made; ktime itself is the first one's") UNIT("ns");
} TAG("table:connection") TAG("record:RECORD_CONNECTION_FOLDED:folded");

RECORDS_END

/* A type that only helper calls or tags mention is dropped from BTF. */
enum connection_record_kind anchor_connection_kind __attribute__((unused));
enum transport anchor_transport __attribute__((unused));
enum outcome anchor_outcome __attribute__((unused));
enum connection_flag anchor_connection_flag __attribute__((unused));
enum family anchor_family __attribute__((unused));
