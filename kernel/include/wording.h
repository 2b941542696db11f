/* SPDX-License-Identifier: GPL-2.0 */
/* Which argument of a system call says what, for calls that change a file by its name or what is said of a file. */
#pragma once
#include "told.h"

enum {
	WORDINGS = 512,
	ARGUMENTS = 8, /* of `struct words`, a power of two */
	WORKING = 7, /* there AT_FDCWD stands */
	NONE = 6, /* there 0 stands */
};

/* Numbers of arguments; NONE: the call has none such. */
struct wording {
	__u8 kind; /* enum record_kind; 0: no call of these */
	__u8 folder, path; /* or: */
	__u8 descriptor;
	__u8 new_folder, new_path;
	__u8 target; /* a word that is kept as it is */
	__u8 mode;
	__u8 owner; /* the group is the next one */
	__u8 removes; /* flags by which it removes a folder */
};

#define BY_NAME(what, folder, path) {what, folder, path, NONE, NONE, NONE, NONE, NONE, NONE, NONE}
#define TWO_NAMES(what, folder, path, other, more) {what, folder, path, NONE, other, more, NONE, NONE, NONE, NONE}
#define TO(what, target, folder, path) {what, folder, path, NONE, NONE, NONE, target, NONE, NONE, NONE}
#define MODE(what, folder, path, mode) {what, folder, path, NONE, NONE, NONE, NONE, mode, NONE, NONE}
#define OWNER(what, folder, path, owner) {what, folder, path, NONE, NONE, NONE, NONE, NONE, owner, NONE}
#define REMOVES(what, folder, path, flags) {what, folder, path, NONE, NONE, NONE, NONE, NONE, NONE, flags}
#define OF_FILE(what, target, mode, owner) {what, NONE, NONE, 0, NONE, NONE, target, mode, owner, NONE}

static const struct wording wordings[WORDINGS] = {
#if defined(__TARGET_ARCH_x86)
	[CALL_RENAME] = TWO_NAMES(RECORD_FILE_RENAME, WORKING, 0, WORKING, 1),
	[CALL_LINK] = TWO_NAMES(RECORD_FILE_LINK, WORKING, 0, WORKING, 1),
	[CALL_SYMLINK] = TO(RECORD_FILE_SYMLINK, 0, WORKING, 1),
	[CALL_UNLINK] = BY_NAME(RECORD_FILE_UNLINK, WORKING, 0),
	[CALL_RMDIR] = BY_NAME(RECORD_FILE_RMDIR, WORKING, 0),
	[CALL_MKDIR] = MODE(RECORD_FILE_MKDIR, WORKING, 0, 1),
	[CALL_MKNOD] = MODE(RECORD_FILE_MKNOD, WORKING, 0, 1),
	[CALL_CHMOD] = MODE(RECORD_FILE_CHMOD, WORKING, 0, 1),
	[CALL_CHOWN] = OWNER(RECORD_FILE_CHOWN, WORKING, 0, 1),
	[CALL_LCHOWN] = OWNER(RECORD_FILE_CHOWN, WORKING, 0, 1),
	[CALL_UTIME] = BY_NAME(RECORD_FILE_TIMES, WORKING, 0),
	[CALL_UTIMES] = BY_NAME(RECORD_FILE_TIMES, WORKING, 0),
	[CALL_FUTIMESAT] = BY_NAME(RECORD_FILE_TIMES, 0, 1),
#endif
	[CALL_RENAMEAT] = TWO_NAMES(RECORD_FILE_RENAME, 0, 1, 2, 3),
	[CALL_RENAMEAT2] = TWO_NAMES(RECORD_FILE_RENAME, 0, 1, 2, 3),
	[CALL_LINKAT] = TWO_NAMES(RECORD_FILE_LINK, 0, 1, 2, 3),
	[CALL_SYMLINKAT] = TO(RECORD_FILE_SYMLINK, 0, 1, 2),
	[CALL_UNLINKAT] = REMOVES(RECORD_FILE_UNLINK, 0, 1, 2),
	[CALL_MKDIRAT] = MODE(RECORD_FILE_MKDIR, 0, 1, 2),
	[CALL_MKNODAT] = MODE(RECORD_FILE_MKNOD, 0, 1, 2),
	[CALL_TRUNCATE] = BY_NAME(RECORD_FILE_TRUNCATE, WORKING, 0),
	[CALL_FTRUNCATE] = OF_FILE(RECORD_FILE_TRUNCATE, NONE, NONE, NONE),
	[CALL_FALLOCATE] = OF_FILE(RECORD_FILE_ALLOCATE, NONE, 1, NONE),
	[CALL_UTIMENSAT] = BY_NAME(RECORD_FILE_TIMES, 0, 1),
	[CALL_FCHMODAT] = MODE(RECORD_FILE_CHMOD, 0, 1, 2),
	[CALL_FCHMODAT2] = MODE(RECORD_FILE_CHMOD, 0, 1, 2),
	[CALL_FCHMOD] = OF_FILE(RECORD_FILE_CHMOD, NONE, 1, NONE),
	[CALL_FCHOWNAT] = OWNER(RECORD_FILE_CHOWN, 0, 1, 2),
	[CALL_FCHOWN] = OF_FILE(RECORD_FILE_CHOWN, NONE, NONE, 1),
	[CALL_SETXATTR] = TO(RECORD_FILE_XATTR, 1, WORKING, 0),
	[CALL_LSETXATTR] = TO(RECORD_FILE_XATTR, 1, WORKING, 0),
	[CALL_REMOVEXATTR] = TO(RECORD_FILE_XATTR, 1, WORKING, 0),
	[CALL_LREMOVEXATTR] = TO(RECORD_FILE_XATTR, 1, WORKING, 0),
	[CALL_FSETXATTR] = OF_FILE(RECORD_FILE_XATTR, 1, NONE, NONE),
	[CALL_FREMOVEXATTR] = OF_FILE(RECORD_FILE_XATTR, 1, NONE, NONE),
	[CALL_SETXATTRAT] = TO(RECORD_FILE_XATTR, 3, 0, 1),
	[CALL_REMOVEXATTRAT] = TO(RECORD_FILE_XATTR, 3, 0, 1),
};

/* The arguments of a call, and what stands for those that it lacks. */
struct words {
	__u64 at[ARGUMENTS];
};

static __always_inline __u64 word(const struct words *words, __u8 number)
{
	return words->at[number & (ARGUMENTS - 1)];
}

static __always_inline void read_words(struct words *words, struct task_struct *task)
{
	struct arguments arguments;

	read_arguments(&arguments, task);
	for (int i = 0; i < 6; i++)
		words->at[i] = arguments.at[i];
	words->at[NONE] = 0;
	words->at[WORKING] = AT_FDCWD;
}

/* The file, by a descriptor or by its name. */
static __always_inline bool put_changed(struct draft *draft, struct file_event *event, struct task_struct *task,
					const struct wording *wording, const struct words *words)
{
	struct place place = {};
	__u32 access = event->header.kind == RECORD_FILE_RENAME ? FILE_WRITE | FILE_ABOVE : FILE_WRITE;
	__u8 descriptor = wording->descriptor;
	struct file *file;

	/* futimens(3) is utimensat with a descriptor and without a name; other calls fail without one. */
	if (descriptor == NONE && event->header.kind == RECORD_FILE_TIMES && !word(words, wording->path))
		descriptor = wording->folder;
	if (descriptor == NONE)
		return put_name(draft, &event->path, task, word(words, wording->folder), word(words, wording->path),
				access, &event->flags);
	file = file_at(task, word(words, descriptor));
	if (!file)
		return false;
	place_of(&place, file, access);
	return find_names(&place) && put_file(draft, event, &place, file);
}

static __always_inline int changed(struct call_end *ctx, struct task_struct *task, const struct wording *wording)
{
	struct file_event *event;
	struct words words;
	struct draft draft;
	__u16 kind = wording->kind;
	__u64 cgroup;
	bool watched;

	if (!is_wanted(task, &cgroup) || !begin(&draft, sizeof(*event)))
		return 0;
	event = begin_event(&draft, task, cgroup);
	read_words(&words, task);
	if (wording->removes != NONE && word(&words, wording->removes) & AT_REMOVEDIR)
		kind = RECORD_FILE_RMDIR;
	event->header.kind = kind;
	watched = put_changed(&draft, event, task, wording, &words);
	if (wording->new_path != NONE)
		watched |= put_name(&draft, &event->target, task, word(&words, wording->new_folder),
				    word(&words, wording->new_path), FILE_WRITE | FILE_ABOVE, &event->flags);
	if (!watched) {
		abandon(&draft);
		return 0;
	}
	if (wording->target != NONE)
		read_word(&draft, &event->target, word(&words, wording->target));
	if (wording->mode != NONE)
		event->new_mode = word(&words, wording->mode);
	if (wording->owner != NONE) {
		event->new_uid = word(&words, wording->owner);
		event->new_gid = word(&words, wording->owner + 1);
	}
	event->error = ctx->result < 0 ? -ctx->result : 0;
	finish(&draft, kind, RING_ORDINARY);
	return 0;
}
