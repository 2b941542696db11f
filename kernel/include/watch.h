/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is watched, asked in the kernel in three steps, the cheapest first: whether a name on the way to the file's root
 * may be one that an entry of the list has (a Bloom filter), whether it is one, and whether the whole path is an
 * entry's. User space writes the tables (src/firsthand/probe/watchlist.py).
 */
#pragma once
#include "socket.h"
#include "file.h"

FAILURES(file, 8)

enum watch_bound {
	WATCH_WORDS = 1024, /* of 64 bits, of the filter of one kind of access */
	WATCH_ACCESSES = 3, /* read, write, above: bits of enum file_access */
	WATCH_NAMES = 4096,
	WATCH_PATHS = 8192,
	WATCH_PATH_BYTES = 256, /* of a path that are compared with entries without * */
	WATCH_GLOBS = 63,
	GLOB_BYTES = 252,
	GLOB_STEPS = 4096, /* that matching one path with one pattern may take; what takes more counts as met */
	FILTER_DEPTH = 48, /* names that are looked up; what lies deeper is asked whole */
	ALL_NAMES = -1,
};

struct watch_filter {
	__u64 words[WATCH_ACCESSES][WATCH_WORDS];
};

/* A name as the filter knows it: its length, and as many of its letters as fit. */
struct watch_name {
	__u64 letters;
	__u32 length;
	__u32 pad;
};

/* A path, or the beginning of one: `bits` are 8 for each letter; an entry for one path alone ends with its NUL. */
struct watch_path {
	__u32 bits;
	__u8 letters[WATCH_PATH_BYTES];
};

struct watch_glob {
	__u16 access; /* bits of enum file_access */
	__u16 length;
	__u8 letters[GLOB_BYTES];
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct watch_filter, 1)
watch_filter SEC(".maps");
/* By name: bit 0, an entry without * has it; bit 1 + n: the pattern n. */
HASH_MAP(struct watch_name, __u64, WATCH_NAMES)
watch_names SEC(".maps");
MAP(BPF_MAP_TYPE_ARRAY, __u32, struct watch_glob, WATCH_GLOBS)
watch_globs SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WATCH_PATHS);
	__type(key, struct watch_path);
	__type(value, __u32); /* bits of enum file_access: of this entry and of those that begin it */
} watch_paths SEC(".maps");

/* A place in the tree of files, what is asked of it, and what was found. Kernel addresses are plain numbers here. */
struct place {
	__u64 dentry, mount; /* struct vfsmount */
	__u32 access; /* bits of enum file_access, any of which is asked for */
	__u32 slot; /* of the scratch that the path lies in */
	__u64 names; /* as watch_names has them, of all names on its way; ALL_NAMES: not known */
	__u32 at; /* where the path begins in the scratch */
	__u32 flags; /* enum walk_flag, enum file_flag */
	__u32 skip; /* names that a `..` behind takes away */
	__u32 nothing; /* 0: a beginning of which the verifier does not know that it is 0, or it would follow every step
			*/
};

static __always_inline void take_name(struct watch_name *name, __u64 letters, __u32 length)
{
	name->length = length;
	name->pad = 0;
	name->letters = length < 8 ? letters & ((1ULL << (length & 7) * 8) - 1) : letters;
}

static __always_inline void read_name(struct watch_name *name, const void *from, __u32 length)
{
	__u64 letters = 0;

	bpf_probe_read_kernel(&letters, 8, from);
	take_name(name, letters, length);
}

static __always_inline __u32 filter_bit(const struct watch_name *name)
{
	__u64 hash = (name->letters ^ name->length) * 0x9e3779b97f4a7c15ULL;

	return hash >> 48;
}

static __always_inline bool is_in_filter(struct watch_filter *filter, const struct watch_name *name, __u32 access)
{
	__u32 bit = filter_bit(name), word = bit >> 6 & (WATCH_WORDS - 1);
	__u64 found = 0;

	if (access & FILE_READ)
		found |= filter->words[0][word];
	if (access & FILE_WRITE)
		found |= filter->words[1][word];
	if (access & FILE_ABOVE)
		found |= filter->words[2][word];
	return found >> (bit & 63) & 1;
}

/* The entries that have a name, as watch_names has them. */
static __always_inline __u64 entries_of(struct watch_filter *filter, const struct watch_name *name, __u32 access)
{
	__u64 *found;

	if (!is_in_filter(filter, name, access))
		return 0;
	found = bpf_map_lookup_elem(&watch_names, name);
	return found ? *found : 0;
}

/*
 * Kernel addresses as typed pointers, whose members are loaded directly: several times cheaper than a helper's call for
 * each. The kfunc is there since 6.2; before, the same members are read by helpers.
 */
extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak;

enum special_kfunc_type {
	KF_bpf_rdonly_cast,
};

#define HAS_CAST bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rdonly_cast)
#define AS(type, address) ((type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(type)))

/* How far the way up is. */
struct rung {
	struct watch_filter *filter;
	__u64 dentry, mount; /* struct mount; 0: behind the mount's root, to that of the file system */
	__u64 root; /* of the mount */
	__u64 beyond; /* root of the file's own mount, where that is not the root of its file system */
	__u64 names;
	__u32 access;
	__u32 ended;
};

/* Where the letters of a short name lie in its dentry. */
static __always_inline __u32 short_name(void)
{
	struct dentry___short *now = NULL;

	return bpf_core_field_exists(now->d_shortname) ? bpf_core_field_offset(struct dentry___short, d_shortname)
						       : bpf_core_field_offset(struct dentry___iname, d_iname);
}

/* A dentry's own name, as struct watch_name, and its parent. */
static __always_inline __u64 look_at(struct watch_name *name, __u64 address)
{
	struct dentry_head head = {};
	struct dentry *dentry;
	__u64 from;

	if (!HAS_CAST) {
		read_dentry(&head, (void *)address);
		read_name(name, head.name, head.length);
		return (__u64)head.parent;
	}
	dentry = AS(struct dentry, address);
	from = (__u64)dentry->d_name.name;
	if (from == address + short_name())
		take_name(name, *(__u64 *)((void *)dentry + short_name()), dentry->d_name.len);
	else
		read_name(name, (void *)from, dentry->d_name.len);
	return (__u64)dentry->d_parent;
}

static __always_inline __u64 root_of(__u64 mount)
{
	struct mount *found = (void *)mount;

	return HAS_CAST ? (__u64)AS(struct mount, mount)->mnt.mnt_root : (__u64)BPF_CORE_READ(found, mnt.mnt_root);
}

static __always_inline __u64 parent_of(__u64 address)
{
	struct dentry *dentry = (void *)address;

	return HAS_CAST ? (__u64)AS(struct dentry, address)->d_parent : (__u64)BPF_CORE_READ(dentry, d_parent);
}

/* From the root of a mount to where it is mounted, or, from the last one, back to the file's own and beyond. True at
 * the end. */
static __always_inline bool cross(struct rung *rung)
{
	struct mount *mount = (void *)rung->mount;
	__u64 above;

	if (!rung->beyond && parent_of(rung->dentry) != rung->dentry)
		rung->beyond = rung->dentry;
	above = HAS_CAST ? (__u64)AS(struct mount, rung->mount)->mnt_parent : (__u64)BPF_CORE_READ(mount, mnt_parent);
	if (above == rung->mount) {
		rung->dentry = rung->beyond;
		rung->mount = rung->root = 0;
		return !rung->dentry;
	}
	rung->dentry = HAS_CAST ? (__u64)AS(struct mount, rung->mount)->mnt_mountpoint
				: (__u64)BPF_CORE_READ(mount, mnt_mountpoint);
	rung->root = root_of(above);
	rung->mount = above;
	return false;
}

static long climb_on(__u32 index, struct rung *rung)
{
	struct watch_name name;
	__u64 parent;

	if (rung->dentry == rung->root) {
		rung->ended = cross(rung);
		return rung->ended;
	}
	parent = look_at(&name, rung->dentry);
	if (parent == rung->dentry) {
		rung->ended = 1;
		return 1;
	}
	rung->names |= entries_of(rung->filter, &name, rung->access);
	rung->dentry = parent;
	return 0;
}

/*
 * Which entries the names on a file's way to the root have: 0, it is not watched for this access. Global, as those
 * below: the verifier goes through it once.
 */
__noinline int find_names(struct place *place)
{
	struct rung rung = {};
	__u32 zero = 0;

	if (!place)
		return 0;
	rung.filter = bpf_map_lookup_elem(&watch_filter, &zero);
	if (!rung.filter)
		return 0;
	rung.access = place->access;
	rung.dentry = place->dentry;
	rung.mount = place->mount - bpf_core_field_offset(struct mount, mnt);
	rung.root = root_of(rung.mount);
	bpf_loop(FILTER_DEPTH, climb_on, &rung, 0);
	place->names |= rung.ended ? rung.names : ALL_NAMES;
	return place->names != 0;
}

/* The path of a place into the scratch, behind it what lies there already. Returns how many letters it has. */
__noinline int resolve(struct place *place)
{
	struct walk walk = {};
	__u32 slot;

	if (!place)
		return 0;
	slot = place->slot;
	walk.scratch = bpf_map_lookup_elem(&paths, &slot);
	if (!walk.scratch)
		return 0;
	walk.at = place->at;
	walk.skip = place->skip;
	walk_on(&walk, (void *)place->dentry, (void *)place->mount);
	place->at = walk.at;
	place->flags |= walk.flags;
	return 0;
}

/* The path from the root of the file's own file system, whatever of it is mounted where. */
__noinline int resolve_source(struct place *place)
{
	struct walk walk = {};
	__u32 slot;

	if (!place)
		return 0;
	slot = place->slot;
	walk.scratch = bpf_map_lookup_elem(&paths, &slot);
	if (!walk.scratch)
		return 0;
	walk.at = PATH_BYTES - place->nothing;
	walk.dentry = (void *)place->dentry;
	bpf_loop(PATH_DEPTH, walk_step, &walk, 0);
	place->at = walk.at;
	return 0;
}

struct matching {
	struct path_scratch *scratch;
	struct watch_glob *glob;
	__u32 verdict;
};

/* Places in the scratch's `steps`. A star 0: there is none. */
enum matching_step {
	LETTER = 0, /* of the pattern */
	AT = 1, /* of the path */
	STAR = 2, /* behind the last * */
	STAR_AT = 3, /* from where in the path on it stands for nothing */
	DEEP = 4, /* behind the last ** */
	DEEP_AT = 5,
};

enum verdict {
	UNDECIDED = 0,
	MET = 1,
	NOT_MET = 2,
};

/* A * of the pattern: at first it stands for nothing. */
static __always_inline void take_star(struct matching *m, volatile __u32 *steps, __u32 letter)
{
	if (m->glob->letters[letter + 1] == '*') {
		steps[LETTER] = steps[DEEP] = letter + 2;
		steps[DEEP_AT] = steps[AT];
		steps[STAR] = 0;
	} else {
		steps[LETTER] = steps[STAR] = letter + 1;
		steps[STAR_AT] = steps[AT];
	}
}

/* Have the last star stand for one letter more; * for no /. False where there is none. */
static __always_inline bool stretch_star(struct matching *m, volatile __u32 *steps)
{
	if (steps[STAR] && m->scratch->bytes[steps[STAR_AT] & (PATH_BYTES - 1)] != '/') {
		steps[AT] = ++steps[STAR_AT];
		steps[LETTER] = steps[STAR];
		return true;
	}
	if (!steps[DEEP])
		return false;
	steps[AT] = ++steps[DEEP_AT];
	steps[LETTER] = steps[DEEP];
	steps[STAR] = 0;
	return true;
}

/* A ? stands for a letter, which in UTF-8 can have bytes behind its first one. */
static __always_inline bool is_rest_of_letter(const struct watch_glob *glob, __u32 letter, __u8 found)
{
	__u32 before = letter - 1;

	return (found & 0xc0) == 0x80 && before < GLOB_BYTES - 1 && glob->letters[before] == '?';
}

static long match_step(__u32 index, struct matching *m)
{
	volatile __u32 *steps = m->scratch->steps;
	__u32 letter = steps[LETTER], at = steps[AT];
	__u8 wanted = 0, found;

	if (letter < GLOB_BYTES - 1 && letter < m->glob->length)
		wanted = m->glob->letters[letter];
	if (wanted == '*') {
		take_star(m, steps, letter);
		return 0;
	}
	if (at >= PATH_BYTES) {
		m->verdict = wanted ? NOT_MET : MET;
		return 1;
	}
	found = m->scratch->bytes[at];
	if (is_rest_of_letter(m->glob, letter, found)) {
		steps[AT] = at + 1;
		return 0;
	}
	if (wanted == found || (wanted == '?' && found != '/')) {
		steps[LETTER] = letter + 1;
		steps[AT] = at + 1;
		return 0;
	}
	if (stretch_star(m, steps))
		return 0;
	m->verdict = NOT_MET;
	return 1;
}

/* Whether the path in a place's scratch is met by a pattern. */
__noinline int is_met(struct place *place, __u32 number)
{
	struct matching m = {};
	__u32 slot;

	if (!place)
		return 0;
	slot = place->slot;
	m.scratch = bpf_map_lookup_elem(&paths, &slot);
	m.glob = bpf_map_lookup_elem(&watch_globs, &number);
	if (!m.scratch || !m.glob || !(m.glob->access & place->access))
		return 0;
	m.scratch->steps[AT] = place->at;
	m.scratch->steps[LETTER] = m.scratch->steps[STAR] = m.scratch->steps[DEEP] = 0;
	bpf_loop(GLOB_STEPS, match_step, &m, 0);
	return m.verdict != NOT_MET;
}

/* Whether an entry without * is the path, or begins it. Its key lies in the scratch behind the path. */
__noinline int is_listed(struct place *place)
{
	struct path_scratch *scratch;
	struct watch_path *key;
	__u32 slot, at, *access;

	if (!place)
		return 0;
	slot = place->slot;
	at = place->at;
	scratch = bpf_map_lookup_elem(&paths, &slot);
	if (!scratch || at >= PATH_BYTES)
		return 0;
	scratch->bytes[PATH_BYTES] = 0;
	key = (void *)scratch->bytes + PATH_BYTES + WATCH_PATH_BYTES;
	key->bits = WATCH_PATH_BYTES * 8;
	bpf_probe_read_kernel(key->letters, WATCH_PATH_BYTES, scratch->bytes + at);
	access = bpf_map_lookup_elem(&watch_paths, key);
	return access && *access & place->access;
}

/* Whether the path in a place's scratch is watched, by the entries that `names` leaves. */
__noinline int is_watched(struct place *place)
{
	__u64 names;

	if (!place)
		return 0;
	names = place->names;
	if (names & 1 && is_listed(place))
		return 1;
	for (int i = 0; i < WATCH_GLOBS; i++)
		if (names >> (i + 1) & 1 && is_met(place, i))
			return 1;
	return 0;
}
