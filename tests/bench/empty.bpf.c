/*
 * What the taps are measured against: programs on the same two tracepoints that do nothing; the
 * least that any tap has to do; and, in a run of their own, programs that only count the events by
 * kind.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "empty.h"

const volatile int server_tgid;
const volatile bool looks;

__u64 counts[EVENT_N];

/* The server's process, or a backend of a PostgreSQL, its child. */
static bool is_server(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->tgid == server_tgid || task->real_parent->tgid == server_tgid;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(empty_recv, struct sock *sk, int ret, int flags)
{
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(empty_send, struct sock *sk, int ret, int flags)
{
	return 0;
}

/* What the least tap keeps of a socket: as large as a session, and as little of it is touched. */
struct least {
	__u64 start_ns;
	__u64 end_ns;
	__u64 first;
	__u8 rest[1000];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct least);
} leasts SEC(".maps");

/* Read 64 bytes or less of what the call moved. Returns the first eight. */
static __u64 look(int ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	__u64 bytes[8];

	return bpf_probe_read_user(bytes, ret < 64 ? ret & 63 : 64, (void *)regs->si) ? 0
										      : bytes[0];
}

/* Finds the socket's storage; with `looks`, for each body, also reads it and the clock. */
SEC("tp_btf/sock_recv_length")
int BPF_PROG(least_recv, struct sock *sk, int ret, int flags)
{
	struct least *l;

	if (!sk->sk_bpf_storage)
		return 0;
	l = bpf_sk_storage_get(&leasts, sk, 0, 0);
	if (!l || !looks || ret <= 4)
		return 0;
	l->first = look(ret);
	l->start_ns = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(least_send, struct sock *sk, int ret, int flags)
{
	struct least *l;

	if (!sk->sk_bpf_storage) {
		if (is_server())
			bpf_sk_storage_get(&leasts, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		return 0;
	}
	l = bpf_sk_storage_get(&leasts, sk, 0, 0);
	if (!l || !looks || ret <= 0)
		return 0;
	l->first = look(ret);
	l->end_ns = bpf_ktime_get_ns();
	return 0;
}

static void count(enum event server, enum event other, int ret)
{
	enum event event = !is_server() ? other : ret > 0 ? server : server + 1;

	__sync_fetch_and_add(&counts[event], 1);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(count_recv, struct sock *sk, int ret, int flags)
{
	count(EVENT_SERVER_RECV, EVENT_OTHER_RECV, ret);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(count_send, struct sock *sk, int ret, int flags)
{
	count(EVENT_SERVER_SEND, EVENT_OTHER_SEND, ret);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
