/* SPDX-License-Identifier: GPL-2.0 */
/* Opens of watched files and what is written to them, at the end of the system calls. */
#include "wording.h"

char _license[] SEC("license") = "GPL";

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct held_sweeper, 1)
held_sweeper SEC(".maps"); /* here alone: a program at a tracepoint may not have a map with a timer */

/* Anchors: a type that only helper calls or tags mention is dropped from BTF. */
const struct file_event *anchor_file __attribute__((unused));
enum file_record_kind anchor_file_kind __attribute__((unused));
enum file_flag anchor_file_flag __attribute__((unused));
enum open_flag anchor_open_flag __attribute__((unused));
enum tier anchor_tier __attribute__((unused));

/* Flags of an open: in a register, or in the caller's struct open_how. */
static __always_inline __u64 open_flags(__s32 number, const struct arguments *arguments)
{
	__u64 flags = 0;

	switch (number) {
	case CALL_CREAT:
		return O_CREAT | O_TRUNC | 1;
	case CALL_OPEN:
		return arguments->at[1];
	case CALL_OPENAT2:
		bpf_probe_read_user(&flags, sizeof(flags), (void *)arguments->at[2]);
		return flags;
	}
	return arguments->at[2];
}

/* The flags of an open that is not for writing, by as few reads as possible: most opens of a machine are such. */
static __always_inline __u64 plain_flags(struct task_struct *task, __s32 number)
{
	__u64 flags = 0, word;

	if (number == CALL_OPEN)
		return argument(task, 1);
	word = argument(task, 2);
	if (number != CALL_OPENAT2)
		return word;
	bpf_probe_read_user(&flags, sizeof(flags), (void *)word);
	return flags;
}

/* O_RDONLY | O_TRUNC empties a file, O_RDONLY | O_CREAT makes one: changes, though nothing is open for writing. */
static __always_inline __u32 access_of(struct task_struct *task, __s32 number, __u32 mode)
{
	__u32 access = mode & FMODE_READ ? FILE_READ : 0;

	if (mode & (FMODE_WRITE | FMODE_CREATED) || plain_flags(task, number) & O_TRUNC)
		access |= FILE_WRITE;
	return access;
}

/* The caller's word for what it opened: kept where it leads elsewhere by its letters. */
static __always_inline void put_word(struct draft *draft, struct file_event *event, struct task_struct *task,
				     __s32 number, const struct arguments *arguments)
{
	bool plain = number == CALL_OPEN || number == CALL_CREAT;
	struct naming naming = {};
	__u32 before;

	if (number == CALL_OPEN_BY_HANDLE)
		return;
	before = draft->record->at;
	if (!read_word(draft, &event->path_raw, arguments->at[plain ? 0 : 1]))
		return;
	name_word(&naming, draft, &event->path_raw, task, plain ? AT_FDCWD : arguments->at[0], 0);
	if (is_same(&naming.place, event->path.offset, event->path.length)) {
		draft->record->at = before;
		event->path_raw.offset = event->path_raw.length = 0;
	} else {
		event->flags |= FILE_REDIRECTED;
	}
}

static __always_inline int opened(struct call_end *ctx, struct task_struct *task, struct file *file)
{
	struct arguments arguments;
	struct file_event *event;
	struct place place = {};
	struct draft draft;
	__u32 mode = mode_of(file);
	__u64 cgroup;

	if (mode & FMODE_PATH)
		return 0;
	place_of(&place, file, access_of(task, ctx->number, mode));
	if (!find_names(&place) || !is_wanted(task, &cgroup))
		return 0;
	if (!begin(&draft, sizeof(*event)))
		return 0;
	event = begin_event(&draft, task, cgroup);
	if (!put_file(&draft, event, &place, file)) {
		abandon(&draft);
		return 0;
	}
	read_arguments(&arguments, task);
	event->opened_for = opened_for(open_flags(ctx->number, &arguments));
	if (mode & FMODE_CREATED)
		event->flags |= FILE_CREATED;
	put_word(&draft, event, task, ctx->number, &arguments);
	if (mode & FMODE_WRITE) {
		event->opened = draft.now;
		hold(&draft, file);
		event->opened = 0;
	}
	finish(&draft, RECORD_FILE_OPEN, RING_ORDINARY);
	return 0;
}

/* By the caller's word alone: there is no file. */
static __always_inline int refused(struct call_end *ctx, struct task_struct *task)
{
	bool plain = ctx->number == CALL_OPEN || ctx->number == CALL_CREAT;
	struct arguments arguments;
	struct file_event *event;
	struct draft draft;
	__u32 wanted;
	__u64 cgroup;

	if (ctx->number == CALL_OPEN_BY_HANDLE || !is_wanted(task, &cgroup) || !begin(&draft, sizeof(*event)))
		return 0;
	event = begin_event(&draft, task, cgroup);
	read_arguments(&arguments, task);
	wanted = opened_for(open_flags(ctx->number, &arguments));
	event->opened_for = wanted;
	event->error = -ctx->result;
	if (!put_name(&draft, &event->path, task, plain ? AT_FDCWD : arguments.at[0], arguments.at[plain ? 0 : 1],
		      wanted & OPEN_WRITE ? FILE_WRITE : FILE_READ, &event->flags)) {
		abandon(&draft);
		return 0;
	}
	finish(&draft, RECORD_FILE_OPEN, RING_ORDINARY);
	return 0;
}

SEC("tracepoint")
int file_open(struct call_end *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file;

	if (ctx->result < 0)
		return is_refusal(ctx->result) ? refused(ctx, task) : 0;
	file = file_at(task, ctx->result);
	return file ? opened(ctx, task, file) : 0;
}

static __always_inline __u32 written_descriptor(__s32 number, const struct arguments *arguments)
{
	return arguments->at[number == CALL_SPLICE || number == CALL_COPY_FILE_RANGE ? 2 : 0];
}

/* The current process as a writer of the file that a descriptor is; NULL where that is not a held one. */
static __always_inline struct writer *writer_of(struct task_struct *task, __u32 descriptor, __u64 now)
{
	struct writer_key key = {};
	struct writer fresh = {}, *writer;
	struct held_file *held;
	__u64 address = (__u64)file_at(task, descriptor), *number, cgroup;

	number = bpf_map_lookup_elem(&held_numbers, &address);
	if (!number)
		return NULL;
	key.number = *number;
	held = bpf_map_lookup_elem(&held_files, &key.number);
	if (!held || !is_same_file(&held->holding)) /* closed, and another one has its memory */
		return NULL;
	key.exec_tgid = task->tgid;
	key.exec_start = task->group_leader->start_boottime;
	key.exec_number = task->self_exec_id;
	writer = bpf_map_lookup_elem(&held_writers, &key);
	if (writer || !is_wanted(task, &cgroup))
		return writer;
	fill_actor(&fresh.process, task, cgroup);
	fresh.told = fresh.last = now;
	return new_writer(&key, &fresh);
}

static __always_inline bool are_files_held(void)
{
	struct held_count *counted = count_held();

	return counted && counted->files;
}

SEC("tracepoint")
int file_write(struct call_end *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct arguments arguments;
	struct writer *writer;
	__u64 now;

	if (ctx->result <= 0 || !are_files_held())
		return 0;
	read_arguments(&arguments, task);
	now = bpf_ktime_get_boot_ns();
	writer = writer_of(task, written_descriptor(ctx->number, &arguments), now);
	if (writer)
		add_write(writer, ctx->result, now);
	return 0;
}

/* Shared maps of a file that is open for writing: protection may be raised later, so it does not matter here. */
SEC("tracepoint")
int file_map(struct call_end *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct arguments arguments;
	struct writer *writer;

	if ((ctx->result < 0 && ctx->result > -4096) || !are_files_held())
		return 0;
	read_arguments(&arguments, task);
	if (!(arguments.at[3] & MAP_SHARED) || (__s32)arguments.at[4] < 0)
		return 0;
	writer = writer_of(task, arguments.at[4], bpf_ktime_get_boot_ns());
	if (writer)
		writer->mapped = 1;
	return 0;
}

SEC("tracepoint")
int file_change(struct call_end *ctx)
{
	__u32 number = ctx->number;

	if ((ctx->result < 0 && !is_refusal(ctx->result)) || number >= WORDINGS || !wordings[number].kind)
		return 0;
	return changed(ctx, bpf_get_current_task_btf(), &wordings[number]);
}

static int sweep_files(void *map, __u32 *key, struct held_sweeper *sweeper)
{
	sweep_held();
	bpf_timer_start(&sweeper->timer, HELD_SWEEP_NS, 0);
	return 0;
}

/* The sweep goes by a timer of the kernel's, so that it goes on while nobody reads; a new program sets its own. */
static __always_inline void keep_sweeping(void)
{
	__u32 zero = 0;
	struct held_sweeper *sweeper = bpf_map_lookup_elem(&held_sweeper, &zero);
	__u64 before;

	if (!sweeper)
		return;
	before = sweeper->stamp;
	if (before == settings.stamp || __sync_val_compare_and_swap(&sweeper->stamp, before, settings.stamp) != before)
		return;
	bpf_timer_init(&sweeper->timer, &held_sweeper, CLOCK_BOOTTIME);
	bpf_timer_set_callback(&sweeper->timer, sweep_files);
	bpf_timer_start(&sweeper->timer, HELD_SWEEP_NS, 0);
}

/* Files that were open for writing when observing began. Its first call sets the sweep going. */
SEC("iter/task_file")
int existing_files(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct file_event *event;
	struct place place = {};
	struct draft draft;
	__u64 cgroup, address = (__u64)file;

	if (!ctx->meta->seq_num)
		keep_sweeping();
	if (!task || !file || !(file->f_mode & FMODE_WRITE) || bpf_map_lookup_elem(&held_numbers, &address))
		return 0;
	place_of(&place, file, FILE_WRITE);
	if (!find_names(&place) || !is_wanted(task, &cgroup) || !begin(&draft, sizeof(*event)))
		return 0;
	event = begin_event(&draft, task, cgroup);
	if (!put_file(&draft, event, &place, file)) {
		abandon(&draft);
		return 0;
	}
	event->flags |= FILE_BEFORE;
	event->opened_for = OPEN_WRITE | (file->f_mode & FMODE_READ ? OPEN_READ : 0);
	hold(&draft, file);
	finish(&draft, RECORD_FILE_OPEN, RING_ORDINARY);
	bpf_seq_write(ctx->meta->seq, "", 1);
	return 0;
}
