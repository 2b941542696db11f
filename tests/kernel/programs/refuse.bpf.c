/* SPDX-License-Identifier: GPL-2.0 */
/* For tests of losses: a program that runs into itself, and one that writes what is no record into the ring. */
#include "maps.h"

char _license[] SEC("license") = "GPL";

static const char word[] = "firsthand test";

/* Its own call makes the event that it is attached to: the kernel skips the second one, and counts that. */
SEC("tp_btf/bpf_trace_printk")
int recurse(void *ctx)
{
	bpf_trace_printk(word, sizeof(word));
	return 0;
}

/* Run by hand. */
SEC("raw_tp")
int begin_recursion(void *ctx)
{
	bpf_trace_printk(word, sizeof(word));
	return 0;
}

SEC("raw_tp")
int write_rubbish(void *ctx)
{
	__u64 rubbish[6] = {~0ULL, 1, 2, 3, 4, 5};

	bpf_ringbuf_output(&ring, rubbish, sizeof(rubbish), BPF_RB_NO_WAKEUP);
	return 0;
}
