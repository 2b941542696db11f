/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What user space sweeps each second (fold.h): lives that are withheld for longer than a probe lasts, and folds whose
 * row is due. Each run answers with one letter for each element: h it is held, d it is done, w it waits for room in the
 * ring or for its writer.
 */
#include "fold.h"
#include "brief.h"

char _license[] SEC("license") = "GPL";

const struct process_folded *anchor_folded __attribute__((unused));
const struct connection_folded *anchor_connection_folded __attribute__((unused));

/* For the longest fork and exec with the ring's own heads: a sweep writes only what finds room. */
enum {
	ROOM = sizeof(struct process_fork) + WITHHELD_BYTES + 32,
};

static __always_inline bool forced(void)
{
	__u32 key = FOLD_FORCED;
	__u64 *word = bpf_map_lookup_elem(&fold_words, &key);

	return word && *word;
}

static __always_inline bool has_room(void)
{
	return bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) + ROOM < bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE);
}

static __always_inline int answer(struct bpf_iter__bpf_map_elem *ctx, char letter)
{
	bpf_seq_write(ctx->meta->seq, &letter, 1);
	return 0;
}

/* Take the ticket from its process. One whose process is no longer known is nobody's: it can be taken when asked for
 * all. */
static __always_inline bool take(struct process_fork *fork, __u64 ticket)
{
	struct process_key key = {.tgid = fork->context.exec_tgid, .start = fork->context.exec_start};
	struct process_memory *memory = bpf_map_lookup_elem(&processes, &key);

	if (!memory)
		return forced();
	return __sync_val_compare_and_swap(&memory->ticket, ticket, 0) == ticket;
}

SEC("iter/bpf_map_elem")
int fold_late(struct bpf_iter__bpf_map_elem *ctx)
{
	struct process_fork *fork = ctx->value;
	__u64 *key = ctx->key, ticket;

	if (!key || !fork)
		return 0;
	ticket = *key;
	if (!forced() && bpf_ktime_get_boot_ns() - fork->context.header.ktime <= folding.most_ms * MILLISECOND)
		return answer(ctx, 'h');
	if (!has_room())
		return answer(ctx, 'w');
	if (!take(fork, ticket))
		return answer(ctx, 'h');
	release(ticket);
	return answer(ctx, 'd');
}

/* The exec of one that folded, and what all have in common or together. */
static __always_inline void fill_folded(struct process_folded *row, struct fold *fold)
{
	row->exec.context.header.kind = RECORD_PROCESS_FOLDED;
	row->exec.context.header.ktime = fold->first;
	row->folded_count = fold->count;
	row->folded_last = fold->last;
	row->user_time = fold->user_time;
	row->system_time = fold->system_time;
	row->duration = fold->longest;
	row->exit_code = fold->folded_code;
}

/* Whether the row was written. Where the ring takes nothing the fold stays as it is; the number that was taken is a
 * gap. */
static __always_inline bool tell(struct fold *fold)
{
	__u64 ticket = fold->ticket;
	struct withheld_exec *withheld = bpf_map_lookup_elem(&withheld_execs, &ticket);
	__u32 length;

	if (!withheld || !has_room())
		return false;
	length = ((struct record_header *)withheld->data)->length;
	asm volatile("" : "+r"(length));
	if (length > WITHHELD_BYTES)
		return false;
	fill_folded((void *)withheld->data, fold);
	if (write_late((void *)withheld->data, length)) {
		count(FAILURE_RESERVE);
		return false;
	}
	bpf_map_delete_elem(&withheld_execs, &ticket);
	fold->count = fold->ticket = 0;
	return true;
}

static __always_inline bool is_due(struct fold *fold, __u64 now)
{
	return fold->count && (forced() || now - fold->first >= folding.every_seconds * SECOND);
}

SEC("iter/bpf_map_elem")
int fold_tell(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 now = bpf_ktime_get_boot_ns();
	const struct probe_key *element = ctx->key;
	struct probe_key key;
	struct fold *fold;
	bool due, told, idle;

	if (!element)
		return 0;
	key = *element;
	fold = bpf_map_lookup_elem(&folds, &key);
	if (!fold)
		return 0;
	if (!begin_fold(fold))
		return answer(ctx, 'w');
	due = is_due(fold, now);
	told = due && tell(fold);
	/* Twice as long as an exec counts on it: no life that would be counted here still runs. */
	idle = !fold->count && !is_recent(fold->seen, now) &&
	       !is_recent(fold->seen, now - folding.every_seconds * 10 * SECOND);
	end_fold(fold);
	if (idle)
		bpf_map_delete_elem(&folds, &key);
	return answer(ctx, due && !told ? 'w' : told || idle ? 'd' : 'h');
}

SEC("iter/bpf_map_elem")
int fold_connection_late(struct bpf_iter__bpf_map_elem *ctx)
{
	struct withheld_connection *element = ctx->value, *withheld;
	__u64 *key = ctx->key, cookie;

	if (!key || !element)
		return 0;
	cookie = *key;
	if (!forced() && bpf_ktime_get_boot_ns() - element->row.header.ktime <= folding.most_ms * MILLISECOND)
		return answer(ctx, 'h');
	if (!has_room())
		return answer(ctx, 'w');
	withheld = claim_row(cookie);
	if (!withheld)
		return answer(ctx, 'h');
	release_row(withheld, cookie);
	return answer(ctx, 'd');
}

/* Whether the row was written; else the fold stays as it is. */
static __always_inline bool tell_connections(struct connection_fold *fold)
{
	if (!has_room())
		return false;
	if (write_late(&fold->row.event.header, sizeof(fold->row))) {
		count(FAILURE_RESERVE);
		return false;
	}
	fold->row.folded_count = 0;
	return true;
}

SEC("iter/bpf_map_elem")
int fold_connection_tell(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 now = bpf_ktime_get_boot_ns();
	const struct connection_key *element = ctx->key;
	struct connection_key key;
	struct connection_fold *fold;
	bool due, told, idle;

	if (!element)
		return 0;
	key = *element;
	fold = bpf_map_lookup_elem(&connection_folds, &key);
	if (!fold)
		return 0;
	if (!begin_connection_fold(fold))
		return answer(ctx, 'w');
	due = fold->row.folded_count &&
	      (forced() || now - fold->row.event.header.ktime >= folding.every_seconds * SECOND);
	told = due && tell_connections(fold);
	/* Twice as long as a beginning counts on it: no connection that would be counted here still lives. */
	idle = !fold->row.folded_count && !is_recent(fold->seen, now) &&
	       !is_recent(fold->seen, now - folding.every_seconds * 10 * SECOND);
	end_connection_fold(fold);
	if (idle)
		bpf_map_delete_elem(&connection_folds, &key);
	return answer(ctx, due && !told ? 'w' : told || idle ? 'd' : 'h');
}
