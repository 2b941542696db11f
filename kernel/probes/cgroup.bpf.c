/* SPDX-License-Identifier: GPL-2.0 */
/* Cgroups come and go, and processes move into them, in the hierarchy that carries the containers. */
#include "withhold.h"

char _license[] SEC("license") = "GPL";

const struct cgroup_event *anchor_cgroup __attribute__((unused));

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
static __always_inline void bring_in(struct task_struct *task)
{
	struct process_memory fresh = {.unsure = 1, .before_number = ~0ULL, .brought_in = 1}, *memory;
	struct process_key key = key_of(task);

	memory = bpf_map_lookup_elem(&processes, &key);
	if (memory) {
		unfold(memory);
		memory->brought_in = 1;
		return;
	}
	parent_now(&fresh, task);
	if (bpf_map_update_elem(&processes, &key, &fresh, BPF_NOEXIST) == -7 /* E2BIG */)
		count(FAILURE_PROCESS_MAP);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_move, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	if (!is_ours(cgroup) || BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid))
		return 0;
	bring_in(task);
	emit_cgroup(cgroup, RECORD_CGROUP_MOVE, task);
	return 0;
}
