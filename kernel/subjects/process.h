/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The life of processes: fork, exec, exit, and what ran before. */
#pragma once
#include "events.h"

enum process_record_kind {
	RECORD_PROCESS_FORK = 1,
	RECORD_PROCESS_EXEC = 2,
	RECORD_PROCESS_EXIT = 3,
	RECORD_PROCESS_SEEN = 4,
	RECORD_PROCESS_FOLDED = 5,
	RECORD_PROCESS_LEFT = 6,
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

RECORDS_BEGIN

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

RECORDS_END

/* A type that only helper calls or tags mention is dropped from BTF. */
enum process_record_kind anchor_process_kind __attribute__((unused));
enum process_flag anchor_flag __attribute__((unused));
enum namespace_kind anchor_namespace __attribute__((unused));
enum stream_kind anchor_stream __attribute__((unused));
