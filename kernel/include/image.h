/* SPDX-License-Identifier: GPL-2.0 */
/* A new program image: its file, arguments, environment and standard streams. */
#pragma once
#include "task.h"

enum magic {
	OVERLAYFS_MAGIC = 0x794c7630,
	FILE_TYPE = 0170000,
	SET_UID = 04000,
	SET_GID = 02000,
	TTY_MAJOR = 4,
	TTYAUX_MAJOR = 5,
	PTS_MAJOR_FIRST = 136,
	PTS_MAJOR_LAST = 143,
	NULL_DEVICE = (1 << 20) | 3,
};

static __always_inline bool is_memfd(struct dentry *dentry, __u32 links)
{
	char name[8] = {};

	if (links)
		return false;
	bpf_probe_read_kernel(name, 6, dentry->d_name.name);
	return name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 'f' && name[4] == 'd' && name[5] == ':';
}

/* As d_unlinked() of include/linux/dcache.h: whatever other links the file has, this name of it is gone. */
static __always_inline bool is_unlinked(struct dentry *dentry)
{
	return !dentry->d_hash.pprev && dentry->d_parent != dentry;
}

/*
 * An overlay inode that has an upper dentry was written in the container. The pointer stands right behind the VFS
 * inode in struct ovl_inode (fs/overlayfs/ovl_entry.h), which modules' BTF may hold and vmlinux's need not.
 */
static __always_inline bool is_drift(struct inode *inode)
{
	void *upper = NULL;

	if (inode->i_sb->s_magic != OVERLAYFS_MAGIC)
		return false;
	bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
	return upper != NULL;
}

static __always_inline void fill_file(struct draft *draft, struct process_exec *exec, struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;
	struct inode *inode = file->f_inode;
	__u32 walked;

	exec->file_inode = inode->i_ino;
	exec->file_device = inode->i_sb->s_dev;
	exec->file_mode = inode->i_mode;
	exec->file_links = inode->i_nlink;
	if (is_memfd(dentry, exec->file_links))
		exec->context.flags |= PROCESS_MEMFD;
	else if (!exec->file_links || is_unlinked(dentry))
		exec->context.flags |= PROCESS_DELETED;
	if (is_drift(inode))
		exec->context.flags |= PROCESS_DRIFT;
	walked = put_path(draft, &exec->exe, dentry, file->f_path.mnt, &exec->context.flags);
	if (walked & WALK_TRUNCATED)
		exec->context.flags |= PROCESS_EXE_TRUNCATED;
	if (walked & WALK_DETACHED)
		exec->context.flags |= PROCESS_DETACHED;
}

static __always_inline void fill_cwd(struct draft *draft, struct process_exec *exec, struct task_struct *task)
{
	struct fs_struct *fs = task->fs;

	if (fs && put_path(draft, &exec->cwd, fs->pwd.dentry, fs->pwd.mnt, &exec->context.flags) & WALK_TRUNCATED)
		exec->context.flags |= PROCESS_CWD_TRUNCATED;
}

static __always_inline __u8 device_kind(dev_t device)
{
	__u32 major = device >> 20;

	if (major == TTY_MAJOR || major == TTYAUX_MAJOR || (major >= PTS_MAJOR_FIRST && major <= PTS_MAJOR_LAST))
		return STREAM_TTY;
	return device == NULL_DEVICE ? STREAM_NULL : STREAM_DEVICE;
}

static __always_inline __u8 stream_kind(struct task_struct *task, __u32 descriptor)
{
	struct files_struct *files = task->files;
	struct file *file = NULL;
	struct fdtable *table;
	struct inode *inode;

	if (!files)
		return STREAM_CLOSED;
	table = files->fdt;
	bpf_probe_read_kernel(&file, sizeof(file), table->fd + descriptor);
	if (!file)
		return STREAM_CLOSED;
	inode = BPF_CORE_READ(file, f_inode);
	switch (BPF_CORE_READ(inode, i_mode) & FILE_TYPE) {
	case 0100000:
		return STREAM_FILE;
	case 0010000:
		return STREAM_PIPE;
	case 0140000:
		return STREAM_SOCKET;
	case 0040000:
		return STREAM_DIRECTORY;
	case 0020000:
		return device_kind(BPF_CORE_READ(inode, i_rdev));
	}
	return STREAM_OTHER;
}

static __always_inline void fill_streams(struct process_exec *exec, struct task_struct *task)
{
	exec->stdin = stream_kind(task, 0);
	exec->stdout = stream_kind(task, 1);
	exec->stderr = stream_kind(task, 2);
}

/*
 * A block of a process's memory. `task` is NULL for the running one; another's pages are brought in where needed,
 * which only a sleepable program may do.
 */
static __always_inline long put_memory(struct draft *draft, struct text *text, unsigned long from, __u32 length,
				       struct task_struct *task)
{
	__u8 *to = room(draft);
	long failed;

	asm volatile("" : "+r"(length));
	if (!to || length > TEXT_BYTES)
		return -1;
	failed = task ? bpf_copy_from_user_task(to, length, (void *)from, task, 0)
		      : bpf_probe_read_user(to, length, (void *)from);
	if (!failed)
		placed(draft, text, length);
	return failed;
}

static __always_inline __u32 bounded(__u32 length)
{
	return length > TEXT_BYTES ? TEXT_BYTES : length;
}

static __always_inline void fill_arguments(struct draft *draft, struct process_exec *exec, struct task_struct *task,
					   struct task_struct *other)
{
	struct mm_struct *mm = task->mm;

	if (!mm)
		return;
	exec->args_length = mm->arg_end - mm->arg_start;
	exec->env_length = mm->env_end - mm->env_start;
	if (exec->args_length > TEXT_BYTES)
		exec->context.flags |= PROCESS_ARGS_TRUNCATED;
	if (exec->env_length > TEXT_BYTES)
		exec->context.flags |= PROCESS_ENV_TRUNCATED;
	if (settings.read_args && put_memory(draft, &exec->args, mm->arg_start, bounded(exec->args_length), other)) {
		exec->context.flags |= PROCESS_ARGS_UNREAD;
		count(FAILURE_ARGS_READ);
	}
	if (settings.read_env && put_memory(draft, &exec->env, mm->env_start, bounded(exec->env_length), other)) {
		exec->context.flags |= PROCESS_ENV_UNREAD;
		count(FAILURE_ENV_READ);
	}
}

static __always_inline void fill_names(struct draft *draft, struct process_exec *exec, struct linux_binprm *bprm)
{
	if (put_string(draft, &exec->filename_raw, bprm->filename))
		exec->context.flags |= PROCESS_NAME_TRUNCATED;
	if (bprm->interp == bprm->filename)
		return;
	exec->script_raw = exec->filename_raw;
	exec->context.flags |= PROCESS_SCRIPT;
	if (put_string(draft, &exec->interpreter_raw, bprm->interp))
		exec->context.flags |= PROCESS_NAME_TRUNCATED;
}

/* A gain is a change of uid, gid or permitted capabilities by the file; bprm->per_clear alone is noisy. */
static __always_inline void fill_gain(struct process_exec *exec, struct task_struct *task,
				      struct process_memory *memory)
{
	struct process_context *context = &exec->context;

	exec->previous_number = context->exec_number - 1;
	if (!memory || memory->before_number != exec->previous_number) {
		context->flags |= PROCESS_GAIN_UNSURE;
		if ((exec->file_mode & SET_UID) && context->euid != context->uid)
			context->flags |= PROCESS_SETUID;
		if ((exec->file_mode & SET_GID) && context->egid != context->gid)
			context->flags |= PROCESS_SETGID;
		return;
	}
	if ((exec->file_mode & SET_UID) && context->euid != memory->before_euid)
		context->flags |= PROCESS_SETUID;
	if ((exec->file_mode & SET_GID) && context->egid != memory->before_egid)
		context->flags |= PROCESS_SETGID;
	if ((context->cap_permitted & ~memory->before_permitted) && context->euid == memory->before_euid)
		context->flags |= PROCESS_FILECAPS;
	if (memory->caller != task->tgid)
		context->flags |= PROCESS_FROM_THREAD;
}
