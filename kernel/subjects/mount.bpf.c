/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Changes of the mount tree, at the end of the system calls that make them: the result is known then, and what was
 * mounted stands in the tree. What no longer stands there (umount, the former place of what was moved) has only the
 * caller's word.
 */
#include "mounted.h"
#include "mount.h"

char _license[] SEC("license") = "GPL";

const struct mount_event *anchor_mount __attribute__((unused));

/* The highest mnt_id_unique that a row had: what is not above it was not made by the call that ends now. */
MAP(BPF_MAP_TYPE_ARRAY, __u32, __u64, 1)
mount_seen SEC(".maps");

enum call_number {
#if defined(__TARGET_ARCH_arm64)
	NUMBER_UMOUNT = 39,
	NUMBER_MOUNT = 40,
	NUMBER_PIVOT_ROOT = 41,
	NUMBER_CHROOT = 51,
	NUMBER_UNSHARE = 97,
	NUMBER_SETNS = 268,
#else
	NUMBER_PIVOT_ROOT = 155,
	NUMBER_CHROOT = 161,
	NUMBER_MOUNT = 165,
	NUMBER_UMOUNT = 166,
	NUMBER_UNSHARE = 272,
	NUMBER_SETNS = 308,
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

struct telling {
	struct draft draft;
	struct mount_event *event;
	struct task_struct *task;
	volatile struct found *found;
	struct call_arguments call;
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
static __always_inline __u16 kind_of(struct telling *telling, __s32 number, bool failed)
{
	const __u64 *at = telling->call.at;

	switch (number) {
	case NUMBER_MOUNT:
		return kind_of_flags(options_of_flags(at[3]));
	case NUMBER_UMOUNT:
		return RECORD_MOUNT_UMOUNT;
	case NUMBER_MOVE_MOUNT:
		return (at[4] & MOVE_MOUNT_SET_GROUP)      ? RECORD_MOUNT_PROPAGATION
		       : (at[4] & MOVE_MOUNT_F_EMPTY_PATH) ? RECORD_MOUNT_ATTACH
							   : RECORD_MOUNT_MOVE;
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
	case NUMBER_MOUNT_SETATTR:
		return RECORD_MOUNT_REMOUNT;
	case NUMBER_PIVOT_ROOT:
		return RECORD_MOUNT_PIVOT_ROOT;
	case NUMBER_CHROOT:
		return RECORD_MOUNT_CHROOT;
	case NUMBER_UNSHARE:
		return at[0] & CLONE_NEWNS ? RECORD_MOUNT_UNSHARE : 0;
	case NUMBER_SETNS:
		if (at[1] & CLONE_NEWNS || (!(__u32)at[1] && mount_namespace_at(telling->task, at[0])))
			return RECORD_MOUNT_ENTER;
		return 0;
	}
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
	const __u64 *at = telling->call.at;

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
	__u32 flags = telling->call.at[1];

	telling->event->call = MOUNTCALL_UMOUNT;
	telling->event->options = (flags & 15) << 28; /* FORCE, DETACH, EXPIRE, NOFOLLOW */
	name_target(&telling->found->named, WORKING_FOLDER, telling->call.at[0]);
}

static __always_inline void read_move(struct telling *telling)
{
	const __u64 *at = telling->call.at;
	bool empty = at[4] & MOVE_MOUNT_F_EMPTY_PATH;
	struct file *file;

	telling->event->call = MOUNTCALL_MOVE_MOUNT;
	telling->event->options = (at[4] & MOVE_MOUNT_SET_GROUP ? MOUNTOPTION_SET_GROUP : 0) |
				  (at[4] & MOVE_MOUNT_BENEATH ? MOUNTOPTION_BENEATH : 0);
	name_target(&telling->found->named, at[2], at[3]);
	name_source(&telling->found->named, at[0], at[1], !empty);
	if (!empty || telling->found->result < 0)
		return;
	file = file_of(telling->task, at[0]);
	if (file)
		telling->found->mount = mount_of(BPF_CORE_READ(file, f_path.mnt));
}

static __always_inline void read_tree(struct telling *telling, bool attributes)
{
	const __u64 *at = telling->call.at;

	telling->event->call = attributes ? MOUNTCALL_OPEN_TREE_ATTR : MOUNTCALL_OPEN_TREE;
	telling->event->options = MOUNTOPTION_CLONE | (at[2] & AT_RECURSIVE ? MOUNTOPTION_REC : 0);
	if (attributes)
		read_attributes(telling, at[3]);
	name_source(&telling->found->named, at[0], at[1], true);
}

static __always_inline void read_setattr(struct telling *telling)
{
	const __u64 *at = telling->call.at;

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
	const __u64 *at = telling->call.at;

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
	__u64 id = newest ? BPF_CORE_READ((struct mount___tree *)newest, mnt_id_unique) : 0;
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&mount_seen, &zero);

	if (!newest || !seen || id <= *seen)
		return;
	*seen = id;
	found->unsure = telling->event->options & MOUNTOPTION_REC || is_shared(BPF_CORE_READ(newest, mnt_parent));
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
	if (is_host(event->process.ns_mount) || (telling->found->kind == RECORD_MOUNT_ENTER &&
						 is_host(mount_namespace_at(telling->task, telling->call.at[0]))))
		event->flags |= MOUNT_HOST;
}

SEC("tracepoint")
int mount_called(struct call_result *ctx)
{
	struct telling telling = {.task = bpf_get_current_task_btf()};
	struct mount_event *event;
	__u64 cgroup;
	__u16 kind;

	read_call(&telling.call, telling.task);
	kind = kind_of(&telling, ctx->number, ctx->result < 0);
	if (!kind || !is_wanted(telling.task, &cgroup) || !begin(&telling.draft, sizeof(*event)))
		return 0;
	event = (void *)telling.draft.record->data;
	telling.event = event;
	telling.found = (void *)telling.draft.path->bytes + PATH_BYTES + FOUND_AT;
	__builtin_memset(event, 0, sizeof(*event));
	__builtin_memset((void *)telling.found, 0, sizeof(struct found));
	telling.found->kind = kind;
	telling.found->result = ctx->result;
	fill_mounting(event, telling.task, cgroup);
	event->tier = MOUNTTIER_TRACEPOINT;
	event->error = ctx->result < 0 ? -ctx->result : 0;
	read_words(&telling, ctx->number);
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
