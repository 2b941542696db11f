/* SPDX-License-Identifier: GPL-2.0 */
/* System calls at their end: number, result, and the arguments, which the task's registers still have. */
#pragma once
#include "held.h"

/* What a program at a single sys_exit tracepoint is given (struct syscall_tp_t of kernel/trace/trace_syscalls.c). */
struct call_end {
	__u64 common;
	__s32 number;
	__u32 pad;
	__s64 result;
};

struct arguments {
	__u64 at[6];
};

#if defined(__TARGET_ARCH_x86)
enum call {
	CALL_WRITE = 1,
	CALL_OPEN = 2,
	CALL_PWRITE = 18,
	CALL_WRITEV = 20,
	CALL_SENDFILE = 40,
	CALL_TRUNCATE = 76,
	CALL_FTRUNCATE = 77,
	CALL_RENAME = 82,
	CALL_MKDIR = 83,
	CALL_RMDIR = 84,
	CALL_CREAT = 85,
	CALL_LINK = 86,
	CALL_UNLINK = 87,
	CALL_SYMLINK = 88,
	CALL_CHMOD = 90,
	CALL_FCHMOD = 91,
	CALL_CHOWN = 92,
	CALL_FCHOWN = 93,
	CALL_LCHOWN = 94,
	CALL_UTIME = 132,
	CALL_MKNOD = 133,
	CALL_SETXATTR = 188,
	CALL_LSETXATTR = 189,
	CALL_FSETXATTR = 190,
	CALL_REMOVEXATTR = 197,
	CALL_LREMOVEXATTR = 198,
	CALL_FREMOVEXATTR = 199,
	CALL_UTIMES = 235,
	CALL_OPENAT = 257,
	CALL_MKDIRAT = 258,
	CALL_MKNODAT = 259,
	CALL_FCHOWNAT = 260,
	CALL_FUTIMESAT = 261,
	CALL_UNLINKAT = 263,
	CALL_RENAMEAT = 264,
	CALL_LINKAT = 265,
	CALL_SYMLINKAT = 266,
	CALL_FCHMODAT = 268,
	CALL_SPLICE = 275,
	CALL_UTIMENSAT = 280,
	CALL_FALLOCATE = 285,
	CALL_PWRITEV = 296,
	CALL_OPEN_BY_HANDLE = 304,
	CALL_RENAMEAT2 = 316,
	CALL_COPY_FILE_RANGE = 326,
	CALL_PWRITEV2 = 328,
};
#else /* arm64: include/uapi/asm-generic/unistd.h; numbers that no call has stand for those that there are not */
enum call {
	CALL_SETXATTR = 5,
	CALL_LSETXATTR = 6,
	CALL_FSETXATTR = 7,
	CALL_REMOVEXATTR = 14,
	CALL_LREMOVEXATTR = 15,
	CALL_FREMOVEXATTR = 16,
	CALL_MKNODAT = 33,
	CALL_MKDIRAT = 34,
	CALL_UNLINKAT = 35,
	CALL_SYMLINKAT = 36,
	CALL_LINKAT = 37,
	CALL_RENAMEAT = 38,
	CALL_TRUNCATE = 45,
	CALL_FTRUNCATE = 46,
	CALL_FALLOCATE = 47,
	CALL_FCHMOD = 52,
	CALL_FCHMODAT = 53,
	CALL_FCHOWNAT = 54,
	CALL_FCHOWN = 55,
	CALL_OPENAT = 56,
	CALL_WRITE = 64,
	CALL_WRITEV = 66,
	CALL_PWRITE = 68,
	CALL_PWRITEV = 70,
	CALL_SENDFILE = 71,
	CALL_SPLICE = 76,
	CALL_UTIMENSAT = 88,
	CALL_OPEN_BY_HANDLE = 265,
	CALL_RENAMEAT2 = 276,
	CALL_COPY_FILE_RANGE = 285,
	CALL_PWRITEV2 = 287,
	CALL_OPEN = 10000,
	CALL_RENAME,
	CALL_MKDIR,
	CALL_RMDIR,
	CALL_CREAT,
	CALL_LINK,
	CALL_UNLINK,
	CALL_SYMLINK,
	CALL_CHMOD,
	CALL_CHOWN,
	CALL_LCHOWN,
	CALL_MKNOD,
	CALL_UTIME,
	CALL_UTIMES,
	CALL_FUTIMESAT,
};
#endif

enum call_of_all { /* the same number everywhere */
	CALL_OPENAT2 = 437,
	CALL_FCHMODAT2 = 452,
	CALL_SETXATTRAT = 463,
	CALL_REMOVEXATTRAT = 466,
};

enum fcntl {
	O_ACCMODE = 3,
	O_CREAT = 0100,
	O_EXCL = 0200,
	O_TRUNC = 01000,
	O_APPEND = 02000,
#if defined(__TARGET_ARCH_x86)
	O_DIRECT = 040000,
	O_NOFOLLOW = 0400000,
#else
	O_DIRECT = 0200000,
	O_NOFOLLOW = 0100000,
#endif
	O_TMPFILE_BIT = 020000000,
	AT_FDCWD = -100,
	AT_REMOVEDIR = 0x200,
	MAP_SHARED = 1, /* a bit of MAP_SHARED_VALIDATE too */
	FMODE_READ = 1 << 0,
	FMODE_WRITE = 1 << 1,
	FMODE_PATH = 1 << 14,
	FMODE_CREATED = 1 << 20,
};

static __always_inline void read_arguments(struct arguments *arguments, struct task_struct *task)
{
	void *told = (void *)bpf_task_pt_regs(task);
#if defined(__TARGET_ARCH_x86)
	struct pt_regs___x86 *registers = told;

	arguments->at[0] = BPF_CORE_READ(registers, di);
	arguments->at[1] = BPF_CORE_READ(registers, si);
	arguments->at[2] = BPF_CORE_READ(registers, dx);
	arguments->at[3] = BPF_CORE_READ(registers, r10);
	arguments->at[4] = BPF_CORE_READ(registers, r8);
	arguments->at[5] = BPF_CORE_READ(registers, r9);
#else
	struct pt_regs___call *registers = told;

	bpf_core_read(arguments->at, sizeof(arguments->at), &registers->regs[0]);
	arguments->at[0] = BPF_CORE_READ(registers, orig_x0);
#endif
}

/* The second or third argument alone. */
static __always_inline __u64 argument(struct task_struct *task, __u32 number)
{
	void *told = (void *)bpf_task_pt_regs(task);
#if defined(__TARGET_ARCH_x86)
	struct pt_regs___x86 *registers = told;

	return number == 1 ? BPF_CORE_READ(registers, si) : BPF_CORE_READ(registers, dx);
#else
	struct pt_regs___call *registers = told;
	__u64 value = 0;

	bpf_core_read(&value, sizeof(value), &registers->regs[number]);
	return value;
#endif
}

/* The file of a descriptor, as it is now: another thread may have put another one there since the call. */
static __always_inline struct file *file_at(struct task_struct *task, __u32 descriptor)
{
	struct files_struct *files = task->files;
	struct file *file = NULL;
	struct fdtable *table;

	if (!files)
		return NULL;
	table = files->fdt;
	if (descriptor >= table->max_fds)
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), table->fd + descriptor);
	return file;
}

/* Errors of a try that was refused; a file that is not there was not touched. */
static __always_inline bool is_refusal(__s64 result)
{
	switch (-result) {
	case 1: /* EPERM */
	case 13: /* EACCES */
	case 16: /* EBUSY */
	case 26: /* ETXTBSY */
	case 30: /* EROFS */
	case 40: /* ELOOP */
		return true;
	}
	return false;
}

static __always_inline __u32 opened_for(__u64 flags)
{
	__u32 mode = flags & O_ACCMODE;

	return (mode != 1 ? OPEN_READ : 0) | (mode == 1 || mode == 2 ? OPEN_WRITE : 0) |
	       (flags & O_CREAT ? OPEN_CREATE : 0) | (flags & O_EXCL ? OPEN_EXCLUSIVE : 0) |
	       (flags & O_TRUNC ? OPEN_TRUNCATE : 0) | (flags & O_APPEND ? OPEN_APPEND : 0) |
	       (flags & O_TMPFILE_BIT ? OPEN_TMPFILE : 0) | (flags & O_NOFOLLOW ? OPEN_NOFOLLOW : 0) |
	       (flags & O_DIRECT ? OPEN_DIRECT : 0);
}
