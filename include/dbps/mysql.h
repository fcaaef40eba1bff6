/*
 * The MySQL step: the protocol's state machine for one session, fed with the bytes that the
 * server's socket moved. Pure: the same code runs in the kernel, in cmocka and in a fuzzer.
 *
 * The includer says how bytes are read, how much of a request is kept, and what else is to be done:
 *   struct dbps_span                 where a call's bytes are
 *   dbps_span_read(span, off, dst, n)  0, or negative: not readable
 *   DBPS_BODY_CAP                    bytes kept of a request, at least DBPS_TEXT_MIN + 1
 *   DBPS_STEP_FN                     linkage of the functions that are verified apart
 *   DBPS_TURN(n, function, type, context)  int function(__u32 i, type *context): a turn of a loop
 *                                    of n at most; 1: the last one
 *   DBPS_LOOP(function, context)     call it for i = 0, 1, …
 *   dbps_now()                       CLOCK_MONOTONIC, ns
 *   dbps_on_begin(record, last_stmt_id)  a statement has begun
 *   dbps_on_found(record, found)     an answer held enum mysql_found bits
 *   dbps_on_resync(session)          an end was not seen, and is taken from what follows
 *
 * The parts, each in a file of mysql/: what both directions share (protocol), client to server
 * (request), server to client (answer), what an OK brings (ok), the bytes of a call (feed), packets
 * in packets (outer), requests ahead of time (ahead), and the everyday path (everyday).
 *
 * Invariants:
 * 1. Every packet header is followed by position, over any cut between calls; no byte of a payload
 * is ever taken for a header.
 * 2. A request counts when its last byte was read, an answer when its last byte was sent.
 * 3. Login, USE, INIT_DB and CHANGE_USER take effect at the server's OK, from the kept request.
 *
 * Source: protocol.md 1, cited by section.
 */
#ifndef DBPS_MYSQL_H
#define DBPS_MYSQL_H

#include "mysql/everyday.h"

/**
 * @brief Bytes that the server read from its client.
 * @return How many were taken. Fewer than n: what is behind them is encrypted (DBPS_TLS), or they
 * could not be read, and framing is lost.
 */
DBPS_STEP_FN __u32 mysql_requests(struct dbps_record *r, const struct dbps_span *span, __u32 n)
{
	struct mysql_feed f = {.r = r, .whole = n};

	if (!r || !span)
		return 0;
	f.span = *span;
	f.total = mysql_total(r, 0, n);
	DBPS_LOOP(mysql_request_loop, &f);
	return f.pos;
}

/* What a packet held is acted on. Behind the OK of a login compression may begin. */
MYSQL_INLINE void mysql_answered(struct mysql_feed *f, int found)
{
	__u32 wrapped = f->r->s.flags & DBPS_WRAPPED;

	dbps_on_found(f->r, found);
	if (!wrapped && f->r->s.flags & DBPS_WRAPPED)
		f->total = f->pos;
}

/* Whole packets at the feed's position. Returns how many bytes were taken, or negative. */
MYSQL_INLINE int mysql_answer_window(struct mysql_feed *f)
{
	__u32 n = f->total - f->pos, found, taken;
	__u64 r;

	MYSQL_SAME(n);
	if (n > DBPS_WINDOW)
		n = DBPS_WINDOW;
	if (dbps_span_read(&f->span, f->pos, f->window->b, n))
		return -1;
	r = mysql_answers(&f->r->s, f->window, n);
	found = (__u32)(r >> 32);
	taken = (__u32)r;
	f->pos += taken;
	if (found)
		mysql_answered(f, (int)found);
	return (int)taken;
}

/* Bytes of a packet that is cut by the call, or larger than the window: its head is kept. */
MYSQL_INLINE int mysql_answer_piece(struct mysql_feed *f)
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
		return 0;
	}
	n = out->left < avail ? out->left : avail;
	got = out->got;
	if (got < DBPS_HEAD_MAX) {
		/* The verifier does not relate two bounds: 64 fit below 192, then one by one. */
		if (got >= DBPS_HEAD_MAX - 64)
			n = 1;
		else if (got && n > 64)
			n = 64;
		if (dbps_span_read(&f->span, f->pos, f->r->my.head.b + got,
				   n > DBPS_HEAD_MAX ? DBPS_HEAD_MAX : n))
			return -1;
	}
	out->got = got + n;
	out->left -= n;
	f->pos += n;
	return 0;
}

/* Whether the answer is all sent, with the frame that it is in, if it is in one. */
MYSQL_INLINE bool mysql_has_answered(const struct dbps_record *r)
{
	return !mysql_outer_is_open(&r->my.outer_out) && !mysql_is_busy(&r->s);
}

/* The server has answered, and comes to the next of what it has read ahead. Returns 1 when there is
 * nothing more to do. */
MYSQL_INLINE int mysql_answer_held(struct mysql_feed *f)
{
	f->keeps = f->r->my.prepared;
	if (f->keeps)
		return 1;
	if (mysql_take_held(f->r)) {
		f->broken = true;
		return 1;
	}
	/* What is behind an answer in the same call is of the next one. */
	if (f->pos < f->whole)
		f->r->s.flags |= DBPS_SENT;
	return 0;
}

/* A whole packet of an answer is there. */
MYSQL_INLINE void mysql_answer_packet(struct mysql_feed *f)
{
	struct dbps_stream *out = &f->r->s.out;
	int found = mysql_answer(&f->r->s, &f->r->my.head,
				 out->got < DBPS_HEAD_MAX ? out->got : DBPS_HEAD_MAX,
				 out->got < MYSQL_PACKET_FULL ? out->got : MYSQL_PACKET_FULL);

	out->got = 0;
	if (found)
		mysql_answered(f, found);
}

/* Packets at the feed's position. Returns 1 when there is nothing more to do. */
MYSQL_INLINE int mysql_answer_step(struct mysql_feed *f)
{
	struct dbps_stream *out = &f->r->s.out;
	int n;

	if (mysql_unlikely(f->r->s.flags & DBPS_HELD) && mysql_has_answered(f->r))
		return mysql_answer_held(f);
	if (f->pos >= f->total) {
		if (f->pos >= f->whole)
			return 1;
		n = mysql_feed_outer(f, false);
		if (n == MYSQL_OUTER_LAST && f->r->s.phase > DBPS_PHASE_IDLE)
			dbps_on_found(f->r, MYSQL_FOUND_END);
		if (n != MYSQL_OUTER_PACKET)
			return n < 0;
	} else {
		if (!mysql_follows_answers(&f->r->s)) {
			f->pos = f->total;
			return f->pos >= f->whole;
		}
		if (!out->left && !out->hdr_have && !out->full) {
			n = mysql_answer_window(f);
			if (n)
				return n < 0;
		}
		if (mysql_answer_piece(f))
			return 1;
		if (out->left || out->hdr_have || out->full)
			return 0;
	}
	mysql_answer_packet(f);
	return 0;
}

DBPS_TURN(MYSQL_PACKETS_MAX, mysql_answer_loop, struct mysql_feed, f)
{
	(void)i;
	return mysql_answer_step(f);
}

/**
 * @brief Bytes that the server sent to its client, from `pos` on.
 * @param window Scratch.
 * @return 0; -1 when they, or requests that were read ahead, could not be read: framing is lost.
 * Or, with dbps_mysql.prepared, `pos` of where to go on when that text was kept.
 */
MYSQL_INLINE int mysql_sent(struct dbps_record *r, const struct dbps_span *span, __u32 n, __u32 pos,
			    struct dbps_window *window)
{
	struct mysql_feed f = {.r = r,
			       .window = window,
			       .span = *span,
			       .whole = n,
			       .total = mysql_total(r, pos, n),
			       .pos = pos};

	DBPS_LOOP(mysql_answer_loop, &f);
	if (mysql_unlikely(f.keeps))
		return (int)f.pos;
	return f.broken || f.pos < n ? -1 : 0;
}

#endif
