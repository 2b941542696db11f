/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Paths from the caller's word, where the kernel's own result is not in reach: the word by its letters (`.`, `..` and
 * // taken out, symbolic links not followed) below the resolved folder that it is relative to.
 */
#pragma once
#include "watch.h"

struct naming {
	struct place place; /* `dentry` and `mount` of the folder; found: at, flags, names */
	__u32 from, length; /* of the word, in the record of the same slot */
};

struct laying {
	struct record_scratch *record;
	struct watch_filter *filter;
	struct walk walk;
	__u64 names;
	__u32 from, length;
	__u32 access;
};

/* Places in the scratch's `steps`. */
enum laying_step {
	END = 6, /* of the name that is looked for */
	SKIP = 7, /* names that a `..` behind them takes away */
};

static __always_inline void lay_name(struct laying *laying, __u32 at, __u32 length)
{
	volatile __u32 *steps = laying->walk.scratch->steps;
	const __u8 *letters;
	struct watch_name name;

	asm volatile("" : "+r"(at));
	if (at > RECORD_BYTES - 256)
		return;
	letters = laying->record->data + at;
	if (length == 1 && letters[0] == '.')
		return;
	if (length == 2 && letters[0] == '.' && letters[1] == '.') {
		steps[SKIP]++;
		return;
	}
	if (steps[SKIP]) {
		steps[SKIP]--;
		return;
	}
	if (length > 255) { /* no file has such a name */
		laying->walk.flags |= WALK_TRUNCATED;
		return;
	}
	read_name(&name, letters, length);
	laying->names |= entries_of(laying->filter, &name, laying->access);
	prepend(&laying->walk, letters, length);
}

/* One letter of the word, from its last: a name is laid where it begins. */
static long lay_step(__u32 index, struct laying *laying)
{
	volatile __u32 *steps = laying->walk.scratch->steps;
	__u32 begin = laying->length - index, at = laying->from + begin - 1;

	if (begin) {
		asm volatile("" : "+r"(at));
		if (at >= RECORD_BYTES)
			return 1;
		if (laying->record->data[at] != '/')
			return 0;
	}
	if (steps[END] > begin)
		lay_name(laying, laying->from + begin, steps[END] - begin);
	steps[END] = begin - 1;
	return 0;
}

/* Lay a word into the scratch, its folder in front of it. Always 0. */
__noinline int lay(struct naming *naming)
{
	struct laying laying = {};
	__u32 slot, zero = 0;

	if (!naming)
		return 0;
	slot = naming->place.slot;
	laying.record = bpf_map_lookup_elem(&records, &slot);
	laying.walk.scratch = bpf_map_lookup_elem(&paths, &slot);
	laying.filter = bpf_map_lookup_elem(&watch_filter, &zero);
	if (!laying.record || !laying.walk.scratch || !laying.filter)
		return 0;
	laying.walk.at = PATH_BYTES - naming->place.nothing;
	laying.access = naming->place.access;
	laying.from = naming->from;
	laying.length = naming->length & (PATH_BYTES - 1);
	laying.walk.scratch->steps[END] = laying.length;
	laying.walk.scratch->steps[SKIP] = 0;
	bpf_loop(laying.length + 1, lay_step, &laying, 0);
	naming->place.names = laying.names;
	naming->place.at = laying.walk.at;
	naming->place.flags |= laying.walk.flags & WALK_TRUNCATED;
	naming->place.skip = laying.walk.scratch->steps[SKIP];
	find_names(&naming->place);
	if (!(laying.walk.flags & WALK_ENDED))
		resolve(&naming->place);
	return 0;
}

struct comparing {
	struct record_scratch *record;
	struct path_scratch *scratch;
	__u32 from, at;
	__u32 differs;
};

static long compare_step(__u32 index, struct comparing *comparing)
{
	__u32 from = comparing->from + index, at = comparing->at + index;

	asm volatile("" : "+r"(from), "+r"(at));
	if (from >= RECORD_BYTES || at >= PATH_BYTES)
		return 1;
	comparing->differs = comparing->record->data[from] != comparing->scratch->bytes[at];
	return comparing->differs;
}

/* Whether the path in the scratch is, letter by letter, what lies in the record of the same slot. */
__noinline int is_same(struct place *place, __u32 from, __u32 length)
{
	struct comparing comparing = {};
	__u32 slot;

	if (!place)
		return 0;
	slot = place->slot;
	comparing.record = bpf_map_lookup_elem(&records, &slot);
	comparing.scratch = bpf_map_lookup_elem(&paths, &slot);
	comparing.from = from;
	comparing.at = place->at;
	if (!comparing.record || !comparing.scratch || PATH_BYTES - comparing.at != length)
		return 0;
	bpf_loop(length & (PATH_BYTES - 1), compare_step, &comparing, 0);
	return !comparing.differs;
}
