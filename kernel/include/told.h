/* SPDX-License-Identifier: GPL-2.0 */
/* Rows of `file` in the making: who acts, which file it is, and its path where it is watched. */
#pragma once
#include "calls.h"
#include "image.h"

static __always_inline void fill_actor(struct file_process *process, struct task_struct *task, __u64 cgroup)
{
	struct socket_process known = {};
	struct nsproxy *proxy = task->nsproxy;

	fill_process(&known, task, cgroup);
	process->exec_start = known.exec_start;
	process->exec_number = known.exec_number;
	process->parent_start = known.parent_start;
	process->parent_number = known.parent_number;
	process->cap_permitted = known.cap_permitted;
	process->cap_effective = known.cap_effective;
	process->cgroup_id = known.cgroup_id;
	process->exec_tgid = known.exec_tgid;
	process->parent_tgid = known.parent_tgid;
	process->cgroup_hierarchy = known.cgroup_hierarchy;
	process->uid = known.uid;
	process->euid = known.euid;
	process->ns_mount = proxy ? proxy->mnt_ns->ns.inum : 0;
}

static __always_inline struct file_event *begin_event(struct draft *draft, struct task_struct *task, __u64 cgroup)
{
	struct file_event *event = (void *)draft->record->data;

	__builtin_memset(event, 0, sizeof(*event));
	fill_actor(&event->process, task, cgroup);
	event->tier = TIER_TRACEPOINT;
	event->file_uid = event->file_gid = event->file_links = OVERFLOW_ID;
	event->new_mode = event->new_uid = event->new_gid = OVERFLOW_ID;
	return event;
}

static __always_inline __u32 mode_of(struct file *file)
{
	return HAS_CAST ? AS(struct file, file)->f_mode : BPF_CORE_READ(file, f_mode);
}

static __always_inline void place_of(struct place *place, struct file *file, __u32 access)
{
	if (HAS_CAST) {
		place->dentry = (__u64)AS(struct file, file)->f_path.dentry;
		place->mount = (__u64)AS(struct file, file)->f_path.mnt;
	} else {
		place->dentry = (__u64)BPF_CORE_READ(file, f_path.dentry);
		place->mount = (__u64)BPF_CORE_READ(file, f_path.mnt);
	}
	place->access = access;
}

/* What lies in the scratch as a text of the record. */
static __always_inline void put_place(struct draft *draft, struct text *text, const struct place *place)
{
	struct walk walk = {.scratch = draft->path, .at = place->at};

	put_walked(draft, text, &walk);
}

/* A path that is cut lacks its beginning: by its names alone it may be watched, and then has a row that says so. */
static __always_inline bool is_watched_or_cut(struct place *place)
{
	return place->flags & WALK_TRUNCATED ? place->names != 0 : is_watched(place);
}

static __always_inline bool resolve_watched(struct draft *draft, struct place *place, __u64 *flags)
{
	__u32 before = rename_sequence();

	place->slot = draft->slot;
	place->at = PATH_BYTES;
	place->flags = 0;
	resolve(place);
	if ((before & 1) || before != rename_sequence()) {
		before = rename_sequence();
		place->at = PATH_BYTES;
		resolve(place);
		if ((before & 1) || before != rename_sequence())
			*flags |= FILE_PATH_RACED;
	}
	if (place->flags & WALK_TRUNCATED)
		*flags |= FILE_PATH_TRUNCATED;
	if (place->flags & WALK_DETACHED)
		*flags |= FILE_DETACHED;
	return is_watched_or_cut(place);
}

/* Whether a file's mount shows only a part of its file system, from some folder on. */
static __always_inline bool is_part(const struct place *place)
{
	struct vfsmount *mount = (void *)place->mount;
	struct dentry *root = BPF_CORE_READ(mount, mnt_root);

	return BPF_CORE_READ(root, d_parent) != root;
}

/* Whether a file's mount lies below another one: the host's root file system at /host, as hostPath has it. */
static __always_inline bool is_below_another(const struct place *place)
{
	struct mount *mount = (void *)place->mount - bpf_core_field_offset(struct mount, mnt);

	return BPF_CORE_READ(mount, mnt_parent) != mount;
}

static __always_inline bool is_in_upper(struct inode *inode)
{
	void *upper = NULL;

	if (BPF_CORE_READ(inode, i_sb, s_magic) != OVERLAYFS_MAGIC)
		return false;
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	return upper != NULL;
}

static __always_inline void fill_inode(struct file_event *event, struct dentry *dentry, struct inode *inode)
{
	event->file_inode = BPF_CORE_READ(inode, i_ino);
	event->file_device = BPF_CORE_READ(inode, i_sb, s_dev);
	event->file_mode = BPF_CORE_READ(inode, i_mode);
	event->file_uid = BPF_CORE_READ(inode, i_uid.val);
	event->file_gid = BPF_CORE_READ(inode, i_gid.val);
	event->file_links = BPF_CORE_READ(inode, i_nlink);
	if (!BPF_CORE_READ(dentry, d_hash.pprev) && BPF_CORE_READ(dentry, d_parent) != dentry)
		event->flags |= FILE_DELETED;
	if (is_in_upper(inode))
		event->flags |= FILE_UPPER;
}

/* The paths of a file, where one of them is watched; else false. */
static __always_inline bool put_file(struct draft *draft, struct file_event *event, struct place *place,
				     struct file *file)
{
	bool watched = resolve_watched(draft, place, &event->flags);
	bool part = is_part(place), inner;

	put_place(draft, &event->path, place);
	if (part || (!watched && is_below_another(place))) {
		resolve_source(place);
		inner = is_watched(place);
		watched |= inner;
		if (part || inner)
			put_place(draft, &event->source_path, place);
	}
	if (watched)
		fill_inode(event, (void *)place->dentry, BPF_CORE_READ(file, f_inode));
	return watched;
}

/* A string of the caller's memory, without its NUL; false where it cannot be read. */
static __always_inline bool read_word(struct draft *draft, struct text *text, __u64 address)
{
	__u8 *to = room(draft);
	long read = to ? bpf_probe_read_user_str(to, TEXT_BYTES, (void *)address) : -1;

	if (read <= 0) {
		count_file(FILE_UNREAD);
		return false;
	}
	placed(draft, text, (read - 1) & (TEXT_BYTES - 1));
	return true;
}

/* The path that a word leads to by its letters, into the scratch. */
static __always_inline void name_word(struct naming *naming, struct draft *draft, const struct text *word,
				      struct task_struct *task, __s32 folder, __u32 access)
{
	struct fs_struct *fs = task->fs;
	struct path base = {};
	struct file *file;
	__u32 at = word->offset;
	__u8 first;

	asm volatile("" : "+r"(at));
	first = at < RECORD_BYTES ? draft->record->data[at] : 0;
	if (word->length && first == '/') {
		if (fs)
			base = BPF_CORE_READ(fs, root);
	} else if (folder == AT_FDCWD) {
		if (fs)
			base = BPF_CORE_READ(fs, pwd);
	} else {
		file = file_at(task, folder);
		base = BPF_CORE_READ(file, f_path);
	}
	naming->place.slot = draft->slot;
	naming->place.access = access;
	naming->place.dentry = (__u64)base.dentry;
	naming->place.mount = (__u64)base.mnt;
	naming->from = word->offset;
	naming->length = word->length;
	lay(naming);
}

/* The path that the caller's word for it leads to by its letters, as a text of the record; false where it is not
 * watched. */
static __always_inline bool put_name(struct draft *draft, struct text *text, struct task_struct *task, __s32 folder,
				     __u64 word, __u32 access, __u64 *flags)
{
	__u32 before = draft->record->at;
	struct naming naming = {};
	bool watched;

	if (!read_word(draft, text, word))
		return false;
	name_word(&naming, draft, text, task, folder, access);
	watched = is_watched_or_cut(&naming.place);
	draft->record->at = before;
	put_place(draft, text, &naming.place);
	*flags |= FILE_PATH_RAW;
	if (naming.place.flags & WALK_TRUNCATED)
		*flags |= FILE_PATH_TRUNCATED;
	return watched;
}
