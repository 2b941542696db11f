/* SPDX-License-Identifier: GPL-2.0 */
/* Maps and settings that every object shares: the loader makes them one by name. Each has a bound and a counter. */
#pragma once
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "connection.h"
#include "container.h"
#include "packet.h"
#include "process.h"

enum bound {
	RING_BYTES = 8 << 20, /* the loader sets the configured sizes */
	URGENT_BYTES = 1 << 20,
	RECORD_BYTES = (28 << 10) - 8, /* a per-CPU value is at most 32 KiB */
	TEXT_BYTES = 4096,
	PATH_BYTES = 4096,
	PATH_DEPTH = 512,
	SCRATCH_SLOTS = 4, /* how many programs may be interrupted on one CPU at once */
	PROCESSES = 262144,
	CGROUPS = 65536,
	SCOPES = 1024,
	ANCESTORS = 64,
	FLOWS = 65536,
	PLAINS = 4096, /* threads between a write to libssl and its first segment */
	PLAIN_BYTES = 1024,
	WITHHELD = 1024, /* lives of which it is not yet known whether they fold */
	WITHHELD_EXECS = 2048, /* of these lives, and those that rows of folds will be made of */
	WITHHELD_BYTES = 6144, /* of an exec's record that may be withheld */
	FOLDS = 4096,
	WITHHELD_CONNECTIONS = 4096, /* of which it is not yet known whether they fold */
	ATTEMPTS = 16384, /* TCP connects that have no row yet */
	CLOSED_SOCKETS = 8192, /* of several flows, between their close and the next sweep */
	FLOODS = 4096, /* cgroups, and programs of parents in them, that wrote while a ring was nearly full */
};

/* Where a value or record was lost, counted per CPU; user space names them from this enum. */
enum failure {
	FAILURE_RESERVE = 0, /* the ring was full */
	FAILURE_SCRATCH = 1, /* every scratch slot of the CPU was in use */
	FAILURE_ARGS_READ = 2,
	FAILURE_ENV_READ = 3,
	FAILURE_PROCESS_MAP = 4, /* the table of processes is full: parents fall back to today's */
	FAILURE_CGROUP_MAP = 5, /* the table of cgroups is full: its rows repeat */
	FAILURE_PATH_DEPTH = 6,
	FAILURE_TEXT_READ = 7,
	FAILURE_UNATTENDED = 8, /* nobody read for so long that records were only counted */
	FAILURE_RESERVE_ROOM =
		9, /* the ring refused it though there was room: no lock to be had, or longer than half of the ring */
	FAILURE_SOCKET_MAP = 10, /* no memory to remember a socket's process: its rows are missing */
	FAILURE_FLOW_MAP = 11, /* the table of flows is full: they are not counted */
	FAILURE_PACKET_READ = 12,
	FAILURE_COUNT = 13,
};

/* The rings. What tells of privilege and identity has one of its own: a flood of forks cannot push it out. */
enum ring_number {
	RING_ORDINARY = 0,
	RING_URGENT = 1,
	RING_COUNT = 2,
};

/* What the loader fixes before the programs are loaded: a section of its own, so that it finds it. */
struct settings {
	__u32 layout_number;
	__u32 container_hierarchy; /* 0: cgroup v2, else v1's number */
	__u32 container_controller; /* 0: v2, else enum controller */
	__u32 scoped;
	__u32 read_args;
	__u32 read_env;
	__u32 stamp; /* of programs and settings: who set a timer */
};

const volatile struct settings settings SEC(".rodata.settings") = {
	.read_args = 1,
	.read_env = 1,
};

/*
 * Sections of the settings file, as the user gives them: the variable NAME in .rodata.NAME is of struct NAME_settings
 * and its members are named as the section's settings. A setting that is a list is 1 where anything is in it.
 */
struct network_settings {
	__u32 names; /* DNS messages are picked out */
	__u32 requests; /* heads of TLS and HTTP are picked out */
	__u32 plaintext; /* what is written through libssl is matched with connections */
	__u32 flow_idle_seconds; /* without a datagram, after which a flow counts as ended */
};

const volatile struct network_settings network SEC(".rodata.network") = {
	.names = 1,
	.requests = 1,
	.flow_idle_seconds = 30,
};

struct folding_settings {
	__u32 processes; /* 1: equal short processes fold; see fold.h */
	__u32 connections; /* 1: equal short connections fold; see brief.h */
	__u32 most_ms;
	__u32 every_seconds;
};

const volatile struct folding_settings folding SEC(".rodata.folding") = {
	.most_ms = 1000,
	.every_seconds = 60,
};

/* Anchors: a type that only helper calls or tags mention is dropped from BTF. */
enum failure anchor_failure __attribute__((unused));
enum ring_number anchor_ring __attribute__((unused));

enum controller {
	CONTROLLER_V2 = 0,
	CONTROLLER_MEMORY = 1,
	CONTROLLER_PIDS = 2,
	CONTROLLER_CPU = 3,
	CONTROLLER_CPUACCT = 4,
	CONTROLLER_CPUSET = 5,
	CONTROLLER_BLKIO = 6,
	CONTROLLER_DEVICES = 7,
	CONTROLLER_FREEZER = 8,
};

struct process_key {
	__s32 tgid;
	__u32 pad;
	__u64 start;
};

/* What equal execs have in common: a keyed hash of all that their rows tell but who and when, and the bytes hashed. */
struct probe_key {
	__u64 first, second;
	__u32 length;
	__u32 pad;
};

/* How far a life that may fold has come. */
enum life_stage {
	LIFE_FORKED = 0,
	LIFE_EXECED = 1, /* once, in the image that `probe` tells */
	LIFE_OTHER = 2, /* it did what no probe does */
};

/* What the fork and the moment before an exec know, and later moments cannot read any more. */
struct process_memory {
	__u64 parent_start, parent_number;
	__u64 before_number; /* self_exec_id when the credentials below were read, or ~0 */
	__u64 before_permitted;
	__u32 before_euid, before_egid;
	__u64 creator_start, creator_number; /* 0: the parent */
	__u64 cgroup; /* where it was when something was last recorded of it: what it leaves, if it leaves the scope */
	__s32 parent_tgid;
	__s32 creator_tgid;
	__s32 caller; /* the thread that called exec */
	__u32 unsure;
	__u32 left; /* it is out of the scope now */
	__u32 pad;
	char parent_name[32];
	__u32 brought_in; /* it was moved into its cgroup and has not yet executed a program of its own there */
	__u32 stage; /* enum life_stage */
	__u64 ticket; /* of its withheld records, 0: there are none */
	struct probe_key probe;
};

struct cgroup_memory {
	__u64 first_start; /* the container's first process that was brought in from outside: its init */
	__s32 first_tgid;
	__u32 pad;
	__u64 probed; /* when an equal short process last ended in it again, bpf_ktime_get_boot_ns; 0: never */
};

/* What is known of one kind of equal short processes, and what was folded of it since its last row. */
struct fold {
	__u64 seen; /* when the last one ended, bpf_ktime_get_boot_ns */
	__u64 ticket; /* of the withheld exec that its row will be made of, while count is not 0 */
	__u64 count;
	__u64 first, last; /* ktime of the execs */
	__u64 user_time, system_time, longest;
	__s32 exit_code; /* of the last one that was recorded in full */
	__s32 folded_code; /* of those counted */
	__u32 busy; /* 1: somebody writes here */
	__u32 pad;
};

/* The hash's key: made with the maps by user space, from the kernel's random numbers. */
struct fold_secret {
	__u64 first[WITHHELD_BYTES / 8];
	__u64 second[WITHHELD_BYTES / 8];
};

struct withheld_exec {
	__u8 data[WITHHELD_BYTES];
};

enum fold_word {
	FOLD_TICKETS = 0, /* the last ticket */
	FOLD_FORCED = 1, /* set by user space: everything that is withheld is to be written now */
	FOLD_WORDS = 2,
};

/*
 * Between the kernel side and whoever reads. The loader writes all but the heartbeat, which the reader writes each
 * second; user space writes the whole, the kernel side only reads.
 */
struct control {
	__u64 incarnation; /* when the rings were made, bpf_ktime_get_boot_ns: positions count from then */
	__u64 heartbeat; /* bpf_ktime_get_boot_ns */
	__u64 patience; /* ns without a heartbeat after which records are only counted */
	__u64 build; /* of the programs and their settings */
};

/* The host's namespaces: those that the kernel booted with, read by an iterator at the start. */
struct host {
	__u32 mount, uts, ipc, net, pid, cgroup, time, user;
};

/* What is remembered of a socket; one that is accepted begins with its listener's. */
struct socket_memory {
	struct socket_process process;
	__u64 opener_start, opener_number;
	__u64 began; /* of the attempt, the handshake or the first use, bpf_ktime_get_boot_ns */
	__s32 opener_tgid;
	__u32 state; /* enum socket_state */
	__u32 taken; /* `taken` rows so far */
	__u32 first[2]; /* by direction (out, in): the sequence number of the stream's first byte */
	__u32 wanted[2]; /* up to where the head goes; 0: its first byte was not seen yet */
	__u32 flows; /* how many flows it has had */
	struct {
		__u8 peer[16];
		__u16 port;
		__u16 pad[3];
	} last; /* the flow that came last */
	struct {
		__u8 peer[16];
		__s32 thread; /* that is sending there; 0: none */
		__u16 port; /* host order; 0: no send has named an address */
		__u16 unsure; /* several threads sent at once */
	} asked; /* the address that a send itself named */
};

/* What equal connections have in common. */
struct connection_key {
	struct socket_process process;
	__u64 opener_start, opener_number;
	__u64 flags; /* enum connection_flag */
	__u8 local_address[16], peer_address[16];
	__s32 opener_tgid;
	__u16 local_port, peer_port; /* 0: the one that its kernel chose */
};

/* What was folded of one kind of equal short connections since its last row. */
struct connection_fold {
	struct connection_folded row; /* folded_count 0: nothing */
	__u64 seen; /* when the last one ended, bpf_ktime_get_boot_ns */
	__u32 busy; /* 1: somebody writes here */
	__u32 pad;
};

/* The row by which a connection begins, of which it is not yet known whether it folds. */
struct withheld_connection {
	struct connection_event row;
	__u64 taken; /* 1: somebody has it for himself, who writes it or drops it */
};

struct flow_key {
	__u64 cookie;
	__u8 peer[16];
	__u16 port; /* the peer's, host order */
	__u16 pad[3];
};

struct flow {
	struct socket_process process;
	struct socket_ends ends;
	__u64 first, last; /* bpf_ktime_get_boot_ns */
	__u64 bytes_sent, bytes_received;
	__u32 sent, received;
	__u64 flags; /* enum connection_flag: what is known from the start */
	__u8 connected_address[16]; /* that the socket was connected to, where it is another than the peer's */
	__u16 connected_port;
	__u16 protocol; /* 0: UDP */
	__u16 incoming; /* the peer sent first */
	__u16 told; /* a row said that it began */
};

/* What a thread has given to libssl and not yet sent. */
struct plain {
	__u64 length; /* true length of what was written */
	__u8 head[PLAIN_BYTES];
};

/* Whose records a ring that is nearly full takes. Without parent and name: all of a cgroup. */
struct flood_key {
	__u64 cgroup;
	__s32 parent; /* tgid */
	__u32 ring; /* enum ring_number */
	char comm[16];
};

struct flood {
	__u64 moment; /* the span of time that `bytes` are of */
	__u64 bytes;
	__u64 held_back; /* records that were not written, since `first` */
	__u64 first, last; /* of these, bpf_ktime_get_boot_ns */
};

struct sweeper {
	struct bpf_timer timer;
	__u64 stamp; /* of the program whose callback it runs */
	__u64 closed; /* sockets that were put into closed_sockets, ever */
	__u64 swept; /* of these, those whose flows have ended */
};

/*
 * A per-CPU value is at most 32 KiB, so path work lies in a map of its own. `at` is where the next string goes: read
 * from here each time, it is a number of which the verifier knows nothing. On the stack it would follow every length
 * that each string may have, and process_exec took 140,000 instructions to verify.
 */
struct record_scratch {
	__u64 busy;
	__u32 at;
	__u32 pad;
	__u8 data[RECORD_BYTES];
};

struct path_scratch {
	__u8 bytes[PATH_BYTES * 2];
	__u32 steps[8]; /* how far a loop over them is, for the reason of record_scratch's `at` */
};

#define MAP(map_type, key_type, value_type, entries)                                                                   \
	struct {                                                                                                       \
		__uint(type, map_type);                                                                                \
		__uint(max_entries, entries);                                                                          \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
	}
#define HASH_MAP(key_type, value_type, entries)                                                                        \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_HASH);                                                                       \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                                  \
		__uint(max_entries, entries);                                                                          \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
	}

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, URGENT_BYTES);
} urgent SEC(".maps");

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct control, 1)
control SEC(".maps");
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, RING_COUNT)
produced SEC(".maps"); /* by ring: the last sequence number + 1 */
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, FAILURE_COUNT)
failures SEC(".maps");
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct record_scratch, SCRATCH_SLOTS)
records SEC(".maps");
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct path_scratch, SCRATCH_SLOTS)
paths SEC(".maps");
MAP(BPF_MAP_TYPE_ARRAY, __u32, struct host, 1)
host SEC(".maps");
HASH_MAP(struct process_key, struct process_memory, PROCESSES)
processes SEC(".maps");
HASH_MAP(__u64, struct cgroup_memory, CGROUPS)
cgroups SEC(".maps");
HASH_MAP(__u64, __u32, SCOPES)
scopes SEC(".maps");
MAP(BPF_MAP_TYPE_ARRAY, __u32, __u64, FOLD_WORDS)
fold_words SEC(".maps");
MAP(BPF_MAP_TYPE_ARRAY, __u32, struct fold_secret, 1)
fold_secret SEC(".maps");
HASH_MAP(__u64, struct process_fork, WITHHELD) /* by ticket */
withheld_forks SEC(".maps");
HASH_MAP(__u64, struct withheld_exec, WITHHELD_EXECS)
withheld_execs SEC(".maps");
HASH_MAP(struct probe_key, struct fold, FOLDS)
folds SEC(".maps");
HASH_MAP(__u64, struct withheld_connection, WITHHELD_CONNECTIONS) /* by cookie */
withheld_connections SEC(".maps");
HASH_MAP(struct connection_key, struct connection_fold, FOLDS)
connection_folds SEC(".maps");

/* Cloned when a connection is accepted: the listener's process goes with it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct socket_memory);
} sockets SEC(".maps");
HASH_MAP(struct flow_key, struct flow, FLOWS)
flows SEC(".maps");
HASH_MAP(__u64, __u64, CLOSED_SOCKETS) /* by cookie: when, bpf_ktime_get_boot_ns */
closed_sockets SEC(".maps");
HASH_MAP(__u64, __u64, ATTEMPTS) /* by cookie: when, bpf_ktime_get_boot_ns */
attempts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOODS);
	__type(key, struct flood_key);
	__type(value, struct flood);
} floods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PLAINS);
	__type(key, __u64);
	__type(value, struct plain);
} plains SEC(".maps");

static __always_inline void count(enum failure what)
{
	__u32 key = what;
	__u64 *counter = bpf_map_lookup_elem(&failures, &key);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/*
 * A subject's own: of `enum SUBJECT_failure`, whose numbers are below `most` (which never changes: a map of another
 * size is not taken over). What is counted is a loss of the subject's tables alone.
 */
#define FAILURES(subject, most)                                                                                        \
	MAP(BPF_MAP_TYPE_PERCPU_ARRAY, __u32, __u64, most)                                                             \
	subject##_failures SEC(".maps");                                                                               \
	enum subject##_failure anchor_##subject##_failure __attribute__((unused));                                     \
	static __always_inline void count_##subject(enum subject##_failure what)                                       \
	{                                                                                                              \
		__u32 key = what;                                                                                      \
		__u64 *counter = bpf_map_lookup_elem(&subject##_failures, &key);                                       \
                                                                                                                       \
		if (counter)                                                                                           \
			__sync_fetch_and_add(counter, 1);                                                              \
	}
