/*
 * The only writer of session state: a tap hands it the bytes that a call moved, it runs the
 * protocol step over them under the record's lock and acts on what the step found.
 *
 * Invariants:
 * 1. `gen` is odd while one tap writes. It is taken with a compare-and-swap; a tap that does not
 * get it counts the event as lost and marks the session, whose framing then starts anew.
 * 2. Taps run with preemption off (tracepoints call their probes so, or tap_hold()), so a holder is
 * never waited for longer than one event takes on another processor, and a tap has that one's
 * window to itself. Those of older kernels (fexit) can be preempted where the kernel is built for
 * it; then 1. counts.
 */
#ifndef DBPS_BPF_SESSION_H
#define DBPS_BPF_SESSION_H

#define EAGAIN	    11
#define EINTR	    4
#define ERESTARTSYS 512

static __always_inline bool session_try_lock(struct dbps_session *s)
{
	__u32 gen = *(volatile __u32 *)&s->gen;

	return !(gen & 1) && __sync_val_compare_and_swap(&s->gen, gen, gen + 1) == gen;
}

struct session_taken {
	struct dbps_session *s;
	bool taken;
};

DBPS_TURN(64, session_lock_try, struct session_taken, t)
{
	(void)i;
	t->taken = session_try_lock(t->s);
	return t->taken;
}

/* Somebody else has it: the other direction's tap, or an iterator that arms. */
__noinline int session_lock_contended(struct dbps_session *s)
{
	struct session_taken t = {.s = s};

	if (!s)
		return 0;
	DBPS_LOOP(session_lock_try, &t);
	if (t.taken)
		return 1;
	s->lost = 1;
	loss_count(DBPS_LOSS_CONTENDED);
	return 0;
}

static __always_inline bool session_lock(struct dbps_record *r)
{
	if (mysql_likely(session_try_lock(&r->s)))
		return true;
	return session_lock_contended(&r->s) == 1;
}

static __always_inline void session_unlock(struct dbps_record *r)
{
#if defined(__TARGET_ARCH_x86)
	/* Stores are not reordered with older stores; the compiler must not do so either. */
	barrier();
	*(volatile __u32 *)&r->s.gen = r->s.gen + 1;
#else
	__sync_fetch_and_add(&r->s.gen, 1);
#endif
}

/* Framing is lost: the next request that is seen to begin starts it anew. */
__noinline int session_unframe(struct dbps_session *s, __u32 loss)
{
	if (!s)
		return 0;
	loss_count(loss);
	s->flags &= ~(DBPS_FRAMED_IN | DBPS_HELD);
	s->flags |= DBPS_RESYNCED;
	__builtin_memset(&s->in, 0, sizeof(s->in));
	__builtin_memset(&s->out, 0, sizeof(s->out));
	s->lost = 0;
	if (s->phase > DBPS_PHASE_IDLE)
		s->phase = DBPS_PHASE_UNFRAMED;
	else if (s->phase == DBPS_PHASE_IDLE)
		s->phase = DBPS_PHASE_UNKNOWN;
	return 0;
}

__noinline int session_closed(struct dbps_session *s)
{
	if (!s)
		return 0;
	if (s->phase == DBPS_PHASE_CLOSED && s->command != COM_QUIT)
		return 0;
	mysql_end(s, bpf_ktime_get_ns(), DBPS_PHASE_CLOSED);
	cancel_check(s, DBPS_OUTCOME_CLOSED, s->last_error);
	return 0;
}

/* A statement executes, and nobody reads its answer any more: the rest of it is not sent. */
__noinline int session_unheard(struct dbps_session *s)
{
	if (!s)
		return 0;
	__builtin_memset(&s->out, 0, sizeof(s->out));
	if (s->phase > DBPS_PHASE_UNFRAMED)
		s->phase = DBPS_PHASE_UNFRAMED;
	return 0;
}

/*
 * What a function that is verified apart from its callers leaves to them, as a map is to take the
 * record: before Linux 6.2 (d1673304097c) that has to be memory that is seen to be a map's.
 */
enum session_left {
	SESSION_LEFT_NOTHING,
	SESSION_LEFT_TLS,      /* what follows is encrypted */
	SESSION_LEFT_OLDER,    /* what came already was */
	SESSION_LEFT_PREPARED, /* a Prepare was accepted */
	SESSION_LEFT_PARSED,   /* a named Parse was read, and there may be more behind it */
};

/* `taken`: bytes of the call that are done with. SESSION_LEFT_NOTHING is all of 0. */
static __always_inline __u64 session_leaves(enum session_left left, __u32 taken)
{
	return (__u64)left << 32 | taken;
}

static __always_inline void session_end(struct dbps_session *s, __u32 error, __u8 phase)
{
	mysql_end(s, bpf_ktime_get_ns(), phase);
	cancel_check(s, DBPS_OUTCOME_ENDED, error);
}

/* A statement's end was not seen in its answer, but the server is past it. */
static __always_inline void session_resync(struct dbps_session *s)
{
	if (s->phase != DBPS_PHASE_UNFRAMED && s->phase != DBPS_PHASE_OPAQUE) {
		loss_count(DBPS_LOSS_RESYNC);
		s->flags |= DBPS_RESYNCED;
	}
	s->flags &= ~DBPS_HELD; /* also past what it had read ahead */
	session_end(s, 0, DBPS_PHASE_IDLE);
	if (s->flags & DBPS_COMPRESSED && s->sent_ns > s->start_ns)
		s->end_ns = s->sent_ns;
}

static __always_inline struct dbps_prepared_key session_prepared_key(const struct dbps_session *s,
								     __u32 stmt_id)
{
	struct dbps_prepared_key key = {
		.cookie = s->cookie,
		.era = s->prepare_era,
		.stmt_id = stmt_id,
	};

	return key;
}

/* Forget a closed statement; keep one that is used young in the prepared map. */
__noinline int session_prepared_used(struct dbps_session *s, const struct dbps_request *request)
{
	struct dbps_prepared_key key;

	if (!s || !request)
		return 0;
	if (s->command == COM_STMT_CLOSE) {
		if (request->have < 5)
			return 0;
		key = session_prepared_key(s, mysql_u32(request->body + 1));
		bpf_map_delete_elem(&dbps_prepared, &key);
	} else {
		key = session_prepared_key(s, s->stmt_id);
		bpf_map_lookup_elem(&dbps_prepared, &key);
	}
	return 0;
}

/* The answer before was not followed to its end. */
__noinline int session_out_lost(struct dbps_session *s)
{
	if (!s)
		return 0;
	loss_count(DBPS_LOSS_RESYNC);
	__builtin_memset(&s->out, 0, sizeof(s->out));
	return 0;
}

static __always_inline void dbps_on_begin(struct dbps_record *r, __u32 last_used)
{
	struct dbps_session *s = &r->s;

	if (mysql_unlikely(s->out.left || s->out.hdr_have))
		session_out_lost(s);
	if (mysql_unlikely(s->command == COM_STMT_CLOSE ||
			   ((s->flags & DBPS_EXECUTES) &&
			    (s->stmt_id != last_used || !(s->sequence & 255)))))
		session_prepared_used(s, &r->request);
	thread_begin(r);
	cancel_check(s, DBPS_OUTCOME_NEXT, 0);
}

static __always_inline void dbps_on_resync(struct dbps_session *s)
{
	session_resync(s);
}

/* Where this session can be found by its id. */
static __always_inline void id_note(const struct dbps_session *s)
{
	struct dbps_id_key key = {.tgid = s->tgid, .id = (__u32)s->id};
	struct dbps_id_place place = {.cookie = s->cookie, .fd = s->fd};

	bpf_map_update_elem(&dbps_ids, &key, &place, BPF_ANY);
}

/* ------------------------------------------------------------------ received ---------------- */

/* Commands that a first byte can be (protocol.md 1.6). */
static __always_inline bool is_command(__u32 c)
{
	return c <= COM_SUBSCRIBE || c == COM_STMT_BULK_EXECUTE || (c >= 0xa1 && c <= 0xa3);
}

/* Whether a session that is older than dbps, of which nothing was seen yet, shows to be a
 * compressed one: its packets are stored, or become longer. */
static __always_inline bool is_compressed(const struct dbps_session *s, const __u8 h[8], __u32 n,
					  __u64 requested)
{
	__u32 plain = mysql_u24(h + 4);

	return (s->flags & (DBPS_JOINED | DBPS_READS_APART)) == DBPS_JOINED && n == 7 &&
	       requested == 7 && (!plain || plain > mysql_u24(h));
}

/*
 * Bytes whose framing is unknown. Servers that read headers apart ask for four bytes there, or for
 * the seven of a compressed packet (protocol.md 0): a read of just that which looks like the header
 * of a command is one. Others offer a buffer: a read that is one whole request, or the begin of
 * OceanBase's packet, is taken for such. Returns whether framing is known now.
 */
__noinline int received_reframes(struct dbps_record *r, __u64 base, __u32 n, __u64 requested)
{
	struct dbps_span span = {base};
	struct dbps_session *s;
	__u8 h[8] = {};

	if (!r)
		return 0;
	s = &r->s;

	if (n < 4 || dbps_span_read(&span, 0, h, n < 7 ? 4 : 7) || h[3] || !mysql_u24(h))
		return 0;
	if (s->flags & DBPS_COMPRESSED || is_compressed(s, h, n, requested)) {
		if (n != 7 || requested != 7)
			return 0;
		s->flags |= DBPS_COMPRESSED;
	} else if (n == 4 && requested == 4) {
		s->flags |= DBPS_READS_APART;
	} else if (mysql_begins_ob20(&span, n)) {
		s->flags |= DBPS_OB20;
	} else if (requested == n || mysql_u24(h) + 4 != n || n < 7 || !is_command(h[4])) {
		return 0;
	}
	s->flags |= DBPS_FRAMED_IN;
	__builtin_memset(&r->my, 0, sizeof(r->my));
	return 1;
}

/*
 * Encrypted sessions: begin and end are seen, what runs is not. What is read after an answer was
 * sent is the next statement, also when nobody looked in between.
 */
static __always_inline void received_opaque(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;

	if (s->phase == DBPS_PHASE_OPAQUE && s->flags & DBPS_SENT)
		session_end(s, 0, DBPS_PHASE_IDLE);
	if (s->phase != DBPS_PHASE_IDLE)
		return;
	s->sequence++;
	s->start_ns = bpf_ktime_get_ns();
	s->flags &= ~(DBPS_SENT | DBPS_RESYNCED);
	s->phase = DBPS_PHASE_OPAQUE;
	thread_begin(r);
	cancel_check(s, DBPS_OUTCOME_NEXT, 0);
}

#include "dark.bpf.h"
#include "pgsql.bpf.h"

/* Everything but the everyday request. Returns session_leaves(). */
__noinline __u64 received_other(struct dbps_record *r, __u64 base, __u32 n, __u64 requested)
{
	struct dbps_span span = {base};
	struct dbps_session *s;
	__u32 taken;

	if (!r)
		return 0;
	s = &r->s;
	if (s->flags & DBPS_TLS)
		return dark_received(r, base, n);
	if (dark_is_older(s, base, n))
		return session_leaves(SESSION_LEFT_OLDER, 0);
	if (s->flags & DBPS_PGSQL)
		return pgsql_tap_received(r, base, n, requested);
	if (s->phase == DBPS_PHASE_CLOSED)
		return 0;
	if (s->lost)
		session_unframe(s, DBPS_LOSS_RESYNC);
	if (!(s->flags & DBPS_FRAMED_IN) && received_reframes(r, base, n, requested) != 1)
		return 0;
	if (requested == n && (n == 4 || (n == 7 && s->flags & DBPS_COMPRESSED)) && !s->in.left)
		s->flags |= DBPS_READS_APART;
	taken = mysql_requests(r, &span, n);
	if (s->flags & DBPS_TLS)
		return session_leaves(SESSION_LEFT_TLS, taken);
	if (taken < n)
		session_unframe(s, DBPS_LOSS_UNREADABLE);
	return 0;
}

static __always_inline void received_left(struct dbps_record *r, __u64 base, __u32 n, __u64 left)
{
	__u32 taken = (__u32)left;

	if (left >> 32 == SESSION_LEFT_PARSED) {
		pgsql_parsed(r);
		return;
	}
	plain_begin(r, left >> 32 == SESSION_LEFT_OLDER);
	/* The client does not wait for an answer to its request for encryption. */
	if (taken < n)
		dark_received(r, base + taken, n - taken);
}

static __always_inline void received_special(struct dbps_record *r, __u64 base, __u32 n,
					     __u64 requested)
{
	__u64 left = received_other(r, base, n, requested);

	if (mysql_unlikely(left))
		received_left(r, base, n, left);
}

static __always_inline int session_received(struct dbps_record *r, __u64 base, __u32 n,
					    __u64 requested)
{
	struct dbps_span span = {base};

	if ((r->s.flags & MYSQL_EVERYDAY_MASK) == MYSQL_EVERYDAY && !r->s.lost &&
	    mysql_everyday_request(r, &span, n, requested))
		return 0;
	r->s.bytes_in += n;
	received_special(r, base, n, requested);
	return 0;
}

/*
 * A read that would block. Of a server that reads headers apart it means that it waits for the next
 * command: a statement whose end was not seen has ended.
 */
static __always_inline void session_waits(struct dbps_record *r, __u64 requested)
{
	struct dbps_session *s = &r->s;

	if (s->flags & DBPS_TLS) {
		dark_waits(s, requested);
		return;
	}
	if (s->flags & DBPS_PGSQL)
		return; /* it may wait in the middle of anything */
	if (s->phase == DBPS_PHASE_UNKNOWN && requested == 4) {
		s->flags |= DBPS_READS_APART | DBPS_FRAMED_IN;
		s->phase = DBPS_PHASE_IDLE;
		return;
	}
	if (s->phase <= DBPS_PHASE_IDLE || s->phase == DBPS_PHASE_INFILE ||
	    s->phase == DBPS_PHASE_CHANGE_USER || s->in.left || s->in.hdr_have)
		return;
	if (s->flags & DBPS_COMPRESSED &&
	    (!(s->flags & DBPS_SENT) || requested != 7 || mysql_outer_is_open(&r->my.outer_in)))
		return;
	if (s->phase != DBPS_PHASE_UNFRAMED && !(s->flags & DBPS_READS_APART))
		return;
	session_resync(s);
}

/* ------------------------------------------------------------------ sent -------------------- */

/* Keep the text of a Prepare that the server accepted. */
static __noinline int session_prepared(struct dbps_record *r)
{
	struct dbps_prepared_key key = session_prepared_key(&r->s, r->s.last_stmt_id);

	if (r->request.have > 1 && mysql_may_use(r->request.body[1]))
		r->s.flags |= DBPS_PREPARED_USE;
	if (bpf_map_update_elem(&dbps_prepared, &key, &r->request, BPF_ANY))
		loss_count(DBPS_LOSS_PREPARED_TEXT);
	return 0;
}

/* A prepared statement was executed that may be a USE. */
__noinline int session_apply_prepared(struct dbps_session *s)
{
	struct dbps_prepared_key key;
	struct dbps_request *request;

	if (!s)
		return 0;
	key = session_prepared_key(s, s->stmt_id);
	request = bpf_map_lookup_elem(&dbps_prepared, &key);
	if (request)
		mysql_apply_use(s, request, 1, 0);
	return 0;
}

/* What an answer holds besides the end of a plain statement. */
__noinline int session_found(struct dbps_record *r, int found)
{
	struct dbps_session *s;
	__u32 error;

	if (!r)
		return 0;
	s = &r->s;
	error = found & MYSQL_FOUND_ERROR ? s->last_error : 0;
	if (found & MYSQL_FOUND_BROKEN) {
		session_unframe(s, DBPS_LOSS_BAD_PACKET);
		return 0;
	}
	if (mysql_applies(s, found) && mysql_apply_ok(r, found) == 1)
		session_apply_prepared(s);
	if (found & MYSQL_FOUND_LOGIN)
		session_end(s, error, error ? DBPS_PHASE_CLOSED : DBPS_PHASE_IDLE);
	else if (found & MYSQL_FOUND_END)
		session_end(s, error, DBPS_PHASE_IDLE);
	return 0;
}

static __always_inline void dbps_on_found(struct dbps_record *r, int found)
{
	if (mysql_likely(found == MYSQL_FOUND_END)) {
		session_end(&r->s, 0, DBPS_PHASE_IDLE);
		return;
	}
	if (found & MYSQL_FOUND_PREPARED)
		r->my.prepared = 1;
	session_found(r, found);
}

/* Outer packets are followed whatever is in them, but none where their own framing is lost. */
static __always_inline bool sent_is_followed(const struct dbps_session *s)
{
	if (!(s->flags & DBPS_WRAPPED))
		return mysql_follows_answers(s);
	return (s->flags & (DBPS_FRAMED_IN | DBPS_TLS)) == DBPS_FRAMED_IN &&
	       s->phase != DBPS_PHASE_CLOSED;
}

/* Everything but the everyday answer, and what it left. Returns session_leaves(). */
__noinline __u64 sent_other(struct dbps_record *r, __u64 base, __u32 n, __u32 pos,
			    struct dbps_window *window)
{
	struct dbps_span span = {base};
	struct dbps_session *s;
	__u32 zero = 0;
	int done = 0;

	if (!r)
		return 0;
	s = &r->s;
	if (s->flags & DBPS_TLS)
		return dark_sent(s);
	if (dark_is_older(s, base, n))
		return session_leaves(SESSION_LEFT_OLDER, 0);
	if (!sent_is_followed(s))
		return 0;
	if (!pos || !(s->flags & DBPS_HELD)) /* else it goes on behind a Prepare */
		mysql_answers_header(r);
	if (!window)
		window = bpf_map_lookup_elem(&dbps_windows, &zero);
	if (window)
		done = mysql_sent(r, &span, n, pos, window);
	if (done < 0)
		session_unframe(s, DBPS_LOSS_UNREADABLE);
	if (s->flags & DBPS_COMPRESSED)
		s->sent_ns = bpf_ktime_get_ns();
	if (mysql_unlikely(r->my.prepared))
		return session_leaves(SESSION_LEFT_PREPARED, done > 0 ? (__u32)done : 0);
	return 0;
}

/* The bytes of a send, and the caller's scratch for them. */
struct sent {
	struct dbps_record *r;
	struct dbps_window *window; /* NULL: that of this processor, with preemption off */
	__u64 base;
	__u32 n;
	__u32 pos; /* where to go on; 0: all is done */
};

static __always_inline void sent_left(struct sent *f, __u64 left)
{
	f->pos = 0;
	switch (left >> 32) {
	case SESSION_LEFT_PARSED:
		pgsql_parsed(f->r);
		break;
	case SESSION_LEFT_PREPARED:
		f->r->my.prepared = 0;
		session_prepared(f->r);
		f->pos = (__u32)left;
		break;
	default:
		plain_begin(f->r, left >> 32 == SESSION_LEFT_OLDER);
		if (left >> 32 == SESSION_LEFT_OLDER)
			dark_sent(&f->r->s);
	}
}

/* A short answer of plain packets, in one read to the stack. Returns how many bytes were taken. */
__noinline __u32 sent_everyday(struct dbps_session *s, __u64 base, __u32 n)
{
	struct mysql_short_answer a;
	__u64 r;

	stack_set(&a, sizeof(a));
	if (!s || n > MYSQL_SHORT_ANSWER || bpf_probe_read_user(&a, n, (const void *)base))
		return 0;
	r = mysql_everyday_answer(s, &a, n);
	if (mysql_likely(r >> 32 == MYSQL_FOUND_END))
		session_end(s, 0, DBPS_PHASE_IDLE);
	return (__u32)r;
}

/* What the everyday path does not know of, from `pos` on. */
static __always_inline void sent_special(struct sent *f, __u32 pos)
{
	__u64 left = f->r->s.flags & DBPS_PGSQL ? pgsql_tap_sent(f->r, f->base, f->n, f->window)
						: sent_other(f->r, f->base, f->n, pos, f->window);

	if (mysql_unlikely(left))
		sent_left(f, left);
}

/* Where `pos` is not 0 behind it, the server comes to what it has read ahead: session_sent_rest().
 */
static __always_inline void session_sent(struct sent *f)
{
	struct dbps_session *s = &f->r->s;
	__u32 n = f->n, pos = 0;

	s->bytes_out += n;
	s->flags |= DBPS_SENT;
	if (mysql_unlikely(s->flags & (DBPS_PGSQL | DBPS_WRAPPED | DBPS_HELD))) {
		sent_special(f, 0);
		return;
	}
	if (mysql_likely(n <= MYSQL_SHORT_ANSWER && s->phase >= DBPS_PHASE_FIRST && !s->out.left &&
			 !s->out.hdr_have && !s->out.full))
		pos = sent_everyday(s, f->base, n);
	if (mysql_unlikely(pos < n))
		sent_special(f, pos);
}

/* Go on from `pos`. Returns 1 when all is done. Not within another loop: calls may be eight deep.
 */
DBPS_TURN(MYSQL_PACKETS_MAX, session_sent_rest, struct sent, f)
{
	__u64 left = sent_other(f->r, f->base, f->n, f->pos, f->window);

	(void)i;
	f->pos = 0;
	if (left >> 32 == SESSION_LEFT_PREPARED)
		sent_left(f, left);
	return !f->pos;
}

static __always_inline void session_sent_all(struct dbps_record *r, __u64 base, __u32 n,
					     struct dbps_window *window)
{
	struct sent f = {.r = r, .window = window, .base = base, .n = n};

	session_sent(&f);
	if (mysql_unlikely(f.pos))
		DBPS_LOOP(session_sent_rest, &f);
}

#endif
