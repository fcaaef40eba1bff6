/*
 * Requests ahead of time: what the server has read while it executes another is held, as an address
 * in the memory of the server, until its turn comes.
 */
#ifndef DBPS_MYSQL_AHEAD_H
#define DBPS_MYSQL_AHEAD_H

#include "dbps/mysql/outer.h"

/* Whether the server executes a statement for which it reads no further bytes. */
MYSQL_INLINE bool mysql_is_busy(const struct dbps_session *s)
{
	return s->phase > DBPS_PHASE_UNFRAMED && s->phase != DBPS_PHASE_INFILE &&
	       s->phase != DBPS_PHASE_CHANGE_USER && s->phase != DBPS_PHASE_STREAM;
}

/*
 * Whether a request that is there is not the server's next act: others that it has read come first,
 * or it executes one, and nothing of the answer was sent. Of servers that read headers apart it is
 * known that they read no request ahead; where something was sent, it may be that the end was
 * missed.
 */
MYSQL_INLINE bool mysql_holds(const struct dbps_session *s)
{
	return s->flags & DBPS_HELD ||
	       (mysql_is_busy(s) && !(s->flags & (DBPS_READS_APART | DBPS_SENT | DBPS_WRAPPED)));
}

/* Keep where bytes are that the server comes to later. Returns 0; -1 when there is no room, or they
 * cannot be read. */
DBPS_STEP_FN int mysql_hold(struct dbps_record *r, __u64 base, __u32 n)
{
	struct dbps_held *held;
	struct dbps_span span;
	__u32 first = 0;

	if (!r)
		return -1;
	held = r->my.held;
	if (!(r->s.flags & DBPS_HELD))
		__builtin_memset(held, 0, sizeof(r->my.held));
	span.base = (__typeof__(span.base))(unsigned long)base;
	if (dbps_span_read(&span, 0, &first, 1))
		return -1;
	r->s.flags |= DBPS_HELD;
	for (int i = 0; i < DBPS_HELD_MAX; i++) {
		if (!held[i].len) {
			held[i].base = base;
			held[i].len = n;
			held[i].first = first;
			return 0;
		}
		if (held[i].base + held[i].len == base &&
		    (i + 1 == DBPS_HELD_MAX || !held[i + 1].len)) {
			held[i].len += n;
			return 0;
		}
	}
	return -1;
}

/* The rest of the call is of requests ahead of time. Returns 1, as nothing more is to be done. */
MYSQL_INLINE int mysql_hold_rest(struct mysql_feed *f)
{
	__u64 base = (__u64)(unsigned long)f->span.base + f->pos;

	if (!mysql_hold(f->r, base, f->whole - f->pos))
		f->pos = f->whole;
	return 1;
}

/* The same of OceanBase's frames, which are held as they are. */
MYSQL_INLINE bool mysql_holds_frame(const struct dbps_record *r)
{
	const struct dbps_session *s = &r->s;
	const struct dbps_stream *in = &s->in;

	if (!(s->flags & DBPS_OB20))
		return false;
	if (s->flags & DBPS_HELD)
		return true;
	return mysql_is_busy(s) && !(s->flags & DBPS_SENT) &&
	       !mysql_outer_is_open(&r->my.outer_in) && !in->left && !in->hdr_have && !in->full;
}

/* So many bytes of what was held first are taken. Returns 0; -1 when the rest cannot be read. */
MYSQL_INLINE int mysql_held_taken(struct dbps_record *r, __u32 n)
{
	struct dbps_held *held = r->my.held;
	struct dbps_span rest;
	__u32 first = 0;

	held[0].base += n;
	held[0].len -= n;
	if (held[0].len) {
		rest.base = (__typeof__(rest.base))(unsigned long)held[0].base;
		if (dbps_span_read(&rest, 0, &first, 1))
			return -1;
		held[0].first = first;
		return 0;
	}
	for (int i = 1; i < DBPS_HELD_MAX; i++)
		held[i - 1] = held[i];
	held[DBPS_HELD_MAX - 1].len = 0;
	if (!held[0].len)
		r->s.flags &= ~DBPS_HELD;
	return 0;
}

/* At what packets lie in. Returns 1 when there is nothing more to do. */
MYSQL_INLINE int mysql_request_frame(struct mysql_feed *f)
{
	if (mysql_unlikely(mysql_holds_frame(f->r)))
		return mysql_hold_rest(f);
	/* Behind a Quit nothing is a packet. */
	if (mysql_unlikely(f->r->s.phase == DBPS_PHASE_CLOSED)) {
		f->pos = f->whole;
		return 1;
	}
	return mysql_feed_outer(f, true) < 0;
}

/* A header, or a piece of a request. Returns 1 when there is nothing more to do. */
MYSQL_INLINE int mysql_request_piece(struct mysql_feed *f, bool held)
{
	struct dbps_stream *in = &f->r->s.in;
	int n;

	if (f->pos >= f->total) {
		if (f->pos >= f->whole || held)
			return 1;
		return mysql_request_frame(f);
	}
	if (!held && !in->left && !in->hdr_have && !in->full &&
	    mysql_unlikely(mysql_holds(&f->r->s)))
		return mysql_hold_rest(f);
	if (!in->left) {
		n = mysql_header_bytes(in, &f->span, f->pos, f->total - f->pos);
		if (n < 0)
			return 1;
		f->pos += (__u32)n;
		if (in->hdr_have < 4)
			return f->pos >= f->whole;
		mysql_header(f->r);
	} else if (!held && mysql_begins_frames(f)) {
		return 0;
	} else {
		n = mysql_request_bytes(f->r, &f->span, f->pos, f->total - f->pos,
					held ? DBPS_NAMES_MAX : DBPS_BODY_CAP);
		if (n <= 0)
			return 1;
		f->pos += (__u32)n;
	}
	if (!in->left && !in->full)
		mysql_message(f->r);
	return f->pos >= f->whole || mysql_unlikely(f->r->s.flags & DBPS_TLS);
}

DBPS_TURN(MYSQL_PACKETS_MAX, mysql_request_loop, struct mysql_feed, f)
{
	(void)i;
	return mysql_request_piece(f, false);
}

/*
 * A piece was taken of a frame that was held. What was not of its packets is still to come; behind
 * the last of them the frame's end is taken as well, as the server is done with it.
 */
MYSQL_INLINE void mysql_framed_taken(struct mysql_feed *f)
{
	struct dbps_outer *o = &f->r->my.outer_in;
	__u32 n;

	o->left += f->total - f->pos;
	if (o->left | o->skip)
		return;
	n = o->tail < f->whole - f->pos ? o->tail : f->whole - f->pos;
	o->tail -= n;
	f->pos += n;
}

/*
 * The server comes to what it has read ahead: a header of it, or a piece. No more of a request is
 * kept than the struct has room for, as the kernel does not know the map's larger value here.
 * Returns 0; -1 when what is there is not what was read, or what came before it is not followed.
 */
DBPS_STEP_FN int mysql_take_held(struct dbps_record *r)
{
	struct mysql_feed f = {.r = r};
	__u32 first = 0;

	if (!r || r->s.phase == DBPS_PHASE_UNFRAMED)
		return -1;
	f.span.base = (__typeof__(f.span.base))(unsigned long)r->my.held[0].base;
	f.whole = r->my.held[0].len;
	f.total = mysql_total(r, 0, f.whole);
	if (dbps_span_read(&f.span, 0, &first, 1) || first != r->my.held[0].first ||
	    (!f.total && mysql_feed_outer(&f, true) < 0))
		return -1;
	if (f.pos < f.total)
		mysql_request_piece(&f, true);
	if (r->s.flags & DBPS_OB20)
		mysql_framed_taken(&f);
	return f.pos ? mysql_held_taken(r, f.pos) : -1;
}

#endif
