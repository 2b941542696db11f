/* SPDX-License-Identifier: GPL-2.0 */
/* What a system call asks of the mount tree: by its number, its arguments and flags. */
#pragma once
#include "mounted.h"
#include "mount.h"

enum call_number {
#if defined(__TARGET_ARCH_arm64)
	NUMBER_UMOUNT = 39,
	NUMBER_MOUNT = 40,
	NUMBER_PIVOT_ROOT = 41,
	NUMBER_CHROOT = 51,
	NUMBER_UNSHARE = 97,
	NUMBER_SETNS = 268,
	NUMBER_GETPRIORITY = 141,
#else
	NUMBER_PIVOT_ROOT = 155,
	NUMBER_CHROOT = 161,
	NUMBER_MOUNT = 165,
	NUMBER_UMOUNT = 166,
	NUMBER_UNSHARE = 272,
	NUMBER_SETNS = 308,
	NUMBER_GETPRIORITY = 140,
#endif
	NUMBER_OPEN_TREE = 428, /* from here on the same on every machine */
	NUMBER_MOVE_MOUNT = 429,
	NUMBER_FSOPEN = 430,
	NUMBER_FSCONFIG = 431,
	NUMBER_FSMOUNT = 432,
	NUMBER_FSPICK = 433,
	NUMBER_MOUNT_SETATTR = 442,
	NUMBER_OPEN_TREE_ATTR = 467,
};

enum {
	MS_RDONLY = 1,
	MS_REMOUNT = 1 << 5,
	MS_BIND = 1 << 12,
	MS_MOVE = 1 << 13,
	MS_PROPAGATION = 0xf << 17, /* unbindable, private, slave, shared */
	MS_KNOWN = 0x03bffdff, /* those that have a word; 9 and 22 are words of other calls */
	MS_MAGIC_MASK = 0xffff0000,
	MS_MAGIC = 0xc0ed0000,
	CLONE_NEWNS = 0x20000,
	OPEN_TREE_CLONE = 1,
	AT_RECURSIVE = 0x8000,
	MOVE_MOUNT_F_EMPTY_PATH = 4,
	FMODE_NEED_UNMOUNT = 1 << 28, /* of a mount that was made in no tree: fsmount, open_tree */
	MOVE_MOUNT_SET_GROUP = 0x100,
	MOVE_MOUNT_BENEATH = 0x200,
	FSCONFIG_CMD_CREATE = 6,
	FSCONFIG_CMD_RECONFIGURE = 7,
	FSCONFIG_CMD_CREATE_EXCL = 8,
	ATTR_RELATIME_MASK = 0x70,
	ATTR_NOATIME = 0x10,
	ATTR_STRICTATIME = 0x20,
	ATTR_NODIRATIME = 0x80,
	ATTR_IDMAP = 0x100000,
	ATTR_NOSYMFOLLOW = 0x200000,
	NSFS_MAGIC = 0x6e736673,
	X32_BIT = 0x40000000, /* __X32_SYSCALL_BIT */
	CANARY_WORD = 0x66687264, /* src/firsthand/subjects/mount.py */
	FOUND_AT = 64, /* behind the steps of word.h */
};

/* include/uapi/linux/mount.h */
struct mount_attr {
	__u64 attr_set, attr_clr, propagation, userns_fd;
};

/* Which arguments of a call name what. */
struct named {
	__u64 target, source; /* addresses of words; 0: none */
	__s32 target_folder, source_folder;
	__u64 filesystem;
	__u32 source_is_path;
	__u32 pad;
};

/*
 * What is found of a call, in the half of the scratch that no path uses, behind word.h's steps: what is read from there
 * is a number of which the verifier knows nothing, so that it need not follow each call to the end by itself.
 */
struct found {
	struct named named;
	struct mount *mount; /* that it is about, where it stands in the tree */
	struct dentry *dentry; /* the kernel's own target, with its mount */
	struct vfsmount *within;
	__s64 result;
	__u32 kind;
	__u32 unsure; /* the target must be what the caller's word is, else it is another call's */
};

/*
 * The call that a task is in, by its number among the machine's own calls. 32-bit ones of x86 have other numbers
 * (arch/x86/entry/syscalls/syscall_32.tbl), up to those that are the same everywhere; x32's have a bit more.
 */
static __always_inline __s32 number_of(struct task_struct *task)
{
#if defined(__TARGET_ARCH_arm64)
	struct pt_regs___arm64_call *call = (void *)bpf_task_pt_regs(task);

	return BPF_CORE_READ(call, syscallno);
#else
	struct pt_regs___x86_call *call = (void *)bpf_task_pt_regs(task);
	__s32 number = BPF_CORE_READ(call, orig_ax);

	if (!is_compat(task))
		return number & ~X32_BIT;
	switch (number) {
	case 21:
		return NUMBER_MOUNT;
	case 22: /* umount(path), without flags */
	case 52:
		return NUMBER_UMOUNT;
	case 61:
		return NUMBER_CHROOT;
	case 217:
		return NUMBER_PIVOT_ROOT;
	case 310:
		return NUMBER_UNSHARE;
	case 346:
		return NUMBER_SETNS;
	}
	return number >= NUMBER_OPEN_TREE ? number : 0;
#endif
}

/* A call at its end. */
struct calling {
	struct call_arguments call;
	__s64 result;
	__s32 number; /* 0: not known yet */
	__u32 kind; /* of its row */
};

struct telling {
	struct draft draft;
	struct mount_event *event;
	struct task_struct *task;
	volatile struct found *found;
	struct calling calling;
};

static __always_inline __u32 options_of_flags(__u64 flags)
{
	if ((flags & MS_MAGIC_MASK) == MS_MAGIC) /* fs/namespace.c, path_mount */
		flags &= ~(__u64)MS_MAGIC_MASK;
	return flags & MS_KNOWN;
}

static __always_inline __u32 options_of_attributes(__u64 attributes)
{
	__u64 time = attributes & ATTR_RELATIME_MASK;

	return (attributes & 0xf) | (attributes & ATTR_NODIRATIME ? MOUNTOPTION_NODIRATIME : 0) |
	       (time == ATTR_NOATIME ? MOUNTOPTION_NOATIME : 0) |
	       (time == ATTR_STRICTATIME ? MOUNTOPTION_STRICTATIME : 0) |
	       (attributes & ATTR_IDMAP ? MOUNTOPTION_IDMAP : 0) |
	       (attributes & ATTR_NOSYMFOLLOW ? MOUNTOPTION_NOSYMFOLLOW : 0);
}

static __always_inline __u16 kind_of_flags(__u32 flags)
{
	if (flags & MS_REMOUNT)
		return RECORD_MOUNT_REMOUNT;
	if (flags & MS_BIND)
		return RECORD_MOUNT_BIND;
	if (flags & MS_PROPAGATION)
		return RECORD_MOUNT_PROPAGATION;
	return flags & MS_MOVE ? RECORD_MOUNT_MOVE : RECORD_MOUNT_MOUNT;
}

/* A descriptor of a mount namespace, or 0: its inode number. */
static __always_inline __u32 mount_namespace_at(struct task_struct *task, __u32 descriptor)
{
	struct mnt_namespace___type *ours = (void *)task->nsproxy->mnt_ns;
	struct file *file = file_of(task, descriptor);
	struct inode *inode;
	struct ns_common *namespace;

	if (!file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	if (BPF_CORE_READ(inode, i_sb, s_magic) != NSFS_MAGIC)
		return 0;
	namespace = BPF_CORE_READ((struct inode___private *)inode, i_private);
	if (BPF_CORE_READ((struct ns_common___type *)namespace, ops) != BPF_CORE_READ(ours, ns.ops))
		return 0;
	return BPF_CORE_READ(namespace, inum);
}

static __always_inline bool is_host(__u32 namespace)
{
	__u32 zero = 0;
	struct host *ours = bpf_map_lookup_elem(&host, &zero);

	return ours && namespace && ours->mount == namespace;
}

/* The kind of a call's row, 0 where there is none: the mount tree was not to change, or a later call is the one. */
static __always_inline __u16 kind_of(const struct calling *calling, struct task_struct *task)
{
	const __u64 *at = calling->call.at;
	__s32 number = calling->number;
	bool failed = calling->result < 0;

	switch (number) {
	case NUMBER_MOUNT:
		return kind_of_flags(options_of_flags(at[3]));
	case NUMBER_UMOUNT:
		return RECORD_MOUNT_UMOUNT;
	case NUMBER_MOVE_MOUNT:
		return at[4] & MOVE_MOUNT_SET_GROUP ? RECORD_MOUNT_PROPAGATION : RECORD_MOUNT_MOVE;
	case NUMBER_OPEN_TREE:
	case NUMBER_OPEN_TREE_ATTR:
		return at[2] & OPEN_TREE_CLONE ? RECORD_MOUNT_CREATE : 0;
	case NUMBER_FSOPEN:
		return failed ? RECORD_MOUNT_CREATE : 0;
	case NUMBER_FSPICK:
		return failed ? RECORD_MOUNT_REMOUNT : 0;
	case NUMBER_FSCONFIG:
		if ((__u32)at[1] == FSCONFIG_CMD_RECONFIGURE)
			return RECORD_MOUNT_REMOUNT;
		return failed && ((__u32)at[1] == FSCONFIG_CMD_CREATE || (__u32)at[1] == FSCONFIG_CMD_CREATE_EXCL)
			       ? RECORD_MOUNT_CREATE
			       : 0;
	case NUMBER_FSMOUNT:
		return RECORD_MOUNT_CREATE;
	case NUMBER_GETPRIORITY:
		return at[0] == CANARY_WORD ? RECORD_MOUNT_MOUNT : 0;
	case NUMBER_MOUNT_SETATTR:
		return RECORD_MOUNT_REMOUNT;
	case NUMBER_PIVOT_ROOT:
		return RECORD_MOUNT_PIVOT_ROOT;
	case NUMBER_CHROOT:
		return RECORD_MOUNT_CHROOT;
	case NUMBER_UNSHARE:
		return at[0] & CLONE_NEWNS ? RECORD_MOUNT_UNSHARE : 0;
	case NUMBER_SETNS:
		if (at[1] & CLONE_NEWNS || (!(__u32)at[1] && mount_namespace_at(task, at[0])))
			return RECORD_MOUNT_ENTER;
		return 0;
	}
	return 0;
}

/* The arguments of a call, its number and the kind of its row; a function of its own, verified once. Always 0. */
__noinline int read_calling(struct calling *calling)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (!calling)
		return 0;
	read_call(&calling->call, task);
	if (!calling->number)
		calling->number = number_of(task);
	calling->kind = kind_of(calling, task);
	return 0;
}

static __always_inline void name_target(volatile struct named *named, __s32 folder, __u64 word)
{
	named->target_folder = folder;
	named->target = word;
}

static __always_inline void name_source(volatile struct named *named, __s32 folder, __u64 word, bool is_path)
{
	named->source_folder = folder;
	named->source = word;
	named->source_is_path = is_path;
}

static __always_inline void read_attributes(struct telling *telling, __u64 address)
{
	struct mount_event *event = telling->event;
	struct mount_attr attributes = {};

	if (bpf_probe_read_user(&attributes, sizeof(attributes), (void *)address)) {
		event->flags |= MOUNT_UNREAD;
		return;
	}
	event->options |= options_of_attributes(attributes.attr_set) | (attributes.propagation & MS_PROPAGATION);
	event->cleared = options_of_attributes(attributes.attr_clr);
	if (telling->found->kind == RECORD_MOUNT_REMOUNT && !attributes.attr_set && !attributes.attr_clr &&
	    attributes.propagation)
		telling->found->kind = RECORD_MOUNT_PROPAGATION;
}

static __always_inline void read_mount(struct telling *telling)
{
	const __u64 *at = telling->calling.call.at;

	telling->event->call = MOUNTCALL_MOUNT;
	telling->event->options = options_of_flags(at[3]);
	name_target(&telling->found->named, WORKING_FOLDER, at[1]);
	if (telling->found->kind == RECORD_MOUNT_MOUNT)
		telling->found->named.filesystem = at[2];
	if (telling->found->kind == RECORD_MOUNT_MOUNT || telling->found->kind == RECORD_MOUNT_BIND ||
	    telling->found->kind == RECORD_MOUNT_MOVE)
		name_source(&telling->found->named, WORKING_FOLDER, at[0], telling->found->kind != RECORD_MOUNT_MOUNT);
}

static __always_inline void read_umount(struct telling *telling)
{
	__u32 flags = telling->calling.call.at[1];

	telling->event->call = MOUNTCALL_UMOUNT;
	telling->event->options = (flags & 15) << 28; /* FORCE, DETACH, EXPIRE, NOFOLLOW */
	name_target(&telling->found->named, WORKING_FOLDER, telling->calling.call.at[0]);
}

/* Whether it is the mount that the descriptor itself is of that is moved. MOVE_MOUNT_F_EMPTY_PATH only allows it. */
static __always_inline bool is_of_descriptor(const __u64 *at)
{
	char first = 0;

	if (!(at[4] & MOVE_MOUNT_F_EMPTY_PATH))
		return false;
	bpf_probe_read_user(&first, 1, (void *)at[1]);
	return !first;
}

static __always_inline void read_move(struct telling *telling)
{
	const __u64 *at = telling->calling.call.at;
	struct file *file;

	telling->event->call = MOUNTCALL_MOVE_MOUNT;
	telling->event->options = (at[4] & MOVE_MOUNT_SET_GROUP ? MOUNTOPTION_SET_GROUP : 0) |
				  (at[4] & MOVE_MOUNT_BENEATH ? MOUNTOPTION_BENEATH : 0);
	name_target(&telling->found->named, at[2], at[3]);
	if (!is_of_descriptor(at)) {
		name_source(&telling->found->named, at[0], at[1], true);
		return;
	}
	file = file_of(telling->task, at[0]);
	if (!file || telling->found->kind == RECORD_MOUNT_PROPAGATION)
		return;
	if (BPF_CORE_READ((struct file___mode *)file, f_mode) & FMODE_NEED_UNMOUNT)
		telling->found->kind = RECORD_MOUNT_ATTACH;
	if (telling->found->result >= 0)
		telling->found->mount = mount_of(BPF_CORE_READ(file, f_path.mnt));
}

static __always_inline void read_tree(struct telling *telling, bool attributes)
{
	const __u64 *at = telling->calling.call.at;

	telling->event->call = attributes ? MOUNTCALL_OPEN_TREE_ATTR : MOUNTCALL_OPEN_TREE;
	telling->event->options = MOUNTOPTION_CLONE | (at[2] & AT_RECURSIVE ? MOUNTOPTION_REC : 0);
	if (attributes)
		read_attributes(telling, at[3]);
	name_source(&telling->found->named, at[0], at[1], true);
}

static __always_inline void read_setattr(struct telling *telling)
{
	const __u64 *at = telling->calling.call.at;

	telling->event->call = MOUNTCALL_MOUNT_SETATTR;
	read_attributes(telling, at[3]);
	if (at[2] & AT_RECURSIVE)
		telling->event->options |= MOUNTOPTION_REC;
	name_target(&telling->found->named, at[0], at[1]);
}

/* The mount that a call's result is a descriptor of. */
static __always_inline void mount_of_result(struct telling *telling)
{
	struct file *file;

	if (telling->found->result < 0)
		return;
	file = file_of(telling->task, telling->found->result);
	if (file)
		telling->found->mount = mount_of(BPF_CORE_READ(file, f_path.mnt));
}

/* What the caller's words are, and what his flags say. */
static __always_inline void read_words(struct telling *telling, __s32 number)
{
	const __u64 *at = telling->calling.call.at;

	switch (number) {
	case NUMBER_MOUNT:
		read_mount(telling);
		break;
	case NUMBER_UMOUNT:
		read_umount(telling);
		break;
	case NUMBER_MOVE_MOUNT:
		read_move(telling);
		break;
	case NUMBER_OPEN_TREE:
	case NUMBER_OPEN_TREE_ATTR:
		read_tree(telling, number == NUMBER_OPEN_TREE_ATTR);
		mount_of_result(telling);
		break;
	case NUMBER_FSOPEN:
		telling->event->call = MOUNTCALL_FSOPEN;
		telling->found->named.filesystem = at[0];
		break;
	case NUMBER_FSPICK:
		telling->event->call = MOUNTCALL_FSPICK;
		name_target(&telling->found->named, at[0], at[1]);
		break;
	case NUMBER_GETPRIORITY:
		telling->event->call = MOUNTCALL_CANARY;
		break;
	case NUMBER_FSCONFIG:
		telling->event->call = MOUNTCALL_FSCONFIG;
		break;
	case NUMBER_FSMOUNT:
		telling->event->call = MOUNTCALL_FSMOUNT;
		telling->event->options = options_of_attributes(at[2]);
		mount_of_result(telling);
		break;
	case NUMBER_MOUNT_SETATTR:
		read_setattr(telling);
		break;
	case NUMBER_PIVOT_ROOT:
		telling->event->call = MOUNTCALL_PIVOT_ROOT;
		name_target(&telling->found->named, WORKING_FOLDER, at[1]);
		name_source(&telling->found->named, WORKING_FOLDER, at[0], true);
		break;
	case NUMBER_CHROOT:
		telling->event->call = MOUNTCALL_CHROOT;
		name_target(&telling->found->named, WORKING_FOLDER, at[0]);
		break;
	case NUMBER_UNSHARE:
		telling->event->call = MOUNTCALL_UNSHARE;
		break;
	case NUMBER_SETNS:
		telling->event->call = MOUNTCALL_SETNS;
		break;
	}
}
