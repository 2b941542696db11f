/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* A subject of the tests: tasks that change their name (task->comm). */
#pragma once
#include "socket.h"

enum rename_record_kind {
	RECORD_RENAME = 250,
};

enum rename_failure {
	RENAME_SHOUTED = 0, /* a name that begins with an exclamation mark: no row tells of it */
};

enum rename_flag {
	RENAME_THREAD = 1 << 0, /* of a thread that does not lead its process */
};

RECORDS_BEGIN

struct rename_event {
	struct record_header header;
	struct socket_process process;
	__u64 flags DOC("what is remarkable about it") ROLE("flags:rename_flag");
	__u64 times DOC("how often tasks of this process were renamed so far");
	char old_name[16] DOC("task->comm before");
	char new_name[16] DOC("task->comm from then on, redacted");
} TAG("table:rename") TAG("record:RECORD_RENAME:rename");

RECORDS_END

struct rename_settings {
	__u32 threads; /* renames of threads are recorded */
};
