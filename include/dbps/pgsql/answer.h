/*
 * Server to client: what the messages of an answer make of the session, and which one ends a
 * statement.
 */
#ifndef DBPS_PGSQL_ANSWER_H
#define DBPS_PGSQL_ANSWER_H

#include "dbps/pgsql/request.h"

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

/*
 * CommandComplete of a statement behind which a name may be another statement's than it was told on
 * the wire: DISCARD ALL and DEALLOCATE ALL drop all, PREPARE may take one that DEALLOCATE has
 * freed. DEALLOCATE alone changes no text: its name is an error until it is given anew.
 */
PGSQL_INLINE bool pgsql_renames(const struct dbps_pgsql_head *h, __u32 have)
{
	switch (have) {
	case sizeof("PREPARE"): /* PREPARE TRANSACTION is longer */
		return pgsql_begins(h->b, "PREP", 4);
	case sizeof("DISCARD ALL"):
		return pgsql_begins(h->b, "DISC", 4);
	case sizeof("DEALLOCATE ALL"):
		return pgsql_begins(h->b, "DEAL", 4);
	default:
		return false;
	}
}

PGSQL_INLINE void pgsql_complete(struct dbps_record *r, const struct dbps_pgsql_head *h, __u32 have)
{
	r->s.results++;
	if (pgsql_renames(h, have))
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
		if (!r->pg.parses && r->pg.waits)
			r->pg.extended = 0; /* pgsql_simple() came before this */
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

#endif
