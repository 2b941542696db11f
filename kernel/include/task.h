/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a task says of its process. Tasks come typed from tp_btf and iterators, so members are read directly: a load
 * with exception handling instead of a helper call, several times cheaper.
 */
#pragma once
#include "cgroup.h"

#define OVERFLOW_ID 0xffffffff

static __always_inline struct process_key key_of(struct task_struct *task)
{
	struct process_key key = {.tgid = task->tgid, .start = task->group_leader->start_boottime};

	return key;
}

static __always_inline struct process_memory *memory_of(struct task_struct *task)
{
	struct process_key key = key_of(task);

	return bpf_map_lookup_elem(&processes, &key);
}

/* Two loads, never merged into one: before 6.3 a load of 8 bytes would pass the end of a __u32, which the verifier
 * refuses. */
static __always_inline __u64 capability_set(const kernel_cap_t *set)
{
	const volatile __u32 *half = (const volatile __u32 *)set;

	return half[0] | (__u64)half[1] << 32;
}

static __always_inline void fill_credentials(struct process_context *context, struct task_struct *task)
{
	const struct cred *cred = task->real_cred;

	context->uid = cred->uid.val;
	context->gid = cred->gid.val;
	context->euid = cred->euid.val;
	context->egid = cred->egid.val;
	context->suid = cred->suid.val;
	context->sgid = cred->sgid.val;
	context->fsuid = cred->fsuid.val;
	context->fsgid = cred->fsgid.val;
	context->cap_inheritable = capability_set(&cred->cap_inheritable);
	context->cap_permitted = capability_set(&cred->cap_permitted);
	context->cap_effective = capability_set(&cred->cap_effective);
	context->cap_bounding = capability_set(&cred->cap_bset);
	context->cap_ambient = capability_set(&cred->cap_ambient);
	context->ns_user = cred->user_ns->ns.inum;
	/* Only where the kernel was built with auditing of system calls. */
	context->login_uid = bpf_core_field_exists(task->loginuid) ? task->loginuid.val : OVERFLOW_ID;
	context->login_session = bpf_core_field_exists(task->sessionid) ? task->sessionid : OVERFLOW_ID;
}

/* The innermost pid namespace of a pid, and the number in it. */
static __always_inline void read_upid(struct pid *pid, struct upid *upid)
{
	unsigned int level = pid->level;
	void *numbers = (void *)pid + bpf_core_field_offset(struct pid, numbers);

	bpf_probe_read_kernel(upid, bpf_core_type_size(struct upid) == sizeof(*upid) ? sizeof(*upid) : 0,
			      numbers + level * sizeof(*upid));
}

static __always_inline void fill_namespaces(struct process_context *context, struct task_struct *task)
{
	struct nsproxy *proxy = task->nsproxy;
	struct upid upid = {};

	read_upid(task->group_leader->thread_pid, &upid);
	context->namespace_pid = upid.nr;
	context->ns_pid = BPF_CORE_READ(upid.ns, ns.inum);
	if (!proxy)
		return;
	context->ns_mount = proxy->mnt_ns->ns.inum;
	context->ns_uts = proxy->uts_ns->ns.inum;
	context->ns_ipc = proxy->ipc_ns->ns.inum;
	context->ns_net = proxy->net_ns->ns.inum;
	context->ns_cgroup = proxy->cgroup_ns->ns.inum;
	context->ns_time = proxy->time_ns->ns.inum;
}

static __always_inline void fill_host_namespaces(struct process_context *context)
{
	__u32 zero = 0;
	struct host *ours = bpf_map_lookup_elem(&host, &zero);

	if (!ours)
		return;
	context->host_namespaces = (context->ns_mount == ours->mount ? NAMESPACE_MOUNT : 0) |
				   (context->ns_uts == ours->uts ? NAMESPACE_UTS : 0) |
				   (context->ns_ipc == ours->ipc ? NAMESPACE_IPC : 0) |
				   (context->ns_net == ours->net ? NAMESPACE_NET : 0) |
				   (context->ns_pid == ours->pid ? NAMESPACE_PID : 0) |
				   (context->ns_cgroup == ours->cgroup ? NAMESPACE_CGROUP : 0) |
				   (context->ns_time == ours->time ? NAMESPACE_TIME : 0) |
				   (context->ns_user == ours->user ? NAMESPACE_USER : 0);
}

static __always_inline void read_exe_name(struct task_struct *task, char *name, __u32 size)
{
	struct mm_struct *mm = task->mm;
	struct file *file = mm ? mm->exe_file : NULL;

	if (file)
		bpf_probe_read_kernel_str(name, size, file->f_path.dentry->d_name.name);
}

/* Today's parent: the forking one at a fork, perhaps a reaper later. */
static __always_inline void parent_now(struct process_memory *memory, struct task_struct *task)
{
	struct task_struct *parent = task->real_parent;

	memory->parent_tgid = parent->tgid;
	memory->parent_start = parent->group_leader->start_boottime;
	memory->parent_number = task->parent_exec_id;
	read_exe_name(parent, memory->parent_name, sizeof(memory->parent_name));
}

static __always_inline void copy_parent(struct process_context *context, struct process_memory *memory)
{
	context->parent_tgid = memory->parent_tgid;
	context->parent_start = memory->parent_start;
	context->parent_number = memory->parent_number;
	context->creator_tgid = memory->creator_tgid;
	context->creator_start = memory->creator_start;
	context->creator_number = memory->creator_number;
	__builtin_memcpy(context->parent_name, memory->parent_name, sizeof(context->parent_name));
	if (memory->unsure)
		context->flags |= PROCESS_PARENT_UNSURE;
	if (memory->brought_in)
		context->flags |= PROCESS_RUNTIME;
}

/* What the fork knew of the parent; today's parent where nothing was remembered. */
static __always_inline void fill_parent(struct process_context *context, struct task_struct *task,
					struct process_memory *memory)
{
	if (memory) {
		copy_parent(context, memory);
	} else {
		struct process_memory now = {.unsure = 1};

		parent_now(&now, task);
		copy_parent(context, &now);
	}
}

static __always_inline void fill_context(struct process_context *context, struct task_struct *task, __u64 cgroup,
					 struct process_memory *memory)
{
	struct tty_struct *tty = task->signal->tty;

	context->exec_tgid = task->tgid;
	context->exec_start = task->group_leader->start_boottime;
	context->exec_number = task->self_exec_id;
	context->tid = task->pid;
	context->cgroup_hierarchy = settings.container_hierarchy;
	context->cgroup_id = cgroup;
	bpf_probe_read_kernel(context->comm, sizeof(context->comm), task->comm);
	if (tty)
		bpf_probe_read_kernel_str(context->tty, sizeof(context->tty), tty->name);
	fill_credentials(context, task);
	fill_namespaces(context, task);
	fill_host_namespaces(context);
	fill_parent(context, task, memory);
}
