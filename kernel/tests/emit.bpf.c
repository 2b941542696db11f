/* SPDX-License-Identifier: GPL-2.0 */
/* For tests/kernel/functions/test_emit.py: emit.h, with drafts that are open at once and strings that a test gives. */
#include "emit.h"

char _license[] SEC("license") = "GPL";

enum {
	DRAFTS = 5,
	LONGEST = 8192,
	NOT_PLACED = 0xffff,
};

struct emit_call {
	__u64 now; /* given */
	__u32 attended; /* found */
	__u32 began; /* found: how many drafts were open at once */
	__u32 at; /* given: how much of the record is taken */
	__u32 cut; /* found: put_string */
	__u32 length; /* found: of the text, or NOT_PLACED */
	__u8 string[LONGEST]; /* given */
	__u8 text[TEXT_BYTES]; /* found */
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct emit_call, 1)
calls SEC(".maps");

SEC("raw_tp")
int run_attended(void *ctx)
{
	__u32 zero = 0;
	struct emit_call *call = bpf_map_lookup_elem(&calls, &zero);

	if (!call)
		return 0;
	call->attended = attended(call->now);
	return 1;
}

/* One draft in another, as programs that interrupt each other have them. */
SEC("raw_tp")
int run_drafts(void *ctx)
{
	__u32 zero = 0;
	struct emit_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct draft drafts[DRAFTS] = {};

	if (!call)
		return 0;
	call->began = 0;
#pragma unroll
	for (int i = 0; i < DRAFTS; i++)
		if (begin(&drafts[i], 0))
			call->began++;
#pragma unroll
	for (int i = 0; i < DRAFTS; i++)
		if (drafts[i].record)
			abandon(&drafts[i]);
	return 1;
}

SEC("raw_tp")
int run_string(void *ctx)
{
	__u32 zero = 0, at, length;
	struct emit_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct text text = {.length = NOT_PLACED};
	struct draft draft;

	if (!call || !begin(&draft, call->at))
		return 0;
	call->cut = put_string(&draft, &text, call->string);
	call->length = length = text.length;
	at = text.offset;
	asm volatile("" : "+r"(at), "+r"(length));
	if (at <= RECORD_BYTES - TEXT_BYTES && length < TEXT_BYTES)
		bpf_probe_read_kernel(call->text, length, draft.record->data + at);
	abandon(&draft);
	return 1;
}
