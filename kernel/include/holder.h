/* SPDX-License-Identifier: GPL-2.0 */
/* Which process has a TCP connection: who uses it has accepted it, or has taken it from another. */
#pragma once
#include "brief.h"

static __always_inline void tell(struct sock *sk, struct socket_memory *memory, __u64 cookie, __u16 kind, __u8 outcome,
				 __u64 flags)
{
	struct connection_event *row;

	if (folding.connections && kind != RECORD_CONNECTION_LISTEN && !flags) {
		tell_brief(sk, memory, cookie, kind, outcome);
		return;
	}
	row = begin_row(memory);
	if (!row)
		return;
	fill_tcp(row, sk, cookie);
	row->flags |= flags;
	row->outcome = outcome;
	row->error = error_of(sk, memory);
	if (has_counters(kind))
		fill_counters(row, sk);
	submit(&row->header, kind);
}

/* Whether a row has said whose a connection is. */
static __always_inline bool is_told(const struct socket_memory *memory)
{
	return !(memory->state & SOCKET_INCOMING) || memory->state & SOCKET_ACCEPT_TOLD;
}

/* Whether nothing new can be learned of the current process's use of a connection. */
static __always_inline bool is_known(const struct socket_memory *memory, struct task_struct *task)
{
	return is_told(memory) && (memory->taken > MOST_TAKEN || same_process(&memory->process, task));
}

/* A process that is to be recorded uses a connection, of which that is new: it has accepted it, or has it from another,
 * or from the image before it. */
static __always_inline void used_by(struct sock *sk, struct socket_memory *memory, __u64 cookie,
				    struct task_struct *task, __u64 cgroup)
{
	bool told = is_told(memory);

	if (told) {
		unfold_row(memory, cookie);
		memory->opener_tgid = memory->process.exec_tgid;
		memory->opener_start = memory->process.exec_start;
		memory->opener_number = memory->process.exec_number;
		if (memory->taken++ == MOST_TAKEN) {
			memory->state |= SOCKET_SHARED;
			return;
		}
	}
	take_over(memory, task, cgroup);
	memory->state |= SOCKET_ACCEPT_TOLD;
	tell(sk, memory, cookie, told ? RECORD_CONNECTION_TAKEN : RECORD_CONNECTION_ACCEPT,
	     told ? OUTCOME_NONE : OUTCOME_ESTABLISHED, 0);
}

/* The current process uses a connection. */
static __always_inline void used(struct sock *sk, struct socket_memory *memory, __u64 cookie)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 cgroup;

	if (!is_known(memory, task) && is_wanted(task, &cgroup))
		used_by(sk, memory, cookie, task, cgroup);
}
