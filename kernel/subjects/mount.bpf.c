/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Changes of the mount tree, at the end of the system calls that make them: the result is known then, and what was
 * mounted stands in the tree. What no longer stands there (umount, the former place of what was moved) has only the
 * caller's word.
 */
#include "mounting.h"

char _license[] SEC("license") = "GPL";

const struct mount_event *anchor_mount __attribute__((unused));

/* The highest mnt_id_unique that a row had: what is not above it was not made by the call that ends now. */
MAP(BPF_MAP_TYPE_ARRAY, __u32, __u64, 1)
mount_seen SEC(".maps");

static __always_inline void fill_mounting(struct mount_event *event, struct task_struct *task, __u64 cgroup)
{
	struct socket_process known = {};
	struct mount_process *process = &event->process;

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
	process->ns_mount = task->nsproxy->mnt_ns->ns.inum;
}

static __always_inline void note_walk(struct mount_event *event, __u32 walked)
{
	if (walked & WALK_TRUNCATED)
		event->flags |= MOUNT_TRUNCATED;
}

/* By then the roots have changed: words that were relative to the former ones lead nowhere now. */
static __always_inline bool is_pivoted(const struct telling *telling)
{
	return telling->found->kind == RECORD_MOUNT_PIVOT_ROOT && telling->found->result >= 0;
}

static __always_inline void put_source(struct telling *telling)
{
	struct mount_event *event = telling->event;

	if (!telling->found->named.source)
		return;
	if (!put_word(&telling->draft, &event->source_raw, telling->found->named.source)) {
		event->flags |= MOUNT_UNREAD;
		return;
	}
	if (!telling->found->named.source_is_path || is_pivoted(telling))
		return;
	event->flags |= MOUNT_SOURCE_RAW;
	note_walk(event, put_laid(&telling->draft, &event->source, &event->source_raw, telling->task,
				  telling->found->named.source_folder));
}

static __always_inline void put_target(struct telling *telling)
{
	struct mount_event *event = telling->event;

	if (!telling->found->named.target)
		return;
	if (!put_word(&telling->draft, &event->target_raw, telling->found->named.target)) {
		event->flags |= MOUNT_UNREAD;
		return;
	}
	if (is_pivoted(telling))
		return;
	event->flags |= MOUNT_TARGET_RAW;
	note_walk(event, put_laid(&telling->draft, &event->target, &event->target_raw, telling->task,
				  telling->found->named.target_folder));
}

/* A path of the kernel's own takes the place of what the caller's word is by its letters, which was put last. */
static __always_inline void put_resolved(struct telling *telling, struct walk *walk)
{
	struct mount_event *event = telling->event;

	event->flags &= ~(__u64)MOUNT_TARGET_RAW;
	if (event->target.length && is_walked(&telling->draft, &event->target, walk->at))
		return;
	if (event->target.length) {
		event->flags |= MOUNT_REDIRECTED;
		telling->draft.record->at = event->target.offset;
	}
	note_walk(event, walk->flags);
	put_walked(&telling->draft, &event->target, walk);
}

/* From the place of a mount, or another one, up; true where no rename came between. */
static __always_inline bool walk_place(struct telling *telling, struct walk *walk, struct dentry *dentry,
				       struct vfsmount *mount)
{
	__u32 before = rename_sequence();

	walk_up(walk, telling->draft.path, dentry, mount);
	return !(before & 1) && before == rename_sequence();
}

/*
 * What mount(2) made is the newest of its namespace, unless another call came between or it went on to peers in the
 * same namespace: then it is taken only if it stands where the word says.
 */
static __always_inline void find_made(struct telling *telling)
{
	volatile struct found *found = telling->found;
	struct mount *newest = newest_mount(telling->task->nsproxy->mnt_ns);
	__u64 number = newest ? mount_number(newest) : 0;
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&mount_seen, &zero);

	if (!newest || !seen || number <= *seen)
		return;
	found->unsure = telling->event->options & MOUNTOPTION_REC || is_shared(BPF_CORE_READ(newest, mnt_parent)) ||
			number_before(newest) > *seen;
	if (number != ~0ULL)
		*seen = number;
	found->mount = newest;
}

/* The root of the process, which is another one by now. */
static __always_inline void find_root(struct telling *telling)
{
	struct fs_struct___root *fs = (void *)telling->task->fs;
	struct path root;

	if (!fs)
		return;
	root = BPF_CORE_READ(fs, root);
	telling->found->mount = mount_of(root.mnt);
	if (telling->found->kind != RECORD_MOUNT_CHROOT)
		return;
	telling->found->dentry = root.dentry;
	telling->found->within = root.mnt;
}

static __always_inline void find_mount(struct telling *telling)
{
	volatile struct found *found = telling->found;
	__u32 kind = found->kind;
	struct mount *mount;

	if (found->result < 0)
		return;
	if (kind == RECORD_MOUNT_PIVOT_ROOT || kind == RECORD_MOUNT_CHROOT) {
		find_root(telling);
		return;
	}
	if (kind == RECORD_MOUNT_MOUNT || kind == RECORD_MOUNT_BIND)
		find_made(telling);
	mount = found->mount;
	if (!mount || kind == RECORD_MOUNT_CREATE)
		return;
	found->dentry = BPF_CORE_READ(mount, mnt.mnt_root);
	found->within = vfsmount_of(mount);
}

/* The kernel's own path of what was found takes the place of the caller's word by its letters. */
static __always_inline void put_found(struct telling *telling)
{
	volatile struct found *found = telling->found;
	struct walk walk = {};

	if (!found->dentry || !found->within)
		return;
	if (!walk_place(telling, &walk, found->dentry, found->within))
		telling->event->flags |= MOUNT_RACED;
	if (found->unsure && !is_walked(&telling->draft, &telling->event->target, walk.at)) {
		found->mount = NULL;
		return;
	}
	put_resolved(telling, &walk);
}

static __always_inline void put_filesystem(struct telling *telling)
{
	struct mount_event *event = telling->event;
	struct mount *mount = telling->found->mount;
	struct super_block *block;

	if (!mount) {
		if (telling->found->named.filesystem &&
		    !put_word(&telling->draft, &event->filesystem, telling->found->named.filesystem))
			event->flags |= MOUNT_UNREAD;
		return;
	}
	block = BPF_CORE_READ((struct vfsmount___type *)vfsmount_of(mount), mnt_sb);
	event->mount_id = BPF_CORE_READ((struct mount___tree *)mount, mnt_id);
	event->device = BPF_CORE_READ(block, s_dev);
	put_string(&telling->draft, &event->filesystem,
		   BPF_CORE_READ((struct super_block___type *)block, s_type, name));
	put_mount_root(&telling->draft, &event->root, mount);
}

/* The device or name that the mount itself has. */
static __always_inline void put_device(struct telling *telling)
{
	struct mount *mount = telling->found->mount;
	const char *name;

	if (!mount || telling->event->source.length)
		return;
	name = BPF_CORE_READ((struct mount___tree *)mount, mnt_devname);
	if (name)
		put_string(&telling->draft, &telling->event->source, name);
}

#define WORD8(a, b, c, d, e, f)                                                                                        \
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 | (__u64)(e) << 32 | (__u64)(f) << 40)

/* The first eight letters of a text, or its last ones; NUL behind its end. */
static __always_inline __u64 letters_at(struct telling *telling, __u32 at, __u32 length)
{
	__u64 letters = 0;

	asm volatile("" : "+r"(at));
	if (at > RECORD_BYTES - 8 || !length)
		return 0;
	__builtin_memcpy(&letters, telling->draft.record->data + at, 8);
	return length < 8 ? letters & ((1ULL << (length * 8)) - 1) : letters;
}

/* Whether a path is this folder (so many letters, its slash among them) or lies below it. */
static __always_inline bool is_below(__u64 letters, __u64 folder, __u32 length)
{
	__u64 next = letters >> (length * 8) & 0xff;

	return (letters & ((1ULL << (length * 8)) - 1)) == folder && (!next || next == '/');
}

static __always_inline bool is_sensitive(struct telling *telling)
{
	const struct text *source = &telling->event->source;
	__u64 letters = letters_at(telling, source->offset, source->length);

	if (source->length > 5 &&
	    letters_at(telling, source->offset + source->length - 5, 5) == WORD8('.', 's', 'o', 'c', 'k', 0))
		return true;
	return letters == '/' || letters == WORD8('/', 'p', 'r', 'o', 'c', 0) ||
	       letters == WORD8('/', 's', 'y', 's', 0, 0) || letters == WORD8('/', 'd', 'e', 'v', 0, 0) ||
	       is_below(letters, WORD8('/', 'e', 't', 'c', 0, 0), 4) ||
	       is_below(letters, WORD8('/', 'r', 'o', 'o', 't', 0), 5) ||
	       is_below(letters, WORD8('/', 'b', 'o', 'o', 't', 0), 5);
}

static __always_inline bool lays_over(__u16 kind)
{
	return kind == RECORD_MOUNT_MOUNT || kind == RECORD_MOUNT_BIND || kind == RECORD_MOUNT_MOVE ||
	       kind == RECORD_MOUNT_ATTACH;
}

static __always_inline void judge(struct telling *telling)
{
	struct mount_event *event = telling->event;
	__u64 letters = letters_at(telling, event->target.offset, event->target.length);
	struct mount *mount = telling->found->mount;

	if (lays_over(telling->found->kind)) {
		if (is_below(letters, WORD8('/', 'p', 'r', 'o', 'c', 0), 5))
			event->flags |= MOUNT_OVER_PROC;
		if (is_below(letters, WORD8('/', 'e', 't', 'c', 0, 0), 4))
			event->flags |= MOUNT_OVER_ETC;
		if (mount && is_over_mount(mount))
			event->flags |= MOUNT_OVER_MOUNT;
		if (mount && is_shared(BPF_CORE_READ(mount, mnt_parent)))
			event->flags |= MOUNT_SHARED;
	}
	if (event->flags & MOUNT_SOURCE_RAW && telling->found->kind != RECORD_MOUNT_PIVOT_ROOT && is_sensitive(telling))
		event->flags |= MOUNT_SENSITIVE;
	if (telling->found->kind == RECORD_MOUNT_REMOUNT &&
	    (event->call == MOUNTCALL_MOUNT ? !(event->options & MS_RDONLY) : event->cleared & MS_RDONLY))
		event->flags |= MOUNT_WRITABLE;
	if (is_host(event->process.ns_mount) ||
	    (telling->found->kind == RECORD_MOUNT_ENTER &&
	     is_host(mount_namespace_at(telling->task, telling->calling.call.at[0]))))
		event->flags |= MOUNT_HOST;
}

static __always_inline int ended(__s32 number, __s64 result, __u8 tier)
{
	struct telling telling = {.task = bpf_get_current_task_btf(), .calling = {.number = number, .result = result}};
	struct mount_event *event;
	__u64 cgroup;

	read_calling(&telling.calling);
	if (!telling.calling.kind || !is_wanted(telling.task, &cgroup) || !begin(&telling.draft, sizeof(*event)))
		return 0;
	event = (void *)telling.draft.record->data;
	telling.event = event;
	telling.found = (void *)telling.draft.path->bytes + PATH_BYTES + FOUND_AT;
	__builtin_memset(event, 0, sizeof(*event));
	__builtin_memset((void *)telling.found, 0, sizeof(struct found));
	telling.found->kind = telling.calling.kind;
	telling.found->result = result;
	fill_mounting(event, telling.task, cgroup);
	event->tier = tier;
	event->error = result < 0 ? -result : 0;
	read_words(&telling, telling.calling.number);
	put_source(&telling);
	put_target(&telling);
	find_mount(&telling);
	put_found(&telling);
	put_filesystem(&telling);
	put_device(&telling);
	judge(&telling);
	finish(&telling.draft, telling.found->kind, RING_ORDINARY);
	return 0;
}

#if defined(__TARGET_ARCH_arm64)
#define CALL(name) "fexit/__arm64_sys_" #name
#else
#define CALL(name) "fexit/__x64_sys_" #name
#define CALL_32(name) "fexit/__ia32_sys_" #name
#endif

/* Best: the end of each call's own function, without a cost to any other call. What they are called with is the same.
 */
SEC(CALL(mount))
int mount_returned(__u64 *ctx)
{
	return ended(0, ctx[1], MOUNTTIER_FEXIT);
}

ALSO_AT(mount_returned, umount, CALL(umount))
ALSO_AT(mount_returned, move_mount, CALL(move_mount))
ALSO_AT(mount_returned, open_tree, CALL(open_tree))
ALSO_AT(mount_returned, fsopen, CALL(fsopen))
ALSO_AT(mount_returned, fspick, CALL(fspick))
ALSO_AT(mount_returned, fsconfig, CALL(fsconfig))
ALSO_AT(mount_returned, fsmount, CALL(fsmount))
ALSO_AT(mount_returned, setattr, CALL(mount_setattr))
ALSO_AT(mount_returned, pivot_root, CALL(pivot_root))
ALSO_AT(mount_returned, chroot, CALL(chroot))
ALSO_AT(mount_returned, unshare, CALL(unshare))
ALSO_AT(mount_returned, setns, CALL(setns))
/*
 * A filter of system calls, as every pod has, refuses all of these before their functions: there the canary is a call
 * that no filter refuses, few programs use, and that does nothing with this argument.
 */
ALSO_AT(mount_returned, canary, CALL(getpriority))

/* Else all of these calls' tracepoints: 32-bit calls do not pass them. */
SEC("tracepoint")
int mount_called(struct call_result *ctx)
{
	return ended(ctx->number, ctx->result, MOUNTTIER_TRACEPOINT);
}

#ifdef CALL_32
/* 32-bit calls (int 0x80). */
SEC(CALL_32(mount))
int mount_compat(__u64 *ctx)
{
	return ended(0, ctx[1], MOUNTTIER_FEXIT);
}

ALSO_AT(mount_compat, umount, CALL_32(umount))
ALSO_AT(mount_compat, oldumount, CALL_32(oldumount))
ALSO_AT(mount_compat, move_mount, CALL_32(move_mount))
ALSO_AT(mount_compat, open_tree, CALL_32(open_tree))
ALSO_AT(mount_compat, fsopen, CALL_32(fsopen))
ALSO_AT(mount_compat, fspick, CALL_32(fspick))
ALSO_AT(mount_compat, fsconfig, CALL_32(fsconfig))
ALSO_AT(mount_compat, fsmount, CALL_32(fsmount))
ALSO_AT(mount_compat, setattr, CALL_32(mount_setattr))
ALSO_AT(mount_compat, pivot_root, CALL_32(pivot_root))
ALSO_AT(mount_compat, chroot, CALL_32(chroot))
ALSO_AT(mount_compat, unshare, CALL_32(unshare))
ALSO_AT(mount_compat, setns, CALL_32(setns))
#endif
