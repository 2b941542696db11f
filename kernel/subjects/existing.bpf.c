/* SPDX-License-Identifier: GPL-2.0 */
/* What runs already when observing begins: read once by iterators, marked as seen. */
#include "image.h"
#include "socket.h"
#include "withhold.h"

char _license[] SEC("license") = "GPL";

/*
 * The host's namespaces are those that the kernel booted with: init_task's, which every chain of parents ends in.
 * Process 1 may have left them, and may be hidden from iterators.
 */
SEC("iter/task")
int existing_host(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_context context = {};
	struct host ours = {};
	__u32 zero = 0;

	if (!task || ctx->meta->seq_num)
		return 0;
	for (int i = 0; i < ANCESTORS && task->tgid; i++)
		task = task->real_parent;
	fill_namespaces(&context, task);
	ours.mount = context.ns_mount;
	ours.uts = context.ns_uts;
	ours.ipc = context.ns_ipc;
	ours.net = context.ns_net;
	ours.pid = context.ns_pid;
	ours.cgroup = context.ns_cgroup;
	ours.time = context.ns_time;
	ours.user = task->real_cred->user_ns->ns.inum;
	bpf_map_update_elem(&host, &zero, &ours, BPF_ANY);
	return 0;
}

static __always_inline void remember_existing(struct task_struct *task, __u64 cgroup)
{
	struct process_memory memory = {.before_number = ~0ULL, .unsure = 1, .cgroup = cgroup};
	struct process_key key = key_of(task);

	parent_now(&memory, task);
	if (bpf_map_update_elem(&processes, &key, &memory, BPF_NOEXIST) == -7 /* E2BIG */)
		count(FAILURE_PROCESS_MAP);
}

SEC("iter.s/task")
int existing_processes(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct process_exec *exec;
	struct cgroup_memory *known;
	struct file *file = NULL;
	struct cgroup *cgroup;
	struct draft draft;
	__u64 id;

	if (!task || task->pid != task->tgid)
		return 0;
	cgroup = cgroup_of(task);
	if (!in_scope(cgroup))
		return 0;
	id = cgroup_id(cgroup);
	known = know_cgroup(cgroup, id);
	if (known && !known->first_start) { /* its container is under way: who comes now is brought in */
		known->first_start = task->group_leader->start_boottime;
		known->first_tgid = task->tgid;
	}
	remember_existing(task, id);
	unfold(memory_of(task));
	if (!begin(&draft, sizeof(*exec)))
		return 0;
	exec = (void *)draft.record->data;
	__builtin_memset(exec, 0, sizeof(*exec));
	fill_context(&exec->context, task, id, memory_of(task));
	exec->previous_number = exec->context.exec_number;
	if (task->mm)
		file = task->mm->exe_file;
	if (file)
		fill_file(&draft, exec, file);
	fill_cwd(&draft, exec, task);
	fill_arguments(&draft, exec, task, task);
	fill_streams(exec, task);
	finish(&draft, RECORD_PROCESS_SEEN, RING_ORDINARY);
	/* One byte a record: by the size of its reads the reader says how many records it has room for. */
	bpf_seq_write(ctx->meta->seq, "", 1);
	return 0;
}

static __always_inline __u8 transport_of(struct sock *sk)
{
	if (sk->__sk_common.skc_family == AF_PACKET)
		return TRANSPORT_PACKET;
	if (sk->sk_type == SOCK_RAW)
		return TRANSPORT_RAW;
	if (sk->sk_protocol == IPPROTO_TCP)
		return TRANSPORT_TCP;
	if (sk->sk_protocol == IPPROTO_UDP)
		return TRANSPORT_UDP;
	return is_ping(sk->sk_protocol) ? TRANSPORT_ICMP : TRANSPORT_OTHER;
}

/* A socket whose ends no row tells: raw, packet, ping and others. */
static __always_inline bool is_endless(__u8 transport)
{
	return transport != TRANSPORT_TCP && transport != TRANSPORT_UDP;
}

/* A connection that is older than us: whoever has it first in the order of processes is its process. */
static __always_inline bool remember_socket(struct sock *sk, struct socket_memory *memory, struct task_struct *task,
					    __u64 cgroup)
{
	__u8 state = sk->__sk_common.skc_state, transport = transport_of(sk);

	fill_process(&memory->process, task, cgroup);
	memory->process.ns_net = sk->__sk_common.skc_net.net->ns.inum;
	memory->began = bpf_ktime_get_boot_ns();
	memory->state = SOCKET_BEFORE;
	if (transport != TRANSPORT_TCP)
		return true;
	if (state == TCP_LISTEN)
		memory->state |= SOCKET_LISTENS;
	else
		memory->state |= SOCKET_NO_HEADS | (state != TCP_SYN_SENT ? SOCKET_ESTABLISHED : 0);
	return state != TCP_CLOSE;
}

static __always_inline void tell_socket(struct sock *sk, struct socket_memory *memory)
{
	__u8 transport = transport_of(sk);
	struct connection_event *row;

	if (is_endless(transport)) {
		tell_endless(memory, bpf_get_socket_cookie(sk), transport, 0,
			     transport == TRANSPORT_PACKET ? packet_protocol(sk) : sk->sk_protocol,
			     RECORD_CONNECTION_SEEN);
		return;
	}
	row = begin_row(memory);
	if (!row)
		return;
	row->ends.cookie = bpf_get_socket_cookie(sk);
	row->ends.transport = transport;
	fill_ends(&row->ends, sk);
	row->flags |= end_flags(&row->ends) | mapped_flag(sk->__sk_common.skc_family, &row->ends);
	if (memory->state & SOCKET_LISTENS)
		row->flags |= CONNECTION_LISTENING;
	submit(&row->header, RECORD_CONNECTION_SEEN);
}

SEC("iter/task_file")
int existing_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket_memory *memory;
	struct socket *socket;
	struct sock *sk;
	__u64 cgroup;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	sk = socket->sk;
	if (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6 &&
	    sk->__sk_common.skc_family != AF_PACKET)
		return 0;
	if (!is_wanted(task, &cgroup))
		return 0;
	memory = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!memory) {
		count(FAILURE_SOCKET_MAP);
		return 0;
	}
	if (memory->process.exec_tgid || !remember_socket(sk, memory, task, cgroup))
		return 0;
	tell_socket(sk, memory);
	bpf_seq_write(ctx->meta->seq, "", 1);
	return 0;
}
