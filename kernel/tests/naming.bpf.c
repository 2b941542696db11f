/* SPDX-License-Identifier: GPL-2.0 */
/* For tests/kernel/functions/test_naming.py: watch.h and naming.h on a word of the process that runs the program. */
#include "calls.h"
#include "told.h"

char _license[] SEC("license") = "GPL";

struct naming_call {
	__u64 word; /* given: its address in the process */
	__u64 flags; /* enum file_flag */
	__u64 names; /* as watch_names has them */
	__u32 access; /* given: bits of enum file_access */
	__s32 folder; /* given */
	__u32 watched;
	__u32 length; /* of the path */
	__u8 path[PATH_BYTES];
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct naming_call, 1)
calls SEC(".maps");

SEC("raw_tp")
int run_name(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0, at, length;
	struct naming_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct text text = {};
	struct draft draft;

	if (!call || !begin(&draft, 0))
		return 0;
	call->watched = put_name(&draft, &text, task, call->folder, call->word, call->access, &call->flags);
	at = text.offset;
	length = text.length;
	call->length = length;
	asm volatile("" : "+r"(at), "+r"(length));
	if (at < RECORD_BYTES - PATH_BYTES && length <= PATH_BYTES)
		bpf_probe_read_kernel(call->path, length, draft.record->data + at);
	abandon(&draft);
	return 1;
}

/* The same of one name alone: which entries have it. */
SEC("raw_tp")
int run_entries(void *ctx)
{
	__u32 zero = 0;
	struct naming_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct watch_filter *filter = bpf_map_lookup_elem(&watch_filter, &zero);
	struct watch_name name;

	if (!call || !filter)
		return 0;
	read_name(&name, call->path, call->length);
	call->names = entries_of(filter, &name, call->access);
	return 1;
}
