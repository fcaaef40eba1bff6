/*
 * What the taps are measured against: programs on the same two tracepoints that do nothing, and, in
 * a run of their own, programs that only count the events by kind.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "empty.h"

const volatile int server_tgid;

__u64 counts[EVENT_N];

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

static void count(enum event server, enum event other, int ret)
{
	bool of_server = bpf_get_current_pid_tgid() >> 32 == (__u32)server_tgid;
	enum event event = !of_server ? other : ret > 0 ? server : server + 1;

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
