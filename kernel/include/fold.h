/* SPDX-License-Identifier: GPL-2.0 */
/*
 * By setting, repeated equal short processes (probes) become one row that counts them.
 *
 * Equal: all is equal that their rows tell, but for ids and times; raw bytes of arguments and environment included.
 * Short: from fork to exit within folding.most_ms. A life folds where one equal to it was recorded in full, or folded,
 * not long ago; where nothing in it is flagged, it ended with that one's exit code and with the rights and names that
 * it began with, and it did nothing else that is recorded. Until its end its fork and exec are withheld (withhold.h).
 * Everything else is written as if nothing had been withheld, only later.
 */
#pragma once
#include "withhold.h"

enum {
	HASH_STEP = 64,
	EQUAL_FROM = __builtin_offsetof(struct process_context, cap_inheritable), /* behind ids and times */
};

struct hashing {
	struct record_scratch *record;
	struct fold_secret *secret;
	__u64 first, second;
};

/* One pair of 32-bit words of NH (RFC 4418, 5.2.2): two unlike messages of one length collide once in 2^32 keys. */
static __always_inline __u64 hash_pair(__u64 word, __u64 key)
{
	return (__u64)((__u32)word + (__u32)key) * (__u64)((__u32)(word >> 32) + (__u32)(key >> 32));
}

static long hash_step(__u32 index, struct hashing *hashing)
{
	__u32 at = index * HASH_STEP;
	const __u64 *words;

	asm volatile("" : "+r"(at));
	if (at > WITHHELD_BYTES - HASH_STEP - EQUAL_FROM)
		return 1;
	words = (const __u64 *)(hashing->record->data + EQUAL_FROM + at);
	for (int i = 0; i < HASH_STEP / 8; i++) {
		hashing->first += hash_pair(words[i], hashing->secret->first[at / 8 + i]);
		hashing->second += hash_pair(words[i], hashing->secret->second[at / 8 + i]);
	}
	return 0;
}

/* Zeroes behind the record, up to a whole step. */
static __always_inline bool pad_record(struct draft *draft)
{
	__u32 at = draft->record->at;

	asm volatile("" : "+r"(at));
	if (at > WITHHELD_BYTES - HASH_STEP)
		return false;
	__builtin_memset(draft->record->data + at, 0, HASH_STEP);
	return true;
}

/* The key of an exec; false where its record is too long to be withheld. */
static __always_inline bool hash_exec(struct draft *draft, struct process_exec *exec, struct probe_key *key)
{
	struct hashing hashing = {.record = draft->record};
	__u64 previous = exec->previous_number;
	__u32 zero = 0;

	hashing.secret = bpf_map_lookup_elem(&fold_secret, &zero);
	if (!hashing.secret || !pad_record(draft))
		return false;
	exec->previous_number = 0;
	bpf_loop((draft->record->at - EQUAL_FROM + HASH_STEP - 1) / HASH_STEP, hash_step, &hashing, 0);
	exec->previous_number = previous;
	key->first = hashing.first;
	key->second = hashing.second;
	key->length = draft->record->at;
	key->pad = 0;
	return true;
}

/* One without arguments and with a pipe to read from: what it is told is not in its arguments (FILELESS in `firsthand
 * run`). */
static __always_inline bool is_told_by_pipe(struct process_exec *exec, struct linux_binprm *bprm)
{
	return bprm->argc <= 1 && (exec->stdin == STREAM_PIPE || exec->stdin == STREAM_SOCKET);
}

/* Whether a process that now executes a program may become a probe; then `memory->probe` is which. */
static __always_inline bool may_fold(struct draft *draft, struct process_exec *exec, struct process_memory *memory,
				     struct linux_binprm *bprm)
{
	bool fits = memory->stage == LIFE_FORKED && !exec->context.flags && !is_told_by_pipe(exec, bprm) &&
		    hash_exec(draft, exec, &memory->probe);

	memory->stage = fits ? LIFE_EXECED : LIFE_OTHER;
	return fits;
}

static __always_inline bool is_known(struct probe_key *key, __u64 now)
{
	struct fold *fold = bpf_map_lookup_elem(&folds, key);

	return fold && is_recent(fold->seen, now);
}

/* Keep an exec's record back, if its fork is withheld and equal ones are known; else write what is withheld of it. */
static __always_inline bool withhold_exec(struct draft *draft, struct process_exec *exec, struct process_memory *memory,
					  struct linux_binprm *bprm)
{
	__u64 ticket;

	if (!folding.processes || !memory)
		return false;
	ticket = claim(memory);
	if (may_fold(draft, exec, memory, bprm) && ticket && is_known(&memory->probe, draft->now)) {
		head(draft, RECORD_PROCESS_EXEC, RING_ORDINARY)->length = draft->record->at;
		if (!bpf_map_update_elem(&withheld_execs, &ticket, draft->record->data, BPF_NOEXIST)) {
			__sync_lock_test_and_set(&memory->ticket, ticket);
			return true;
		}
	}
	release(ticket);
	return false;
}

static __always_inline bool is_short(struct process_exit *exit)
{
	return exit->exit_signal == -1 && !exit->core_dumped && !exit->context.flags &&
	       exit->duration <= folding.most_ms * MILLISECOND;
}

/* Whether a process ended with the rights, namespaces, cgroup and names that it had when it executed its program. */
static __always_inline bool is_unchanged(struct process_exec *exec, struct process_exit *exit)
{
	const __u64 *before = (void *)exec + EQUAL_FROM, *after = (void *)exit + EQUAL_FROM;
	__u64 differs = 0;

	for (int i = 0; i < (sizeof(struct process_context) - EQUAL_FROM) / 8; i++)
		differs |= before[i] ^ after[i];
	return !differs;
}

/* One writer at a time, and nobody waits: who comes second goes another way. */
static __always_inline bool begin_fold(struct fold *fold)
{
	return !__sync_val_compare_and_swap(&fold->busy, 0, 1);
}

static __always_inline void end_fold(struct fold *fold)
{
	__sync_lock_test_and_set(&fold->busy, 0);
}

/* A row stands for twice folding.every_seconds at most, even where nobody sweeps: answers look back no further. */
static __always_inline bool takes(struct fold *fold, struct process_exit *exit, __u64 now)
{
	if (fold->exit_code != exit->exit_code || !is_recent(fold->seen, now))
		return false;
	return !fold->count ||
	       (fold->folded_code == exit->exit_code && now - fold->first <= folding.every_seconds * 2 * SECOND);
}

static __always_inline void add(struct fold *fold, struct process_exit *exit, __u64 executed)
{
	fold->count++;
	fold->user_time += exit->user_time;
	fold->system_time += exit->system_time;
	if (executed < fold->first)
		fold->first = executed;
	if (executed > fold->last)
		fold->last = executed;
	if (exit->duration > fold->longest)
		fold->longest = exit->duration;
}

/* The first one since the last row: the next row will be made of its exec. */
static __always_inline void start(struct fold *fold, struct process_exit *exit, __u64 executed, __u64 ticket)
{
	fold->ticket = ticket;
	fold->folded_code = exit->exit_code;
	fold->first = fold->last = executed;
	fold->user_time = fold->system_time = fold->longest = 0;
}

/* Whether the fold took a life that ended; its exec is kept where `ticket` is the fold's own then. */
static __always_inline bool count_in(struct fold *fold, struct process_exit *exit, __u64 executed, __u64 ticket,
				     __u64 now)
{
	bool taken;

	if (!begin_fold(fold))
		return false;
	taken = takes(fold, exit, now);
	if (taken) {
		if (!fold->count)
			start(fold, exit, executed, ticket);
		add(fold, exit, executed);
		fold->seen = now;
	}
	end_fold(fold);
	return taken;
}

/* Fold a life whose claimed ticket this is; false where it is to be recorded in full. */
static __always_inline bool fold_life(struct process_memory *memory, struct process_exit *exit, __u64 ticket, __u64 now)
{
	struct withheld_exec *withheld = bpf_map_lookup_elem(&withheld_execs, &ticket);
	struct process_exec *exec = (void *)withheld;
	struct fold *fold;

	if (!withheld || exec->context.header.layout != settings.layout_number || !is_unchanged(exec, exit))
		return false;
	fold = bpf_map_lookup_elem(&folds, &memory->probe);
	if (!fold || !count_in(fold, exit, exec->context.header.ktime, ticket, now))
		return false;
	bpf_map_delete_elem(&withheld_forks, &ticket);
	if (fold->ticket != ticket) /* never given twice, so this holds without being alone */
		bpf_map_delete_elem(&withheld_execs, &ticket);
	return true;
}

/* A life that was recorded in full: the next ones equal to it may fold. Where the table is full, they do not. */
static __always_inline void learn(struct process_memory *memory, struct process_exit *exit, struct cgroup_memory *known,
				  __u64 now)
{
	struct fold fresh = {.seen = now, .exit_code = exit->exit_code}, *fold;

	fold = bpf_map_lookup_elem(&folds, &memory->probe);
	if (!fold) {
		bpf_map_update_elem(&folds, &memory->probe, &fresh, BPF_NOEXIST);
		return;
	}
	if (known && fold->exit_code == exit->exit_code && is_recent(fold->seen, now))
		known->probed = now;
	fold->exit_code = exit->exit_code;
	fold->seen = now;
}

/* At its end: whether a life folded and its exit is not to be written; else what was withheld of it is written now. */
static __always_inline bool fold_exit(struct process_memory *memory, struct process_exit *exit,
				      struct cgroup_memory *known, __u64 now)
{
	bool fits;
	__u64 ticket;

	if (!folding.processes || !memory)
		return false;
	ticket = claim(memory);
	fits = memory->stage == LIFE_EXECED && is_short(exit);
	if (fits && ticket && fold_life(memory, exit, ticket, now)) {
		if (known)
			known->probed = now;
		return true;
	}
	release(ticket);
	if (fits)
		learn(memory, exit, known, now);
	return false;
}
