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

#include "mysql.h"

#define PGSQL_INLINE MYSQL_INLINE

/* 4.1: the code behind the length of a first packet. */
#define PGSQL_CANCEL	  80877102u
#define PGSQL_SSL	  80877103u
#define PGSQL_GSS	  80877104u
#define PGSQL_MAJOR	  3u /* in its upper half */
#define PGSQL_STARTUP_MIN 8u
#define PGSQL_STARTUP_MAX 10000u

/* PQ_RECV_BUFFER_SIZE: what a server asks for that has come to the end of what it read. */
#define PGSQL_BUFFER 8192

/* A message is at most 1 GiB long (MaxAllocSize). */
#define PGSQL_MESSAGE_MAX 0x3fffffffu

/* Words for commands that both protocols have: the processlist says the same for both. */
#define PGSQL_COM_FUNCTION 0xfe

/* Bytes of a name that are compared, and of a NUL behind it. */
#define PGSQL_NAME_MAX 63

#define PGSQL_UNNAMED 0x811c9dc5u /* of the empty name */

/* Messages of one call that are followed, and of them those that one look at the window takes. */
#define PGSQL_MESSAGES_MAX    65536
#define PGSQL_WINDOW_MESSAGES 24

PGSQL_INLINE __u32 pgsql_u32(const __u8 *b)
{
	return (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3];
}

/* Whether the first bytes that a server read, as far as they go, may begin a session. */
PGSQL_INLINE bool pgsql_may_start(const __u8 *b, __u32 n)
{
	__u32 len = pgsql_u32(b), code = pgsql_u32(b + 4);

	if (b[0] || (n > 1 && b[1]))
		return false;
	if (n < 8)
		return true;
	return len >= PGSQL_STARTUP_MIN && len <= PGSQL_STARTUP_MAX &&
	       (code >> 16 == PGSQL_MAJOR || code == PGSQL_SSL || code == PGSQL_GSS);
}

/* ---------------------------------------------------------------- names --------------------- */

/* The first two NUL-terminated names of a message, as hashes (FNV-1a); 0: too long, or cut. */
struct pgsql_names {
	__u32 hash[2];
};

DBPS_STEP_FN __u64 pgsql_name(const struct dbps_pgsql_head *h, __u32 have, __u32 off)
{
	__u32 hash = PGSQL_UNNAMED;

	if (!h)
		return 0;
	for (__u32 i = 0; i <= PGSQL_NAME_MAX; i++) {
		__u32 at = off + i;

		if (at >= have || at >= DBPS_PGSQL_HEAD)
			return 0;
		if (!h->b[at])
			return (__u64)(at + 1) << 32 | (hash ? hash : 1);
		hash = (hash ^ h->b[at]) * 0x01000193u;
	}
	return 0;
}

PGSQL_INLINE struct pgsql_names pgsql_two_names(const struct dbps_pgsql_head *h, __u32 have)
{
	struct pgsql_names names = {};
	__u64 r = pgsql_name(h, have, 0);

	names.hash[0] = (__u32)r;
	if (r)
		names.hash[1] = (__u32)pgsql_name(h, have, (__u32)(r >> 32));
	return names;
}

/* Whether a block begins with n bytes of a word. Unrolled: the kernel side has no memcmp(). */
PGSQL_INLINE bool pgsql_begins(const __u8 *b, const char *word, __u32 n)
{
	__u32 differ = 0;

#if defined(__clang__)
#pragma clang loop unroll(full)
#endif
	for (__u32 i = 0; i < n; i++)
		differ |= b[i] ^ (__u8)word[i];
	return !differ;
}

/* Whether it is the word, with the NUL behind it. */
#define pgsql_is(b, word) pgsql_begins((b), (word), sizeof(word))

/* ---------------------------------------------------------------- client to server ---------- */

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

PGSQL_INLINE void pgsql_query(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;

	r->pg.unnamed = 0;
	r->pg.waits = 1;
	pgsql_begin(r, COM_QUERY);
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
	pgsql_begin(r, COM_STMT_EXECUTE);
	pgsql_show(r, names.hash[1]);
}

/* Execute: portal NUL u32 rows */
PGSQL_INLINE void pgsql_execute(struct dbps_record *r)
{
	__u32 portal = (__u32)pgsql_name(&r->pg.call, pgsql_call_have(r), 0);

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
		r->pg.waits = 1;
		pgsql_begin(r, PGSQL_COM_FUNCTION);
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

/* ---------------------------------------------------------------- server to client ---------- */

struct pgsql_program {
	char b[DBPS_PROGRAM_MAX];
};

/* Byte by byte: a copy of the whole, at any alignment, would take 200 bytes of stack. */
DBPS_STEP_FN int pgsql_take_program(struct dbps_session *s, const struct pgsql_program *program,
				    __u32 len)
{
	if (!s || !program)
		return 0;
	for (__u32 i = 0; i < DBPS_PROGRAM_MAX; i++) {
		MYSQL_SAME(i);
		s->program[i] = program->b[i];
	}
	s->program_len = (__u8)(len < DBPS_PROGRAM_MAX ? len : DBPS_PROGRAM_MAX);
	return 0;
}

/* Keys of the startup packet; a value lies behind each. Returns the offset behind it, or 0. */
DBPS_STEP_FN __u32 pgsql_parameter(struct dbps_record *r, __u32 off)
{
	const struct dbps_block *key, *value;
	__u32 n, at, len;

	if (!r)
		return 0;
	key = mysql_block(&r->request, off);
	if (!key || !key->b[0])
		return 0;
	n = mysql_name_len(key, r->request.have - off);
	at = off + n + 1;
	value = mysql_block(&r->request, at);
	if (n == DBPS_DB_MAX || !value)
		return 0;
	len = mysql_name_len(value, r->request.have - at);
	if (pgsql_is(key->b, "user"))
		mysql_take_user(&r->s, value, len);
	else if (pgsql_is(key->b, "database"))
		mysql_take_db(&r->s, value, len, MYSQL_PLAIN);
	else if (pgsql_is(key->b, "application_name"))
		pgsql_take_program(&r->s, (const struct pgsql_program *)value, len);
	return len == DBPS_DB_MAX ? 0 : at + len + 1;
}

/* The login was accepted: what the startup packet says holds. The first 16 parameters count. */
PGSQL_INLINE void pgsql_apply_startup(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	__u32 off = 4;

	s->flags |= DBPS_KNOWN_LOGIN;
	s->db_len = 0;
	for (int i = 0; i < 16; i++) {
		off = pgsql_parameter(r, off);
		if (!off)
			break;
	}
	if (s->db_len || s->user_len > DBPS_USER_MAX)
		return;
	/* The database is called as the user is, unless it is said otherwise. */
	__builtin_memcpy(s->db, s->user, DBPS_USER_MAX);
	s->db_len = s->user_len;
}

struct pgsql_fields {
	const struct dbps_pgsql_head *h;
	__u32 have;
	__u32 last; /* byte before the one that is looked at */
	__u32 sqlstate;
};

DBPS_TURN(DBPS_PGSQL_HEAD, pgsql_field_loop, struct pgsql_fields, f)
{
	const __u8 *b;

	if (i + 6 > f->have || i > DBPS_PGSQL_HEAD - 6)
		return 1;
	b = f->h->b + i;
	if (f->last || b[0] != 'C') {
		f->last = b[0];
		return 0;
	}
	f->sqlstate =
		DBPS_SQLSTATE(b[1] & 0x7f, b[2] & 0x7f, b[3] & 0x7f, b[4] & 0x7f, b[5] & 0x7f) &
		0x3fffffff;
	return 1;
}

/* SQLSTATE of an ErrorResponse: fields of a letter and a NUL-terminated text; 'C' has it. */
DBPS_STEP_FN __u32 pgsql_sqlstate(const struct dbps_pgsql_head *h, __u32 have)
{
	struct pgsql_fields f = {.h = h, .have = have};

	if (!h)
		return 0;
	DBPS_LOOP(pgsql_field_loop, &f);
	return f.sqlstate;
}

PGSQL_INLINE void pgsql_error(struct dbps_record *r, const struct dbps_pgsql_head *h, __u32 have)
{
	struct dbps_pgsql *pg = &r->pg;
	struct dbps_session *s = &r->s;

	s->sqlstate = pgsql_sqlstate(h, have);
	s->errors++;
	pg->failed = 1;
	if (s->phase == DBPS_PHASE_AUTH)
		s->phase = DBPS_PHASE_CLOSED;
	if (s->phase == DBPS_PHASE_INFILE)
		s->phase = DBPS_PHASE_FIRST;
	if (pg->extended)
		pg->skips = 1;
	/* A Parse that was not answered has failed, or is skipped. */
	if (pg->parses == 1)
		dbps_pgsql_on_close(r, pg->parsed);
	else if (pg->parses)
		s->prepare_era++;
	if (pg->parses)
		pg->unnamed = 0;
	pg->parses = 0;
}

/* All but AuthenticationOk and SASLFinal ask for a message. */
PGSQL_INLINE void pgsql_authentication(struct dbps_record *r, __u32 code)
{
	if (r->s.phase == DBPS_PHASE_AUTH)
		r->pg.waits = code == 0 || code == 12;
}

PGSQL_INLINE void pgsql_ready(struct dbps_record *r, __u32 status)
{
	struct dbps_session *s = &r->s;
	bool transaction = status == 'T' || status == 'E';

	if (transaction && !(s->flags & DBPS_IN_TRANSACTION))
		s->trx_start_ns = s->start_ns;
	s->flags &= ~(DBPS_IN_TRANSACTION | DBPS_ABORTED);
	if (transaction)
		s->flags |= DBPS_IN_TRANSACTION;
	if (status == 'E')
		s->flags |= DBPS_ABORTED;
	r->pg.waits = 0;
	r->pg.parses = 0;
	if (s->phase == DBPS_PHASE_AUTH)
		pgsql_apply_startup(r);
	if (s->phase == DBPS_PHASE_CLOSED)
		return;
	if (s->phase != DBPS_PHASE_IDLE) /* else of a Sync alone */
		dbps_pgsql_on_end(r, r->pg.failed ? s->sqlstate : 0);
	if (r->pg.ahead) {
		r->pg.ahead--;
		pgsql_begin_ahead(r);
	}
}

/* What a pooler sends behind an answer in the same call is of the next one, which may have begun.
 */
PGSQL_INLINE void pgsql_sent_ahead(struct pgsql_feed *f)
{
	if (mysql_unlikely(f->r->s.flags & DBPS_READS_AHEAD) && f->pos < f->total)
		f->r->s.flags |= DBPS_SENT;
}

/* CommandComplete: DISCARD ALL and DEALLOCATE drop prepared statements. */
PGSQL_INLINE void pgsql_complete(struct dbps_record *r, const struct dbps_pgsql_head *h, __u32 have)
{
	r->s.results++;
	if (have > 4 && (pgsql_begins(h->b, "DEAL", 4) || pgsql_begins(h->b, "DISC", 4)))
		r->s.prepare_era++;
}

/* A setting that the server reports. */
PGSQL_INLINE void pgsql_status(struct dbps_record *r, const struct dbps_pgsql_head *h, __u32 have)
{
	const __u32 name = sizeof("application_name"), version = sizeof("server_version");

	if (have > version && have < DBPS_PGSQL_HEAD && pgsql_is(h->b, "server_version"))
		dbps_pgsql_on_version(r, h, have);
	if (have < name + 1 || !pgsql_is(h->b, "application_name"))
		return;
	pgsql_take_program(&r->s, (const struct pgsql_program *)(h->b + name), have - name - 1);
}

/* Takes effect when it was sent to its last byte. */
DBPS_STEP_FN int pgsql_answer(struct dbps_record *r, const struct dbps_pgsql_head *h, __u32 type,
			      __u32 have)
{
	struct dbps_session *s;

	if (!r || !h)
		return 0;
	s = &r->s;
	switch (type) {
	case 'Z':
		pgsql_ready(r, have ? h->b[0] : 0);
		break;
	case 'E':
		pgsql_error(r, h, have);
		break;
	case 'C':
		pgsql_complete(r, h, have);
		break;
	case '1':
		if (r->pg.parses)
			r->pg.parses--;
		break;
	case 'K':
		if (have < 4)
			break;
		if (!(s->flags & DBPS_READS_AHEAD))
			s->id = pgsql_u32(h->b);
		pgsql_id_known(s);
		break;
	case 'S':
		pgsql_status(r, h, have);
		break;
	case 'R':
		pgsql_authentication(r, have >= 4 ? pgsql_u32(h->b) : 0);
		break;
	case 'G':
		pgsql_copy_begin(r, DBPS_PHASE_INFILE);
		break;
	case 'W':
		pgsql_copy_begin(r, DBPS_PHASE_STREAM);
		break;
	default:
		break;
	}
	return 0;
}

/* A row, or data of a COPY. */
PGSQL_INLINE void pgsql_row(struct dbps_session *s)
{
	s->rows++;
	if (s->phase == DBPS_PHASE_FIRST)
		s->phase = DBPS_PHASE_ROWS;
}

PGSQL_INLINE bool pgsql_is_row(__u32 type)
{
	return type == 'D' || type == 'd';
}

/* Messages that say nothing about the session: descriptions, completions of steps, notices. */
PGSQL_INLINE bool pgsql_is_plain(__u32 type)
{
	return type == 'T' || type == '2' || type == 'n' || type == '3' || type == 't';
}

/* There is a whole message, and it is to be looked at. */
#define PGSQL_LOOK (1ull << 32)

/**
 * @brief The messages that lie whole in the first n bytes of the window, until one says something.
 * @return Bytes before that one with PGSQL_LOOK, or behind the last one taken; or MYSQL_BAD: not
 * the protocol.
 */
DBPS_STEP_FN __u64 pgsql_answers(struct dbps_session *s, const struct dbps_window *w, __u32 n)
{
	__u32 off = 0;

	if (!s || !w || n > DBPS_WINDOW)
		return 0;
	for (int i = 0; i < PGSQL_WINDOW_MESSAGES; i++) {
		const __u8 *b;
		__u32 len;

		/* The bound that is known at load as well: older verifiers do not relate off + 5
		 * to off. */
		MYSQL_SAME(off);
		if (off > DBPS_WINDOW || off + 5 > n)
			break;
		b = w->b + off;
		len = pgsql_u32(b + 1);
		if (len < 4 || len > PGSQL_MESSAGE_MAX)
			return MYSQL_BAD;
		if (off + 1 + len > n)
			break;
		if (pgsql_is_row(b[0]))
			pgsql_row(s);
		else if (!pgsql_is_plain(b[0]))
			return PGSQL_LOOK | off;
		off += 1 + len;
	}
	return off;
}

/* Whole messages at the feed's position. Returns how many bytes were taken, or negative. */
PGSQL_INLINE int pgsql_answer_window(struct pgsql_feed *f)
{
	__u32 n = f->total - f->pos, off, len = 0;
	const __u8 *b;
	__u64 taken;

	MYSQL_SAME(n);
	if (n > DBPS_WINDOW)
		n = DBPS_WINDOW;
	if (dbps_span_read(&f->span, f->pos, f->window->b, n))
		return -1;
	taken = pgsql_answers(&f->r->s, f->window, n);
	off = (__u32)taken;
	if (taken == MYSQL_BAD || off > DBPS_WINDOW)
		return -1;
	if (taken & PGSQL_LOOK) {
		b = f->window->b + off;
		len = 1 + pgsql_u32(b + 1);
		pgsql_answer(f->r, (const struct dbps_pgsql_head *)(b + 5), b[0],
			     len - 5 < DBPS_PGSQL_HEAD ? len - 5 : DBPS_PGSQL_HEAD);
	}
	f->pos += off + len;
	pgsql_sent_ahead(f);
	return (int)(off + len);
}

/* Bytes of a message that is cut by the call, or larger than the window: its head is kept. */
PGSQL_INLINE int pgsql_answer_piece(struct pgsql_feed *f)
{
	struct dbps_stream *out = &f->r->s.out;
	__u32 avail = f->total - f->pos;
	int n;

	if (!out->left) {
		n = pgsql_header_bytes(out, &f->span, f->pos, avail, 5);
		if (n < 0)
			return -1;
		f->pos += (__u32)n;
		return out->hdr_have == 5 ? pgsql_message_begin(out) : 0;
	}
	n = pgsql_keep_head(&f->r->pg.head, out->got, &f->span, f->pos,
			    out->left < avail ? out->left : avail);
	if (n <= 0)
		return -1;
	out->got += (__u32)n;
	out->left -= (__u32)n;
	f->pos += (__u32)n;
	return 0;
}

/* Messages at the feed's position. Returns 1 when there is nothing more to do. */
PGSQL_INLINE int pgsql_answer_step(struct pgsql_feed *f)
{
	struct dbps_stream *out = &f->r->s.out;
	int n;

	if (f->pos >= f->total || f->r->s.phase == DBPS_PHASE_CLOSED)
		return 1;
	if (!out->left && !out->hdr_have) {
		n = pgsql_answer_window(f);
		if (n)
			return n < 0;
	}
	if (pgsql_answer_piece(f)) {
		f->broken = 1;
		return 1;
	}
	if (out->left || out->hdr_have)
		return 0;
	if (pgsql_is_row(out->seq))
		pgsql_row(&f->r->s);
	else
		pgsql_answer(f->r, &f->r->pg.head, out->seq,
			     out->got < DBPS_PGSQL_HEAD ? out->got : DBPS_PGSQL_HEAD);
	out->got = 0;
	pgsql_sent_ahead(f);
	return 0;
}

DBPS_TURN(PGSQL_MESSAGES_MAX, pgsql_answer_loop, struct pgsql_feed, f)
{
	(void)i;
	return pgsql_answer_step(f);
}

/* The one byte that answers a request for encryption. Returns how many bytes were taken. */
PGSQL_INLINE __u32 pgsql_encryption(struct dbps_record *r, const struct dbps_span *span)
{
	__u8 answer;

	r->pg.asked = 0;
	if (dbps_span_read(span, 0, &answer, 1) || answer == 'E')
		return 0; /* and it closes the connection */
	r->pg.waits = 0;
	if (answer == 'S' || answer == 'G') {
		r->s.flags |= DBPS_TLS;
		pgsql_id_known(&r->s);
		r->s.phase = DBPS_PHASE_AUTH;
	}
	return 1;
}

/* What a short answer holds. */
struct pgsql_short_found {
	__u16 rows;
	__u16 results;
	__u8 status; /* of the ReadyForQuery at its end; 0: it is no everyday answer */
};

#define PGSQL_SHORT_MESSAGES 12

/* 'DEAL'LOCATE, 'DISC'ARD: what begins so is left to pgsql_complete(). */
PGSQL_INLINE bool pgsql_drops(const __u8 *tag)
{
	return tag[0] == 'D' && (tag[1] == 'I' || tag[2] == 'A');
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
		else if (b[0] == 'C' && !pgsql_drops(b + 5))
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
