/* SPDX-License-Identifier: GPL-2.0 */
/* Making a record: take a scratch slot, fill it, number it, copy it into the ring, give the slot back. */
#pragma once
#include "maps.h"

/* One record in the making. */
struct draft {
	struct record_scratch *record;
	struct path_scratch *path;
	__u32 slot;
	__u64 now; /* bpf_ktime_get_boot_ns: asked once, it costs 150 ns in a VM */
};

static __always_inline __u64 next_number(__u32 ring_number)
{
	__u64 *number = bpf_map_lookup_elem(&produced, &ring_number);

	/* Atomic: an interrupt's program may come between, and a plain ++ can repeat a number. */
	return number ? __sync_fetch_and_add(number, 1) : 0;
}

/*
 * Whether a record is to be made. Not before every hook is attached: until the loader writes `control`, observing has
 * not begun, and nothing is numbered. Nor where nobody has read for longer than the setting: then records are counted
 * and not made. A function of its own, which the verifier walks through once, not once for each state of its callers.
 */
__noinline int attended(__u64 now)
{
	__u32 zero = 0;
	struct control *told = bpf_map_lookup_elem(&control, &zero);

	if (!told || !told->incarnation)
		return false;
	if (!told->patience || now <= told->heartbeat || now - told->heartbeat <= told->patience)
		return true;
	next_number(RING_ORDINARY);
	count(FAILURE_UNATTENDED);
	return false;
}

/* Takes one slot, if it is free. The number is a constant: 6.1's verifier follows no loop whose counter's address is
 * taken. */
static __always_inline bool take_slot(struct draft *draft, __u32 slot, __u32 fixed, __u64 now)
{
	struct record_scratch *record = bpf_map_lookup_elem(&records, &slot);

	if (!record || __sync_val_compare_and_swap(&record->busy, 0, 1))
		return false;
	draft->record = record;
	draft->path = bpf_map_lookup_elem(&paths, &slot);
	draft->slot = slot;
	draft->record->at = fixed;
	draft->now = now;
	if (draft->path)
		return true;
	record->busy = 0;
	return false;
}

/*
 * A free scratch slot of this CPU. Programs can be interrupted by others on the same CPU, and some can be preempted,
 * so slots are taken by compare-and-swap and not by depth. With none free the record is lost: its number is used up.
 */
static __always_inline bool begin(struct draft *draft, __u32 fixed)
{
	__u64 now = bpf_ktime_get_boot_ns();

	if (!attended(now))
		return false;
	if (take_slot(draft, 0, fixed, now) || take_slot(draft, 1, fixed, now) || take_slot(draft, 2, fixed, now) ||
	    take_slot(draft, 3, fixed, now))
		return true;
	next_number(RING_ORDINARY);
	count(FAILURE_SCRATCH);
	return false;
}

/* Ordinary records are fetched by a timer: waking the reader costs more than making the record. */
static __always_inline long send(struct draft *draft, __u32 length, __u32 to)
{
	if (to == RING_URGENT)
		return bpf_ringbuf_output(&urgent, draft->record->data, length, BPF_RB_FORCE_WAKEUP);
	return bpf_ringbuf_output(&ring, draft->record->data, length, BPF_RB_NO_WAKEUP);
}

static __always_inline __u64 bytes_held(__u32 in)
{
	return in == RING_URGENT ? bpf_ringbuf_query(&urgent, BPF_RB_AVAIL_DATA)
				 : bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
}

static __always_inline __u64 bytes_of(__u32 ring_number)
{
	return ring_number == RING_URGENT ? bpf_ringbuf_query(&urgent, BPF_RB_RING_SIZE)
					  : bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE);
}

/* A ring that is not half full takes what is not longer than its other half, unless its lock could not be had. */
static __always_inline void count_refused(__u32 to)
{
	count(bytes_held(to) * 2 < bytes_of(to) ? FAILURE_RESERVE_ROOM : FAILURE_RESERVE);
}

/* All of a record's head but its place in the ring: processor, number and length. */
static __always_inline struct record_header *head(struct draft *draft, __u16 kind, __u32 to)
{
	struct record_header *header = (void *)draft->record->data;

	header->kind = kind;
	header->ring = to;
	header->layout = settings.layout_number;
	header->ktime = draft->now;
	return header;
}

static __always_inline void finish(struct draft *draft, __u16 kind, __u32 to)
{
	struct record_header *header = head(draft, kind, to);
	__u32 length = draft->record->at;

	header->cpu = bpf_get_smp_processor_id();
	header->seq = next_number(to);
	/* 6.1's verifier loses the bound if the compiler moves the check away from the use. */
	asm volatile("" : "+r"(length));
	if (length <= RECORD_BYTES) {
		header->length = length;
		if (send(draft, length, to))
			count_refused(to);
	}
	draft->record->busy = 0;
}

/*
 * Room for an ordinary record without strings, zeroed, in the ring itself: it needs no scratch and no copy. NULL where
 * there is none, and then its number is used up, or where none is to be made. What is reserved must be submitted or
 * discarded.
 */
static __always_inline void *reserve(__u32 size)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct record_header *header;

	if (!attended(now))
		return NULL;
	header = bpf_ringbuf_reserve(&ring, size, 0);
	if (!header) {
		next_number(RING_ORDINARY);
		count_refused(RING_ORDINARY);
		return NULL;
	}
	__builtin_memset(header, 0, size);
	header->ktime = now;
	header->length = size;
	return header;
}

static __always_inline void submit(struct record_header *header, __u16 kind)
{
	header->kind = kind;
	header->ring = RING_ORDINARY;
	header->layout = settings.layout_number;
	header->cpu = bpf_get_smp_processor_id();
	header->seq = next_number(RING_ORDINARY);
	bpf_ringbuf_submit(header, BPF_RB_NO_WAKEUP);
}

static __always_inline void abandon(struct draft *draft)
{
	draft->record->busy = 0;
}

/* Room for one more string of TEXT_BYTES, or NULL. */
static __always_inline __u8 *room(struct draft *draft)
{
	__u32 at = draft->record->at;

	asm volatile("" : "+r"(at));
	if (at > RECORD_BYTES - TEXT_BYTES)
		return NULL;
	return draft->record->data + at;
}

static __always_inline void placed(struct draft *draft, struct text *text, __u32 length)
{
	text->offset = draft->record->at;
	text->length = length;
	draft->record->at += length;
}

/* A NUL-terminated kernel string; true if it was cut. */
static __always_inline bool put_string(struct draft *draft, struct text *text, const void *from)
{
	__u8 *to = room(draft);
	long read = to ? bpf_probe_read_kernel_str(to, TEXT_BYTES, from) : -1;

	if (read <= 0) {
		count(FAILURE_TEXT_READ);
		return true;
	}
	placed(draft, text, (read - 1) & (TEXT_BYTES - 1));
	return read == TEXT_BYTES;
}
