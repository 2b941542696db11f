/* SPDX-License-Identifier: GPL-2.0 */
#include "rename.h"

char _license[] SEC("license") = "GPL";

const struct rename_event *anchor_rename __attribute__((unused));
enum rename_record_kind anchor_rename_kind __attribute__((unused));
enum rename_flag anchor_rename_flag __attribute__((unused));

const volatile struct rename_settings rename SEC(".rodata.rename") = {
	.threads = 1,
};

HASH_MAP(__u32, __u64, 1024) /* by process id */
renames SEC(".maps");

FAILURES(rename, 4)

static __always_inline __u64 another(__u32 tgid)
{
	__u64 one = 1, *known = bpf_map_lookup_elem(&renames, &tgid);

	if (known)
		return __sync_fetch_and_add(known, 1) + 1;
	bpf_map_update_elem(&renames, &tgid, &one, BPF_NOEXIST);
	return 1;
}

static __always_inline bool is_shouted(const char *name)
{
	char first = 0;

	bpf_probe_read_kernel(&first, 1, name);
	return first == '!';
}

static __always_inline void tell(struct task_struct *task, const char *name)
{
	bool thread = task->pid != task->tgid;
	struct rename_event *row;
	__u64 cgroup;

	if ((thread && !rename.threads) || !is_wanted(task, &cgroup))
		return;
	if (is_shouted(name)) {
		count_rename(RENAME_SHOUTED);
		return;
	}
	row = reserve(sizeof(*row));
	if (!row)
		return;
	fill_process(&row->process, task, cgroup);
	row->flags = thread ? RENAME_THREAD : 0;
	row->times = another(task->tgid);
	bpf_probe_read_kernel(row->old_name, sizeof(row->old_name), task->comm);
	bpf_probe_read_kernel_str(row->new_name, sizeof(row->new_name), name);
	submit(&row->header, RECORD_RENAME);
}

SEC("fentry/__set_task_comm")
int BPF_PROG(rename_fentry, struct task_struct *task, const char *name)
{
	tell(task, name);
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(rename_told, struct task_struct *task, const char *name)
{
	tell(task, name);
	return 0;
}

/* No kernel has this: what it would see is a blind spot. */
SEC("fentry/firsthand_has_no_such_function")
int BPF_PROG(rename_dreamt)
{
	return 0;
}
