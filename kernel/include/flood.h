/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who floods a ring loses its own records first. A reader that gets too little of the processors does not keep up with
 * a storm of processes; without this, whoever comes next is lost as well.
 *
 * While less than an eighth of a ring is free, a cgroup may write a share of what is free in each quarter of a second
 * (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). Within a cgroup that is
 * beyond its share, each program of a parent has a share of its own, so that what else runs there is still recorded
 * until the cgroup is beyond twice its share. What is held back takes its number: it is a gap, and counted as lost.
 * The map `floods` has who it was, and how many.
 */
#pragma once
#include "emit.h"

enum {
	FLOOD_NEARLY_FULL = 8, /* a ring of which less than this part is free */
	FLOOD_OF_CGROUP = 8, /* the part of what is free that a cgroup may write in one span of time */
	FLOOD_OF_PROGRAM = 64, /* and one program of a parent, within a cgroup that is beyond its part */
	FLOOD_SPAN_BITS = 28, /* of 2^28 ns */
};

static __always_inline struct flood *flood_of(const struct flood_key *key)
{
	struct flood fresh = {}, *found = bpf_map_lookup_elem(&floods, key);

	if (found)
		return found;
	bpf_map_update_elem(&floods, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&floods, key);
}

/* What somebody has written in this span of time, with this record. Two processors that begin a span at once may
 * forget a record of it. */
static __always_inline __u64 written(struct flood *flood, __u64 now, __u32 length)
{
	__u64 moment = now >> FLOOD_SPAN_BITS;

	if (flood->moment != moment) {
		flood->moment = moment;
		flood->bytes = 0;
	}
	return __sync_fetch_and_add(&flood->bytes, length) + length;
}

static __always_inline void hold_back(struct flood *flood, __u64 now)
{
	if (!flood->held_back)
		flood->first = now;
	flood->last = now;
	__sync_fetch_and_add(&flood->held_back, 1);
}

/* Whether a record of this length is beyond the shares of its cgroup and program, where `left` bytes of its ring are
 * free. */
static __always_inline bool is_beyond(struct flood *all, struct flood *mine, __u64 now, __u32 length, __u64 left)
{
	__u64 of_all = written(all, now, length), of_mine = written(mine, now, length);

	if (of_all <= left / FLOOD_OF_CGROUP)
		return false;
	return of_mine > left / FLOOD_OF_PROGRAM || of_all > 2 * (left / FLOOD_OF_CGROUP);
}

/* Whether a record is to be held back. */
static __always_inline bool is_held_back(struct process_context *context, __u32 to, __u64 now, __u32 length)
{
	struct flood_key key = {.cgroup = context->cgroup_id, .ring = to};
	__u64 size = bytes_of(to), left = size - bytes_held(to);
	struct flood *all, *mine;

	if (left >= size / FLOOD_NEARLY_FULL)
		return false;
	all = flood_of(&key);
	key.parent = context->parent_tgid;
	__builtin_memcpy(key.comm, context->comm, sizeof(key.comm));
	mine = flood_of(&key);
	if (!all || !mine || !is_beyond(all, mine, now, length, left))
		return false;
	hold_back(mine, now);
	return true;
}

/*
 * Write the record of a process that a slot has, or hold it back where its cgroup floods the ring; and give the slot
 * back. A function of its own, which the verifier walks through once, not once for each state of its callers.
 */
__noinline int finish_slot(__u32 slot, __u32 kind, __u32 to, __u64 now)
{
	struct draft draft = {.now = now};

	draft.record = bpf_map_lookup_elem(&records, &slot);
	if (!draft.record)
		return 0;
	if (!is_held_back((void *)draft.record->data, to, now, draft.record->at)) {
		finish(&draft, kind, to);
		return 0;
	}
	next_number(to);
	abandon(&draft);
	return 1;
}

static __always_inline void finish_process(struct draft *draft, __u16 kind, __u32 to)
{
	finish_slot(draft->slot, kind, to, draft->now);
}
