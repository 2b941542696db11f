/* SPDX-License-Identifier: GPL-2.0 */
/* A mount, as it stands in the tree: where, of which file system, and what of it is shown. */
#pragma once
#include "word.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct rb_node {
	unsigned long __rb_parent_color;
	struct rb_node *rb_right;
	struct rb_node *rb_left;
};

struct rb_root {
	struct rb_node *rb_node;
};

struct list_head {
	struct list_head *prev;
};

struct mount___tree {
	int mnt_id, mnt_group_id;
	__u64 mnt_id_unique; /* 6.8 (98d2b43081972): rises and is never used again */
	const char *mnt_devname;
	struct rb_node mnt_node; /* 6.8 (2eea9ce4310d) */
};

struct mount___6_7 {
	struct list_head mnt_list;
};

/* 6.14 (5dcbd85d35e4). */
struct mnt_namespace___tree {
	struct rb_node *mnt_last_node;
};

/* 6.8 (2eea9ce4310d): by mnt_id_unique. */
struct mnt_namespace___6_8 {
	struct rb_root mounts;
};

/* Before: in the order in which they came. */
struct mnt_namespace___6_7 {
	struct list_head list;
};

struct ns_common___type {
	const void *ops;
};

struct mnt_namespace___type {
	struct ns_common___type ns;
};

struct file_system_type {
	const char *name;
};

struct super_block___type {
	struct file_system_type *s_type;
};

struct vfsmount___type {
	struct super_block *mnt_sb;
};

struct file___mode {
	unsigned int f_mode;
};

struct inode___private {
	void *i_private;
};

#pragma clang attribute pop

static __always_inline struct mount *mount_of(struct vfsmount *mount)
{
	return mount ? (void *)mount - bpf_core_field_offset(struct mount, mnt) : NULL;
}

static __always_inline struct vfsmount *vfsmount_of(struct mount *mount)
{
	return mount ? (void *)mount + bpf_core_field_offset(struct mount, mnt) : NULL;
}

static __always_inline struct mount *mount_of_node(struct rb_node *node)
{
	return node ? (void *)node - bpf_core_field_offset(struct mount___tree, mnt_node) : NULL;
}

/* The mount of a namespace that was made last. A tree of 64 levels has more nodes than there may be mounts. */
static __always_inline struct mount *newest_mount(struct mnt_namespace *namespace)
{
	struct mnt_namespace___tree *now = (void *)namespace;
	struct mnt_namespace___6_8 *tree = (void *)namespace;
	struct mnt_namespace___6_7 *before = (void *)namespace;
	struct rb_node *node, *right;

	if (!namespace)
		return NULL;
	if (bpf_core_field_exists(now->mnt_last_node))
		return mount_of_node(BPF_CORE_READ(now, mnt_last_node));
	if (!bpf_core_field_exists(tree->mounts))
		return (void *)BPF_CORE_READ(before, list.prev) - bpf_core_field_offset(struct mount___6_7, mnt_list);
	node = BPF_CORE_READ(tree, mounts.rb_node);
	for (int i = 0; i < 64 && node; i++) {
		right = BPF_CORE_READ(node, rb_right);
		if (!right)
			break;
		node = right;
	}
	return mount_of_node(node);
}

/* A number that rises with each mount; ~0 where there is none. */
static __always_inline __u64 mount_number(struct mount *mount)
{
	struct mount___tree *tree = (void *)mount;

	return bpf_core_field_exists(tree->mnt_id_unique) ? BPF_CORE_READ(tree, mnt_id_unique) : ~0ULL;
}

/* The number of the mount that was made before the newest of its namespace, its last node; 0 where it is not known. */
static __always_inline __u64 number_before(struct mount *newest)
{
	struct mount___tree *tree = (void *)newest;
	struct rb_node *before;

	if (!bpf_core_field_exists(tree->mnt_id_unique))
		return 0;
	before = BPF_CORE_READ(tree, mnt_node.rb_left);
	if (!before)
		before = (void *)(BPF_CORE_READ(tree, mnt_node.__rb_parent_color) & ~3UL);
	return before ? mount_number(mount_of_node(before)) : 0;
}

static __always_inline bool is_shared(struct mount *mount)
{
	return BPF_CORE_READ((struct mount___tree *)mount, mnt_group_id) != 0;
}

/* It is mounted on the root of another mount. */
static __always_inline bool is_over_mount(struct mount *mount)
{
	struct mount *above = BPF_CORE_READ(mount, mnt_parent);

	return above != mount && BPF_CORE_READ(mount, mnt_mountpoint) == BPF_CORE_READ(above, mnt.mnt_root);
}

/* Its root in its file system, as in /proc/PID/mountinfo. */
static __always_inline void put_mount_root(struct draft *draft, struct text *text, struct mount *mount)
{
	struct walk walk = {.scratch = draft->path, .at = PATH_BYTES};

	walk.mount = mount;
	walk.dentry = BPF_CORE_READ(mount, mnt.mnt_root);
	bpf_loop(PATH_DEPTH, walk_step, &walk, 0); /* no mount's root stops it: to the file system's own */
	put_walked(draft, text, &walk);
}
