/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What programs give to libssl before it is encrypted: the first bytes of a request, by a uprobe, where a user asks for
 * it and names the library (a hit costs 16 to 24 us in a VM). packet.bpf.c finds the connection by the thread's next
 * segment.
 */
#include "socket.h"

char _license[] SEC("license") = "GPL";

/* Only what looks like the head of a request: three capital letters. */
static __always_inline bool is_head(const __u8 *bytes)
{
	for (int i = 0; i < 3; i++) {
		if (bytes[i] < 'A' || bytes[i] > 'Z')
			return false;
	}
	return true;
}

/* int SSL_write(SSL *, const void *, int) and int SSL_write_ex(SSL *, const void *, size_t, size_t *), ssl.h */
SEC("uprobe")
int BPF_KPROBE(plain_write, void *ssl, const void *buffer, __u64 length)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 wanted = length > PLAIN_BYTES ? PLAIN_BYTES : length;
	struct plain *given;
	struct draft draft;
	__u8 first[4] = {};

	if ((__u32)length < sizeof(first) || !in_scope(cgroup_of(bpf_get_current_task_btf())))
		return 0;
	if (bpf_probe_read_user(first, sizeof(first), buffer) || !is_head(first) || !begin(&draft, 0))
		return 0;
	given = (void *)draft.record->data; /* too large for the stack */
	given->length = (__u32)length;
	asm volatile("" : "+r"(wanted));
	wanted = ((wanted - 1) & (PLAIN_BYTES - 1)) + 1;
	if (!bpf_probe_read_user(given->head, wanted, buffer))
		bpf_map_update_elem(&plains, &thread, given, BPF_ANY);
	abandon(&draft);
	return 0;
}
