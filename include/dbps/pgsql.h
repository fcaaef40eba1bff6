/*
 * The PostgreSQL step: version 3 of its protocol for one session, fed with the bytes that the
 * server's socket moved. Pure, as the MySQL step, whose reading of names and end of a statement it
 * shares.
 *
 * The includer says, besides what mysql.h wants:
 *   dbps_pgsql_on_begin(record)              a statement has begun
 *   dbps_pgsql_on_end(record, error)         ReadyForQuery was sent; error: DBPS_SQLSTATE() or 0
 *   dbps_pgsql_on_close(record, statement)   it is no more, or its text is not sure
 *   dbps_pgsql_on_version(record, h, have)   h is a ParameterStatus "server_version" of so many
 *                                            bytes
 *
 * The parts, each in a file of pgsql/: what both directions share (protocol), client to server
 * (request), server to client (answer), and the everyday path (everyday).
 *
 * Invariants:
 * 1. Every message is followed by position, over any cut between calls.
 * 2. The server reads up to 8 KiB into one buffer (PqRecvBuffer, libpq/pqcomm.c), many messages a
 * call. Behind a Query, a Sync or a Function call it comes to none of them before it has sent
 * ReadyForQuery, and reads no more bytes: the rest is held, as an address in that buffer, until
 * that was sent. So each statement of a pipeline begins when the server turns to it. In a login it
 * waits likewise until it has answered, or has asked for a password.
 * 3. A statement is what one ReadyForQuery ends: a Query, a Function call, or all from the first
 * Parse, Bind or Execute to a Sync. Of several Executes before one Sync the text is that of the
 * last one read: what the server has done of them stays in its buffer, unseen.
 * A pooler (DBPS_READS_AHEAD) reads and passes on what comes: what it reads behind such a message
 * is counted, and its text is not kept, as that of what executes stands there.
 * 4. ReadyForQuery is always the end of a send (pq_flush() in ReadyForQuery(), tcop/dest.c).
 *
 * Source: protocol.md 4, cited by section; "Message Formats" of PostgreSQL's documentation.
 */
#ifndef DBPS_PGSQL_H
#define DBPS_PGSQL_H

#include "pgsql/everyday.h"

/**
 * @brief A call of the server read n bytes.
 * @return As pgsql_requests().
 */
PGSQL_INLINE int pgsql_received(struct dbps_record *r, const struct dbps_span *span, __u32 n)
{
	if (pgsql_everyday_request(r, span, n))
		return 0;
	/* It has passed what was held, which is overwritten. */
	if (pgsql_waits(r))
		return -1;
	return pgsql_requests(r, span, n);
}

/**
 * @brief Bytes that the server sent to its client.
 * @param window Scratch.
 * @return As pgsql_requests().
 */
PGSQL_INLINE int pgsql_sent(struct dbps_record *r, const struct dbps_span *span, __u32 n,
			    struct dbps_window *window)
{
	struct pgsql_feed f = {.r = r, .window = window, .span = *span, .total = n};

	if (r->pg.asked)
		f.pos = pgsql_encryption(r, span);
	if (r->s.flags & DBPS_TLS)
		return 0;
	DBPS_LOOP(pgsql_answer_loop, &f);
	if (r->s.phase == DBPS_PHASE_CLOSED)
		return 0;
	if (f.broken || f.pos < n)
		return -1;
	if (!r->pg.held_len || r->pg.waits)
		return 0;
	return pgsql_rest(r);
}

/* ---------------------------------------------------------------- framing that is not known - */

/* Whether the server reads a message from its begin: one whose framing was not known. */
PGSQL_INLINE bool pgsql_may_begin(const __u8 b[5])
{
	__u32 len = pgsql_u32(b + 1);

	if (len < 4 || len > PGSQL_MESSAGE_MAX)
		return false;
	switch (b[0]) {
	case 'Q':
	case 'P':
	case 'B':
	case 'E':
	case 'C':
	case 'D':
	case 'H':
	case 'F':
		return true;
	case 'S':
	case 'X':
		return len == 4;
	default:
		return false;
	}
}

/*
 * What is known of both directions is forgotten, and of names, which may be those of other
 * statements by now. The includer says what that makes of the session.
 */
PGSQL_INLINE void pgsql_forget(struct dbps_record *r)
{
	r->s.prepare_era++;
	r->pg.bound = 0;
	r->pg.named_portals = 0;
	__builtin_memset(r->pg.portals, 0, sizeof(r->pg.portals));
	r->pg.held_len = 0;
	r->pg.waits = 0;
	r->pg.extended = 0;
	r->pg.skips = 0;
	r->pg.unnamed = 0;
	r->pg.parses = 0;
	r->pg.asked = 0;
	r->pg.ahead = 0;
}

/*
 * Any bytes were left out, and framing with them. Had they been ReadyForQuery, the next statement
 * would pass for the one before until its own, and a kill of that one would meet it. So it is not
 * known whether one executes, until the end or the begin of one is seen.
 */
PGSQL_INLINE void pgsql_left_out(struct dbps_record *r)
{
	pgsql_forget(r);
	if (r->s.phase == DBPS_PHASE_UNFRAMED && !(r->s.flags & DBPS_TLS))
		r->s.phase = DBPS_PHASE_UNKNOWN;
}

/*
 * Bytes that the server read. When it does nothing and asks for a whole buffer it has come to the
 * end of what it read before, so a message begins. A pooler has buffers of any size: there it has
 * to be whole. Returns whether it does: framing is known.
 */
PGSQL_INLINE bool pgsql_reframes(struct dbps_record *r, const struct dbps_span *span, __u32 n,
				 __u64 requested)
{
	struct dbps_session *s = &r->s;
	__u8 b[5];

	if (n < 5 || (s->phase != DBPS_PHASE_IDLE && s->phase != DBPS_PHASE_UNKNOWN) ||
	    dbps_span_read(span, 0, b, 5) || !pgsql_may_begin(b))
		return false;
	if (s->flags & DBPS_READS_AHEAD ? pgsql_u32(b + 1) >= n : requested != PGSQL_BUFFER)
		return false;
	pgsql_forget(r);
	s->flags |= DBPS_FRAMED_IN;
	s->phase = DBPS_PHASE_IDLE;
	return true;
}

/* Bytes that the server sent: ReadyForQuery at their end is one (invariant 4). */
PGSQL_INLINE void pgsql_sent_unframed(struct dbps_record *r, const struct dbps_span *span, __u32 n)
{
	__u8 b[6];

	if (n < 6 || dbps_span_read(span, n - 6, b, 6))
		return;
	if (b[0] != 'Z' || pgsql_u32(b + 1) != 5 || (b[5] != 'I' && b[5] != 'T' && b[5] != 'E'))
		return;
	r->pg.failed = 0;
	pgsql_ready(r, b[5]);
}

#endif
