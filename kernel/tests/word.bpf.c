/* SPDX-License-Identifier: GPL-2.0 */
/* For tests/kernel/functions/test_word.py: path.h and word.h in the process that runs the program. */
#include "word.h"

char _license[] SEC("license") = "GPL";

struct word_call {
	__u64 word; /* given: its address in the process */
	__u64 raced; /* of put_path */
	__s32 folder; /* given: a descriptor, or WORKING_FOLDER */
	__u32 read; /* the word was read */
	__u32 same; /* is_walked: the path in the scratch is what was put */
	__u32 flags; /* enum walk_flag */
	__u32 length; /* of the path */
	__u8 path[PATH_BYTES];
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct word_call, 1)
calls SEC(".maps");

static __always_inline void answer(struct word_call *call, struct draft *draft, struct text *text)
{
	__u32 at = text->offset, length = text->length;

	call->length = length;
	asm volatile("" : "+r"(at), "+r"(length));
	if (at < RECORD_BYTES - PATH_BYTES && length <= PATH_BYTES)
		bpf_probe_read_kernel(call->path, length, draft->record->data + at);
}

SEC("raw_tp")
int run_path(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0;
	struct word_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct path folder = folder_of(task, WORKING_FOLDER, false);
	struct text text = {};
	struct draft draft;

	if (!call || !begin(&draft, 0))
		return 0;
	call->flags = put_path(&draft, &text, folder.dentry, folder.mnt, &call->raced);
	answer(call, &draft, &text);
	abandon(&draft);
	return 1;
}

SEC("raw_tp")
int run_word(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 zero = 0;
	struct word_call *call = bpf_map_lookup_elem(&calls, &zero);
	struct text raw = {}, text = {};
	struct draft draft;

	if (!call || !begin(&draft, 0))
		return 0;
	call->read = put_word(&draft, &raw, call->word);
	if (call->read) {
		call->flags = put_laid(&draft, &text, &raw, task, call->folder);
		answer(call, &draft, &text);
		/* The root alone lies nowhere in the scratch. */
		call->same = is_walked(&draft, &text, PATH_BYTES - (text.length > 1 ? text.length : 0));
	}
	abandon(&draft);
	return 1;
}
