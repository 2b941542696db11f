/* SPDX-License-Identifier: GPL-2.0 */
/* What runs already when observing begins: read once by iterators, marked as seen. */
#include "image.h"
#include "withhold.h"

char _license[] SEC("license") = "GPL";

/*
 * The host's namespaces are those that the kernel booted with: init_task's, which every chain of parents ends in.
 * Process 1 may have left them, and may be hidden from iterators.
 */
SEC("iter/task")
int existing_host(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_context context = {};
	struct host ours = {};
	__u32 zero = 0;

	if (!task || ctx->meta->seq_num)
		return 0;
	for (int i = 0; i < ANCESTORS && task->tgid; i++)
		task = task->real_parent;
	fill_namespaces(&context, task);
	ours.mount = context.ns_mount;
	ours.uts = context.ns_uts;
	ours.ipc = context.ns_ipc;
	ours.net = context.ns_net;
	ours.pid = context.ns_pid;
	ours.cgroup = context.ns_cgroup;
	ours.time = context.ns_time;
	ours.user = task->real_cred->user_ns->ns.inum;
	bpf_map_update_elem(&host, &zero, &ours, BPF_ANY);
	return 0;
}

static __always_inline void remember_existing(struct task_struct *task)
{
	struct process_memory memory = {.before_number = ~0ULL, .unsure = 1};
	struct process_key key = key_of(task);

	parent_now(&memory, task);
	if (bpf_map_update_elem(&processes, &key, &memory, BPF_NOEXIST) == -7 /* E2BIG */)
		count(FAILURE_PROCESS_MAP);
}

SEC("iter.s/task")
int existing_processes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_exec *exec;
	struct cgroup_memory *known;
	struct file *file = NULL;
	struct cgroup *cgroup;
	struct draft draft;
	__u64 id;

	if (!task || task->pid != task->tgid)
		return 0;
	cgroup = cgroup_of(task);
	if (!in_scope(cgroup))
		return 0;
	id = cgroup_id(cgroup);
	known = know_cgroup(cgroup, id);
	if (known && !known->first_start) { /* its container is under way: who comes now is brought in */
		known->first_start = task->group_leader->start_boottime;
		known->first_tgid = task->tgid;
	}
	remember_existing(task);
	unfold(memory_of(task));
	if (!begin(&draft, sizeof(*exec)))
		return 0;
	exec = (void *)draft.record->data;
	__builtin_memset(exec, 0, sizeof(*exec));
	fill_context(&exec->context, task, id, memory_of(task));
	exec->previous_number = exec->context.exec_number;
	if (task->mm)
		file = task->mm->exe_file;
	if (file)
		fill_file(&draft, exec, file);
	fill_cwd(&draft, exec, task);
	fill_arguments(&draft, exec, task, task);
	fill_streams(exec, task);
	finish(&draft, RECORD_PROCESS_SEEN, RING_ORDINARY);
	/* One byte a record: by the size of its reads the reader says how many records it has room for. */
	bpf_seq_write(ctx->meta->seq, "", 1);
	return 0;
}
