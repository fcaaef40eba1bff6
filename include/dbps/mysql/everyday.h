/*
 * The everyday path: a header or a body alone in a call, and a short answer of plain packets. It
 * does what the general one would, in fewer lines of code and data, and leaves to it what it does
 * not understand.
 */
#ifndef DBPS_MYSQL_EVERYDAY_H
#define DBPS_MYSQL_EVERYDAY_H

#include "dbps/mysql/ahead.h"

/* Bytes of a short request or answer. */
#define MYSQL_SHORT_REQUEST 128
#define MYSQL_SHORT_ANSWER  240

struct mysql_short_request {
	__u64 half[2][MYSQL_SHORT_REQUEST / 16];
};

struct mysql_short_answer {
	__u8 b[MYSQL_SHORT_ANSWER +
	       16]; /* a look at a packet's first bytes may go behind the end */
};

/*
 * Read a whole request. A short one goes over the stack: the kernel's check of what user memory may
 * be copied to (CONFIG_HARDENED_USERCOPY) looks up the page of anything else, which costs more than
 * the copy. That piece of stack is this function's own, so that nothing else that a tap calls has
 * to fit beside it.
 */
DBPS_STEP_FN int mysql_read_request(struct dbps_record *r, const struct dbps_span *span, __u32 n)
{
	struct mysql_short_request q;
	__u64 *to;

	if (!r || !span)
		return -1;
	to = (__u64 *)r->request.body;
	if (n > MYSQL_SHORT_REQUEST)
		return n > DBPS_NAMES_MAX ? -1 : dbps_span_read(span, 0, r->request.body, n);
	if (dbps_span_read(span, 0, &q, n))
		return -1;
	for (int i = 0; i < MYSQL_SHORT_REQUEST / 16; i++)
		to[i] = q.half[0][i];
	if (n > MYSQL_SHORT_REQUEST / 2) {
		for (int i = 0; i < MYSQL_SHORT_REQUEST / 16; i++)
			to[MYSQL_SHORT_REQUEST / 16 + i] = q.half[1][i];
	}
	return 0;
}

/* `hdr_have` of a header that was read and not looked at. */
#define MYSQL_HEADER_UNREAD 4

/* Sessions that are followed in clear text, by servers that read headers apart. */
#define MYSQL_EVERYDAY	    (DBPS_FRAMED_IN | DBPS_READS_APART)
#define MYSQL_EVERYDAY_MASK (MYSQL_EVERYDAY | DBPS_TLS | DBPS_WRAPPED)

/* Of an exact server one header in so many is looked at all the same. */
#define MYSQL_HEADER_CHECK 64

/*
 * A call read four bytes. When they can only be the header of a command, and the server asks for
 * just the rest of the packet in its next call, that call tells as much: the header is not looked
 * at. That of an empty packet shows as an answer before the next read: mysql_answers_header().
 */
MYSQL_INLINE bool mysql_skips_header(struct dbps_session *s)
{
	struct dbps_stream *in = &s->in;

	if ((s->flags & (MYSQL_EVERYDAY_MASK | DBPS_READS_EXACT)) !=
		    (MYSQL_EVERYDAY | DBPS_READS_EXACT) ||
	    s->phase != DBPS_PHASE_IDLE || s->lost || in->left || in->hdr_have || in->full ||
	    in->skip || !(s->sequence % MYSQL_HEADER_CHECK))
		return false;
	in->hdr_have = MYSQL_HEADER_UNREAD;
	return true;
}

/*
 * Something is sent with no statement under way. Behind a header that was not looked at it is the
 * answer to an empty packet, which has no body to read; in the middle of a body, whose length was
 * taken from the call, nothing fits: that server is not exact.
 */
MYSQL_INLINE void mysql_answers_header(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;

	if (s->phase != DBPS_PHASE_IDLE || !(s->flags & DBPS_READS_EXACT))
		return;
	if (s->in.hdr_have == MYSQL_HEADER_UNREAD) {
		__builtin_memset(&s->in, 0, sizeof(s->in));
		r->request.have = 0;
		r->request.len = 0;
		s->bytes_in += 4;
		mysql_message(r);
		s->flags |= DBPS_SENT;
	} else if (s->in.left) {
		s->flags &= ~DBPS_READS_EXACT;
		s->lost = 1;
	}
}

/* The packet of a header that was not looked at: `requested` bytes long. */
MYSQL_INLINE bool mysql_take_length(struct dbps_session *s, __u64 requested)
{
	struct dbps_stream *in = &s->in;

	in->hdr_have = 0;
	in->got = 0;
	in->seq = 0;
	s->bytes_in += 4;
	if (!requested || requested > MYSQL_PACKET_FULL) {
		s->flags &= ~DBPS_READS_EXACT;
		s->lost = 1;
		return false;
	}
	in->left = (__u32)requested;
	in->full = requested == MYSQL_PACKET_FULL;
	return true;
}

/* The body behind a header that was looked at: does the server ask for just that? */
MYSQL_INLINE void mysql_learn_exact(struct dbps_session *s, __u64 requested)
{
	if (requested == s->in.left)
		s->flags |= DBPS_READS_EXACT;
	else
		s->flags &= ~DBPS_READS_EXACT;
}

/*
 * The everyday request: a call that read just a header, or just the body that belongs to it. Does
 * what mysql_requests() would, in fewer lines of code and data; false when the call is anything
 * else.
 */
MYSQL_INLINE bool mysql_everyday_request(struct dbps_record *r, const struct dbps_span *span,
					 __u32 n, __u64 requested)
{
	struct dbps_stream *in = &r->s.in;
	__u32 header;

	if (mysql_unlikely(r->s.phase != DBPS_PHASE_IDLE || in->full || in->skip))
		return false;
	if (mysql_likely(in->hdr_have == MYSQL_HEADER_UNREAD)) {
		if (!mysql_take_length(&r->s, requested) || in->full)
			return false;
	} else if (in->hdr_have) {
		return false;
	} else if (!in->left) {
		if (n != 4 || dbps_span_read(span, 0, &header, 4))
			return false;
		/* Sequence 0, and neither empty nor full. Wire and host order are the same here. */
		if (!header || header >= MYSQL_PACKET_FULL)
			return false;
		in->left = header;
		in->got = 0;
		in->seq = 0;
		r->s.bytes_in += 4;
		return true;
	} else if (!in->got) {
		mysql_learn_exact(&r->s, requested);
	}
	if (n != in->left || in->got || in->seq || mysql_read_request(r, span, n))
		return false;
	r->request.have = n;
	r->request.len = n;
	in->got = n;
	in->left = 0;
	r->s.bytes_in += n;
	mysql_message(r);
	return true;
}

/*
 * A terminator or OK that changes nothing: the status is the last one. `h` is its packet's first
 * byte. Returns whether the statement's answer is over with it, or -1: look closer.
 */
MYSQL_INLINE int mysql_plain_end(const struct dbps_session *s, const __u8 *h, __u32 len)
{
	__u32 status;

	/* EOF: warnings, status. OK: affected rows and insert id of a byte each, status. At 3 in
	 * both. */
	if (len != 5 &&
	    (len < 7 || h[1] >= 0xfb || h[2] >= 0xfb || s->flags & DBPS_APPLIES || s->results))
		return -1;
	status = mysql_u16(h + 3);
	if (status != s->status || status & (MYSQL_MORE_RESULTS | MYSQL_CURSOR_EXISTS |
					     MYSQL_DB_DROPPED | MYSQL_STATE_CHANGED))
		return -1;
	return 1;
}

/*
 * One packet of the kinds that make up almost all answers. Returns enum mysql_found bits, or -1: it
 * is of another kind.
 */
MYSQL_INLINE int mysql_plain_answer(struct dbps_session *s, const __u8 *h, __u32 len)
{
	__u32 first = h[0];

	switch (s->phase) {
	case DBPS_PHASE_DEFS:
		if (!--s->defs_left)
			s->phase = mysql_behind_defs(s);
		return MYSQL_FOUND_NOTHING;
	case DBPS_PHASE_ROWS:
		if (first < 0xfe) {
			s->rows++;
			return MYSQL_FOUND_NOTHING;
		}
		return first == 0xfe && mysql_plain_end(s, h, len) == 1 ? MYSQL_FOUND_END : -1;
	case DBPS_PHASE_DEFS_EOF:
		if (first != 0xfe || len != 5 || mysql_plain_end(s, h, len) != 1)
			return -1;
		s->flags |= DBPS_KNOWN_EOF;
		s->phase = DBPS_PHASE_ROWS;
		return MYSQL_FOUND_NOTHING;
	case DBPS_PHASE_FIRST:
		if (len <= 2 && first && first < 0xfb) {
			s->defs_left = first;
			s->phase = len == 1 || h[1] ? DBPS_PHASE_DEFS : mysql_behind_defs(s);
			return MYSQL_FOUND_NOTHING;
		}
		return !first && len != 5 && mysql_plain_end(s, h, len) == 1 ? MYSQL_FOUND_END : -1;
	default:
		return -1;
	}
}

/**
 * @brief The packets that lie whole in the first n bytes of the window, until one says something.
 * @return Bytes behind the last packet taken, and what was found << 32.
 */
DBPS_STEP_FN __u64 mysql_answers(struct dbps_session *s, const struct dbps_window *w, __u32 n)
{
	__u32 off = 0, len;
	int found = 0;

	if (!s || !w || n > DBPS_WINDOW)
		return 0;
	for (int i = 0; i < MYSQL_WINDOW_PACKETS; i++) {
		const __u8 *h;

		/* The bound that is known at load as well: older verifiers do not relate off + 4
		 * to off. */
		MYSQL_SAME(off);
		if (off > DBPS_WINDOW || off + 4 > n)
			break;
		h = w->b + off;
		len = mysql_u24(h);
		if (!len || off + 4 + len > n)
			break;
		off += 4 + len;
		found = mysql_plain_answer(s, h + 4, len);
		if (mysql_unlikely(found < 0))
			found = mysql_answer(s, (const struct dbps_head *)(h + 4),
					     len < DBPS_HEAD_MAX ? len : DBPS_HEAD_MAX, len);
		if (found)
			break;
	}
	return (__u64)(__u32)found << 32 | off;
}

/**
 * @brief The everyday answer: plain packets, the last of which ends the statement.
 * @return Bytes behind the last packet taken, and what was found << 32.
 */
MYSQL_INLINE __u64 mysql_everyday_answer(struct dbps_session *s, const struct mysql_short_answer *a,
					 __u32 n)
{
	__u64 off = 0; /* so wide that what is checked is what is added to an address */
	__u32 len;
	int found = 0;

	for (int i = 0; i < MYSQL_WINDOW_PACKETS; i++) {
		const __u8 *h;

		MYSQL_SAME(off);
		if (off > MYSQL_SHORT_ANSWER || off + 4 > n)
			break;
		h = a->b + off;
		len = mysql_u24(h);
		if (!len || off + 4 + len > n)
			break;
		found = mysql_plain_answer(s, h + 4, len);
		if (found < 0)
			return off;
		off += 4 + len;
		if (found)
			break;
	}
	return (__u64)(__u32)found << 32 | off;
}

#endif
