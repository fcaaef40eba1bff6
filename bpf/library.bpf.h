/*
 * The TLS library: probes at the begin and the end of SSL_read, SSL_write and their _ex forms, or
 * of the two functions that these pass on to (userspace/kernel/library.c); of PostgreSQL at those
 * of its own functions over them (be_tls_read(), be_gssapi_read(), …; libpq/be-secure-openssl.c),
 * which take the same arguments: an object, a buffer and its size. At the end the plaintext is in
 * the caller's buffer, and is followed as a tap follows that of a socket.
 *
 * Which session it belongs to:
 * 1. The library's own receive or send fires the tap on the same thread, inside the call: the tap
 * notes the socket's cookie with the call (plain_note()).
 * 2. A read that is served from the library's buffer moves no bytes of the socket; then the cookie
 * is that of the SSL object, noted when it was seen last. MariaDB reads header and body of one
 * record in two calls, so this happens each time.
 * 3. An SSL object is freed and its address used again: a call that moves bytes of a socket comes
 * first then, as a handshake precedes any plaintext, and so the note is renewed before it is used.
 */
#ifndef DBPS_BPF_LIBRARY_H
#define DBPS_BPF_LIBRARY_H

struct library_object {
	__u64 ssl; /* address */
	__u32 tgid;
	__u32 pad;
};

/* {process, SSL object} -> socket cookie. The least recently used one gives way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct library_object);
	__type(value, __u64);
} dbps_library_objects SEC(".maps");

SEC("uprobe")
int dbps_library_enter(struct pt_regs *ctx)
{
	struct library_call *c = bpf_task_storage_get(
		&dbps_library_calls, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!c)
		return 0;
	c->ssl = PT_REGS_PARM1(ctx);
	c->buffer = PT_REGS_PARM2(ctx);
	c->n = PT_REGS_PARM3(ctx);
	c->moved[0] = PT_REGS_PARM4(ctx);
	c->moved[1] = PT_REGS_PARM5(ctx);
	c->cookie = 0;
	return 0;
}

/* Bytes that a call moved; 0: none. */
static __always_inline __u32 library_moved(struct pt_regs *ctx, const struct library_call *c)
{
	__u32 form = bpf_get_attach_cookie(ctx) & DBPS_LIBRARY_FORM;
	int ret = (int)PT_REGS_RC(ctx);
	__u64 n = 0;

	if (ret <= 0)
		return 0;
	if (form == DBPS_LIBRARY_PLAIN)
		return (__u32)ret;
	if (bpf_probe_read_user(&n, sizeof(n), (const void *)c->moved[form == DBPS_LIBRARY_EX2]) ||
	    n > 0x7fffffff)
		return 0;
	return (__u32)n;
}

/* The record of the object's plaintext, invariants 1 and 2. */
static __always_inline struct dbps_record *library_record(const struct library_call *c)
{
	struct library_object key = {.ssl = c->ssl, .tgid = bpf_get_current_pid_tgid() >> 32};
	__u64 *noted = bpf_map_lookup_elem(&dbps_library_objects, &key);
	__u64 cookie = c->cookie;

	if (!cookie) {
		if (!noted)
			return NULL;
		cookie = *noted;
	} else if (!noted || *noted != cookie) {
		bpf_map_update_elem(&dbps_library_objects, &key, &cookie, BPF_ANY);
	}
	return bpf_map_lookup_elem(&dbps_plain, &cookie);
}

/*
 * A server that forks is probed in its program's file, and so in all processes of that file: each
 * server's probes bear its number, and look at its own children alone.
 */
static __always_inline bool library_is_others(struct pt_regs *ctx)
{
	__u64 server = bpf_get_attach_cookie(ctx) >> DBPS_LIBRARY_SERVER_SHIFT;

	return server && server != tap_server_of(bpf_get_current_task_btf());
}

/* The library has nothing for a server that asks for its next request. */
static __noinline int library_waits(struct dbps_record *r, __u64 requested)
{
	if ((r->s.phase != DBPS_PHASE_UNKNOWN && r->s.phase != DBPS_PHASE_UNFRAMED) ||
	    !session_lock(r))
		return 0;
	session_waits(r, requested);
	session_unlock(r);
	return 0;
}

static __always_inline int library_moves(struct pt_regs *ctx, bool sends)
{
	struct library_call *c =
		bpf_task_storage_get(&dbps_library_calls, bpf_get_current_task_btf(), 0, 0);
	struct dbps_record *r;
	bool was_closed;
	__u32 n;

	if (!c || !c->ssl || library_is_others(ctx))
		return 0;
	n = library_moved(ctx, c);
	r = library_record(c);
	c->ssl = 0;
	if (!r)
		return 0;
	if (!n)
		return sends ? 0 : library_waits(r, c->n);
	if (!sends && n == 4 && mysql_skips_header(&r->s))
		return 0;
	if (!session_lock(r))
		return 0;
	was_closed = r->s.phase == DBPS_PHASE_CLOSED;
	if (!(r->s.flags & DBPS_TLS_READ))
		plain_first(r, c->buffer, n, sends);
	if (sends) {
		session_sent_all(r, c->buffer, n, &c->window);
	} else {
		r->s.tid = (__u32)bpf_get_current_pid_tgid();
		session_received(r, c->buffer, n, c->n);
	}
	session_unlock(r);
	if (!was_closed && r->s.phase == DBPS_PHASE_CLOSED)
		plain_quit(&r->s);
	return 0;
}

SEC("uretprobe")
int dbps_library_read(struct pt_regs *ctx)
{
	return library_moves(ctx, false);
}

SEC("uretprobe")
int dbps_library_wrote(struct pt_regs *ctx)
{
	return library_moves(ctx, true);
}

#endif
