/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Records of a life of which it is not yet known whether it folds (fold.h): kept by a ticket, written late or never.
 *
 * A ticket is never given twice, and stands in the process's memory. Who takes it out of there, by compare-and-swap,
 * has the records for itself: the process's own programs, one that moves it, or the sweep of user space.
 */
#pragma once
#include "task.h"

#define MILLISECOND 1000000ULL
#define SECOND 1000000000ULL

static __always_inline __u64 new_ticket(void)
{
	__u32 key = FOLD_TICKETS;
	__u64 *last = bpf_map_lookup_elem(&fold_words, &key);

	return last ? __sync_fetch_and_add(last, 1) + 1 : 0;
}

/* The ticket of a process, which is the caller's alone from here on; 0: nothing of it is withheld. */
static __always_inline __u64 claim(struct process_memory *memory)
{
	return memory->ticket ? __sync_lock_test_and_set(&memory->ticket, 0) : 0;
}

/* Its number and processor are those of the moment of writing: what is withheld leaves no gap. */
static __always_inline long write_late(struct record_header *header, __u32 length)
{
	header->cpu = bpf_get_smp_processor_id();
	header->length = length;
	header->seq = next_number(RING_ORDINARY);
	return bpf_ringbuf_output(&ring, header, length, BPF_RB_NO_WAKEUP);
}

static __always_inline void write_exec(struct withheld_exec *withheld)
{
	struct record_header *header = (void *)withheld->data;
	__u32 length = header->length;

	asm volatile("" : "+r"(length));
	if (length <= WITHHELD_BYTES && write_late(header, length))
		count_refused(RING_ORDINARY);
}

static __always_inline void forget(__u64 ticket)
{
	bpf_map_delete_elem(&withheld_forks, &ticket);
	bpf_map_delete_elem(&withheld_execs, &ticket);
}

/* Write what a claimed ticket stands for; with 0 there is nothing to write. */
static __attribute__((noinline)) int release(__u64 ticket)
{
	struct withheld_exec *exec;
	struct process_fork *fork;

	if (!ticket)
		return 0;
	fork = bpf_map_lookup_elem(&withheld_forks, &ticket);
	if (fork && write_late(&fork->context.header, sizeof(*fork)))
		count_refused(RING_ORDINARY);
	exec = bpf_map_lookup_elem(&withheld_execs, &ticket);
	if (exec)
		write_exec(exec);
	forget(ticket);
	return 0;
}

/*
 * To be called before anything else is recorded of what a process does, by its own programs or others': its fork and
 * exec come first then, and it never folds.
 */
static __always_inline void unfold(struct process_memory *memory)
{
	if (!folding.processes || !memory)
		return;
	memory->stage = LIFE_OTHER;
	release(claim(memory));
}

/* Not longer ago than ten rows of a fold apart. Another processor's moment may lie a little ahead. */
static __always_inline bool is_recent(__u64 moment, __u64 now)
{
	return (__s64)(now - moment) <= (__s64)(folding.every_seconds * 10 * SECOND);
}

/* Keep a fork's record back, if its cgroup has had equal short processes of late; its ticket, or 0. */
static __always_inline __u64 withhold_fork(struct draft *draft, struct process_fork *fork, struct cgroup_memory *known)
{
	__u64 ticket;

	if (!folding.processes || !known || !known->probed || !is_recent(known->probed, draft->now) ||
	    fork->context.flags)
		return 0;
	ticket = new_ticket();
	head(draft, RECORD_PROCESS_FORK, RING_ORDINARY);
	return bpf_map_update_elem(&withheld_forks, &ticket, draft->record->data, BPF_NOEXIST) ? 0 : ticket;
}
