/*
 * Client to server: messages, what is kept of them, and the statement that they begin or go on
 * with.
 */
#ifndef DBPS_PGSQL_REQUEST_H
#define DBPS_PGSQL_REQUEST_H

#include "dbps/pgsql/protocol.h"

/* The statement that is shown is this one, when it is known. */
PGSQL_INLINE void pgsql_show(struct dbps_record *r, __u32 statement)
{
	struct dbps_session *s = &r->s;

	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES);
	if (statement == PGSQL_UNNAMED && r->pg.unnamed) {
		s->flags |= DBPS_HAS_TEXT;
		s->text_off = 2;
		s->text_len = r->request.len > 2 ? r->request.len - 2 : 0;
		return;
	}
	s->flags |= DBPS_EXECUTES;
	s->stmt_id = statement == PGSQL_UNNAMED ? 0 : statement;
}

PGSQL_INLINE void pgsql_begin(struct dbps_record *r, __u8 command)
{
	struct dbps_session *s = &r->s;

	s->command = command;
	if (s->phase > DBPS_PHASE_IDLE)
		return; /* one more message of it */
	s->sequence++;
	s->start_ns = dbps_now();
	s->results = 0;
	s->text_len = 0;
	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES | DBPS_RESYNCED | DBPS_SENT);
	s->phase = DBPS_PHASE_FIRST;
	r->pg.failed = 0;
	dbps_pgsql_on_begin(r);
}

/* What a driver has prepared without a Sync it may execute much later: the time is that of what is
 * executed. */
PGSQL_INLINE void pgsql_behind_prepare(struct dbps_session *s)
{
	if (s->phase > DBPS_PHASE_IDLE && s->command == COM_STMT_PREPARE)
		s->start_ns = dbps_now();
}

/* What the server answers without a Sync, also in the midst of a group that has none yet: an error
 * of it skips nothing, one of a Parse before it does. */
PGSQL_INLINE void pgsql_simple(struct dbps_record *r, __u8 command)
{
	pgsql_behind_prepare(&r->s);
	r->pg.waits = 1;
	if (!r->pg.parses)
		r->pg.extended = 0;
	pgsql_begin(r, command);
	r->s.flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES);
}

PGSQL_INLINE void pgsql_query(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;

	r->pg.unnamed = 0;
	pgsql_simple(r, COM_QUERY);
	s->text_off = 1;
	s->text_len = r->request.len > 2 ? r->request.len - 2 : 0;
	s->flags |= DBPS_HAS_TEXT;
}

/*
 * The name is that of another statement from now on, but for a portal that was bound before, as a
 * driver's cursor is: that goes on with the one that it was bound to, whose text is not known any
 * more.
 */
DBPS_STEP_FN int pgsql_portals_part(struct dbps_pgsql *pg, __u32 statement)
{
	if (!pg)
		return 0;
	for (__u32 i = 0; i < DBPS_PGSQL_PORTALS; i++) {
		if (pg->portals[i].statement == statement)
			pg->portals[i].statement = 0;
	}
	return 0;
}

/* A Parse of this statement was read. */
PGSQL_INLINE void pgsql_parsed_anew(struct dbps_pgsql *pg, __u32 statement)
{
	pg->unnamed = statement == PGSQL_UNNAMED;
	pg->parsed = statement;
	pg->parses++;
	if (pg->bound == statement)
		pg->bound = 0;
	if (mysql_unlikely(pg->named_portals))
		pgsql_portals_part(pg, statement);
}

PGSQL_INLINE void pgsql_parse(struct dbps_record *r)
{
	const struct dbps_pgsql_head *h = (const struct dbps_pgsql_head *)(r->request.body + 1);
	__u32 have = r->request.have ? r->request.have - 1 : 0;
	__u32 statement = (__u32)pgsql_name(h, have, 0);

	pgsql_parsed_anew(&r->pg, statement);
	pgsql_begin(r, COM_STMT_PREPARE);
	pgsql_show(r, statement);
}

DBPS_STEP_FN int pgsql_portal_set(struct dbps_pgsql *pg, __u32 portal, __u32 statement)
{
	__u32 at;

	if (!pg)
		return 0;
	at = pg->portal_next;
	for (__u32 i = 0; i < DBPS_PGSQL_PORTALS; i++) {
		if (pg->portals[i].portal == portal)
			at = i;
	}
	if (at == pg->portal_next)
		pg->portal_next = (__u8)((at + 1) & (DBPS_PGSQL_PORTALS - 1));
	at &= DBPS_PGSQL_PORTALS - 1;
	pg->named_portals = 1;
	pg->portals[at].portal = portal;
	pg->portals[at].statement = statement;
	return 0;
}

DBPS_STEP_FN __u32 pgsql_portal_get(const struct dbps_pgsql *pg, __u32 portal)
{
	if (!pg)
		return 0;
	for (__u32 i = 0; i < DBPS_PGSQL_PORTALS; i++) {
		if (pg->portals[i].portal == portal)
			return pg->portals[i].statement;
	}
	return 0;
}

PGSQL_INLINE __u32 pgsql_call_have(const struct dbps_record *r)
{
	return r->s.in.got < DBPS_PGSQL_HEAD ? r->s.in.got : DBPS_PGSQL_HEAD;
}

/* Bind: portal NUL statement NUL … */
PGSQL_INLINE void pgsql_bind(struct dbps_record *r)
{
	struct pgsql_names names = pgsql_two_names(&r->pg.call, pgsql_call_have(r));

	if (names.hash[0] == PGSQL_UNNAMED)
		r->pg.bound = names.hash[1];
	else if (names.hash[0])
		pgsql_portal_set(&r->pg, names.hash[0], names.hash[1]);
	pgsql_behind_prepare(&r->s);
	pgsql_begin(r, COM_STMT_EXECUTE);
	pgsql_show(r, names.hash[1]);
}

/* Execute: portal NUL u32 rows */
PGSQL_INLINE void pgsql_execute(struct dbps_record *r)
{
	__u32 portal = (__u32)pgsql_name(&r->pg.call, pgsql_call_have(r), 0);

	pgsql_behind_prepare(&r->s);
	pgsql_begin(r, COM_STMT_EXECUTE);
	pgsql_show(r, portal == PGSQL_UNNAMED ? r->pg.bound
		      : portal		      ? pgsql_portal_get(&r->pg, portal)
					      : 0);
}

/* Close: 'S' or 'P', name NUL */
PGSQL_INLINE void pgsql_close(struct dbps_record *r)
{
	__u32 statement = (__u32)pgsql_name(&r->pg.call, pgsql_call_have(r), 1);

	if (r->pg.call.b[0] == 'S' && statement)
		dbps_pgsql_on_close(r, statement);
}

/* What may come before a Sync: skipped by the server after an error. */
PGSQL_INLINE void pgsql_extended(struct dbps_record *r, __u32 type)
{
	r->pg.extended = 1;
	if (r->pg.skips)
		return;
	switch (type) {
	case 'P':
		pgsql_parse(r);
		break;
	case 'B':
		pgsql_bind(r);
		break;
	case 'E':
		pgsql_execute(r);
		break;
	case 'C':
		pgsql_close(r);
		break;
	default:
		break; /* Describe, Flush */
	}
}

/* While the client sends the data of a COPY. */
PGSQL_INLINE void pgsql_copy(struct dbps_record *r, __u32 type)
{
	if (type != 'c' && type != 'f')
		return; /* a Flush or a Sync is ignored */
	r->s.phase = DBPS_PHASE_FIRST;
	r->pg.waits = !r->pg.extended;
}

/* CopyInResponse, CopyBothResponse: the server reads on, also behind a Sync that it has read. The
 * latter is a replica's, and has the command of MySQL's. */
PGSQL_INLINE void pgsql_copy_begin(struct dbps_record *r, __u8 phase)
{
	if (r->s.phase <= DBPS_PHASE_IDLE)
		return;
	r->s.phase = phase;
	r->pg.waits = 0;
	r->pg.extended = r->s.command != COM_QUERY;
	if (phase == DBPS_PHASE_STREAM)
		r->s.command = COM_BINLOG_DUMP;
}

/* A whole message that is no startup packet was read from the client. */
PGSQL_INLINE void pgsql_request(struct dbps_record *r)
{
	__u32 type = r->s.in.seq;

	if (r->s.phase == DBPS_PHASE_INFILE || r->s.phase == DBPS_PHASE_STREAM) {
		pgsql_copy(r, type);
		return;
	}
	switch (type) {
	case 'Q':
		pgsql_query(r);
		break;
	case 'F':
		pgsql_simple(r, PGSQL_COM_FUNCTION);
		break;
	case 'S':
		r->pg.waits = 1;
		r->pg.skips = 0;
		r->pg.extended = 0;
		break;
	case 'p':
		r->pg.waits = r->s.phase == DBPS_PHASE_AUTH;
		break;
	case 'X':
		mysql_end(&r->s, dbps_now(), DBPS_PHASE_CLOSED); /* also a group without its Sync */
		r->s.command = COM_QUIT;
		break;
	case 'P':
	case 'B':
	case 'E':
	case 'C':
	case 'D':
	case 'H':
		pgsql_extended(r, type);
		break;
	default:
		break; /* copy data that came too late */
	}
}

/* A pooler makes the process ids up that it tells its clients: it has none to know. */
PGSQL_INLINE void pgsql_id_known(struct dbps_session *s)
{
	if (!(s->flags & DBPS_READS_AHEAD))
		s->flags |= DBPS_KNOWN_ID;
}

/* The first packet was read whole, or the one after encryption was refused. */
PGSQL_INLINE void pgsql_startup(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	__u32 code = pgsql_u32(r->request.body);

	if (s->in.got >= 4 && (code == PGSQL_SSL || code == PGSQL_GSS)) {
		r->pg.asked = 1;
		r->pg.waits = 1;
		return;
	}
	if (s->in.got < 4 || code >> 16 != PGSQL_MAJOR) {
		s->phase = DBPS_PHASE_CLOSED;
		return;
	}
	pgsql_id_known(s);
	s->phase = DBPS_PHASE_AUTH;
	r->pg.waits = 1;
}

PGSQL_INLINE bool pgsql_keeps_request(const struct dbps_session *s)
{
	return s->phase == DBPS_PHASE_GREETED || s->in.seq == 'Q' || s->in.seq == 'P';
}

PGSQL_INLINE bool pgsql_keeps_call(__u8 type)
{
	return type == 'B' || type == 'E' || type == 'C';
}

/* Bytes that the header of a message has: the first packet has no type. */
PGSQL_INLINE __u32 pgsql_header_len(const struct dbps_session *s)
{
	return s->phase == DBPS_PHASE_GREETED ? 4 : 5;
}

/* The bytes that one call moved, and how far they are understood. */
struct pgsql_feed {
	struct dbps_record *r;
	struct dbps_window *window; /* answers only */
	struct dbps_span span;
	__u32 total;
	__u32 pos;
	__u32 broken;  /* answers only */
	__u32 came_to; /* requests only: enum pgsql_piece */
};

/*
 * Header bytes, `want` of them. The type goes to `seq`, the length to `hdr`. Returns how many were
 * taken, or negative.
 */
PGSQL_INLINE int pgsql_header_bytes(struct dbps_stream *stream, const struct dbps_span *span,
				    __u32 pos, __u32 avail, __u32 want)
{
	__u32 n = 0;
	__u8 b[5];

	if (!stream->hdr_have && want == 5 && avail >= 5) {
		if (dbps_span_read(span, pos, b, 5))
			return -1;
		stream->seq = b[0];
		__builtin_memcpy(stream->hdr, b + 1, 4);
		stream->hdr_have = 5;
		return 5;
	}
	for (__u32 i = 0; i < 5; i++) {
		__u32 at = stream->hdr_have;

		if (at >= want || n >= avail)
			break;
		if (dbps_span_read(span, pos + n, b, 1))
			return -1;
		if (want == 5 && !at)
			stream->seq = b[0];
		else
			stream->hdr[(at - (want - 4)) & 3] = b[0];
		stream->hdr_have = (__u8)(at + 1);
		n++;
	}
	return (int)n;
}

/* The header is there: begin the message. Negative: this is not the protocol. */
PGSQL_INLINE int pgsql_message_begin(struct dbps_stream *stream)
{
	__u32 len = pgsql_u32(stream->hdr);

	stream->hdr_have = 0;
	stream->got = 0;
	if (len < 4 || len > PGSQL_MESSAGE_MAX)
		return -1;
	stream->left = len - 4;
	return 0;
}

/* Bytes of the request that is kept: type, then body; a first packet without type. */
PGSQL_INLINE int pgsql_keep(struct dbps_record *r, const struct dbps_span *span, __u32 pos, __u32 n)
{
	__u32 type = r->s.phase != DBPS_PHASE_GREETED, got = r->s.in.got, off = got + type;
	__u32 cap = DBPS_BODY_CAP - 1 + type, keep = n;

	MYSQL_SAME(keep);
	if (!got) {
		r->request.body[0] = r->s.in.seq;
		if (keep > DBPS_BODY_CAP - 1)
			keep = DBPS_BODY_CAP - 1;
		if (dbps_span_read(span, pos, dbps_body(r) + type, keep))
			return -1;
		r->request.have = off + keep;
	} else if (off < cap) {
		if (n > DBPS_DB_MAX)
			n = DBPS_DB_MAX;
		if (dbps_span_read(span, pos, dbps_body(r) + off, n))
			return -1;
		r->request.have = off + n < cap ? off + n : cap;
	}
	r->request.len = off + n;
	return (int)n;
}

/* Bytes of a message of which only the head is looked at. */
PGSQL_INLINE int pgsql_keep_head(struct dbps_pgsql_head *h, __u32 got, const struct dbps_span *span,
				 __u32 pos, __u32 n)
{
	if (got >= DBPS_PGSQL_HEAD)
		return (int)n;
	/* The verifier does not relate two bounds: 32 fit below 96, then one by one. */
	if (got >= DBPS_PGSQL_HEAD - 32)
		n = 1;
	else if (got && n > 32)
		n = 32;
	if (dbps_span_read(span, pos, h->b + got, n > DBPS_PGSQL_HEAD ? DBPS_PGSQL_HEAD : n))
		return -1;
	return (int)n;
}

/* Bytes of a message. Returns how many were taken, or negative. */
PGSQL_INLINE int pgsql_request_bytes(struct dbps_record *r, const struct dbps_span *span, __u32 pos,
				     __u32 avail)
{
	struct dbps_stream *in = &r->s.in;
	__u32 n = in->left < avail ? in->left : avail;
	int taken = (int)n;

	if (in->skip)
		taken = (int)n;
	else if (pgsql_keeps_request(&r->s))
		taken = pgsql_keep(r, span, pos, n);
	else if (pgsql_keeps_call(in->seq))
		taken = pgsql_keep_head(&r->pg.call, in->got, span, pos, n);
	if (taken <= 0)
		return -1;
	in->got += (__u32)taken;
	in->left -= (__u32)taken;
	return taken;
}

/* One more statement, which was read ahead: its text was not kept. */
PGSQL_INLINE void pgsql_begin_ahead(struct dbps_record *r)
{
	r->pg.unnamed = 0;
	r->pg.waits = 1;
	pgsql_begin(r, COM_QUERY);
}

/* A message behind that of a statement which executes, or which did when this one came. */
PGSQL_INLINE void pgsql_message_ahead(struct dbps_record *r)
{
	__u32 type = r->s.in.seq;

	if (type != 'Q' && type != 'F' && type != 'S')
		return; /* these are answered with ReadyForQuery each */
	if (!r->pg.waits)
		pgsql_begin_ahead(r);
	else if (r->pg.ahead < 255)
		r->pg.ahead++;
}

/* A whole message is there. Returns whether it is the Parse of a named statement. */
PGSQL_INLINE bool pgsql_message(struct dbps_record *r)
{
	if (r->s.phase == DBPS_PHASE_GREETED) {
		pgsql_startup(r);
		return false;
	}
	if (r->s.in.skip) {
		pgsql_message_ahead(r);
		return false;
	}
	pgsql_request(r);
	return r->s.in.seq == 'P' && !r->pg.skips && r->pg.parsed && r->pg.parsed != PGSQL_UNNAMED;
}

/* Whether the server comes to no further message, and reads none. */
PGSQL_INLINE bool pgsql_waits(const struct dbps_record *r)
{
	return r->pg.waits && !(r->s.flags & DBPS_READS_AHEAD);
}

/* A header is there: begin the message. Negative: this is not the protocol. */
PGSQL_INLINE int pgsql_request_begin(struct dbps_record *r)
{
	if (pgsql_message_begin(&r->s.in))
		return -1;
	r->s.in.skip = r->pg.waits;
	if (!r->s.in.skip && pgsql_keeps_request(&r->s)) {
		r->request.have = 0;
		r->request.len = 0;
	}
	return 0;
}

/* What a piece of requests came to. */
enum pgsql_piece {
	PGSQL_MORE,
	PGSQL_PARSED, /* a named Parse is the request: its text may be kept before more is read */
	PGSQL_STOP,   /* the rest cannot be read */
	PGSQL_BROKEN, /* not the protocol */
};

/**
 * @brief A header and bytes of its message, or bytes of a message, at the begin of `avail` bytes.
 * @param base Their address.
 * @return Bytes that were taken; enum pgsql_piece << 32.
 */
DBPS_STEP_FN __u64 pgsql_request_piece(struct dbps_record *r, __u64 base, __u32 avail)
{
	struct dbps_stream *in;
	struct dbps_span span;
	__u32 want, pos = 0;
	int n;

	if (!r)
		return 0;
	in = &r->s.in;
	span.base = (__typeof__(span.base))(unsigned long)base;
	if (!in->left) {
		want = pgsql_header_len(&r->s);
		n = pgsql_header_bytes(in, &span, 0, avail, want);
		if (n < 0)
			return (__u64)PGSQL_STOP << 32;
		pos = (__u32)n;
		if (in->hdr_have < want)
			return (__u64)PGSQL_STOP << 32 | pos;
		if (pgsql_request_begin(r))
			return (__u64)PGSQL_BROKEN << 32 | pos;
	}
	if (in->left && pos < avail) {
		n = pgsql_request_bytes(r, &span, pos, avail - pos);
		if (n < 0)
			return (__u64)PGSQL_STOP << 32 | pos;
		pos += (__u32)n;
	}
	return (__u64)(!in->left && pgsql_message(r) ? PGSQL_PARSED : PGSQL_MORE) << 32 | pos;
}

DBPS_TURN(PGSQL_MESSAGES_MAX, pgsql_request_loop, struct pgsql_feed, f)
{
	__u64 piece;

	(void)i;
	if (f->pos >= f->total || pgsql_waits(f->r) || f->r->s.phase == DBPS_PHASE_CLOSED)
		return 1;
	piece = pgsql_request_piece(f->r, (__u64)(unsigned long)f->span.base + f->pos,
				    f->total - f->pos);
	f->pos += (__u32)piece;
	f->came_to = piece >> 32;
	return f->came_to != PGSQL_MORE;
}

/**
 * @brief Bytes that the server has read from its client and comes to now.
 * @return 0; PGSQL_PARSED; -1 when they could not be read, or break the protocol: framing is lost.
 */
DBPS_STEP_FN int pgsql_requests(struct dbps_record *r, const struct dbps_span *span, __u32 n)
{
	struct pgsql_feed f = {.r = r, .total = n};
	bool parsed;

	if (!r || !span)
		return 0;
	f.span = *span;
	DBPS_LOOP(pgsql_request_loop, &f);
	r->pg.held_len = 0;
	parsed = f.came_to == PGSQL_PARSED;
	if (f.came_to == PGSQL_BROKEN)
		return -1;
	if (r->s.phase == DBPS_PHASE_CLOSED || (f.pos >= n && !parsed))
		return 0;
	if (!r->pg.waits && !parsed)
		return -1;
	r->pg.held = (__u64)(unsigned long)f.span.base + f.pos; /* invariant 2 */
	r->pg.held_len = n - f.pos;
	return parsed ? PGSQL_PARSED : 0;
}

/**
 * @brief Behind PGSQL_PARSED, or when the server has sent what it waited for: what is held.
 * @return As pgsql_requests().
 */
PGSQL_INLINE int pgsql_rest(struct dbps_record *r)
{
	struct dbps_span held;

	held.base = (__typeof__(held.base))(unsigned long)r->pg.held;
	return pgsql_requests(r, &held, r->pg.held_len);
}

#endif
