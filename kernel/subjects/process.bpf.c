/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The life of processes: fork, exec, exit. A process is one program image; its exec_id is (boot, tgid, group leader's
 * start_boottime, self_exec_id), read from task_struct alone.
 */
#include "image.h"
#include "flood.h"
#include "fold.h"

char _license[] SEC("license") = "GPL";

/* Anchors: a type that only helper calls mention is dropped from BTF. */
const struct process_fork *anchor_fork __attribute__((unused));
const struct process_exec *anchor_exec __attribute__((unused));

/* One that folds becomes the row of its fold: its strings lie behind what that has more. */
#define EXEC_FIXED (folding.processes ? sizeof(struct process_folded) : sizeof(struct process_exec))

/* A gain of privilege, a program that is in no file, or one brought in from outside. Not DRIFT: that can be a build. */
enum {
	URGENT_FLAGS = PROCESS_SETUID | PROCESS_SETGID | PROCESS_FILECAPS | PROCESS_MEMFD | PROCESS_DELETED |
		PROCESS_DETACHED | PROCESS_ENTERED,
};

/* A child of the runtime's set-up, or one that clone3 put into another cgroup than its creator's. */
static __always_inline __u32 is_brought_in(struct task_struct *creator, struct process_memory *memory,
					   struct cgroup *cgroup)
{
	if (memory && memory->brought_in)
		return 1;
	return cgroup_id(cgroup_of(creator)) != cgroup_id(cgroup);
}

/* Who called clone(2), where that is not the parent. */
static __always_inline void creator_now(struct process_memory *memory, struct task_struct *creator)
{
	if (creator->tgid == memory->parent_tgid)
		return;
	memory->creator_tgid = creator->tgid;
	memory->creator_start = creator->group_leader->start_boottime;
	memory->creator_number = creator->self_exec_id;
}

/* What later moments need of the child. Where there is no room, nobody could write later what is withheld. */
static __always_inline __u64 remember(struct task_struct *child, struct process_memory *memory)
{
	struct process_key key = key_of(child);

	if (!bpf_map_update_elem(&processes, &key, memory, BPF_ANY))
		return memory->ticket;
	count(FAILURE_PROCESS_MAP);
	forget(memory->ticket);
	return 0;
}

/* A child's parent and creator, as its memory has them, in a cgroup. */
static __always_inline void memory_now(struct process_memory *memory, struct task_struct *parent,
				       struct task_struct *child, __u64 cgroup)
{
	/* A CLONE_PARENT child's parent is its creator's parent: what the kernel, wait(2) and /proc call its parent. */
	parent_now(memory, child);
	creator_now(memory, parent);
	memory->cgroup = cgroup;
}

/*
 * clone3 (CLONE_INTO_CGROUP) made the child outside the scope: no move follows that would say so. It is recorded as if
 * it was forked in its creator's cgroup and left the scope at once. Memory and draft are the caller's: two of each are
 * more than a program's stack.
 */
static __always_inline void tell_born_outside(struct process_memory *memory, struct draft *draft,
					      struct task_struct *parent, struct task_struct *child,
					      struct cgroup *cgroup)
{
	struct cgroup *creators = cgroup_of(parent);
	struct process_fork *fork;
	__u64 id;

	if (creators == cgroup || !in_scope(creators))
		return;
	id = cgroup_id(creators);
	know_cgroup(creators, id);
	unfold(memory_of(parent));
	memory_now(memory, parent, child, id);
	for (int i = 0; i < 2; i++) {
		if (!begin(draft, sizeof(*fork)))
			return;
		fork = (void *)draft->record->data;
		__builtin_memset(fork, 0, sizeof(*fork));
		fill_context(&fork->context, child, id, memory);
		finish(draft, i ? RECORD_PROCESS_LEFT : RECORD_PROCESS_FORK, RING_ORDINARY);
	}
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct process_memory memory = {.before_number = ~0ULL}, *creator;
	struct cgroup_memory *known;
	struct process_fork *fork;
	struct cgroup *cgroup;
	struct draft draft;
	__u64 id;

	if (child->pid != child->tgid) /* a thread */
		return 0;
	cgroup = cgroup_of(child);
	if (!in_scope(cgroup)) {
		tell_born_outside(&memory, &draft, parent, child, cgroup);
		return 0;
	}
	id = cgroup_id(cgroup);
	known = know_cgroup(cgroup, id);
	creator = memory_of(parent);
	unfold(creator);
	if (cgroup_of(parent) != cgroup) /* by clone3: no move follows */
		emit_cgroup(cgroup, RECORD_CGROUP_MOVE, child);
	memory_now(&memory, parent, child, id);
	memory.brought_in = is_brought_in(parent, creator, cgroup);
	if (!begin(&draft, sizeof(*fork))) {
		remember(child, &memory);
		return 0;
	}
	fork = (void *)draft.record->data;
	__builtin_memset(fork, 0, sizeof(*fork));
	fill_context(&fork->context, child, id, &memory);
	memory.ticket = withhold_fork(&draft, fork, known);
	if (remember(child, &memory))
		abandon(&draft);
	else
		finish_process(&draft, RECORD_PROCESS_FORK, RING_ORDINARY);
	return 0;
}

/* Credentials as they are before the exec changes them, and the thread that asks. */
static __always_inline void remember_credentials(struct task_struct *task)
{
	struct process_memory fresh = {.unsure = 1}, *memory;
	struct process_key key = key_of(task);

	memory = bpf_map_lookup_elem(&processes, &key);
	if (!memory) { /* out of scope, or it came into the scope after its fork */
		struct cgroup *cgroup = cgroup_of(task);

		if (!in_scope(cgroup))
			return;
		fresh.cgroup = cgroup_id(cgroup);
		parent_now(&fresh, task);
		if (bpf_map_update_elem(&processes, &key, &fresh, BPF_NOEXIST))
			count(FAILURE_PROCESS_MAP);
		memory = bpf_map_lookup_elem(&processes, &key);
		if (!memory)
			return;
	}
	memory->before_euid = task->real_cred->euid.val;
	memory->before_egid = task->real_cred->egid.val;
	memory->before_permitted = capability_set(&task->real_cred->cap_permitted);
	memory->caller = task->pid;
	memory->before_number = task->self_exec_id;
}

/* Best: since 6.10 (5c5fad46e48c) there is a tracepoint just before the point of no return. */
SEC("tp_btf/sched_prepare_exec")
int BPF_PROG(process_prepare, struct task_struct *task, struct linux_binprm *bprm)
{
	remember_credentials(task);
	return 0;
}

/* Else: the LSM hook's function, called once for each exec before credentials change. */
SEC("fentry/security_bprm_creds_for_exec")
int BPF_PROG(process_prepare_fentry, struct linux_binprm *bprm)
{
	remember_credentials(bpf_get_current_task_btf());
	return 0;
}

/*
 * Brought in from outside: the parent lives in another cgroup. A container's own first process is brought in as well
 * and is told apart by being process 1 of its pid namespace or, where that is the host's, the first of its cgroup.
 */
static __always_inline bool is_entered(struct process_exec *exec, struct task_struct *task, struct cgroup *cgroup,
				       struct cgroup_memory *known)
{
	struct cgroup *parents = cgroup_of(task->real_parent);

	if (!known || exec->context.flags & (PROCESS_DETACHED | PROCESS_MEMFD))
		return false;
	if (cgroup_id(parents) == exec->context.cgroup_id)
		return false;
	if (!known->first_start) {
		known->first_start = exec->context.exec_start;
		known->first_tgid = exec->context.exec_tgid;
	}
	if (exec->context.namespace_pid == 1)
		return false;
	return known->first_start != exec->context.exec_start || known->first_tgid != exec->context.exec_tgid;
}

/*
 * A runtime's init (runc, crun) is moved into the container's cgroup, may execute a sealed copy of itself there, and
 * last executes the container's program: that is neither outside every mount tree nor in memory nor an unlinked copy.
 */
static __always_inline void end_of_setup(struct process_exec *exec, struct process_memory *memory)
{
	if (!memory || !memory->brought_in)
		return;
	if (exec->context.flags & (PROCESS_DETACHED | PROCESS_MEMFD | PROCESS_DELETED))
		return;
	memory->brought_in = 0;
	exec->context.flags &= ~(__u64)PROCESS_RUNTIME;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct cgroup *cgroup = cgroup_of(task);
	struct cgroup_memory *known;
	struct process_memory *memory;
	struct process_exec *exec;
	struct draft draft;
	__u64 id;

	if (!in_scope(cgroup))
		return 0;
	id = cgroup_id(cgroup);
	known = know_cgroup(cgroup, id);
	memory = memory_of(task);
	if (!begin(&draft, EXEC_FIXED)) {
		unfold(memory);
		return 0;
	}
	exec = (void *)draft.record->data;
	__builtin_memset(exec, 0, sizeof(struct process_folded));
	fill_context(&exec->context, task, id, memory);
	fill_file(&draft, exec, bprm->file);
	end_of_setup(exec, memory);
	fill_gain(exec, task, memory);
	if (BPF_CORE_READ_BITFIELD_PROBED(bprm, secureexec))
		exec->context.flags |= PROCESS_SECURE;
	fill_names(&draft, exec, bprm);
	fill_cwd(&draft, exec, task);
	fill_arguments(&draft, exec, task, NULL);
	fill_streams(exec, task);
	if (is_entered(exec, task, cgroup, known))
		exec->context.flags |= PROCESS_ENTERED;
	if (withhold_exec(&draft, exec, memory, bprm))
		abandon(&draft);
	else
		finish_process(&draft, RECORD_PROCESS_EXEC,
			       exec->context.flags & URGENT_FLAGS ? RING_URGENT : RING_ORDINARY);
	return 0;
}
