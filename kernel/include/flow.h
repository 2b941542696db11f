/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Flows of datagrams: what passed between a socket and one peer. A flow ends with its socket, or when nothing came for
 * long enough. Its rows are written later than what they tell of: their ktime is that of the first and last datagram.
 */
#pragma once
#include "view.h"

enum {
	CLOCK_BOOTTIME = 7,
	E2BIG = 7,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sweeper);
} sweepers SEC(".maps");

static __always_inline struct connection_event *begin_flow_row(const struct flow *flow, __u64 flags)
{
	struct connection_event *row = reserve(sizeof(*row));

	if (!row)
		return NULL;
	row->process = flow->process;
	row->ends = flow->ends;
	row->bytes_sent = flow->bytes_sent;
	row->bytes_received = flow->bytes_received;
	row->segments_sent = flow->sent;
	row->segments_received = flow->received;
	row->flags = flags | flow->flags | (flow->incoming ? CONNECTION_INCOMING : 0);
	row->protocol = flow->protocol;
	row->connected_port = flow->connected_port;
	__builtin_memcpy(row->connected_address, flow->connected_address, 16);
	return row;
}

static __always_inline void tell_begun(const struct flow *flow)
{
	struct connection_event *row = begin_flow_row(flow, 0);

	if (!row)
		return;
	row->header.ktime = flow->first;
	submit(&row->header, flow->incoming ? RECORD_CONNECTION_ACCEPT : RECORD_CONNECTION_CONNECT);
}

/*
 * Whoever deletes it tells of it: a sweep and the socket's end may come together. Its row is made before that, for what
 * is deleted may be another flow's at once: an interrupt on this CPU takes the freed element first.
 */
static __always_inline void end_flow(void *map, struct flow_key *key, const struct flow *flow, __u64 flags)
{
	struct connection_event *row = begin_flow_row(flow, flags | (flow->told ? CONNECTION_BEGUN : 0));
	__u64 first = flow->first, last = flow->last;

	if (!row) {
		/* One branch for good: 6.1's verifier, asked again, takes what was reserved for what may be NULL. */
		asm volatile("");
		bpf_map_delete_elem(map, key);
		return;
	}
	if (bpf_map_delete_elem(map, key)) {
		bpf_ringbuf_discard(row, BPF_RB_NO_WAKEUP);
		return;
	}
	/* Behind the beginning, also where there was one datagram alone. */
	row->header.ktime = last > first ? last : first + 1;
	row->duration = row->header.ktime - first;
	row->outcome = OUTCOME_CLOSED;
	submit(&row->header, RECORD_CONNECTION_CLOSE);
}

/* How long a flow lives before a row says that it began; a shorter one has its end's row alone. */
#define FLOW_TOLD_AFTER 1000000000ULL

struct sweep {
	__u64 now;
	__u64 some_closed; /* sockets with several flows were closed since the last sweep */
};

static long sweep_flow(void *map, struct flow_key *key, struct flow *flow, struct sweep *sweep)
{
	if (sweep->some_closed && bpf_map_lookup_elem(&closed_sockets, &key->cookie)) {
		end_flow(map, key, flow, 0);
	} else if (sweep->now > flow->last && sweep->now - flow->last > network.flow_idle_seconds * 1000000000ULL) {
		end_flow(map, key, flow, CONNECTION_IDLE);
	} else if (!flow->told && sweep->now > flow->first && sweep->now - flow->first > FLOW_TOLD_AFTER) {
		flow->told = 1;
		tell_begun(flow);
	}
	return 0;
}

static long forget_closed(void *map, __u64 *cookie, __u64 *closed, struct sweep *sweep)
{
	if (*closed < sweep->now)
		bpf_map_delete_elem(map, cookie);
	return 0;
}

static int sweep(void *map, __u32 *key, struct sweeper *sweeper)
{
	struct sweep sweep = {.now = bpf_ktime_get_boot_ns()};
	__u64 closed = sweeper->closed;

	sweep.some_closed = closed != sweeper->swept;
	bpf_for_each_map_elem(&flows, sweep_flow, &sweep, 0);
	if (sweep.some_closed)
		bpf_for_each_map_elem(&closed_sockets, forget_closed, &sweep, 0);
	sweeper->swept = closed;
	bpf_timer_start(&sweeper->timer, 1000000000, 0);
	return 0;
}

/* The sweep goes by a timer of the kernel's, so that it goes on while nobody reads; a new program sets its own. */
static __always_inline void keep_sweeping(void)
{
	__u32 zero = 0;
	struct sweeper *sweeper = bpf_map_lookup_elem(&sweepers, &zero);
	__u64 before;

	if (!sweeper)
		return;
	before = sweeper->stamp;
	if (before == settings.stamp || __sync_val_compare_and_swap(&sweeper->stamp, before, settings.stamp) != before)
		return;
	bpf_timer_init(&sweeper->timer, &sweepers, CLOCK_BOOTTIME);
	bpf_timer_set_callback(&sweeper->timer, sweep);
	bpf_timer_start(&sweeper->timer, 1000000000, 0);
}

/* The next sweep ends every flow of a socket that was closed. Where the table is full they end when they are idle. */
static __always_inline void end_others(__u64 cookie)
{
	__u32 zero = 0;
	struct sweeper *sweeper = bpf_map_lookup_elem(&sweepers, &zero);
	__u64 now = bpf_ktime_get_boot_ns();

	if (!sweeper || bpf_map_update_elem(&closed_sockets, &cookie, &now, BPF_ANY))
		return;
	__sync_fetch_and_add(&sweeper->closed, 1);
}
