/*
 * The only writer of session state: a tap hands it the bytes that a call moved, it runs the protocol
 * step over them under the record's lock and acts on what the step found.
 *
 * Invariants:
 * 1. `gen` is odd while one tap writes. It is taken with a compare-and-swap; a tap that does not get it
 *    counts the event as lost and marks the session, whose framing then starts anew.
 * 2. Taps run with preemption off (tracepoints call their probes so), so a holder is never waited for
 *    longer than one event takes on another processor.
 */
#ifndef DBPS_BPF_SESSION_H
#define DBPS_BPF_SESSION_H

#define EAGAIN 11
#define EINTR  4
#define ERESTARTSYS 512

/* Packets of one call that are followed. */
#define MAX_PIECES 65536

static __always_inline bool session_lock(struct dbps_record *r)
{
	for (int i = 0; i < 8; i++) {
		__u32 gen = *(volatile __u32 *)&r->s.gen;

		if (!(gen & 1) && __sync_val_compare_and_swap(&r->s.gen, gen, gen + 1) == gen)
			return true;
	}
	r->s.lost = 1;
	loss_count(DBPS_LOSS_CONTENDED);
	return false;
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
	s->flags &= ~DBPS_FRAMED_IN;
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

static __always_inline void session_end(struct dbps_session *s, __u32 error, __u8 phase)
{
	mysql_end(s, bpf_ktime_get_ns(), phase);
	cancel_check(s, DBPS_OUTCOME_ENDED, error);
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

/* A statement has begun: forget closed statements, keep used ones young in the prepared map. */
__noinline int session_begun(struct dbps_record *r, __u32 last_used)
{
	struct dbps_prepared_key key;
	struct dbps_session *s;

	if (!r)
		return 0;
	s = &r->s;
	s->tid = (__u32)bpf_get_current_pid_tgid();
	if (s->out.left || s->out.hdr_have) {
		loss_count(DBPS_LOSS_RESYNC);
		__builtin_memset(&s->out, 0, sizeof(s->out));
	}
	if (s->command == COM_STMT_CLOSE) {
		key = session_prepared_key(s, mysql_u32(r->request.body + 1));
		bpf_map_delete_elem(&dbps_prepared, &key);
	} else if ((s->flags & DBPS_EXECUTES) && (s->stmt_id != last_used || !(s->sequence & 255))) {
		key = session_prepared_key(s, s->stmt_id);
		bpf_map_lookup_elem(&dbps_prepared, &key);
	}
	cancel_check(s, DBPS_OUTCOME_NEXT, 0);
	return 0;
}

/* ------------------------------------------------------------------ received ---------------- */

/* A request's header is there. A statement whose end was not seen has ended by now. */
static __always_inline void session_header(struct dbps_session *s)
{
	bool goes_on = s->in.full;

	mysql_packet_begin(&s->in);
	if (goes_on)
		return;
	if (s->phase == DBPS_PHASE_UNKNOWN)
		s->phase = DBPS_PHASE_IDLE;
	if (!mysql_keeps_request(s)) {
		s->in.skip = 1;
	} else if (s->phase > DBPS_PHASE_IDLE) {
		if (s->phase != DBPS_PHASE_UNFRAMED) {
			loss_count(DBPS_LOSS_RESYNC);
			s->flags |= DBPS_RESYNCED;
		}
		session_end(s, 0, DBPS_PHASE_IDLE);
	}
}

struct feed {
	struct dbps_record *r;
	struct dbps_span span;
	__u32 total;
	__u32 pos;
	__u32 window_start;
	__u32 window_len;
};

/* A header, or a piece of a request. Returns 1 when there is nothing more to do. */
static __always_inline int received_piece(struct feed *f)
{
	struct dbps_record *r = f->r;
	struct dbps_session *s = &r->s;
	__u32 last_used = s->stmt_id;
	int n;

	if (f->pos >= f->total)
		return 1;
	if (!s->in.left) {
		n = mysql_header_bytes(&s->in, &f->span, f->pos, f->total - f->pos);
		if (n < 0)
			return 1;
		f->pos += (__u32)n;
		if (s->in.hdr_have < 4)
			return 1;
		session_header(s);
	} else {
		n = mysql_request_bytes(r, &f->span, f->pos, f->total - f->pos);
		if (n <= 0)
			return 1;
		f->pos += (__u32)n;
	}
	if (!s->in.left && !s->in.full && mysql_request(r, bpf_ktime_get_ns()))
		session_begun(r, last_used);
	return f->pos >= f->total;
}

static int received_loop(__u32 i, struct feed *f)
{
	return received_piece(f);
}

/*
 * Bytes whose framing is unknown. A read of exactly four bytes that looks like the header of a command
 * is one: the servers that read headers apart ask for four there (protocol.md 0).
 */
static __always_inline bool received_resync(struct dbps_session *s, const struct dbps_span *span,
					    __u32 n, __u64 requested)
{
	if (n != 4 || requested != 4 || dbps_span_read(span, 0, s->in.hdr, 4))
		return false;
	if (s->in.hdr[3] != 0 || !mysql_u24(s->in.hdr))
		return false;
	s->flags |= DBPS_FRAMED_IN | DBPS_READS_APART;
	session_header(s);
	return true;
}

/* Compressed packets: begin and end are seen, what runs is not. */
static __always_inline void received_opaque(struct dbps_session *s)
{
	if (s->phase != DBPS_PHASE_IDLE)
		return;
	s->sequence++;
	s->statements++;
	s->start_ns = bpf_ktime_get_ns();
	s->flags &= ~(DBPS_SENT | DBPS_RESYNCED);
	s->phase = DBPS_PHASE_OPAQUE;
	s->tid = (__u32)bpf_get_current_pid_tgid();
	cancel_check(s, DBPS_OUTCOME_NEXT, 0);
}

static __noinline int session_received(struct dbps_record *r, __u64 base, __u32 n, __u64 requested)
{
	struct feed f = {.r = r, .span = {base}, .total = n};
	struct dbps_session *s = &r->s;

	s->bytes_in += n;
	if (s->flags & DBPS_TLS || s->phase == DBPS_PHASE_CLOSED)
		return 0;
	if (s->flags & DBPS_COMPRESSED) {
		received_opaque(s);
		return 0;
	}
	if (s->lost)
		session_unframe(s, DBPS_LOSS_RESYNC);
	if (!(s->flags & DBPS_FRAMED_IN)) {
		received_resync(s, &f.span, n, requested);
		return 0;
	}
	if (n == 4 && requested == 4 && !s->in.left)
		s->flags |= DBPS_READS_APART;
	if (!received_piece(&f))
		bpf_loop(MAX_PIECES, received_loop, &f, 0);
	if (f.pos < n)
		session_unframe(s, DBPS_LOSS_UNREADABLE);
	return 0;
}

/*
 * A read that would block. Of a server that reads headers apart it means that it waits for the next
 * command: a statement whose end was not seen has ended.
 */
static __always_inline void session_waits(struct dbps_session *s, __u64 requested)
{
	if (s->phase == DBPS_PHASE_UNKNOWN && !(s->flags & DBPS_TLS) && requested == 4) {
		s->flags |= DBPS_READS_APART | DBPS_FRAMED_IN;
		s->phase = DBPS_PHASE_IDLE;
		return;
	}
	if (s->phase <= DBPS_PHASE_IDLE || s->phase == DBPS_PHASE_INFILE ||
	    s->phase == DBPS_PHASE_CHANGE_USER || s->in.left || s->in.hdr_have)
		return;
	if (s->phase == DBPS_PHASE_OPAQUE && !(s->flags & DBPS_SENT))
		return;
	if (s->phase != DBPS_PHASE_UNFRAMED && s->phase != DBPS_PHASE_OPAQUE) {
		if (!(s->flags & DBPS_READS_APART))
			return;
		loss_count(DBPS_LOSS_RESYNC);
		s->flags |= DBPS_RESYNCED;
	}
	session_end(s, 0, DBPS_PHASE_IDLE);
}

/* ------------------------------------------------------------------ sent -------------------- */

/* Keep the text of a Prepare that the server accepted. */
static __noinline int session_prepared(struct dbps_record *r)
{
	struct dbps_prepared_key key = session_prepared_key(&r->s, r->s.last_stmt_id);

	if (bpf_map_update_elem(&dbps_prepared, &key, &r->request, BPF_ANY))
		loss_count(DBPS_LOSS_PREPARED_TEXT);
	return 0;
}

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
	if (found & MYSQL_FOUND_OK)
		mysql_apply_ok(r, found);
	if (found & MYSQL_FOUND_LOGIN)
		session_end(s, error, error ? DBPS_PHASE_CLOSED : DBPS_PHASE_IDLE);
	else if (found & MYSQL_FOUND_END)
		session_end(s, error, DBPS_PHASE_IDLE);
	return 0;
}

static __always_inline int window_fill(struct feed *f)
{
	__u32 n = f->total - f->pos;

	if (n > DBPS_WINDOW)
		n = DBPS_WINDOW;
	f->window_start = f->pos;
	f->window_len = 0;
	if (dbps_span_read(&f->span, f->pos, f->r->window.b, n))
		return -1;
	f->window_len = n;
	return 0;
}

/*
 * A packet that lies whole in the window. Returns 1 when it did, 0 when it does not, negative when the
 * bytes cannot be read.
 */
static __always_inline int sent_whole(struct feed *f)
{
	struct dbps_session *s = &f->r->s;
	__u32 off = f->pos - f->window_start, len, head_len;
	const __u8 *h;
	int found;

	if (off + 4 > f->window_len) {
		if (window_fill(f))
			return -1;
		off = 0;
	}
	if (off >= DBPS_WINDOW || off + 4 > f->window_len)
		return 0;
	h = f->r->window.b + off;
	len = mysql_u24(h);
	if (off + 4 + len > f->window_len) {
		if (!off || 4 + len > DBPS_WINDOW || f->pos + 4 + len > f->total)
			return 0;
		if (window_fill(f))
			return -1;
		off = 0;
		h = f->r->window.b;
		if (4 + len > f->window_len)
			return 0;
	}
	head_len = len < DBPS_HEAD_MAX ? len : DBPS_HEAD_MAX;
	f->pos += 4 + len;
	found = mysql_answer(s, (const struct dbps_head *)(h + 4), head_len, len);
	if (found & MYSQL_FOUND_PREPARED)
		session_prepared(f->r);
	if (found)
		session_found(f->r, found);
	return 1;
}

/* Bytes of a packet that is cut by the call, or larger than the window: its head is kept. */
static __always_inline int sent_piece(struct feed *f)
{
	struct dbps_stream *out = &f->r->s.out;
	__u32 avail = f->total - f->pos, n, got;
	int r;

	if (!out->left) {
		r = mysql_header_bytes(out, &f->span, f->pos, avail);
		if (r < 0)
			return -1;
		f->pos += (__u32)r;
		if (out->hdr_have == 4)
			mysql_packet_begin(out);
	} else {
		n = out->left < avail ? out->left : avail;
		got = out->got;
		if (got < DBPS_HEAD_MAX) {
			/* The verifier does not relate two bounds: 64 fit below 192, then one by one. */
			if (got && got >= DBPS_HEAD_MAX - 64)
				n = 1;
			else if (got && n > 64)
				n = 64;
			if (dbps_span_read(&f->span, f->pos, f->r->head.b + got,
					   !got && n > DBPS_HEAD_MAX ? DBPS_HEAD_MAX : n & 511))
				return -1;
		}
		out->got = got + n;
		out->left -= n;
		f->pos += n;
	}
	return 0;
}

static __always_inline int sent_packet(struct feed *f)
{
	struct dbps_record *r = f->r;
	struct dbps_stream *out = &r->s.out;
	__u32 head_len;
	int done, found;

	if (!out->left && !out->hdr_have && !out->full) {
		done = sent_whole(f);
		if (done)
			return done < 0;
	}
	if (sent_piece(f))
		return 1;
	if (out->left || out->hdr_have || out->full)
		return 0;
	head_len = out->got < DBPS_HEAD_MAX ? out->got : DBPS_HEAD_MAX;
	found = mysql_answer(&r->s, &r->head, head_len,
			     out->got < MYSQL_PACKET_FULL ? out->got : MYSQL_PACKET_FULL);
	out->got = 0;
	if (found & MYSQL_FOUND_PREPARED)
		session_prepared(r);
	if (found)
		session_found(r, found);
	return 0;
}

static int sent_loop(__u32 i, struct feed *f)
{
	if (f->pos >= f->total || f->r->s.phase == DBPS_PHASE_UNFRAMED ||
	    f->r->s.phase == DBPS_PHASE_UNKNOWN)
		return 1;
	return sent_packet(f);
}

static __noinline int session_sent(struct dbps_record *r, __u64 base, __u32 n)
{
	struct feed f = {.r = r, .span = {base}, .total = n};
	struct dbps_session *s = &r->s;

	s->bytes_out += n;
	s->flags |= DBPS_SENT;
	if (s->flags & (DBPS_TLS | DBPS_COMPRESSED) || s->phase == DBPS_PHASE_UNFRAMED ||
	    s->phase == DBPS_PHASE_UNKNOWN || s->phase == DBPS_PHASE_CLOSED)
		return 0;
	bpf_loop(MAX_PIECES, sent_loop, &f, 0);
	if (f.pos < n && s->phase != DBPS_PHASE_UNFRAMED && s->phase != DBPS_PHASE_UNKNOWN)
		session_unframe(s, DBPS_LOSS_UNREADABLE);
	return 0;
}

#endif
