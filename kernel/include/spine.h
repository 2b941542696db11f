/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is attached, and stays attached while user space restarts or is upgraded: each program does nothing but call the
 * one that stands in its own pinned array. An upgrade swaps that entry; attaching anew would lose or double events.
 *
 * kernel/build.py writes the lines, SPINE(program, "section") for each program of the other objects.
 */
#pragma once
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

#define SPINE_OF(program, where, context, passed)                                                                      \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, __u32);                                                                                  \
	} entry_##program SEC(".maps");                                                                                \
	SEC(where) int spine_##program(context *ctx)                                                                   \
	{                                                                                                              \
		bpf_tail_call(ctx, &entry_##program, 0);                                                               \
		return passed;                                                                                         \
	}
#define SPINE(program, where) SPINE_OF(program, where, __u64, 0)

/* At a further place of a program, through the same array. */
#define SPINE_ALSO_AT(program, place, where)                                                                           \
	SEC(where) int spine_##program##_at_##place(__u64 *ctx)                                                        \
	{                                                                                                              \
		bpf_tail_call(ctx, &entry_##program, 0);                                                               \
		return 0;                                                                                              \
	}

/* At a cgroup: 1 lets the packet or call go on, whatever stands in the array. */
#define SPINE_AT_CGROUP(program, where, context) SPINE_OF(program, where, struct context, 1)
