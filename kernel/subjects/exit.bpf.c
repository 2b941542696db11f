/* SPDX-License-Identifier: GPL-2.0 */
/* The end of processes, once each: when the last thread goes. */
#include "flood.h"
#include "fold.h"

char _license[] SEC("license") = "GPL";

const struct process_exit *anchor_exit __attribute__((unused));

enum {
	SIGNAL_GROUP_EXIT = 4, /* include/linux/sched/signal.h */
	PAGE_BYTES = 4096,
};

/* As wait_task_zombie() decides: the group's code if the group was ended, else the leader's. */
static __always_inline int wait_status(struct task_struct *task)
{
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		return task->signal->group_exit_code;
	return task->group_leader->exit_code;
}

static __always_inline void fill_times(struct process_exit *exit, struct task_struct *task, __u64 now)
{
	struct task_struct *leader = task->group_leader;

	/* signal holds the threads that were released; a leader that ended first is not yet among them. */
	exit->user_time = task->signal->utime + task->utime;
	exit->system_time = task->signal->stime + task->stime;
	if (task->pid != task->tgid) {
		exit->user_time += leader->utime;
		exit->system_time += leader->stime;
	}
	exit->duration = now - leader->start_boottime;
	exit->peak_memory = task->signal->maxrss * PAGE_BYTES;
}

static __always_inline void fill_end(struct process_exit *exit, int status)
{
	int signal = status & 0x7f;

	exit->exit_code = signal ? -1 : (status >> 8) & 0xff;
	exit->exit_signal = signal ? signal : -1;
	exit->core_dumped = !!(status & 0x80);
}

static __always_inline void tell_exit(struct task_struct *task, struct cgroup *cgroup, struct process_memory *memory)
{
	struct cgroup_memory *known;
	struct process_exit *exit;
	struct draft draft;
	__u64 id = cgroup_id(cgroup);

	known = know_cgroup(cgroup, id);
	if (!begin(&draft, sizeof(*exit))) {
		unfold(memory);
		return;
	}
	exit = (void *)draft.record->data;
	__builtin_memset(exit, 0, sizeof(*exit));
	fill_context(&exit->context, task, id, memory);
	fill_times(exit, task, draft.now);
	fill_end(exit, wait_status(task));
	if (fold_exit(memory, exit, known, draft.now))
		abandon(&draft);
	else
		finish_process(&draft, RECORD_PROCESS_EXIT, RING_ORDINARY);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct process_memory *memory;
	struct process_key key;
	struct cgroup *cgroup;

	/* Decremented before the tracepoint: 0 only for the last thread (the tracepoint says so itself since 6.16). */
	if (task->signal->live.counter)
		return 0;
	key = key_of(task);
	memory = bpf_map_lookup_elem(&processes, &key);
	cgroup = cgroup_of(task);
	if (in_scope(cgroup))
		tell_exit(task, cgroup, memory);
	else
		unfold(memory);
	bpf_map_delete_elem(&processes, &key);
	return 0;
}
