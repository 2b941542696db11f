/* SPDX-License-Identifier: GPL-2.0 */
/*
 * By setting, equal short connections inside the cluster (probes, scrapes, lookups of a lease) become one row that
 * counts them.
 *
 * Equal: process with its rights and cgroup, both addresses, the port that is served, who began it, no flag but those
 * that say where it goes. Short: from the attempt to the close within folding.most_ms, and closed in order. A
 * connection folds where one equal to it was recorded in full, or folded, not long ago, and its peer's address is
 * private or its own: of what goes elsewhere each has its rows. Until its end the row of its beginning is withheld, by
 * the socket's cookie; who takes it out of there, by compare-and-swap, has it for itself. Everything else is written as
 * if nothing had been withheld, only later.
 */
#pragma once
#include "socket.h"

enum {
	BRIEF_FLAGS = CONNECTION_INCOMING | CONNECTION_LOOPBACK | CONNECTION_MAPPED,
	KEY_AT = 1024, /* in the scratch, behind the row */
	FOLD_AT = 2048,
};

static __always_inline void fill_counters(struct connection_event *row, struct sock *sk)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(sk);

	if (!tcp)
		return;
	row->bytes_sent = tcp->bytes_sent - tcp->bytes_retrans;
	row->bytes_received = tcp->bytes_received;
	/* The peer's FIN takes a number of the stream, which is counted with the bytes. */
	if (row->bytes_received && sk->__sk_common.skc_flags & (1UL << SOCK_DONE_BIT))
		row->bytes_received--;
	row->segments_sent = tcp->segs_out;
	row->segments_received = tcp->segs_in;
	row->retransmits = tcp->total_retrans;
	row->rtt = tcp->srtt_us >> 3;
}

/* Rows that tell what a connection has carried so far. */
static __always_inline bool has_counters(__u16 kind)
{
	return kind == RECORD_CONNECTION_CLOSE || kind == RECORD_CONNECTION_TAKEN || kind == RECORD_CONNECTION_SEEN;
}

static __always_inline bool may_be_brief(const struct connection_event *row)
{
	return !(row->flags & ~(__u64)BRIEF_FLAGS) && row->process.exec_tgid && !row->error &&
	       (row->flags & CONNECTION_LOOPBACK || is_near(row->ends.peer_address));
}

static __always_inline struct connection_key *fill_key(struct draft *draft, const struct connection_event *row)
{
	struct connection_key *key = (void *)draft->record->data + KEY_AT;

	__builtin_memset(key, 0, sizeof(*key));
	key->process = row->process;
	key->opener_start = row->opener_start;
	key->opener_number = row->opener_number;
	key->opener_tgid = row->opener_tgid;
	key->flags = row->flags;
	__builtin_memcpy(key->local_address, row->ends.local_address, 16);
	__builtin_memcpy(key->peer_address, row->ends.peer_address, 16);
	if (row->flags & CONNECTION_INCOMING)
		key->local_port = row->ends.local_port;
	else
		key->peer_port = row->ends.peer_port;
	return key;
}

/* Keep the row of a beginning back, if equal ones were short of late. */
static __always_inline bool withhold_row(struct draft *draft, struct connection_event *row, __u64 cookie, __u16 kind)
{
	struct withheld_connection *withheld = (void *)row;
	struct connection_fold *fold;

	if (!may_be_brief(row))
		return false;
	fold = bpf_map_lookup_elem(&connection_folds, fill_key(draft, row));
	if (!fold || !is_recent(fold->seen, draft->now))
		return false;
	head(draft, kind, RING_ORDINARY)->length = sizeof(*row);
	withheld->taken = 0;
	return !bpf_map_update_elem(&withheld_connections, &cookie, withheld, BPF_NOEXIST);
}

/* What is withheld of a connection, for the caller alone; NULL: nothing, or somebody else has it. */
static __always_inline struct withheld_connection *claim_row(__u64 cookie)
{
	struct withheld_connection *withheld = bpf_map_lookup_elem(&withheld_connections, &cookie);

	return withheld && !__sync_val_compare_and_swap(&withheld->taken, 0, 1) ? withheld : NULL;
}

/* Write a claimed row, and let go of it. */
static __always_inline void release_row(struct withheld_connection *withheld, __u64 cookie)
{
	if (write_late(&withheld->row.header, sizeof(withheld->row)))
		count_refused(RING_ORDINARY);
	bpf_map_delete_elem(&withheld_connections, &cookie);
}

static __always_inline bool begin_connection_fold(struct connection_fold *fold)
{
	return !__sync_val_compare_and_swap(&fold->busy, 0, 1);
}

static __always_inline void end_connection_fold(struct connection_fold *fold)
{
	__sync_lock_test_and_set(&fold->busy, 0);
}

static __always_inline void add_row(struct connection_folded *all, const struct connection_event *row, __u64 made)
{
	struct connection_event *sums = &all->event;

	sums->bytes_sent += row->bytes_sent;
	sums->bytes_received += row->bytes_received;
	sums->segments_sent += row->segments_sent;
	sums->segments_received += row->segments_received;
	sums->retransmits += row->retransmits;
	if (row->duration > sums->duration)
		sums->duration = row->duration;
	if (made < sums->header.ktime)
		sums->header.ktime = made;
	if (made > all->folded_last)
		all->folded_last = made;
	all->folded_count++;
}

/* Whether the fold took a connection that ended, `made` when it began. A row stands for twice folding.every_seconds at
 * most, even where nobody sweeps. */
static __always_inline bool count_row(struct connection_fold *fold, const struct connection_event *row, __u64 made,
				      __u64 now)
{
	struct connection_folded *all = &fold->row;
	bool taken;

	if (!begin_connection_fold(fold))
		return false;
	taken = is_recent(fold->seen, now) &&
		(!all->folded_count || (all->event.header.layout == settings.layout_number &&
					now - all->event.header.ktime <= folding.every_seconds * 2 * SECOND));
	if (taken && !all->folded_count) {
		all->event = *row;
		all->event.header.kind = RECORD_CONNECTION_FOLDED;
		all->event.header.ktime = all->folded_last = made;
		all->folded_count = 1;
	} else if (taken) {
		add_row(all, row, made);
	}
	if (taken)
		fold->seen = now;
	end_connection_fold(fold);
	return taken;
}

/* A connection that was recorded in full: the next ones equal to it may fold. Where the table is full, they do not. */
static __always_inline void learn_row(struct draft *draft, struct connection_key *key)
{
	struct connection_fold *fold = bpf_map_lookup_elem(&connection_folds, key);

	if (fold) {
		fold->seen = draft->now;
		return;
	}
	fold = (void *)draft->record->data + FOLD_AT;
	__builtin_memset(fold, 0, sizeof(*fold));
	fold->seen = draft->now;
	bpf_map_update_elem(&connection_folds, key, fold, BPF_NOEXIST);
}

/* At its end: whether a connection folded and its close is not to be written; else what was withheld is written now. */
static __always_inline bool fold_row(struct draft *draft, struct connection_event *row, struct socket_memory *memory,
				     __u64 cookie)
{
	bool fits =
		row->outcome == OUTCOME_CLOSED && row->duration <= folding.most_ms * MILLISECOND && may_be_brief(row);
	struct withheld_connection *withheld = memory->state & SOCKET_WITHHELD ? claim_row(cookie) : NULL;
	struct connection_key *key = fill_key(draft, row);
	struct connection_fold *fold;

	head(draft, RECORD_CONNECTION_CLOSE, RING_ORDINARY);
	if (withheld && fits && withheld->row.header.layout == settings.layout_number) {
		fold = bpf_map_lookup_elem(&connection_folds, key);
		if (fold && count_row(fold, row, withheld->row.header.ktime, draft->now)) {
			bpf_map_delete_elem(&withheld_connections, &cookie);
			return true;
		}
	}
	if (withheld)
		release_row(withheld, cookie);
	if (fits)
		learn_row(draft, key);
	return false;
}

/* Before anything but its end is recorded of a connection: its beginning comes first then, and it never folds. */
static __always_inline void unfold_row(struct socket_memory *memory, __u64 cookie)
{
	struct withheld_connection *withheld;

	if (!folding.connections || !(memory->state & SOCKET_WITHHELD))
		return;
	memory->state &= ~SOCKET_WITHHELD;
	withheld = claim_row(cookie);
	if (withheld)
		release_row(withheld, cookie);
}

/* A row of a TCP connection where they fold: it is written, withheld or counted. */
static __attribute__((noinline)) int tell_brief(struct sock *sk, struct socket_memory *memory, __u64 cookie, __u16 kind,
						__u8 outcome)
{
	struct connection_event *row;
	struct draft draft;

	if (!sk || !memory || !begin(&draft, sizeof(*row)))
		return 0;
	row = (void *)draft.record->data;
	__builtin_memset(row, 0, sizeof(*row));
	row->header.ktime = draft.now; /* what durations are counted to */
	fill_row(row, memory);
	fill_tcp(row, sk, cookie);
	row->outcome = outcome;
	row->error = error_of(sk, memory);
	if (has_counters(kind))
		fill_counters(row, sk);
	if (kind == RECORD_CONNECTION_CLOSE) {
		if (fold_row(&draft, row, memory, cookie)) {
			abandon(&draft);
			return 0;
		}
	} else if (outcome == OUTCOME_ESTABLISHED && withhold_row(&draft, row, cookie, kind)) {
		memory->state |= SOCKET_WITHHELD;
		abandon(&draft);
		return 0;
	}
	finish(&draft, kind, RING_ORDINARY);
	return 0;
}
