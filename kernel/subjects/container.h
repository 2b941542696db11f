/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Cgroups, which carry containers: they come and go, and processes move into them. */
#pragma once
#include "events.h"

enum cgroup_record_kind {
	RECORD_CGROUP_CREATE = 16,
	RECORD_CGROUP_REMOVE = 17,
	RECORD_CGROUP_MOVE = 18,
	RECORD_CGROUP_SEEN = 19,
};

RECORDS_BEGIN

struct cgroup_event {
	struct record_header header;
	__u64 exec_start DOC("the process that was moved: start_boottime of its leader") UNIT("ns") NULL_IS("0");
	__u64 exec_number DOC("the process that was moved: task->self_exec_id");
	__s32 exec_tgid DOC("the process that was moved: id in the host's pid namespace") NULL_IS("0");
	__u32 cgroup_hierarchy DOC("0 is cgroup v2, else v1's number in /proc/cgroups");
	__u64 cgroup_id DOC("kernfs id of the cgroup's directory in that hierarchy: its inode number");
	struct text cgroup_path DOC("path of the cgroup below its hierarchy's root");
	__u8 pad[4];
} TAG("table:container") TAG("record:RECORD_CGROUP_CREATE:create") TAG("record:RECORD_CGROUP_REMOVE:remove")
TAG("record:RECORD_CGROUP_MOVE:move") TAG("record:RECORD_CGROUP_SEEN:seen");

RECORDS_END

/* A type that only helper calls or tags mention is dropped from BTF. */
enum cgroup_record_kind anchor_cgroup_kind __attribute__((unused));
