/* SPDX-License-Identifier: GPL-2.0 */
/* Cgroups come and go, and processes move into them, in the hierarchy that carries the containers. */
#include "withhold.h"

char _license[] SEC("license") = "GPL";

const struct cgroup_event *anchor_cgroup __attribute__((unused));
const struct process_left *anchor_left __attribute__((unused));

static __always_inline bool is_ours(struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, root, hierarchy_id) == settings.container_hierarchy && in_scope(cgroup);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_create, struct cgroup *cgroup)
{
	struct cgroup_memory fresh = {};
	__u64 id = cgroup_id(cgroup);

	if (is_ours(cgroup) && emit_cgroup(cgroup, RECORD_CGROUP_CREATE, NULL) &&
	    bpf_map_update_elem(&cgroups, &id, &fresh, BPF_NOEXIST) == -7 /* E2BIG */)
		count(FAILURE_CGROUP_MAP);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_remove, struct cgroup *cgroup)
{
	__u64 id = cgroup_id(cgroup);

	if (is_ours(cgroup))
		emit_cgroup(cgroup, RECORD_CGROUP_REMOVE, NULL);
	if (BPF_CORE_READ(cgroup, root, hierarchy_id) == settings.container_hierarchy)
		bpf_map_delete_elem(&cgroups, &id);
	return 0;
}

/* Until it executes a program of its own: see end_of_setup() in process.bpf.c. */
static __always_inline void bring_in(struct task_struct *task, __u64 cgroup)
{
	struct process_memory fresh = {.unsure = 1, .before_number = ~0ULL, .brought_in = 1, .cgroup = cgroup}, *memory;
	struct process_key key = key_of(task);

	memory = bpf_map_lookup_elem(&processes, &key);
	if (memory) {
		unfold(memory);
		memory->brought_in = 1;
		memory->cgroup = cgroup;
		memory->left = 0;
		return;
	}
	parent_now(&fresh, task);
	if (bpf_map_update_elem(&processes, &key, &fresh, BPF_NOEXIST) == -7 /* E2BIG */)
		count(FAILURE_PROCESS_MAP);
}

/* A process of the scope is moved out of it: from now on nothing that it does is recorded, and this says so. */
static __always_inline void tell_left(struct task_struct *task)
{
	struct process_memory *memory = memory_of(task);
	struct process_left *left;
	struct draft draft;

	if (!memory || memory->left)
		return;
	memory->left = 1;
	unfold(memory);
	if (!begin(&draft, sizeof(*left)))
		return;
	left = (void *)draft.record->data;
	__builtin_memset(left, 0, sizeof(*left));
	fill_context(&left->context, task, memory->cgroup, memory);
	finish(&draft, RECORD_PROCESS_LEFT, RING_ORDINARY);
}

/* A thread can be moved without its process (`tasks` of cgroup v1, cgroup.threads of v2): what it does is then no
 * longer told of the process's cgroup. The process itself is not brought in by it. */
SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_move, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	if (BPF_CORE_READ(cgroup, root, hierarchy_id) != settings.container_hierarchy)
		return 0;
	if (in_scope(cgroup)) {
		if (task->pid == task->tgid)
			bring_in(task, cgroup_id(cgroup));
		emit_cgroup(cgroup, RECORD_CGROUP_MOVE, task);
	} else {
		tell_left(task);
	}
	return 0;
}
