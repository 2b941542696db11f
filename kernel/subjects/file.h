/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The records of the subject `file`: what was opened, written, renamed, linked, removed and changed of what is watched.
 */
#pragma once
#include "events.h"

enum file_record_kind {
	RECORD_FILE_OPEN = 64,
	RECORD_FILE_WRITE = 65,
	RECORD_FILE_RENAME = 66,
	RECORD_FILE_LINK = 67,
	RECORD_FILE_SYMLINK = 68,
	RECORD_FILE_UNLINK = 69,
	RECORD_FILE_MKDIR = 70,
	RECORD_FILE_RMDIR = 71,
	RECORD_FILE_MKNOD = 72,
	RECORD_FILE_TRUNCATE = 73,
	RECORD_FILE_CHMOD = 74,
	RECORD_FILE_CHOWN = 75,
	RECORD_FILE_XATTR = 76,
	RECORD_FILE_ALLOCATE = 77,
	RECORD_FILE_TIMES = 78,
};

enum file_failure {
	FILE_UNHELD = 0, /* a table of open files was full: what is written to one of them is not counted */
	FILE_UNREAD = 1, /* a name could not be read from the caller's memory */
};

/* Why a file is watched, or an entry of the list is: bits of what is asked of its opens. */
enum file_access {
	FILE_READ = 1 << 0,
	FILE_WRITE = 1 << 1,
	FILE_ABOVE = 1 << 2, /* a folder above: its renaming moves what is watched */
};

/* How a file was opened: flags of open(2) by their names, the same on every architecture. */
enum open_flag {
	OPEN_READ = 1 << 0,
	OPEN_WRITE = 1 << 1,
	OPEN_CREATE = 1 << 2,
	OPEN_EXCLUSIVE = 1 << 3,
	OPEN_TRUNCATE = 1 << 4,
	OPEN_APPEND = 1 << 5,
	OPEN_TMPFILE = 1 << 6,
	OPEN_NOFOLLOW = 1 << 7,
	OPEN_DIRECT = 1 << 8,
};

enum file_flag {
	FILE_CREATED = 1 << 0, /* the open made the file */
	FILE_PATH_RAW = 1
		<< 1, /* the path is the caller's word below the resolved folder: no symbolic link was followed */
	FILE_REDIRECTED = 1 << 2, /* path_raw leads to path by a symbolic link, by /proc or by a mount */
	FILE_PATH_TRUNCATED = 1 << 3,
	FILE_PATH_RACED = 1 << 4, /* a rename ran while the path was read, twice */
	FILE_DETACHED = 1 << 5, /* it lies outside every mount tree */
	FILE_DELETED = 1 << 6, /* the name by which it was opened is unlinked */
	FILE_UPPER = 1 << 7, /* it lies in an overlay's upper layer: not in the image */
	FILE_STILL_OPEN = 1 << 8, /* a `write` row of a file that was still open */
	FILE_INHERITED = 1 << 9, /* the process that wrote is not the image that opened the file */
	FILE_MAPPED = 1 << 10, /* the process mapped it shared: what it may have written by that is not counted */
	FILE_BEFORE = 1 << 11, /* opened before observing began */
};

/* By which kind of hook a row came. */
enum tier {
	TIER_LSM = 1,
	TIER_FENTRY = 2,
	TIER_TRACEPOINT = 3, /* at the end of the system call */
};

RECORDS_BEGIN

/* The process that acts. */
struct file_process {
	__u64 exec_start DOC("start_boottime of the leader of the process that acted") UNIT("ns");
	__u64 exec_number DOC("its self_exec_id");
	__u64 parent_start DOC("start_boottime of its parent's leader, at the fork") UNIT("ns");
	__u64 parent_number DOC("its task->parent_exec_id");
	__u64 cap_permitted DOC("its permitted set then, bits of linux/capability.h");
	__u64 cap_effective DOC("its effective set then");
	__u64 cgroup_id DOC("kernfs id of its cgroup's directory");
	__s32 exec_tgid DOC("its id in the host's pid namespace");
	__s32 parent_tgid DOC("its parent's id, at the fork");
	__u32 cgroup_hierarchy DOC("the hierarchy of cgroup_id: 0 is cgroup v2, else v1's number in /proc/cgroups");
	__u32 uid DOC("its real user id then, in the host's user namespace");
	__u32 euid DOC("its effective user id then");
	__u32 ns_mount DOC("its mount namespace, inode number as in /proc/PID/ns: `path` is as seen there");
};

struct file_event {
	struct record_header header;
	struct file_process process;
	__u64 flags DOC("what is remarkable about it") ROLE("flags:file_flag");
	__u64 file_inode DOC("inode number; null where the file was not reached, only its name is known") NULL_IS("0");
	__u32 file_device DOC("device of the file system, major:minor") ROLE("device") NULL_IS("0");
	__u32 file_mode DOC("type and mode bits, as in stat") NULL_IS("0");
	__u32 file_uid DOC("its owner, in the host's user namespace") NULL_IS(UNSET_ID);
	__u32 file_gid DOC("its group") NULL_IS(UNSET_ID);
	__u32 file_links DOC("hard links; 0: unlinked") NULL_IS(UNSET_ID);
	__s32 error DOC("errno of a refused try; null: it succeeded") NULL_IS("0");
	__u32 opened_for DOC("flags of open(2), by their names") ROLE("set:open_flag");
	__u32 new_mode DOC("chmod, mkdir, mknod: the mode that was asked for; allocate: the mode of fallocate(2)")
	NULL_IS(UNSET_ID);
	__u32 new_uid DOC("chown: the owner that was asked for; null: unchanged") NULL_IS(UNSET_ID);
	__u32 new_gid DOC("chown: the group that was asked for; null: unchanged") NULL_IS(UNSET_ID);
	__u64 opened DOC("write: when the file was opened, bpf_ktime_get_boot_ns") UNIT("ns") NULL_IS("0");
	__u64 opener_start DOC("write: start_boottime of the process that opened it") UNIT("ns") NULL_IS("0");
	__u64 opener_number DOC("write: its self_exec_id");
	__s32 opener_tgid DOC("write: its id in the host's pid namespace") NULL_IS("0");
	__u32 writes DOC("write: calls that wrote, since this process's row before of this open") NULL_IS("0");
	__u64 bytes_written DOC("write: what they wrote; what was written by a mapping is not in it (flag MAPPED)")
	UNIT("bytes") NULL_IS("0");
	__u64 first_write DOC("write: when the first of them ended, bpf_ktime_get_boot_ns") UNIT("ns") NULL_IS("0");
	struct text path DOC("the file, as the process sees it: from the resolved dentry, across mounts; see PATH_RAW");
	struct text path_raw DOC("the caller's word for it, where that leads elsewhere by its letters, or nowhere");
	struct text target DOC("rename, link: the new name, PATH_RAW as well; symlink: what it points to");
	struct text source_path
		DOC("its path from the root of its own file system, where only a part of that is mounted (bind)");
	__u8 tier DOC("by which kind of hook it is known") ROLE("enum:tier");
	__u8 pad[7];
} TAG("table:file") TAG("record:RECORD_FILE_OPEN:open") TAG("record:RECORD_FILE_WRITE:write")
TAG("record:RECORD_FILE_RENAME:rename") TAG("record:RECORD_FILE_LINK:link") TAG("record:RECORD_FILE_SYMLINK:symlink")
TAG("record:RECORD_FILE_UNLINK:unlink") TAG("record:RECORD_FILE_MKDIR:mkdir") TAG("record:RECORD_FILE_RMDIR:rmdir")
TAG("record:RECORD_FILE_MKNOD:mknod") TAG("record:RECORD_FILE_TRUNCATE:truncate") TAG("record:RECORD_FILE_CHMOD:chmod")
TAG("record:RECORD_FILE_CHOWN:chown") TAG("record:RECORD_FILE_XATTR:xattr") TAG("record:RECORD_FILE_ALLOCATE:allocate")
TAG("record:RECORD_FILE_TIMES:times");

RECORDS_END
