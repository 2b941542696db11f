/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The words in which the records that the kernel side sends are described, each once, in its subject's header
 * (kernel/subjects/NAME.h), and what they have in common.
 *
 * Documentation, unit and role travel as BTF declaration tags; user space reads them from the BTF of the very
 * object that it loads and derives NumPy, Arrow, SQL and the reference page from them (src/firsthand/schema).
 *
 * Tags on a struct:  table:NAME            the table of the history that its rows go to
 *                    record:ENUMERATOR:EV  a record kind with this layout, of an enum NAME_record_kind, each number
 *                                          once, up to 254; and the word in the column `event`
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
/* No hidden padding between these: it would send the kernel's stack to the disk. */
#define RECORDS_BEGIN _Pragma("clang diagnostic push") _Pragma("clang diagnostic error \"-Wpadded\"")
#define RECORDS_END _Pragma("clang diagnostic pop")

RECORDS_BEGIN

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

/*
 * A process in brief. Of a socket it is the one that took it up, as it was then: a packet's moment has no task.
 */
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

RECORDS_END
