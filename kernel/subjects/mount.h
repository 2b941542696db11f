/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Changes of the mount tree: what was mounted, moved, changed and unmounted, and which tries were refused. */
#pragma once
#include "events.h"

enum mount_record_kind {
	RECORD_MOUNT_MOUNT = 96,
	RECORD_MOUNT_BIND = 97,
	RECORD_MOUNT_REMOUNT = 98,
	RECORD_MOUNT_MOVE = 99,
	RECORD_MOUNT_PROPAGATION = 100,
	RECORD_MOUNT_UMOUNT = 101,
	RECORD_MOUNT_CREATE = 102,
	RECORD_MOUNT_ATTACH = 103,
	RECORD_MOUNT_PIVOT_ROOT = 104,
	RECORD_MOUNT_CHROOT = 105,
	RECORD_MOUNT_UNSHARE = 106,
	RECORD_MOUNT_ENTER = 107,
};

enum mount_flag {
	MOUNT_HOST = 1 << 0, /* in the mount namespace of the machine itself */
	MOUNT_TARGET_RAW = 1 << 1, /* target is the caller's word by its letters: no symbolic link was followed */
	MOUNT_SOURCE_RAW = 1 << 2, /* source is the caller's word by its letters, or as it is */
	MOUNT_REDIRECTED = 1 << 3, /* target_raw leads to target by a symbolic link or a mount */
	MOUNT_TRUNCATED = 1 << 4, /* a path was cut */
	MOUNT_RACED = 1 << 5, /* a rename ran while a path was read, twice */
	MOUNT_UNREAD = 1 << 6, /* a word of the caller could not be read, as where it gave a wrong address */
	MOUNT_WRITABLE = 1 << 7, /* a change of options after which it is not read-only */
	MOUNT_OVER_PROC = 1 << 8, /* the target is /proc or lies below it */
	MOUNT_OVER_ETC = 1 << 9, /* the target is /etc or lies below it */
	MOUNT_OVER_MOUNT = 1 << 10, /* the target is another mount's root, which it hides */
	MOUNT_SENSITIVE = 1 << 11, /* the source is /, /proc, /sys, /dev, a socket, or /etc, /root, /boot or below */
	MOUNT_SHARED = 1 << 12, /* its parent is shared: it appears in the peers too, perhaps in other namespaces */
};

/* Options of mount(2), by their names; of umount2(2), open_tree(2) and move_mount(2) the last ones. */
enum mountoption {
	MOUNTOPTION_RDONLY = 1 << 0,
	MOUNTOPTION_NOSUID = 1 << 1,
	MOUNTOPTION_NODEV = 1 << 2,
	MOUNTOPTION_NOEXEC = 1 << 3,
	MOUNTOPTION_SYNCHRONOUS = 1 << 4,
	MOUNTOPTION_REMOUNT = 1 << 5,
	MOUNTOPTION_MANDLOCK = 1 << 6,
	MOUNTOPTION_DIRSYNC = 1 << 7,
	MOUNTOPTION_NOSYMFOLLOW = 1 << 8,
	MOUNTOPTION_BENEATH = 1 << 9,
	MOUNTOPTION_NOATIME = 1 << 10,
	MOUNTOPTION_NODIRATIME = 1 << 11,
	MOUNTOPTION_BIND = 1 << 12,
	MOUNTOPTION_MOVE = 1 << 13,
	MOUNTOPTION_REC = 1 << 14,
	MOUNTOPTION_SILENT = 1 << 15,
	MOUNTOPTION_POSIXACL = 1 << 16,
	MOUNTOPTION_UNBINDABLE = 1 << 17,
	MOUNTOPTION_PRIVATE = 1 << 18,
	MOUNTOPTION_SLAVE = 1 << 19,
	MOUNTOPTION_SHARED = 1 << 20,
	MOUNTOPTION_RELATIME = 1 << 21,
	MOUNTOPTION_IDMAP = 1 << 22,
	MOUNTOPTION_I_VERSION = 1 << 23,
	MOUNTOPTION_STRICTATIME = 1 << 24,
	MOUNTOPTION_LAZYTIME = 1 << 25,
	MOUNTOPTION_SET_GROUP = 1 << 26,
	MOUNTOPTION_CLONE = 1 << 27,
	MOUNTOPTION_FORCE = 1 << 28,
	MOUNTOPTION_DETACH = 1 << 29,
	MOUNTOPTION_EXPIRE = 1 << 30,
	MOUNTOPTION_NOFOLLOW = 1U << 31,
};

enum mountcall {
	MOUNTCALL_MOUNT = 1,
	MOUNTCALL_UMOUNT = 2,
	MOUNTCALL_MOVE_MOUNT = 3,
	MOUNTCALL_OPEN_TREE = 4,
	MOUNTCALL_OPEN_TREE_ATTR = 5,
	MOUNTCALL_FSOPEN = 6,
	MOUNTCALL_FSPICK = 7,
	MOUNTCALL_FSCONFIG = 8,
	MOUNTCALL_FSMOUNT = 9,
	MOUNTCALL_MOUNT_SETATTR = 10,
	MOUNTCALL_PIVOT_ROOT = 11,
	MOUNTCALL_CHROOT = 12,
	MOUNTCALL_UNSHARE = 13,
	MOUNTCALL_SETNS = 14,
	MOUNTCALL_CANARY = 15, /* what proves the hook where the mount calls themselves are forbidden */
};

enum mounttier {
	MOUNTTIER_FEXIT = 2, /* at the end of the system call's own function */
	MOUNTTIER_TRACEPOINT = 3, /* at the end of the system call */
};

RECORDS_BEGIN

/* The process that acts. */
struct mount_process {
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
	__u32 ns_mount DOC("its mount namespace when the call ended, inode number as in /proc/PID/ns: `target` is as "
			   "seen there");
};

struct mount_event {
	struct record_header header;
	struct mount_process process;
	__u64 flags DOC("what is remarkable about it") ROLE("flags:mount_flag");
	__u32 options DOC("options that were asked for, by their names in mount(2), umount2(2) and the like")
	ROLE("set:mountoption");
	__u32 cleared DOC("options that mount_setattr(2) was to take away") ROLE("set:mountoption");
	__u32 mount_id DOC("id of the mount, as in /proc/PID/mountinfo; null where it is not known or gone")
	NULL_IS("0");
	__u32 device DOC("device of the file system, major:minor; null where the mount is not known") ROLE("device")
	NULL_IS("0");
	__s32 error DOC("errno of a try that was refused; null: it succeeded") NULL_IS("0");
	struct text target
		DOC("where it is mounted, resolved, from the root of the process's mount namespace; with the flag "
		    "TARGET_RAW by the letters of the caller's word");
	struct text target_raw DOC("the caller's word for it");
	struct text source
		DOC("bind, move: the folder or file, as target is; else the device or name that the mount itself has, "
		    "redacted");
	struct text source_raw DOC("the caller's word for it, redacted");
	struct text root
		DOC("what of the file system is shown, as in /proc/PID/mountinfo: / is all; null where the mount is "
		    "not known");
	struct text filesystem
		DOC("type of the file system: the kernel's where the mount is known, else the caller's word");
	__u8 call DOC("the system call") ROLE("enum:mountcall");
	__u8 tier DOC("by which kind of hook the row came") ROLE("enum:mounttier");
	__u8 pad[2];
} TAG("table:mount") TAG("record:RECORD_MOUNT_MOUNT:mount") TAG("record:RECORD_MOUNT_BIND:bind")
TAG("record:RECORD_MOUNT_REMOUNT:remount") TAG("record:RECORD_MOUNT_MOVE:move")
TAG("record:RECORD_MOUNT_PROPAGATION:propagation") TAG("record:RECORD_MOUNT_UMOUNT:umount")
TAG("record:RECORD_MOUNT_CREATE:create") TAG("record:RECORD_MOUNT_ATTACH:attach")
TAG("record:RECORD_MOUNT_PIVOT_ROOT:pivot_root") TAG("record:RECORD_MOUNT_CHROOT:chroot")
TAG("record:RECORD_MOUNT_UNSHARE:unshare") TAG("record:RECORD_MOUNT_ENTER:enter");

RECORDS_END

/* A type that only helper calls or tags mention is dropped from BTF. */
enum mount_record_kind anchor_mount_kind __attribute__((unused));
enum mount_flag anchor_mount_flag __attribute__((unused));
enum mountoption anchor_mountoption __attribute__((unused));
enum mountcall anchor_mountcall __attribute__((unused));
enum mounttier anchor_mounttier __attribute__((unused));
