/*
 * The everyday path: a short call that has all of a statement, and a short send that has all of its
 * answer. It does what the general one would, in fewer lines of code and data.
 */
#ifndef DBPS_PGSQL_EVERYDAY_H
#define DBPS_PGSQL_EVERYDAY_H

#include "dbps/pgsql/answer.h"

/* A call of at most so many bytes, and in it a text of so many, its NUL included, is read at once,
 * over the stack: see mysql_read_request(). */
#define PGSQL_SHORT_CALL 240
#define PGSQL_SHORT_TEXT (MYSQL_SHORT_REQUEST - 1)

/* The call's bytes begin four bytes behind the first of these, so that the text of its first
 * message lies as the record has it: one byte behind a multiple of eight. A look may go behind the
 * end. */
struct pgsql_short_call {
	__u64 words[(4 + PGSQL_SHORT_CALL + 28) / 8];
};

PGSQL_INLINE __u8 *pgsql_short_bytes(struct pgsql_short_call *call)
{
	return (__u8 *)call->words + 4;
}

/* Whether these n bytes are an Execute of the unnamed portal and a Sync, or also a Describe before
 * them. */
PGSQL_INLINE bool pgsql_is_execute(const __u8 *b, __u32 n)
{
	if (n == 22) {
		if (!pgsql_is(b, "D\0\0\0\6P"))
			return false;
		b += 7;
		n -= 7;
	}
	return n == 15 && pgsql_is(b, "E\0\0\0\11") && pgsql_begins(b + 10, "S\0\0\0\4", 5);
}

/*
 * Whether the bytes from `at` to n are a Bind of the unnamed portal and what executes it. Returns
 * the statement that is bound, of which only the unnamed one is known behind a Parse; or 0.
 */
PGSQL_INLINE __u32 pgsql_bind_and_execute(const __u8 *b, __u64 at, __u32 n)
{
	const __u8 *bind;
	__u64 end;
	__u32 len;

	MYSQL_SAME(at);
	if (at > PGSQL_SHORT_CALL || at + 8 > n)
		return 0;
	bind = b + at;
	len = pgsql_u32(bind + 1);
	if (bind[0] != 'B' || bind[5] || len < 6 || len > n)
		return 0;
	end = at + 1 + len;
	MYSQL_SAME(end);
	if (end > PGSQL_SHORT_CALL || end > n || !pgsql_is_execute(b + end, n - (__u32)end))
		return 0;
	if (at)
		return bind[6] ? 0 : PGSQL_UNNAMED;
	return (__u32)pgsql_name((const struct dbps_pgsql_head *)(b + 5), len - 4, 1);
}

/* The text of a call's first message, of at most PGSQL_SHORT_TEXT bytes, becomes the record's. */
PGSQL_INLINE void pgsql_take_text(struct dbps_record *r, struct pgsql_short_call *call, __u32 len)
{
	const __u64 *from = call->words + 1;
	__u64 *to = (__u64 *)r->request.body;

	*(__u8 *)(call->words + 1) = *pgsql_short_bytes(call);
	for (int i = 0; i < MYSQL_SHORT_REQUEST / 16; i++)
		to[i] = from[i];
	if (len > MYSQL_SHORT_REQUEST / 2) {
		for (int i = MYSQL_SHORT_REQUEST / 16; i < MYSQL_SHORT_REQUEST / 8; i++)
			to[i] = from[i];
	}
	r->request.have = len;
	r->request.len = len;
}

/* What a call has that is an everyday one. */
#define PGSQL_TAKEN(type, statement) ((__u64)(type) << 32 | (statement))

/*
 * Take a call's n bytes that are one Query, or a Bind with what executes it, or that behind a Parse
 * of the unnamed statement. Returns PGSQL_TAKEN() of the first message's type and the statement
 * that is bound; 0: it is anything else, and nothing was taken.
 */
DBPS_STEP_FN __u64 pgsql_take_call(struct dbps_record *r, const struct dbps_span *span, __u32 n)
{
	struct pgsql_short_call call;
	__u8 *b = pgsql_short_bytes(&call);
	__u32 len, bound = 0;
	__u8 type;

	if (!r || !span || n < 6)
		return 0;
	MYSQL_SAME(n);
	if (n > PGSQL_SHORT_CALL || dbps_span_read(span, 0, b, n))
		return 0;
	type = b[0];
	if (type == 'B') {
		bound = pgsql_bind_and_execute(b, 0, n);
		return bound ? PGSQL_TAKEN(type, bound) : 0;
	}
	len = pgsql_u32(b + 1);
	if (len < 5 || len > 4 + PGSQL_SHORT_TEXT)
		return 0;
	if (type == 'P' && !b[5])
		bound = pgsql_bind_and_execute(b, 1 + len, n);
	if (!bound && (type != 'Q' || len != n - 1))
		return 0;
	pgsql_take_text(r, &call, len - 3);
	return PGSQL_TAKEN(type, bound);
}

/* The state bytes of struct dbps_pgsql, from `waits` to `ahead`. */
PGSQL_INLINE bool pgsql_at_rest(const struct dbps_pgsql *pg)
{
	return !(pg->waits | pg->extended | pg->skips | pg->asked | pg->ahead) && !pg->held_len;
}

/* A portal without a name was bound to a statement and executed, up to the Sync. */
PGSQL_INLINE void pgsql_bound_and_executed(struct dbps_record *r, __u32 statement)
{
	r->pg.bound = statement;
	r->pg.waits = 1;
	pgsql_begin(r, COM_STMT_EXECUTE);
	pgsql_show(r, statement);
}

/*
 * The everyday request, while nothing is under way: a short call that has all of a statement. Does
 * what pgsql_requests() would, in fewer lines of code and data; false when the call is anything
 * else.
 */
PGSQL_INLINE bool pgsql_everyday_request(struct dbps_record *r, const struct dbps_span *span,
					 __u32 n)
{
	struct dbps_stream *in = &r->s.in;
	__u64 taken;

	if (r->s.phase != DBPS_PHASE_IDLE || in->left || in->hdr_have || n > PGSQL_SHORT_CALL ||
	    !pgsql_at_rest(&r->pg))
		return false;
	taken = pgsql_take_call(r, span, n);
	if (!taken)
		return false;
	in->skip = 0;
	if (taken >> 32 == 'Q') {
		pgsql_query(r);
		return true;
	}
	if (taken >> 32 == 'P')
		pgsql_parsed_anew(&r->pg, PGSQL_UNNAMED);
	pgsql_bound_and_executed(r, (__u32)taken);
	return true;
}

/* What a short answer holds. */
struct pgsql_short_found {
	__u16 rows;
	__u16 results;
	__u8 status; /* of the ReadyForQuery at its end; 0: it is no everyday answer */
};

#define PGSQL_SHORT_MESSAGES 12

/* PREPARE, and of those with a D all but DELETE: what begins so is left to pgsql_complete(). */
PGSQL_INLINE bool pgsql_may_rename(const __u8 *tag)
{
	return tag[0] == 'P' || (tag[0] == 'D' && tag[2] != 'L');
}

/* The messages of a whole answer, of at most MYSQL_SHORT_ANSWER bytes. */
PGSQL_INLINE struct pgsql_short_found pgsql_short_look(const struct mysql_short_answer *a, __u32 n)
{
	struct pgsql_short_found found = {};
	__u64 off = 0; /* so wide that what is checked is what is added to an address */

	for (int i = 0; i < PGSQL_SHORT_MESSAGES; i++) {
		const __u8 *b;
		__u32 len;

		MYSQL_SAME(off);
		if (off > MYSQL_SHORT_ANSWER || off + 6 > n)
			break;
		b = a->b + off;
		len = pgsql_u32(b + 1);
		if (len < 4 || len > n)
			break;
		off += 1 + len;
		if (b[0] == 'Z') {
			if (len == 5 && off == n)
				found.status = b[5];
			break;
		}
		if (pgsql_is_row(b[0]))
			found.rows++;
		else if (b[0] == 'C' && !pgsql_may_rename(b + 5))
			found.results++;
		else if (!pgsql_is_plain(b[0]) && b[0] != '1')
			break;
	}
	return found;
}

/*
 * The everyday answer: all of it in one short send that ends the statement. Does what pgsql_sent()
 * would; false when it is anything else. What a ParseComplete in it counts, its end makes nothing.
 */
DBPS_STEP_FN __u64 pgsql_short_answer(const struct dbps_span *span, __u32 n)
{
	struct mysql_short_answer a;
	struct pgsql_short_found found;

	if (!span || n > MYSQL_SHORT_ANSWER || dbps_span_read(span, 0, &a, n))
		return 0;
	found = pgsql_short_look(&a, n);
	return (__u64)found.status << 32 | (__u32)found.results << 16 | found.rows;
}

PGSQL_INLINE bool pgsql_everyday_answer(struct dbps_record *r, const struct dbps_span *span,
					__u32 n)
{
	const struct dbps_stream *out = &r->s.out;
	struct dbps_session *s = &r->s;
	__u64 found;

	if (n > MYSQL_SHORT_ANSWER || s->phase < DBPS_PHASE_FIRST || s->phase > DBPS_PHASE_ROWS ||
	    out->left || out->hdr_have || r->pg.asked || r->pg.held_len || r->pg.ahead)
		return false;
	found = pgsql_short_answer(span, n);
	if (!(found >> 32))
		return false;
	s->rows += found & 0xffff;
	s->results += (__u16)(found >> 16);
	pgsql_ready(r, (__u32)(found >> 32));
	return true;
}

#endif
