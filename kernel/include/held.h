/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Watched files that are open for writing, and what each process has written to them: one row for each open and
 * process, when the file is closed, or while it goes on for long.
 *
 * No hook meets a close here: the end of the call comes when the file is gone, and a hook at its begin would tax every
 * system call twice. A timer looks twice a second which of the files are still what they were. An open has a number of
 * its own, so that another file at the same address is no confusion.
 */
#pragma once
#include "naming.h"

enum held_bound {
	HELD_FILES = 4096,
	HELD_WRITERS = 8192,
	HELD_BYTES = 1024, /* of an open's strings that are kept for the rows of what is written */
	CLOCK_BOOTTIME = 7,
	E2BIG = 7,
};

#define HELD_SWEEP_NS 500000000ULL
#define HELD_TOLD_NS 60000000000ULL /* of a file that stays open: a row each */

/* In the place of the record's header. */
struct holding {
	__u64 file, inode, dentry; /* struct file and what it is of: addresses */
	__u64 closed;
};

/* The record of an open, as long as it goes on. */
struct held_file {
	struct holding holding;
	__u8 rest[sizeof(struct file_event) - sizeof(struct holding) + HELD_BYTES];
};

struct writer_key {
	__u64 number; /* of the open */
	__u64 exec_start, exec_number;
	__s32 exec_tgid;
	__u32 pad;
};

struct writer {
	struct file_process process;
	__u64 bytes, writes;
	__u64 first, last, told; /* bpf_ktime_get_boot_ns */
	__u64 mapped; /* 1: it has mapped the file shared, by which it may write what nobody counts */
};

struct held_count {
	__u64 opens; /* the number of the last one */
	__u64 files; /* that are held now */
};

struct held_sweeper {
	struct bpf_timer timer;
	__u64 stamp; /* of the program whose callback it runs */
};

MAP(BPF_MAP_TYPE_ARRAY, __u32, struct held_count, 1)
held_count SEC(".maps");
HASH_MAP(__u64, __u64, HELD_FILES) /* by address of struct file: the number of its open */
held_numbers SEC(".maps");
HASH_MAP(__u64, struct held_file, HELD_FILES) /* by number */
held_files SEC(".maps");
HASH_MAP(struct writer_key, struct writer, HELD_WRITERS)
held_writers SEC(".maps");

static __always_inline struct held_count *count_held(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&held_count, &zero);
}

static __always_inline bool has_references(__u64 address)
{
	struct file *file = (void *)address;
	struct file___6_13 *newer = (void *)file;
	struct file___6_12 *older = (void *)file;
	__s64 references = -1;

	if (bpf_core_field_exists(newer->f_ref)) {
		references = BPF_CORE_READ(newer, f_ref.refcnt.counter);
		return references >= 0;
	}
	references = BPF_CORE_READ(older, f_count.counter);
	return references > 0;
}

/* Whether a file is what was opened, if it is open: its memory may be another's. */
static __always_inline bool is_same_file(const struct holding *holding)
{
	struct file *file = (void *)holding->file;

	return (__u64)BPF_CORE_READ(file, f_inode) == holding->inode &&
	       (__u64)BPF_CORE_READ(file, f_path.dentry) == holding->dentry;
}

static __always_inline bool is_open(const struct holding *holding)
{
	return has_references(holding->file) && is_same_file(holding);
}

/* Strings of the open that are longer than what is kept are left out; the path comes first and is cut. */
static __always_inline void bound_text(struct text *text, struct file_event *event, bool is_path)
{
	__u32 most = sizeof(struct held_file);

	if (text->offset + text->length <= most)
		return;
	if (is_path) {
		text->length = most - text->offset;
		event->flags |= FILE_PATH_TRUNCATED;
	} else {
		text->length = text->offset = 0;
	}
}

/* The row of what a process wrote, from the open's record. */
static __always_inline void tell_writer(const struct held_file *held, const struct writer *writer, __u64 bytes,
					__u64 writes, bool still)
{
	struct file_event *event;
	struct draft draft;

	if (!begin(&draft, sizeof(struct held_file)))
		return;
	event = (void *)draft.record->data;
	bpf_probe_read_kernel(event, sizeof(struct held_file), held);
	bound_text(&event->path, event, true);
	bound_text(&event->path_raw, event, false);
	bound_text(&event->source_path, event, false);
	event->opener_tgid = event->process.exec_tgid;
	event->opener_start = event->process.exec_start;
	event->opener_number = event->process.exec_number;
	if (writer->process.exec_tgid != event->opener_tgid || writer->process.exec_number != event->opener_number ||
	    writer->process.exec_start != event->opener_start)
		event->flags |= FILE_INHERITED;
	if (still)
		event->flags |= FILE_STILL_OPEN;
	if (writer->mapped)
		event->flags |= FILE_MAPPED;
	event->process = writer->process;
	event->bytes_written = bytes;
	event->writes = writes;
	event->first_write = writer->first;
	draft.now = writer->last;
	finish(&draft, RECORD_FILE_WRITE, RING_ORDINARY);
}

static long mark_closed(void *map, __u64 *number, struct held_file *held, __u64 *now)
{
	if (!held->holding.closed && !is_open(&held->holding))
		held->holding.closed = *now;
	return 0;
}

static long sweep_writer(void *map, struct writer_key *key, struct writer *writer, __u64 *now)
{
	__u64 number = key->number, bytes, writes;
	struct held_file *held = bpf_map_lookup_elem(&held_files, &number);

	if (!held) { /* a write that ended when its file was closed already */
		count_file(FILE_UNHELD);
		bpf_map_delete_elem(map, key);
		return 0;
	}
	bytes = writer->bytes;
	writes = writer->writes;
	if (held->holding.closed) {
		if (writes || writer->mapped)
			tell_writer(held, writer, bytes, writes, false);
		bpf_map_delete_elem(map, key);
	} else if ((writes || writer->mapped) && *now > writer->told && *now - writer->told > HELD_TOLD_NS) {
		tell_writer(held, writer, bytes, writes, true);
		writer->told = *now;
		__sync_fetch_and_add(&writer->bytes, -bytes);
		__sync_fetch_and_add(&writer->writes, -writes);
		writer->first = 0;
	}
	return 0;
}

static long forget_closed_file(void *map, __u64 *number, struct held_file *held, __u64 *now)
{
	__u64 file = held->holding.file, *known;
	struct held_count *counted = count_held();

	if (held->holding.closed != *now)
		return 0;
	known = bpf_map_lookup_elem(&held_numbers, &file);
	if (known && *known == *number)
		bpf_map_delete_elem(&held_numbers, &file);
	if (!bpf_map_delete_elem(map, number) && counted)
		__sync_fetch_and_add(&counted->files, -1);
	return 0;
}

/* Three rounds: the next sweep writes the row of a file that is closed in this one, with all that was written to it. */
static __always_inline void sweep_held(void)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct held_count *counted = count_held();

	if (!counted || !counted->files)
		return;
	bpf_for_each_map_elem(&held_files, mark_closed, &now, 0);
	bpf_for_each_map_elem(&held_writers, sweep_writer, &now, 0);
	bpf_for_each_map_elem(&held_files, forget_closed_file, &now, 0);
}

/* Keep the record of an open that is about to be sent: its header is written only then. */
static __always_inline void hold(struct draft *draft, struct file *file)
{
	struct held_count *counted = count_held();
	struct held_file *held = (void *)draft->record->data;
	__u64 address = (__u64)file, number;

	if (!counted)
		return;
	held->holding.file = address;
	held->holding.inode = (__u64)BPF_CORE_READ(file, f_inode);
	held->holding.dentry = (__u64)BPF_CORE_READ(file, f_path.dentry);
	held->holding.closed = 0;
	number = __sync_fetch_and_add(&counted->opens, 1) + 1;
	if (bpf_map_update_elem(&held_files, &number, held, BPF_NOEXIST)) {
		count_file(FILE_UNHELD);
		return;
	}
	__sync_fetch_and_add(&counted->files, 1);
	if (bpf_map_update_elem(&held_numbers, &address, &number, BPF_ANY))
		count_file(FILE_UNHELD);
}

static __always_inline struct writer *new_writer(struct writer_key *key, const struct writer *fresh)
{
	if (bpf_map_update_elem(&held_writers, key, fresh, BPF_NOEXIST) == -E2BIG)
		count_file(FILE_UNHELD);
	return bpf_map_lookup_elem(&held_writers, key);
}

static __always_inline void add_write(struct writer *writer, __u64 bytes, __u64 now)
{
	if (!writer->first)
		writer->first = now;
	writer->last = now;
	__sync_fetch_and_add(&writer->bytes, bytes);
	__sync_fetch_and_add(&writer->writes, 1);
}
