/*
 * Plaintext of encrypted sessions: a record of its own, found by the socket's cookie, as programs
 * in a library (library.bpf.h) have no socket and so no socket storage. It begins as a copy of the
 * socket's record when the client asks for TLS, and what is read and sent from then on is followed
 * there; the snapshot takes it in the place of the socket's.
 *
 * Invariants:
 * 1. The record counts (DBPS_TLS_READ) from its begin on when the process's library is known to be
 * probed, else from its first plaintext on; before that the socket's record stands.
 * 2. It ends with the socket's end-of-file or error; some time after the Quit that it reads, as the
 * socket is still there for a moment; and at the latest when the daemon finds no socket for it
 * (kernel_plain_sweep()).
 * 3. A socket's record with DBPS_TLS_READ whose plaintext has none: the session has quit.
 */
#ifndef DBPS_BPF_PLAIN_H
#define DBPS_BPF_PLAIN_H

/* socket cookie -> the record of its plaintext. Sized as dbps_sessions. Made and deleted here, and
 * swept by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct dbps_record);
} dbps_plain SEC(".maps");

/* The library's call that a thread is in. */
struct library_call {
	__u64 ssl; /* 0: none */
	__u64 buffer;
	__u64 n;
	__u64 moved[2]; /* where the _ex functions say how much: DBPS_LIBRARY_EX, _EX2 */
	__u64 cookie;	/* of the socket that was read or written meanwhile, 0: none */
	struct dbps_window window;
};

/* thread -> its call. Made at the thread's first call, gone with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct library_call);
} dbps_library_calls SEC(".maps");

/* What was found out of the probes in a server's library. */
static __always_inline void plain_tell(const struct dbps_session *s, bool met)
{
	__u32 server = dbps_session_server(s);
	struct dbps_server_seen *seen = bpf_map_lookup_elem(&dbps_servers, &server);

	if (seen && met)
		seen->tls_met = 1;
	else if (seen)
		seen->tls_unread = 1;
}

/*
 * A tap of an encrypted socket: if a call of the library is under way, this is its socket. The
 * socket's record learns that its plaintext is followed, when some of it was; until then it counts
 * statements itself.
 */
__noinline int plain_note(struct dbps_session *s)
{
	struct library_call *c =
		bpf_task_storage_get(&dbps_library_calls, bpf_get_current_task_btf(), 0, 0);
	struct dbps_record *p;
	__u64 cookie;

	if (!s || !c)
		return 0;
	cookie = s->cookie;
	c->cookie = cookie;
	if (s->flags & DBPS_TLS_READ)
		return 0;
	p = bpf_map_lookup_elem(&dbps_plain, &cookie);
	if (!p)
		return 0;
	if (p->s.flags & DBPS_TLS_READ && p->s.flags & DBPS_FRAMED_IN &&
	    p->s.phase != DBPS_PHASE_GREETED) {
		s->flags |= DBPS_TLS_READ;
		s->phase = DBPS_PHASE_IDLE; /* which costs the taps least */
		plain_tell(s, true);
	}
	if (c->ssl && p->s.sequence < s->sequence)
		p->s.sequence = s->sequence;
	return 0;
}

/*
 * A login ended on the socket, or a statement began, and nothing of it was read in the library that
 * is probed: the program may hand that the bytes itself, from no socket. Of an older session the
 * first statement tells nothing yet: it is on the socket before it is in the library.
 */
__noinline int plain_unread(const struct dbps_session *s)
{
	struct dbps_record *p;
	__u64 cookie;

	if (!s)
		return 0;
	cookie = s->cookie;
	p = bpf_map_lookup_elem(&dbps_plain, &cookie);
	if (!p)
		return 0;
	if (p->s.flags & DBPS_TLS_READ ? p->s.phase == DBPS_PHASE_GREETED
				       : p->s.phase == DBPS_PHASE_UNKNOWN && s->sequence == 1)
		plain_tell(s, false);
	p->s.flags &= ~DBPS_TLS_READ;
	return 0;
}

/* Nothing is known of where in the plaintext it is: the next request that is seen to begin tells.
 */
static __always_inline void plain_unknown(struct dbps_session *s)
{
	s->flags &= ~DBPS_FRAMED_IN;
	s->flags |= DBPS_JOINED;
	if (s->phase < DBPS_PHASE_CLOSED)
		s->phase = DBPS_PHASE_UNKNOWN;
}

/* A record of plaintext, that is a copy of its socket's. `read`: the library is probed. */
__noinline int plain_began(struct dbps_record *p, bool older, bool read)
{
	if (!p)
		return 0;
	__builtin_memset(&p->pg, 0, sizeof(p->pg));
	p->s.flags &= ~DBPS_TLS; /* its bytes are in clear, and the login comes first */
	if (older)
		plain_unknown(&p->s);
	else
		p->s.phase = DBPS_PHASE_GREETED;
	if (read)
		p->s.flags |= DBPS_TLS_READ;
	__sync_fetch_and_add(&p->s.gen, 1); /* the copy was made under the lock */
	return 0;
}

/*
 * The client has asked for TLS; what comes next is its handshake. Or, `older`: the session was
 * encrypted before it was seen.
 */
static __noinline int plain_begin(struct dbps_record *r, bool older)
{
	__u32 server = dbps_session_server(&r->s);
	struct dbps_server_seen *seen = bpf_map_lookup_elem(&dbps_servers, &server);
	__u64 cookie = r->s.cookie;
	struct dbps_record *p;

	__builtin_memset(&r->s.in, 0, sizeof(r->s.in));
	__builtin_memset(&r->s.out, 0, sizeof(r->s.out));
	if (bpf_map_update_elem(&dbps_plain, &cookie, r, BPF_ANY)) {
		loss_count(DBPS_LOSS_NO_STORAGE);
		return 0;
	}
	p = bpf_map_lookup_elem(&dbps_plain, &cookie);
	if (p)
		plain_began(p, older, seen && seen->tls_read);
	return 0;
}

/*
 * The first plaintext of a session whose library was not probed when it began. It may have logged
 * in by now: in its login, packets of MySQL are numbered from 2 on, as the request for TLS was 1,
 * and the first message of PostgreSQL has no type.
 */
__noinline int plain_first(struct dbps_record *r, __u64 base, __u32 n, bool sends)
{
	__u8 b[4] = {};

	if (!r)
		return 0;
	r->s.flags |= DBPS_TLS_READ;
	if (r->s.phase != DBPS_PHASE_GREETED)
		return 0;
	if (sends || n < 4 || bpf_probe_read_user(b, sizeof(b), (const void *)base) ||
	    (r->s.flags & DBPS_PGSQL ? b[0] : !b[3]))
		plain_unknown(&r->s);
	return 0;
}

static __noinline int plain_end(const struct dbps_session *s)
{
	__u64 cookie = s->cookie;

	bpf_map_delete_elem(&dbps_plain, &cookie);
	return 0;
}

/* The record that tells what the session does. */
static __always_inline struct dbps_record *plain_or(struct dbps_record *r)
{
	__u64 cookie = r->s.cookie;
	struct dbps_record *p;

	if (!(r->s.flags & DBPS_TLS) || r->s.phase == DBPS_PHASE_CLOSED)
		return r;
	p = bpf_map_lookup_elem(&dbps_plain, &cookie);
	return p && p->s.flags & DBPS_TLS_READ ? p : r;
}

/* The last sessions that have quit: each takes the place of one that did so long before. */
#define PLAIN_QUITS 256

struct plain_quits {
	__u64 n;
	__u64 cookie[PLAIN_QUITS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plain_quits);
} dbps_plain_quits SEC(".maps");

static __noinline int plain_quit(const struct dbps_session *s)
{
	__u32 zero = 0, i;
	struct plain_quits *quits = bpf_map_lookup_elem(&dbps_plain_quits, &zero);
	__u64 earlier;

	if (!quits)
		return 0;
	i = __sync_fetch_and_add(&quits->n, 1) % PLAIN_QUITS;
	earlier = __sync_lock_test_and_set(&quits->cookie[i], s->cookie);
	if (earlier)
		bpf_map_delete_elem(&dbps_plain, &earlier);
	return 0;
}

/* A row was copied from either record: make it tell of both (invariant 3). */
static __always_inline void plain_row(struct dbps_session *s)
{
	if (!(s->flags & DBPS_TLS_READ))
		return;
	if (s->flags & DBPS_TLS)
		s->phase = DBPS_PHASE_CLOSED;
	s->flags |= DBPS_TLS;
}

#endif
