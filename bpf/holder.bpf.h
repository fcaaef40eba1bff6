/*
 * Which process holds the client's end of a session: an iterator over the descriptors of all
 * processes, run when somebody asks for it. A TCP client's socket is known by its own cookie, which
 * sock_diag tells (userspace/access/owner.c), a Unix client's by the cookie of its peer: that is
 * the session. Cookies are given once, so another socket is never taken for it.
 */
#ifndef DBPS_BPF_HOLDER_H
#define DBPS_BPF_HOLDER_H

static __always_inline __u64 holder_key(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family;

	if (family == AF_INET || family == AF_INET6)
		return (__u64)sk->__sk_common.skc_cookie.counter;
	return family == AF_UNIX ? unix_peer(sk).cookie : 0;
}

SEC("iter/task_file")
int dbps_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task, *leader;
	struct dbps_holder holder = {};
	struct file *file = ctx->file;
	struct socket *sock;
	__u64 *cookie, key;
	struct sock *sk;

	if (!task || !file)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	key = sk ? holder_key(sk) : 0;
	cookie = key ? bpf_map_lookup_elem(&dbps_client_ends, &key) : NULL;
	if (!cookie)
		return 0;
	leader = task->group_leader;
	holder.cookie = *cookie;
	holder.start_ns = leader->start_boottime;
	holder.pid = (__u32)task->tgid;
	__builtin_memcpy(holder.command, leader->comm, sizeof(holder.command));
	bpf_seq_write(ctx->meta->seq, &holder, sizeof(holder));
	return 0;
}

#endif
