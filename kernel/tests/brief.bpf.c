/* SPDX-License-Identifier: GPL-2.0 */
/* For tests/kernel/functions/test_brief.py: decisions of brief.h on structs that a test gives. */
#include "brief.h"

char _license[] SEC("license") = "GPL";

struct brief_call {
	struct connection_event row;
	struct connection_fold fold;
	struct connection_key key; /* found: fill_key */
	__u64 made, now;
	__u32 may; /* found: may_be_brief */
	__u32 counted; /* found: count_row */
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct brief_call, 1)
calls SEC(".maps");

SEC("raw_tp")
int run_brief(void *ctx)
{
	__u32 zero = 0;
	struct brief_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct draft draft;

	if (!call || !begin(&draft, 0))
		return 0;
	call->may = may_be_brief(&call->row);
	call->key = *fill_key(&draft, &call->row);
	call->counted = count_row(&call->fold, &call->row, call->made, call->now);
	abandon(&draft);
	return 1;
}
