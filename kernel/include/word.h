/* SPDX-License-Identifier: GPL-2.0 */
/*
 * System calls at their end: number, result, arguments. And paths from the caller's word, where the kernel's own result
 * is not in reach: the word by its letters (`.`, `..` and // taken out, symbolic links not followed) below the resolved
 * folder that it is relative to.
 */
#pragma once
#include "socket.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct fs_struct___root {
	struct path root;
};

/* A task's registers at its system call: arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h. */
struct pt_regs___x86_call {
	unsigned long r10, r9, r8, dx, si, di, bx, cx, bp, orig_ax;
};

struct thread_info___x86 {
	__u32 status;
};

struct task_struct___x86 {
	struct thread_info___x86 thread_info;
};

struct pt_regs___arm64_call {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
};

#pragma clang attribute pop

/*
 * A further function that a program is attached at: kernel/build.py makes what is attached there of it, which calls the
 * same program. This one is never loaded.
 */
#define ALSO_AT(program, place, where)                                                                                 \
	SEC(where) int program##_at_##place(void *ctx)                                                                 \
	{                                                                                                              \
		return 0;                                                                                              \
	}

/* What a program at a single sys_exit tracepoint is given (struct syscall_tp_t of kernel/trace/trace_syscalls.c). */
struct call_result {
	__u64 common;
	__s32 number;
	__u32 pad;
	__s64 result;
};

struct call_arguments {
	__u64 at[6];
};

enum {
	WORKING_FOLDER = -100, /* AT_FDCWD of linux/fcntl.h */
	TS_COMPAT = 2, /* arch/x86/include/asm/thread_info.h: a 32-bit call is in progress */
};

/* A word of the caller and the folder that it is relative to. */
struct word {
	__u64 dentry, mount; /* of the folder */
	__u32 slot; /* of the scratch and of the record */
	__u32 from, length; /* of the word, in the record */
	__u32 at; /* found: the path lies in the scratch's bytes[at .. PATH_BYTES) */
	__u32 flags; /* enum walk_flag */
	__u32 pad;
};

struct laying {
	struct record_scratch *record;
	struct walk walk;
	__u32 from, length;
};

/*
 * How far the loop over a word is, in the half of the scratch that no path uses: read from there each time, the
 * verifier knows nothing of it and does not follow each value that it may have.
 */
enum word_step {
	WORD_END = 0, /* of the name that is looked for */
	WORD_SKIP = 1, /* names that a `..` behind them takes away */
};

static __always_inline volatile __u32 *steps_of(struct path_scratch *scratch)
{
	return (volatile __u32 *)(scratch->bytes + PATH_BYTES);
}

static __always_inline bool is_compat(struct task_struct *task)
{
	struct task_struct___x86 *of = (void *)task;

	return bpf_core_field_exists(of->thread_info.status) && BPF_CORE_READ(of, thread_info.status) & TS_COMPAT;
}

static __always_inline void read_call(struct call_arguments *arguments, struct task_struct *task)
{
	void *registers = (void *)bpf_task_pt_regs(task);
#if defined(__TARGET_ARCH_arm64)
	struct pt_regs___arm64_call *call = registers;

	bpf_core_read(arguments->at, sizeof(arguments->at), &call->regs[0]);
	arguments->at[0] = BPF_CORE_READ(call, orig_x0);
#else
	struct pt_regs___x86_call *call = registers;

	if (is_compat(task)) {
		arguments->at[0] = (__u32)BPF_CORE_READ(call, bx);
		arguments->at[1] = (__u32)BPF_CORE_READ(call, cx);
		arguments->at[2] = (__u32)BPF_CORE_READ(call, dx);
		arguments->at[3] = (__u32)BPF_CORE_READ(call, si);
		arguments->at[4] = (__u32)BPF_CORE_READ(call, di);
		arguments->at[5] = (__u32)BPF_CORE_READ(call, bp);
		return;
	}
	arguments->at[0] = BPF_CORE_READ(call, di);
	arguments->at[1] = BPF_CORE_READ(call, si);
	arguments->at[2] = BPF_CORE_READ(call, dx);
	arguments->at[3] = BPF_CORE_READ(call, r10);
	arguments->at[4] = BPF_CORE_READ(call, r8);
	arguments->at[5] = BPF_CORE_READ(call, r9);
#endif
}

/* The file of a descriptor, as it is now: another thread may have put another one there since the call. */
static __always_inline struct file *file_of(struct task_struct *task, __u32 descriptor)
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

/* A string of the caller's memory, without its NUL; false where it cannot be read. */
static __always_inline bool put_word(struct draft *draft, struct text *text, __u64 address)
{
	__u8 *to = room(draft);
	long read = to ? bpf_probe_read_user_str(to, TEXT_BYTES, (void *)address) : -1;

	if (read <= 0)
		return false;
	placed(draft, text, (read - 1) & (TEXT_BYTES - 1));
	return true;
}

/* The name that begins there, and ends at WORD_END. */
static __always_inline void lay_name(struct laying *laying, __u32 begin)
{
	volatile __u32 *steps = steps_of(laying->walk.scratch);
	__u32 at = laying->from + begin, length = steps[WORD_END] - begin;
	const __u8 *letters;

	asm volatile("" : "+r"(at));
	if (at > RECORD_BYTES - 256)
		return;
	letters = laying->record->data + at;
	if (length == 1 && letters[0] == '.')
		return;
	if (length == 2 && letters[0] == '.' && letters[1] == '.') {
		steps[WORD_SKIP]++;
		return;
	}
	if (steps[WORD_SKIP]) {
		steps[WORD_SKIP]--;
		return;
	}
	if (length > 255) { /* no file has such a name */
		laying->walk.flags |= WALK_TRUNCATED;
		return;
	}
	prepend(&laying->walk, letters, steps[WORD_END] - begin); /* read anew: the verifier knows `length` by now */
}

/* One letter of the word, from its last: a name is laid where it begins. */
static long lay_step(__u32 index, struct laying *laying)
{
	volatile __u32 *steps = steps_of(laying->walk.scratch);
	__u32 begin = laying->length - index, at = laying->from + begin - 1;

	if (begin) {
		asm volatile("" : "+r"(at));
		if (at >= RECORD_BYTES)
			return 1;
		if (laying->record->data[at] != '/')
			return 0;
	}
	if (steps[WORD_END] > begin)
		lay_name(laying, begin);
	steps[WORD_END] = begin - 1;
	return 0;
}

/* Lay a word into the scratch, its folder in front of it. A function of its own, verified once. Always 0. */
__noinline int lay_word(struct word *word)
{
	struct laying laying = {};
	__u32 slot;

	if (!word)
		return 0;
	slot = word->slot;
	laying.record = bpf_map_lookup_elem(&records, &slot);
	laying.walk.scratch = bpf_map_lookup_elem(&paths, &slot);
	if (!laying.record || !laying.walk.scratch)
		return 0;
	laying.walk.at = PATH_BYTES;
	laying.from = word->from;
	laying.length = word->length & (TEXT_BYTES - 1);
	steps_of(laying.walk.scratch)[WORD_END] = laying.length;
	steps_of(laying.walk.scratch)[WORD_SKIP] = 0;
	bpf_loop(laying.length + 1, lay_step, &laying, 0);
	laying.walk.skip = steps_of(laying.walk.scratch)[WORD_SKIP];
	if (!(laying.walk.flags & WALK_ENDED))
		walk_on(&laying.walk, (void *)word->dentry, (void *)word->mount);
	word->at = laying.walk.at;
	word->flags = laying.walk.flags;
	return 0;
}

static __always_inline struct path folder_of(struct task_struct *task, __s32 folder, bool absolute)
{
	struct fs_struct *fs = task->fs;
	struct path found = {};
	struct file *file;

	if (absolute && fs) {
		found = BPF_CORE_READ((struct fs_struct___root *)fs, root);
	} else if (folder == WORKING_FOLDER && fs) {
		found = BPF_CORE_READ(fs, pwd);
	} else if (folder != WORKING_FOLDER) {
		file = file_of(task, folder);
		if (file)
			found = BPF_CORE_READ(file, f_path);
	}
	return found;
}

/* The path that a word of the record leads to by its letters; its walk's flags. */
static __always_inline __u32 put_laid(struct draft *draft, struct text *text, const struct text *raw,
				      struct task_struct *task, __s32 folder)
{
	struct word word = {.slot = draft->slot, .from = raw->offset, .length = raw->length};
	struct walk walk = {.scratch = draft->path};
	struct path base;
	__u32 at = raw->offset;
	__u8 first;

	asm volatile("" : "+r"(at));
	first = at < RECORD_BYTES ? draft->record->data[at] : 0;
	base = folder_of(task, folder, raw->length && first == '/');
	if (!base.dentry)
		return 0;
	word.dentry = (__u64)base.dentry;
	word.mount = (__u64)base.mnt;
	lay_word(&word);
	walk.at = word.at;
	put_walked(draft, text, &walk);
	return word.flags;
}

struct comparing {
	struct record_scratch *record;
	struct path_scratch *scratch;
	__u32 from, at;
	__u32 differs;
};

static long compare_step(__u32 index, struct comparing *comparing)
{
	__u32 from = comparing->from + index, at = comparing->at + index;

	asm volatile("" : "+r"(from), "+r"(at));
	if (from >= RECORD_BYTES || at >= PATH_BYTES)
		return 1;
	comparing->differs = comparing->record->data[from] != comparing->scratch->bytes[at];
	return comparing->differs;
}

/* Whether the path in the scratch, from `at` on, is what a text of the record is, letter by letter. */
static __always_inline bool is_walked(struct draft *draft, const struct text *text, __u32 at)
{
	struct comparing comparing = {.record = draft->record, .scratch = draft->path, .from = text->offset, .at = at};

	if (at >= PATH_BYTES || PATH_BYTES - at != text->length)
		return at >= PATH_BYTES && text->length == 1; /* the root alone */
	bpf_loop(text->length & (PATH_BYTES - 1), compare_step, &comparing, 0);
	return !comparing.differs;
}
