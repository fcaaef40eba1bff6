/*
 * Reset of many: one pass over the TCP sockets of a network namespace, which aborts those of the
 * sessions that the daemon has listed. The iterator holds the socket's lock
 * (bpf_iter_tcp_seq_show() in net/ipv4/tcp_ipv4.c), so nothing is received or sent between the look
 * at the session and the reset.
 */
#ifndef DBPS_BPF_RESET_H
#define DBPS_BPF_RESET_H

/* Linux 6.5 (4ddbcb886268). */
extern int bpf_sock_destroy(struct sock_common *sock) __ksym __weak;

static __always_inline __s32 reset_as_judged(const struct dbps_session *s,
					     const struct dbps_reset *wanted,
					     struct sock_common *skc)
{
	int r;

	if (s->sequence != wanted->sequence || dbps_session_executes(s) != (bool)wanted->executes)
		return DBPS_RESET_CHANGED;
	r = bpf_sock_destroy(skc);
	return r ? r : DBPS_RESET_DONE;
}

SEC("iter/tcp")
int dbps_reset_many(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct dbps_reset *wanted;
	struct dbps_record *r;
	struct tcp_sock *tp;
	__u64 cookie;

	if (!skc || !bpf_sock_destroy)
		return 0;
	/* Neither a request nor a socket in TIME_WAIT: those have no storage. */
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, tp, 0, 0);
	if (!r)
		return 0;
	cookie = r->s.cookie;
	wanted = bpf_map_lookup_elem(&dbps_resets, &cookie);
	if (wanted && wanted->result == DBPS_RESET_NOT_FOUND)
		wanted->result = reset_as_judged(&r->s, wanted, skc);
	return 0;
}

#endif
