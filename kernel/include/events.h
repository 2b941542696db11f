/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The one description of every record that the kernel side sends.
 *
 * Documentation, unit and role travel as BTF declaration tags; user space reads them from the BTF of the very
 * object that it loads and derives NumPy, Arrow, SQL and the reference page from them (src/firsthand/schema).
 *
 * Tags on a struct:  table:NAME            the table of the history that its rows go to
 *                    record:ENUMERATOR:EV  a record kind with this layout, and the word in the column `event`
 * Tags on a member:  doc:TEXT  unit:TEXT
 *                    null:NUMBER           this value stands for "unknown" or "none"
 *                    role:flags:ENUM       bits named by ENUM; a text column <name without s>_names is derived
 *                    role:set:ENUM         bits named by ENUM, kept as text, separated by blanks
 *                    role:enum:ENUM        a number named by ENUM, kept as text
 *                    role:list             NUL-terminated strings, one after another
 *                    role:environment      NUL-terminated NAME=value strings; only names leave the reader
 *                    role:device           kernel dev_t (12 bits major, 20 bits minor), kept as "major:minor"
 *                    role:bool
 *                    role:address          16 bytes of an IPv6 address, IPv4 as ::ffff:a.b.c.d; all bits set: none
 *                    role:bytes            a string that is kept as bytes
 */
#pragma once

#define TAG(text) __attribute__((btf_decl_tag(text)))
#define DOC(text) TAG("doc:" text)
#define UNIT(text) TAG("unit:" text)
#define ROLE(text) TAG("role:" text)
#define NULL_IS(text) TAG("null:" text)
#define UNSET_ID "4294967295"

enum record_kind {
	RECORD_PROCESS_FORK = 1,
	RECORD_PROCESS_EXEC = 2,
	RECORD_PROCESS_EXIT = 3,
	RECORD_PROCESS_SEEN = 4,
	RECORD_PROCESS_FOLDED = 5,
	RECORD_PROCESS_LEFT = 6,
	RECORD_CGROUP_CREATE = 16,
	RECORD_CGROUP_REMOVE = 17,
	RECORD_CGROUP_MOVE = 18,
	RECORD_CGROUP_SEEN = 19,
	RECORD_CONNECTION_CONNECT = 32,
	RECORD_CONNECTION_ACCEPT = 33,
	RECORD_CONNECTION_LISTEN = 34,
	RECORD_CONNECTION_CLOSE = 35,
	RECORD_CONNECTION_TAKEN = 36,
	RECORD_CONNECTION_SEEN = 37,
	RECORD_CONNECTION_OPEN = 38,
	RECORD_CONNECTION_FOLDED = 39,
	RECORD_PACKET = 48,
};

enum process_flag {
	PROCESS_SETUID = 1 << 0, /* a set-uid file changed the effective uid */
	PROCESS_SETGID = 1 << 1,
	PROCESS_FILECAPS = 1 << 2, /* file capabilities added to the permitted set */
	PROCESS_SECURE = 1 << 3, /* AT_SECURE: the loader ignores LD_PRELOAD and the like */
	PROCESS_MEMFD = 1 << 4, /* the binary is an anonymous memory file */
	PROCESS_DELETED = 1 << 5, /* the name by which the binary was opened is unlinked, as /proc/PID/exe says */
	PROCESS_DRIFT = 1 << 6, /* the binary lies in an overlay's upper layer: not in the image */
	PROCESS_ENTERED = 1 << 7, /* brought into its cgroup from outside (kubectl exec, nsenter) */
	PROCESS_SCRIPT = 1 << 8, /* an interpreter was started for a script */
	PROCESS_DETACHED = 1 << 9, /* the binary lies outside every mount tree */
	PROCESS_FROM_THREAD = 1 << 10, /* exec was called by a thread other than the leader */
	PROCESS_RUNTIME = 1
		<< 11, /* the runtime's own set-up in a container's cgroup, before the container's program */
	PROCESS_ARGS_TRUNCATED = 1 << 16,
	PROCESS_ENV_TRUNCATED = 1 << 17,
	PROCESS_EXE_TRUNCATED = 1 << 18,
	PROCESS_CWD_TRUNCATED = 1 << 19,
	PROCESS_NAME_TRUNCATED = 1 << 20, /* filename_raw or interpreter_raw */
	PROCESS_ARGS_UNREAD = 1 << 21, /* the arguments' pages could not be read */
	PROCESS_ENV_UNREAD = 1 << 22,
	PROCESS_PATH_RACED = 1 << 23, /* a rename ran while the path was read, twice */
	PROCESS_PARENT_UNSURE = 1
		<< 24, /* started before us: its parent is today's, perhaps not the one that forked it */
	PROCESS_GAIN_UNSURE = 1 << 25, /* the credentials before the exec are not known */
};

enum namespace_kind {
	NAMESPACE_MOUNT = 1 << 0,
	NAMESPACE_UTS = 1 << 1,
	NAMESPACE_IPC = 1 << 2,
	NAMESPACE_NET = 1 << 3,
	NAMESPACE_PID = 1 << 4,
	NAMESPACE_CGROUP = 1 << 5,
	NAMESPACE_TIME = 1 << 6,
	NAMESPACE_USER = 1 << 7,
};

enum stream_kind {
	STREAM_CLOSED = 0,
	STREAM_FILE = 1,
	STREAM_PIPE = 2,
	STREAM_SOCKET = 3,
	STREAM_TTY = 4,
	STREAM_NULL = 5,
	STREAM_DIRECTORY = 6,
	STREAM_DEVICE = 7,
	STREAM_OTHER = 8,
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

enum direction {
	DIRECTION_OUT = 1,
	DIRECTION_IN = 2,
};

enum packet_kind {
	PACKET_DNS = 1,
	PACKET_HEAD = 2, /* the first bytes of a stream */
	PACKET_PLAIN = 3, /* the first bytes that were given to libssl for a TLS connection */
};

/* No hidden padding: it would send the kernel's stack to the disk. */
#pragma clang diagnostic push
#pragma clang diagnostic error "-Wpadded"

/* A string behind the fixed part: where it begins, from the start of the record, and its bytes without a NUL. */
struct text {
	__u16 offset;
	__u16 length;
};

struct record_header {
	__u32 length;
	__u16 kind;
	__u16 ring DOC("the ring that carried the record: 0 ordinary, 1 urgent");
	__u32 layout;
	__u32 cpu DOC("the processor that wrote the record: on which it happened, where it was not withheld");
	__u64 seq DOC("number of the record in its (ring, cpu); a gap is a loss");
	__u64 ktime DOC("bpf_ktime_get_boot_ns: since boot, suspend included") UNIT("ns");
};

struct process_context {
	struct record_header header;
	__u64 exec_start DOC("task->group_leader->start_boottime of the process") UNIT("ns");
	__u64 exec_number DOC("task->self_exec_id: rises at each exec");
	__u64 parent_start DOC("start_boottime of the process that forked it, as it was at the fork") UNIT("ns");
	__u64 parent_number DOC("task->parent_exec_id: the parent's image at the fork");
	__u64 creator_start
		DOC("start_boottime of the process that made it, where that is not the parent (CLONE_PARENT)")
		UNIT("ns") NULL_IS("0");
	__u64 creator_number DOC("the creator's self_exec_id at the fork; null: the parent made it, or it is not known")
	NULL_IS("0");
	__s32 exec_tgid DOC("the process's id in the host's pid namespace");
	__s32 parent_tgid DOC("the parent's, at the fork");
	__s32 tid DOC("the thread that acted, in the host's pid namespace");
	__s32 namespace_pid DOC("the process's id in its own pid namespace; 1 is a container's init");
	__s32 creator_tgid DOC("id of the process that made it, where that is not the parent") NULL_IS("0");
	__u32 pad;
	__u64 cap_inheritable DOC("inheritable set, bits of linux/capability.h");
	__u64 cap_permitted DOC("permitted set: what it holds");
	__u64 cap_effective DOC("effective set: what checks use");
	__u64 cap_bounding DOC("bounding set: what it could be granted");
	__u64 cap_ambient DOC("ambient set: what survives an exec without file capabilities");
	__u32 uid DOC("real user id, in the host's user namespace");
	__u32 gid DOC("real group id");
	__u32 euid DOC("effective user id");
	__u32 egid DOC("effective group id");
	__u32 suid DOC("saved user id");
	__u32 sgid DOC("saved group id");
	__u32 fsuid DOC("user id for file access");
	__u32 fsgid DOC("group id for file access");
	__u32 login_uid DOC("audit login uid; null where the kernel keeps none or none is set") NULL_IS(UNSET_ID);
	__u32 login_session DOC("audit session number; null where unset") NULL_IS(UNSET_ID);
	__u32 ns_mount DOC("mount namespace, inode number as in /proc/PID/ns");
	__u32 ns_uts DOC("UTS namespace");
	__u32 ns_ipc DOC("IPC namespace");
	__u32 ns_net DOC("network namespace");
	__u32 ns_pid DOC("pid namespace that the process lives in");
	__u32 ns_cgroup DOC("cgroup namespace");
	__u32 ns_time DOC("time namespace");
	__u32 ns_user DOC("user namespace of its credentials");
	__u32 host_namespaces DOC("which of its namespaces are the host's (those that the kernel booted with)")
	ROLE("set:namespace_kind");
	__u32 cgroup_hierarchy DOC("the hierarchy of cgroup_id: 0 is cgroup v2, else v1's number in /proc/cgroups");
	__u64 cgroup_id DOC("kernfs id of the cgroup's directory in that hierarchy: its inode number");
	__u64 flags DOC("what is remarkable about it") ROLE("flags:process_flag");
	char comm[16] DOC("task->comm: a name that the process itself can change");
	char tty[16] DOC("name of the controlling terminal");
	char parent_name[32] DOC("last part of the path of the parent's binary, as it was at the fork");
};

struct process_fork {
	struct process_context context;
} TAG("table:process") TAG("record:RECORD_PROCESS_FORK:fork");

/* It was moved out of the scope: nothing that it does from then on is recorded. Its cgroup is the one that it left. */
struct process_left {
	struct process_context context;
} TAG("table:process") TAG("record:RECORD_PROCESS_LEFT:left");

struct process_exec {
	struct process_context context;
	__u64 previous_number DOC("exec_number of the image before this exec, same tgid and start");
	__u64 file_inode DOC("inode number of the binary");
	__u32 file_device DOC("device of the binary's filesystem, major:minor") ROLE("device");
	__u32 file_mode DOC("type and mode bits of the binary, as in stat");
	__u32 file_links DOC("hard links of the binary; 0: unlinked");
	__u32 args_length DOC("true length of the arguments, before any truncation") UNIT("bytes");
	__u32 env_length DOC("true length of the environment") UNIT("bytes");
	struct text exe DOC("path of the binary from the resolved dentry, across mounts, in its mount namespace");
	struct text filename_raw DOC("the path given to execve, as the kernel copied it");
	struct text script_raw DOC("path given to execve where that is a script; not resolved");
	struct text interpreter_raw DOC("interpreter named by the script's first line; exe is what it resolved to");
	struct text cwd DOC("working directory, resolved");
	struct text args DOC("arguments from the new image's memory, up to 4096 bytes, redacted") ROLE("list");
	struct text env DOC("names of environment variables, from up to 4096 bytes") ROLE("environment");
	__u8 stdin DOC("what descriptor 0 is") ROLE("enum:stream_kind");
	__u8 stdout DOC("what descriptor 1 is") ROLE("enum:stream_kind");
	__u8 stderr DOC("what descriptor 2 is") ROLE("enum:stream_kind");
	__u8 pad[5];
} TAG("table:process") TAG("record:RECORD_PROCESS_EXEC:exec") TAG("record:RECORD_PROCESS_SEEN:seen");

struct process_exit {
	struct process_context context;
	__u64 user_time DOC("processor time in user mode, all threads; of a folded row: of all its processes")
	UNIT("ns");
	__u64 system_time DOC("processor time in the kernel, all threads; of a folded row: of all its processes")
	UNIT("ns");
	__u64 duration DOC("from the process's start to the exit of its last thread; of a folded row: the longest")
	UNIT("ns");
	__u64 peak_memory DOC("largest resident set (signal->maxrss)") UNIT("bytes");
	__s32 exit_code DOC("the code given to exit(2), 0 to 255; null where a signal ended it") NULL_IS("-1");
	__s32 exit_signal DOC("the signal that ended it; null where it exited by itself") NULL_IS("-1");
	__u8 core_dumped DOC("a core was dumped") ROLE("bool");
	__u8 pad[7];
} TAG("table:process") TAG("record:RECORD_PROCESS_EXIT:exit");

/*
 * Equal short processes in one row (kernel/include/fold.h). Ids and ktime are those of one of them: all are equal in
 * what else an exec tells. Strings of an exec that may become one begin behind this struct.
 */
struct process_folded {
	struct process_exec exec;
	__u64 folded_count
		DOC("how many equal short processes this one row stands for; null: the row is one process's own");
	__u64 folded_last DOC("ktime of the last one's exec; ktime itself is the first one's") UNIT("ns");
	__u64 user_time UNIT("ns");
	__u64 system_time UNIT("ns");
	__u64 duration UNIT("ns");
	__s32 exit_code NULL_IS("-1");
	__u8 pad[4];
} TAG("table:process") TAG("record:RECORD_PROCESS_FOLDED:folded");

struct cgroup_event {
	struct record_header header;
	__u64 exec_start DOC("the process that was moved: start_boottime of its leader") UNIT("ns") NULL_IS("0");
	__u64 exec_number DOC("the process that was moved: task->self_exec_id");
	__s32 exec_tgid DOC("the process that was moved: id in the host's pid namespace") NULL_IS("0");
	__u32 cgroup_hierarchy DOC("0 is cgroup v2, else v1's number in /proc/cgroups");
	__u64 cgroup_id DOC("kernfs id of the cgroup's directory in that hierarchy: its inode number");
	struct text cgroup_path DOC("path of the cgroup below its hierarchy's root");
	__u8 pad[4];
} TAG("table:container") TAG("record:RECORD_CGROUP_CREATE:create") TAG("record:RECORD_CGROUP_REMOVE:remove")
TAG("record:RECORD_CGROUP_MOVE:move") TAG("record:RECORD_CGROUP_SEEN:seen");

/* Whose a socket is, as it was when it took it up: read from its task then, since a packet's moment has no task. */
struct socket_process {
	__u64 exec_start DOC("start_boottime of the leader of the process that uses the socket") UNIT("ns")
	NULL_IS("0");
	__u64 exec_number DOC("its self_exec_id");
	__u64 parent_start DOC("start_boottime of its parent's leader") UNIT("ns") NULL_IS("0");
	__u64 parent_number DOC("its task->parent_exec_id");
	__u64 cap_permitted DOC("its permitted set then, bits of linux/capability.h");
	__u64 cap_effective DOC("its effective set then");
	__u64 cgroup_id DOC("kernfs id of its cgroup's directory");
	__s32 exec_tgid DOC("its id in the host's pid namespace; null where no process is known") NULL_IS("0");
	__s32 parent_tgid DOC("its parent's id") NULL_IS("0");
	__u32 cgroup_hierarchy DOC("the hierarchy of cgroup_id: 0 is cgroup v2, else v1's number in /proc/cgroups");
	__u32 uid DOC("its real user id then, in the host's user namespace");
	__u32 euid DOC("its effective user id then");
	__u32 ns_net DOC("network namespace of the socket, inode number as in /proc/PID/ns");
};

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

#pragma clang diagnostic pop
