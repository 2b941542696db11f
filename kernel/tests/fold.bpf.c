/* SPDX-License-Identifier: GPL-2.0 */
/* For tests/kernel/functions/test_fold.py: decisions of fold.h and withhold.h on structs that a test gives. */
#include "fold.h"

char _license[] SEC("license") = "GPL";

struct fold_call {
	struct process_exec exec;
	struct process_exit exit;
	struct fold fold;
	struct probe_key key; /* found: hash_exec */
	__u64 executed, ticket, now;
	__u32 is_short, unchanged, recent; /* found */
	__u32 counted; /* found: count_in */
	__u32 hashed; /* found: hash_exec */
	__u32 length; /* given: of the record */
	__u8 record[WITHHELD_BYTES];
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct fold_call, 1)
calls SEC(".maps");

SEC("raw_tp")
int run_hash(void *ctx)
{
	__u32 zero = 0;
	struct fold_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct draft draft;

	if (!call || !begin(&draft, 0))
		return 0;
	bpf_probe_read_kernel(draft.record->data, WITHHELD_BYTES, call->record);
	draft.record->at = call->length;
	call->hashed = hash_exec(&draft, (void *)draft.record->data, &call->key);
	abandon(&draft);
	return 1;
}

SEC("raw_tp")
int run_decisions(void *ctx)
{
	__u32 zero = 0;
	struct fold_call *call = bpf_map_lookup_elem(&calls, &zero);

	if (!call)
		return 0;
	call->is_short = is_short(&call->exit);
	call->unchanged = is_unchanged(&call->exec, &call->exit);
	call->recent = is_recent(call->fold.seen, call->now);
	return 1;
}

SEC("raw_tp")
int run_count(void *ctx)
{
	__u32 zero = 0;
	struct fold_call *call = bpf_map_lookup_elem(&calls, &zero);

	if (!call)
		return 0;
	call->counted = count_in(&call->fold, &call->exit, call->executed, call->ticket, call->now);
	return 1;
}
