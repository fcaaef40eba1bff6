/*
 * Iterators: the snapshot copies all sessions out, whole; the join gives a server's existing
 * sockets a session; the adoption fills in what a control link knows of those.
 */
#ifndef DBPS_BPF_SNAPSHOT_H
#define DBPS_BPF_SNAPSHOT_H

#define TCP_ESTABLISHED 1
#define TCP_CLOSE_WAIT	8
#define TCP_LISTEN	10
#define SOCK_STREAM	1

/* Copies of one record that are tried while taps keep changing it. */
#define SNAPSHOT_TRIES 4

#define CHUNK 64

struct chunk {
	__u8 b[CHUNK];
};

struct text_copy {
	struct dbps_record *r;
	struct dbps_page *page;
	__u32 to;  /* in the page's rows */
	__u32 off; /* of the text in the request */
	__u32 n;
};

DBPS_TURN(DBPS_TEXT_MAX / CHUNK + 1, text_copy_chunk, struct text_copy, c)
{
	__u32 done = i * CHUNK, from = c->off + done, to = c->to + done;

	if (done >= c->n || from > dbps_body_cap || to > DBPS_PAGE_BYTES - CHUNK)
		return 1;
	*(struct chunk *)(c->page->rows + to) = *(struct chunk *)(dbps_body(c->r) + from);
	return 0;
}

/* Copy a name of `len` bytes; almost all are short, and each cache line that is read counts. */
#define snapshot_name(to, from, len)                                                               \
	do {                                                                                       \
		__builtin_memcpy((to), (from), 32);                                                \
		if ((len) > 32)                                                                    \
			__builtin_memcpy((to) + 32, (from) + 32, sizeof(from) - 32);               \
	} while (0)

/* The names, one behind the other at `to`. Returns the bytes that they take, or negative. */
static __always_inline int snapshot_names(const struct dbps_session *s, __u8 *to)
{
	__u32 user = (s->user_len + 7u) & ~7u, db = (s->db_len + 7u) & ~7u;

	if (user > DBPS_USER_MAX || db > DBPS_DB_MAX)
		return -1;
	snapshot_name(to, s->user, user);
	snapshot_name(to + user, s->db, db);
	__builtin_memcpy(to + user + db, s->program, sizeof(s->program));
	return (int)(user + db + ((s->program_len + 7u) & ~7u));
}

/*
 * Copy the record's session, and `want` bytes of text of a statement that executes, to `at` in the
 * page. Returns the bytes of the row's tail, or negative when the record changed meanwhile.
 */
__noinline int snapshot_copy(struct dbps_record *r, struct dbps_page *page, __u32 at, __u32 want)
{
	struct text_copy c = {.r = r, .page = page};
	const struct dbps_session *s;
	struct dbps_packed_row *row;
	int names;

	if (!r || !page || at > DBPS_PAGE_BYTES - DBPS_ROW_ROOM)
		return -1;
	row = (struct dbps_packed_row *)(page->rows + at);
	s = (struct dbps_session *)row->session;
	row->text_have = 0;
	__builtin_memcpy(row->session, &r->s, sizeof(row->session));
	row->thread.used = r->begun;
	names = snapshot_names(&r->s, (__u8 *)(row + 1));
	if (names < 0 || !want || !(s->flags & DBPS_HAS_TEXT))
		return names;
	c.off = s->text_off;
	c.n = r->request.have;
	if (c.off > 3 || c.off >= c.n)
		return names;
	c.n -= c.off;
	if (c.n > want)
		c.n = want;
	if (c.n > DBPS_TEXT_MAX)
		return -1;
	c.to = at + sizeof(*row) + (__u32)names;
	DBPS_LOOP(text_copy_chunk, &c);
	row->text_have = c.n;
	return names + (int)c.n;
}

/* Until a copy is whole: `gen` even and unchanged. Returns as snapshot_copy(). */
static __always_inline int snapshot_copy_whole(struct dbps_record *r, struct dbps_page *page,
					       __u32 at, __u32 want)
{
	__u32 gen;
	int tail;

	for (int i = 0; i < SNAPSHOT_TRIES; i++) {
		/* An atomic is a full barrier on every processor. */
		gen = __sync_fetch_and_add(&r->s.gen, 0);
		if (gen & 1)
			continue;
		tail = snapshot_copy(r, page, at, want);
		if (__sync_fetch_and_add(&r->s.gen, 0) == gen)
			return tail;
	}
	return -1;
}

/* A kill that is under way shows in the session's state. */
static __always_inline void snapshot_mark_killed(struct dbps_session *s)
{
	const struct dbps_cancel *c = cancel_get(s->cookie, DBPS_CANCEL_CONNECTION);

	if (c && !c->settled_ns) {
		s->flags |= DBPS_KILLED_SESSION;
		return;
	}
	c = cancel_get(s->cookie, DBPS_CANCEL_QUERY);
	if (c && !c->settled_ns && c->sequence == s->sequence)
		s->flags |= DBPS_KILLED;
}

/* Add a session's row to a page. Returns 1 when there is no room for it. */
static __always_inline int snapshot_put(struct dbps_page *page, struct dbps_record *r,
					struct sock *sk, __u32 text_bytes, bool threads)
{
	struct dbps_packed_row *row;
	struct dbps_session *s;
	__u32 at = page->used;
	int tail;

	if (at > DBPS_PAGE_BYTES - DBPS_ROW_ROOM)
		return 1;
	row = (struct dbps_packed_row *)(page->rows + at);
	s = (struct dbps_session *)row->session;
	tail = snapshot_copy_whole(r, page, at, text_bytes);
	if (tail < 0) {
		tail = 0;
		row->text_have = 0;
		s->cookie = r->s.cookie;
		s->gen = 1; /* the daemon reads this one again */
		s->armed = 0;
	}
	plain_row(s);
	if (s->armed)
		snapshot_mark_killed(s);
	row->peer = peer_of(sk, &row->peer_ns);
	row->thread.state = DBPS_THREAD_UNKNOWN;
	if (threads && !(s->gen & 1))
		thread_look(&row->thread, s, sk);
	row->now_ns = bpf_ktime_get_ns();
	row->size = (sizeof(*row) + (__u32)tail + 7) & ~7u;
	page->used = at + row->size;
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int dbps_snapshot(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct dbps_control *control = control_get();
	struct dbps_page *page;
	struct dbps_record *r;
	__u32 zero = 0;

	if (!sk || !ctx->value || !control)
		return 0;
	/* Closed by the server: a client that keeps its end of a Unix socket keeps this one in
	 * memory. */
	if (!sk->sk_socket)
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, 0, 0);
	page = bpf_map_lookup_elem(&dbps_page, &zero);
	if (!r || !page || !r->s.cookie)
		return 0;
	if (control->cookie && control->cookie != r->s.cookie)
		return 0;
	/* When the page is full the daemon empties it and comes back. */
	return snapshot_put(page, plain_or(r), sk, control->text_bytes, control->threads);
}

/* Both records: that of the plaintext sees statements end, that of the socket its close. */
static __always_inline bool snapshot_arm(struct dbps_record *r)
{
	struct dbps_record *p = plain_or(r);

	if (p != r)
		cancel_arm(&p->s);
	return cancel_arm(&r->s);
}

/* Arm: the sessions that have an entry in the cancel map are told (cancel.bpf.h, 3. and 4.). */
SEC("iter/bpf_sk_storage_map")
int dbps_arm(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct dbps_control *control = control_get();
	struct sock *sk = ctx->sk;
	struct dbps_record *r;

	if (!sk || !ctx->value || !control || !sk->sk_socket)
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, 0, 0);
	if (!r || (control->cookie && control->cookie != r->s.cookie))
		return 0;
	if (snapshot_arm(r))
		control->armed++;
	return 0;
}

/*
 * One: a session by a copy of its descriptor. This iterator is made over the daemon's own
 * descriptors, of which the copy is one: few, whatever the number of sessions. What has an entry in
 * the cancel map is armed, and then read: a whole copy that is made after arming shows what ended
 * before it. The byte that is written ends the daemon's read there.
 */
SEC("iter/task_file")
int dbps_one(struct bpf_iter__task_file *ctx)
{
	struct dbps_control *control = control_get();
	struct file *file = ctx->file;
	struct dbps_page *page;
	struct dbps_record *r;
	struct socket *sock;
	struct sock *sk;
	__u32 zero = 0;
	__u8 found = 1;

	if (!file || !control)
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk || !sk->sk_bpf_storage)
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, 0, 0);
	page = bpf_map_lookup_elem(&dbps_one_page, &zero);
	if (!r || !page || page->used || r->s.cookie != control->one_cookie)
		return 0;
	snapshot_arm(r);
	if (control->signal && control->signal_cookie == r->s.cookie) {
		control->signalled = signal_session(&plain_or(r)->s, control);
		control->signal = 0;
	}
	snapshot_put(page, plain_or(r), sk, control->one_text, false);
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}

/* ------------------------------------------------------------------ join -------------------- */

static __always_inline __u64 *join_port(__u16 port)
{
	__u32 word = port / 64;

	return bpf_map_lookup_elem(&dbps_ports, &word);
}

/* Whether this socket is the server's end of a connection. */
static __always_inline bool join_accepted(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family, port = sk->__sk_common.skc_num;
	__u8 state = sk->__sk_common.skc_state;
	__u64 *ports;

	/* In CLOSE_WAIT the client has gone, and the server may execute on: an orphan. */
	if ((state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT) || sk->sk_type != SOCK_STREAM)
		return false;
	if (family == AF_UNIX)
		return unix_is_named(sk);
	if (family != AF_INET && family != AF_INET6)
		return false;
	ports = join_port(port);
	return ports && *ports & 1ull << (port & 63);
}

static __always_inline void join_listener(struct sock *sk)
{
	__u16 family = sk->__sk_common.skc_family, port = sk->__sk_common.skc_num;
	__u64 *ports = join_port(port);

	if (ports && (family == AF_INET || family == AF_INET6) &&
	    sk->__sk_common.skc_state == TCP_LISTEN)
		*ports |= 1ull << (port & 63);
}

/* The server itself, and the backends of a PostgreSQL. */
static __always_inline bool join_serves(struct task_struct *task, __u32 server, bool *ret_backend)
{
	if (task->tgid != task->pid)
		return false;
	if ((__u32)task->tgid == server)
		return true;
	*ret_backend = (__u32)task->real_parent->tgid == server && tap_is_postgres(task);
	return *ret_backend;
}

SEC("iter/task_file")
int dbps_join(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct dbps_control *control = control_get();
	struct socket *sock;
	struct dbps_record *r;
	bool backend = false;
	struct sock *sk;

	if (!task || !file || !control || !control->join_tgid ||
	    !join_serves(task, control->join_tgid, &backend))
		return 0;
	sock = bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = sock->sk;
	if (!sk)
		return 0;
	if (!control->join_pass) {
		if (!backend)
			join_listener(sk);
		return 0;
	}
	/* What PostgreSQL has accepted is the session of a backend that it has yet to start. */
	if (!backend && tap_is_postgres(task))
		return 0;
	if (!join_accepted(sk) || bpf_sk_storage_get(&dbps_sessions, sk, 0, 0))
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!r) {
		loss_count(DBPS_LOSS_NO_STORAGE);
		return 0;
	}
	if (!session_lock(r))
		return 0;
	session_identify(&r->s, sk, (__u32)task->tgid);
	r->s.fd = (int)ctx->fd;
	r->s.flags |= DBPS_JOINED;
	if (backend)
		r->s.flags |= DBPS_PGSQL;
	else if (tap_is_pooler(task))
		r->s.flags |= DBPS_PGSQL | DBPS_READS_AHEAD;
	r->s.server_tgid = control->join_tgid;
	session_unlock(r);
	control->joined++;
	return 0;
}

/* ------------------------------------------------------------------ adoption ---------------- */

__noinline int adopt_names(struct dbps_session *s, const struct dbps_adoption *a)
{
	if (!s || !a)
		return 0;
	for (int i = 0; i < DBPS_USER_MAX; i++)
		s->user[i] = a->user[i];
	for (int i = 0; i < DBPS_DB_MAX; i++)
		s->db[i] = a->db[i];
	s->user_len = a->user_len;
	s->db_len = a->db_len;
	s->flags |= DBPS_KNOWN_LOGIN;
	return 0;
}

/* A statement that ran before dbps came, as the server told it: nothing of it was seen here. */
__noinline int adopt_statement(struct dbps_record *r, const struct dbps_adoption *a)
{
	struct dbps_session *s;

	if (!r || !a)
		return 0;
	s = &r->s;
	s->command = a->command;
	s->phase = DBPS_PHASE_UNFRAMED;
	s->sequence++;
	s->start_ns = a->start_ns;
	r->begun.cpu_ns = 0;
	if (!a->has_text)
		return 0;
	for (int i = 0; i < DBPS_TEXT_MIN; i++)
		r->request.body[1 + i] = a->text[i];
	s->text_off = 1;
	s->text_len = a->text_len;
	r->request.have = 1 + (a->text_len < DBPS_TEXT_MIN ? a->text_len : DBPS_TEXT_MIN);
	s->flags |= DBPS_HAS_TEXT;
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int dbps_adopt(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct dbps_adoption *a;
	struct dbps_record *r;
	__u64 cookie;

	if (!sk || !ctx->value)
		return 0;
	r = bpf_sk_storage_get(&dbps_sessions, sk, 0, 0);
	if (!r)
		return 0;
	cookie = r->s.cookie;
	a = bpf_map_lookup_elem(&dbps_adoptions, &cookie);
	r = plain_or(r);
	if (!a || !session_lock(r))
		return 0;
	if (!(r->s.flags & DBPS_KNOWN_ID)) {
		r->s.id = a->id;
		r->s.flags |= DBPS_KNOWN_ID;
		if (a->id <= 0xffffffff)
			id_note(&r->s);
	}
	if (!(r->s.flags & DBPS_KNOWN_LOGIN))
		adopt_names(&r->s, a);
	/* Only while nothing was seen since the server was asked. */
	if (r->s.phase == DBPS_PHASE_UNKNOWN && a->sequence == r->s.sequence) {
		r->s.flags |= a->flags;
		if (a->command)
			adopt_statement(r, a);
		else if (!(r->s.flags & DBPS_TLS))
			r->s.phase = DBPS_PHASE_IDLE;
	}
	session_unlock(r);
	return 0;
}

#endif
