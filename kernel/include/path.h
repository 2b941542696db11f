/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Paths from resolved dentries, across mounts, up to the root of the mount namespace: what the kernel opened, whatever
 * the caller said. bpf_d_path may only be called by LSM and fentry programs, so the walk is our own.
 */
#pragma once
#include "emit.h"

/* For reads of the kernel's rename sequence; absent where kallsyms hides data symbols. */
extern const void rename_lock __ksym __weak;

struct walk {
	struct path_scratch *scratch;
	struct dentry *dentry;
	struct mount *mount;
	struct dentry *root; /* of the mount: read once for each */
	__u32 at; /* the path so far lies in bytes[at .. PATH_BYTES) */
	__u32 flags;
	__u32 skip; /* names that a `..` behind them takes away */
};

enum walk_flag {
	WALK_TRUNCATED = 1,
	WALK_DETACHED = 2,
	WALK_ENDED = 4,
};

/*
 * One name in front of the path. `length` is at most 255, as dentries' names are. The first byte of the scratch stays
 * free: put_walked copies PATH_BYTES - 1 at most.
 */
static __always_inline int prepend(struct walk *walk, const unsigned char *name, __u32 length)
{
	__u32 at = walk->at;

	length &= 255;
	at -= length + 2;
	asm volatile("" : "+r"(at));
	if (at >= PATH_BYTES) { /* wrapped below 0: no room */
		walk->flags |= WALK_TRUNCATED | WALK_ENDED;
		return 1;
	}
	walk->scratch->bytes[at + 1] = '/';
	bpf_probe_read_kernel(walk->scratch->bytes + at + 2, length, name);
	walk->at = at + 1;
	return 0;
}

/* What a step needs of a dentry; the members stand in this order in every supported kernel. */
struct dentry_head {
	struct dentry *parent;
	__u32 hash;
	__u32 length;
	const unsigned char *name;
};

static __always_inline void read_dentry(struct dentry_head *head, struct dentry *dentry)
{
	if (bpf_core_field_offset(struct dentry, d_name) == bpf_core_field_offset(struct dentry, d_parent) + 8) {
		bpf_core_read(head, sizeof(*head), &dentry->d_parent);
		return;
	}
	head->parent = BPF_CORE_READ(dentry, d_parent);
	head->length = BPF_CORE_READ(dentry, d_name.len);
	head->name = BPF_CORE_READ(dentry, d_name.name);
}

static __always_inline long cross_mount(struct walk *walk)
{
	struct mount *mount = walk->mount, *above = BPF_CORE_READ(mount, mnt_parent);

	if (above == mount) {
		walk->flags |= WALK_ENDED;
		if (!BPF_CORE_READ(mount, mnt_ns))
			walk->flags |= WALK_DETACHED;
		return 1;
	}
	walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
	walk->root = BPF_CORE_READ(above, mnt.mnt_root);
	walk->mount = above;
	return 0;
}

static long walk_step(__u32 index, struct walk *walk)
{
	struct dentry_head head = {};

	if (walk->dentry == walk->root)
		return cross_mount(walk);
	read_dentry(&head, walk->dentry);
	if (walk->dentry == head.parent) { /* the filesystem's root, above what is mounted */
		walk->flags |= WALK_ENDED | WALK_DETACHED;
		if (walk->at == PATH_BYTES && head.length > 1) /* a memory file is its own parent and has a name */
			prepend(walk, head.name, head.length);
		return 1;
	}
	walk->dentry = head.parent;
	if (walk->skip) {
		walk->skip--;
		return 0;
	}
	return prepend(walk, head.name, head.length);
}

static __always_inline __u32 rename_sequence(void)
{
	__u32 sequence = 0;

	if (&rename_lock)
		bpf_probe_read_kernel(&sequence, sizeof(sequence), &rename_lock);
	return sequence;
}

/* In front of what lies in the scratch already, from `walk->at` on. */
static __always_inline void walk_on(struct walk *walk, struct dentry *dentry, struct vfsmount *mount)
{
	walk->dentry = dentry;
	walk->mount = (void *)mount - bpf_core_field_offset(struct mount, mnt);
	walk->root = BPF_CORE_READ(mount, mnt_root);
	bpf_loop(PATH_DEPTH, walk_step, walk, 0);
	if (!(walk->flags & WALK_ENDED)) {
		walk->flags |= WALK_TRUNCATED;
		count(FAILURE_PATH_DEPTH);
	}
}

static __always_inline void walk_up(struct walk *walk, struct path_scratch *scratch, struct dentry *dentry,
				    struct vfsmount *mount)
{
	walk->scratch = scratch;
	walk->at = PATH_BYTES;
	walk->flags = 0;
	walk->skip = 0;
	walk_on(walk, dentry, mount);
}

static __always_inline void put_walked(struct draft *draft, struct text *text, struct walk *walk)
{
	__u8 *to = room(draft);
	__u32 at = walk->at, length = PATH_BYTES - at;

	if (!to)
		return;
	if (at >= PATH_BYTES) {
		to[0] = '/';
		placed(draft, text, 1);
		return;
	}
	asm volatile("" : "+r"(length));
	length &= PATH_BYTES - 1;
	at &= PATH_BYTES - 1;
	bpf_probe_read_kernel(to, length, draft->path->bytes + at);
	placed(draft, text, length);
}

/* The path of a struct path; returns its walk flags, and PROCESS_PATH_RACED in *raced if a rename ran twice. */
static __always_inline __u32 put_path(struct draft *draft, struct text *text, struct dentry *dentry,
				      struct vfsmount *mount, __u64 *raced)
{
	struct walk walk;
	__u32 before = rename_sequence();

	walk_up(&walk, draft->path, dentry, mount);
	if ((before & 1) || before != rename_sequence()) {
		before = rename_sequence();
		walk_up(&walk, draft->path, dentry, mount);
		if ((before & 1) || before != rename_sequence())
			*raced |= PROCESS_PATH_RACED;
	}
	put_walked(draft, text, &walk);
	return walk.flags;
}
