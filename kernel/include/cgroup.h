/* SPDX-License-Identifier: GPL-2.0 */
/* A task's cgroup in the hierarchy that carries the containers, the scope, and paths of cgroups. */
#pragma once
#include "path.h"

#define CONTROLLER_ID(name)                                                                                            \
	(bpf_core_enum_value_exists(enum cgroup_subsys_id, name) ? bpf_core_enum_value(enum cgroup_subsys_id, name)    \
								 : -1)

/* The kernel's number of a v1 controller differs between builds: taken from its BTF. */
static __always_inline int controller_id(void)
{
	switch (settings.container_controller) {
	case CONTROLLER_MEMORY:
		return CONTROLLER_ID(memory_cgrp_id);
	case CONTROLLER_PIDS:
		return CONTROLLER_ID(pids_cgrp_id);
	case CONTROLLER_CPU:
		return CONTROLLER_ID(cpu_cgrp_id);
	case CONTROLLER_CPUACCT:
		return CONTROLLER_ID(cpuacct_cgrp_id);
	case CONTROLLER_CPUSET:
		return CONTROLLER_ID(cpuset_cgrp_id);
	case CONTROLLER_BLKIO:
		return CONTROLLER_ID(io_cgrp_id);
	case CONTROLLER_DEVICES:
		return CONTROLLER_ID(devices_cgrp_id);
	case CONTROLLER_FREEZER:
		return CONTROLLER_ID(freezer_cgrp_id);
	}
	return -1;
}

static __always_inline struct cgroup *cgroup_of(struct task_struct *task)
{
	struct css_set *set = task->cgroups;
	struct cgroup_subsys_state *state = NULL;
	int id = controller_id();

	if (id < 0)
		return BPF_CORE_READ(set, dfl_cgrp);
	bpf_core_read(&state, sizeof(state), &set->subsys[id]);
	return BPF_CORE_READ(state, cgroup);
}

static __always_inline __u64 cgroup_id(struct cgroup *cgroup)
{
	return BPF_CORE_READ(cgroup, kn, id);
}

static __always_inline __u64 ancestor_id(struct cgroup *cgroup, int level)
{
	struct cgroup *above = NULL;
	__u64 id = 0;

	if (bpf_core_field_exists(cgroup->ancestors)) {
		bpf_core_read(&above, sizeof(above), &cgroup->ancestors[level]);
		return cgroup_id(above);
	}
	bpf_core_read(&id, sizeof(id), &((struct cgroup___6_0 *)cgroup)->ancestor_ids[level]);
	return id;
}

/* Whether a cgroup, or one above it, was named by --scope. Asked before anything else is read. */
static __always_inline bool in_scope(struct cgroup *cgroup)
{
	if (!settings.scoped)
		return true;
	int level = BPF_CORE_READ(cgroup, level);

	for (int i = 0; i < ANCESTORS; i++) {
		if (i > level)
			break;
		__u64 id = ancestor_id(cgroup, i);

		if (bpf_map_lookup_elem(&scopes, &id))
			return true;
	}
	return false;
}

struct climb {
	struct path_scratch *scratch;
	struct kernfs_node *node;
	struct walk walk;
};

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *node)
{
	struct kernfs_node___6_15 *now = (void *)node;

	if (bpf_core_field_exists(now->__parent))
		return BPF_CORE_READ(now, __parent);
	return BPF_CORE_READ((struct kernfs_node___6_1 *)node, parent);
}

static long climb_step(__u32 index, struct climb *climb)
{
	struct kernfs_node *node = climb->node, *above = kernfs_parent(node);
	const char *name;
	long length;

	if (!above) {
		climb->walk.flags |= WALK_ENDED;
		return 1;
	}
	name = BPF_CORE_READ(node, name);
	/* The upper half of the scratch holds the name while its length is found. */
	length = bpf_probe_read_kernel_str(climb->scratch->bytes + PATH_BYTES, 256, name);
	climb->node = above;
	if (length <= 0)
		return 1;
	climb->walk.scratch = climb->scratch;
	return prepend(&climb->walk, (void *)name, length - 1);
}

static __always_inline void put_cgroup_path(struct draft *draft, struct text *text, struct cgroup *cgroup)
{
	struct climb climb = {
		.scratch = draft->path,
		.node = BPF_CORE_READ(cgroup, kn),
		.walk = {.scratch = draft->path, .at = PATH_BYTES},
	};

	bpf_loop(PATH_DEPTH, climb_step, &climb, 0);
	if (!(climb.walk.flags & WALK_ENDED))
		count(FAILURE_PATH_DEPTH);
	put_walked(draft, text, &climb.walk);
}

static __always_inline bool emit_cgroup(struct cgroup *cgroup, __u16 kind, struct task_struct *task)
{
	struct draft draft;
	struct cgroup_event *event;

	if (!begin(&draft, sizeof(*event)))
		return false;
	event = (void *)draft.record->data;
	__builtin_memset(event, 0, sizeof(*event));
	event->cgroup_hierarchy = settings.container_hierarchy;
	event->cgroup_id = cgroup_id(cgroup);
	if (task) {
		event->exec_tgid = BPF_CORE_READ(task, tgid);
		event->exec_start = BPF_CORE_READ(task, group_leader, start_boottime);
		event->exec_number = BPF_CORE_READ(task, self_exec_id);
	}
	put_cgroup_path(&draft, &event->cgroup_path, cgroup);
	finish(&draft, kind, kind == RECORD_CGROUP_SEEN ? RING_ORDINARY : RING_URGENT);
	return true;
}

/* Says a cgroup's path once, before the first record that only names its id. */
static __always_inline struct cgroup_memory *know_cgroup(struct cgroup *cgroup, __u64 id)
{
	struct cgroup_memory fresh = {}, *known = bpf_map_lookup_elem(&cgroups, &id);

	if (known)
		return known;
	if (emit_cgroup(cgroup, RECORD_CGROUP_SEEN, NULL) &&
	    bpf_map_update_elem(&cgroups, &id, &fresh, BPF_NOEXIST) == -7 /* E2BIG; another CPU may have been first */)
		count(FAILURE_CGROUP_MAP);
	return bpf_map_lookup_elem(&cgroups, &id);
}
