/*
 * The MySQL step: the protocol's state machine for one session, fed with the bytes that the
 * server's socket moved. Pure: the same code runs in the kernel, in cmocka and in a fuzzer.
 *
 * The includer says how bytes are read, how much of a request is kept, and what else is to be done:
 *   struct dbps_span                                  where a call's bytes are
 *   int dbps_span_read(span, off, void *dst, u32 n)   0, or negative: not readable
 *   DBPS_BODY_CAP                                     bytes kept of a request, DBPS_TEXT_MIN + 1 at
 *                                                   least
 *   DBPS_STEP_FN                                      linkage of what is verified apart
 *   DBPS_TURN(n, function, type, context)             int function(__u32 i, type *context): a turn
 *                                                   of a loop of n at most; 1: the last one
 *   DBPS_LOOP(function, context)                      call it for i = 0, 1, …
 *   dbps_now()                                        CLOCK_MONOTONIC, ns
 *   dbps_on_begin(record, last_stmt_id)               a statement has begun
 *   dbps_on_found(record, found)                      an answer held enum mysql_found bits
 *   dbps_on_resync(session)                           an end was not seen, and is taken from what
 * follows
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

#include "session.h"

/* Inlined into what is verified apart: the kernel allows calls to be eight deep. */
#define MYSQL_INLINE static inline __attribute__((always_inline))

/* 1.6 */
enum mysql_command {
	COM_SLEEP = 0x00,
	COM_QUIT = 0x01,
	COM_INIT_DB = 0x02,
	COM_QUERY = 0x03,
	COM_FIELD_LIST = 0x04,
	COM_SHUTDOWN = 0x08,
	COM_STATISTICS = 0x09,
	COM_PROCESS_INFO = 0x0a,
	COM_DEBUG = 0x0d,
	COM_CHANGE_USER = 0x11,
	COM_BINLOG_DUMP = 0x12,
	COM_STMT_PREPARE = 0x16,
	COM_STMT_EXECUTE = 0x17,
	COM_STMT_SEND_LONG_DATA = 0x18,
	COM_STMT_CLOSE = 0x19,
	COM_SET_OPTION = 0x1b,
	COM_STMT_FETCH = 0x1c,
	COM_BINLOG_DUMP_GTID = 0x1e,
	COM_RESET_CONNECTION = 0x1f,
	COM_CLONE = 0x20,
	COM_SUBSCRIBE = 0x21,
	COM_STMT_BULK_EXECUTE = 0xfa,
};

/* 1.3 */
#define MYSQL_CONNECT_WITH_DB	(1u << 3)
#define MYSQL_COMPRESS		(1u << 5)
#define MYSQL_SSL		(1u << 11)
#define MYSQL_SECURE_CONNECTION (1u << 15)
#define MYSQL_PLUGIN_AUTH	(1u << 19)
#define MYSQL_CONNECT_ATTRS	(1u << 20)
#define MYSQL_LENENC_AUTH	(1u << 21)
#define MYSQL_SESSION_TRACK	(1u << 23)
#define MYSQL_DEPRECATE_EOF	(1u << 24)
#define MYSQL_ZSTD_COMPRESSION	(1u << 26)
#define MYSQL_QUERY_ATTRIBUTES	(1u << 27)

/* 1.7 */
#define MYSQL_IN_TRANS	    0x0001
#define MYSQL_MORE_RESULTS  0x0008
#define MYSQL_CURSOR_EXISTS 0x0040
#define MYSQL_DB_DROPPED    0x0100
#define MYSQL_STATE_CHANGED 0x4000

#define MYSQL_PACKET_FULL 0xffffffu
#define MYSQL_PROGRESS	  0xffff /* MariaDB: not an error (1.7) */
#define MYSQL_DIRECT_STMT 0xffffffffu

/* What a step has found, for the caller to act on. */
enum mysql_found {
	MYSQL_FOUND_NOTHING = 0,
	MYSQL_FOUND_END = 1 << 0,      /* the statement's answer is complete */
	MYSQL_FOUND_OK = 1 << 1,       /* OK: what was asked for takes effect */
	MYSQL_FOUND_ERROR = 1 << 2,    /* ERR: s->last_error */
	MYSQL_FOUND_LOGIN = 1 << 3,    /* with OK: logged in; with ERROR: refused */
	MYSQL_FOUND_PREPARED = 1 << 4, /* PREPARE-OK: s->last_stmt_id */
	MYSQL_FOUND_BROKEN = 1 << 5,   /* not the protocol */
	MYSQL_FOUND_SCHEMA = 1 << 6,   /* session tracking gave the database: s->db is set */
	MYSQL_FOUND_FILE = 1 << 7,     /* the client is asked for a file, which may be there */
};

/* Keeps the compiler from checking one copy of a value and using another, which the verifier
 * refuses. */
#define MYSQL_SAME(v) __asm__ volatile("" : "+r"(v))

#define mysql_likely(x)	  __builtin_expect(!!(x), 1)
#define mysql_unlikely(x) __builtin_expect(!!(x), 0)

MYSQL_INLINE __u32 mysql_u16(const __u8 *b)
{
	return b[0] | (__u32)b[1] << 8;
}

MYSQL_INLINE __u32 mysql_u24(const __u8 *b)
{
	return b[0] | (__u32)b[1] << 8 | (__u32)b[2] << 16;
}

MYSQL_INLINE __u32 mysql_u32(const __u8 *b)
{
	return mysql_u24(b) | (__u32)b[3] << 24;
}

/* Bytes of a request from some offset on; request.body has room for one at each offset that is
 * kept. */
struct dbps_block {
	__u8 b[DBPS_DB_MAX];
};

/*
 * The functions with DBPS_STEP_FN are verified apart from their callers, which keeps the number of
 * paths small: loops over names stay in them.
 */
DBPS_STEP_FN int mysql_take_user(struct dbps_session *s, const struct dbps_block *src, __u32 len)
{
	if (!s || !src)
		return 0;
	s->flags &= ~DBPS_CUT_USER;
	if (len > DBPS_USER_MAX) {
		s->flags |= DBPS_CUT_USER;
		len = DBPS_USER_MAX;
	}
	for (__u32 i = 0; i < DBPS_USER_MAX; i++) {
		if (i >= len)
			break;
		s->user[i] = (char)src->b[i];
	}
	s->user_len = (__u8)len;
	return 0;
}

/* How a database's name is written. */
enum mysql_quoting {
	MYSQL_PLAIN,
	MYSQL_TICKS,	/* in backticks, a doubled one is one */
	MYSQL_TICK_TWO, /* behind the first of two */
};

/* Append a byte of the database's name. Returns the quoting behind it. */
DBPS_STEP_FN __u32 mysql_db_byte(struct dbps_session *s, __u32 c, __u32 quoting)
{
	__u32 n;

	if (!s)
		return 0;
	if (quoting == MYSQL_TICK_TWO)
		return MYSQL_TICKS;
	n = s->db_len;
	if (n < DBPS_DB_MAX) {
		s->db[n] = (char)c;
		s->db_len = (__u8)(n + 1);
	}
	return quoting == MYSQL_TICKS && c == '`' ? MYSQL_TICK_TWO : quoting;
}

DBPS_STEP_FN int mysql_take_db(struct dbps_session *s, const struct dbps_block *src, __u32 len,
			       __u32 quoting)
{
	if (!s || !src)
		return 0;
	s->flags &= ~DBPS_CUT_DB;
	if (len > DBPS_DB_MAX)
		s->flags |= DBPS_CUT_DB;
	s->db_len = 0;
	for (__u32 i = 0; i < DBPS_DB_MAX; i++) {
		if (i >= len)
			break;
		quoting = mysql_db_byte(s, src->b[i], quoting);
	}
	return 0;
}

/*
 * Length of a name that ends with a NUL, or with the request, of which n bytes are left;
 * DBPS_DB_MAX: longer than a block.
 */
DBPS_STEP_FN __u32 mysql_name_len(const struct dbps_block *src, __u32 n)
{
	if (!src)
		return 0;
	for (__u32 i = 0; i < DBPS_DB_MAX; i++) {
		if (i >= n || !src->b[i])
			return i;
	}
	return DBPS_DB_MAX;
}

/* ---------------------------------------------------------------- server to client ---------- */

#define MYSQL_BAD (~0ull)

/*
 * A lenenc at `off` of a packet's head (values beyond 32 bits are cut, nothing here needs them).
 * Returns the offset behind it << 32 | its value, or MYSQL_BAD.
 */
DBPS_STEP_FN __u64 mysql_lenenc(const struct dbps_head *h, __u32 len, __u32 off)
{
	__u32 first, size, v;

	if (!h || off >= len || off >= DBPS_HEAD_MAX)
		return MYSQL_BAD;
	first = h->b[off];
	if (first < 0xfb)
		return (__u64)(off + 1) << 32 | first;
	size = first == 0xfc ? 3 : first == 0xfd ? 4 : 9;
	if (off + size > len || off + size > DBPS_HEAD_MAX)
		return MYSQL_BAD;
	/* The mask changes nothing here; it lets the verifier see what was checked. */
	v = h->b[(off + 1) & (DBPS_HEAD_MAX - 1)] | (__u32)h->b[(off + 2) & (DBPS_HEAD_MAX - 1)]
							    << 8;
	if (size > 3)
		v |= (__u32)h->b[(off + 3) & (DBPS_HEAD_MAX - 1)] << 16;
	if (size > 4)
		v |= (__u32)h->b[(off + 4) & (DBPS_HEAD_MAX - 1)] << 24;
	return (__u64)(off + size) << 32 | v;
}

/* The block of a head from `off` on, for the schema's name. */
DBPS_STEP_FN int mysql_take_schema(struct dbps_session *s, const struct dbps_head *h, __u32 off,
				   __u32 len)
{
	if (!s || !h || len > DBPS_DB_MAX || off > DBPS_HEAD_MAX)
		return 0;
	for (__u32 i = 0; i < DBPS_DB_MAX; i++) {
		if (i >= len)
			break;
		s->db[i] = (char)h->b[(off + i) & (DBPS_HEAD_MAX - 1)];
	}
	s->db_len = (__u8)len;
	s->flags &= ~DBPS_CUT_DB;
	return MYSQL_FOUND_SCHEMA;
}

/*
 * Session state changes of an OK packet (1.7) from `off` on: of all of them, the schema (type 1).
 * An entry that lies beyond the head is not seen; USE then takes effect from the statement's text.
 */
MYSQL_INLINE int mysql_state_changes(struct dbps_session *s, const struct dbps_head *h, __u32 off,
				     __u32 len)
{
	__u64 at = mysql_lenenc(h, len, off); /* info */
	__u32 type;

	if (!s || !h || at == MYSQL_BAD)
		return 0;
	at = mysql_lenenc(h, len, (__u32)(at >> 32) + (__u32)at); /* total length */
	for (int i = 0; i < 8; i++) {
		off = (__u32)(at >> 32);
		if (at == MYSQL_BAD || off >= len || off >= DBPS_HEAD_MAX)
			return 0;
		type = h->b[off];
		if (type == 1)
			break;
		at = mysql_lenenc(h, len, off + 1);
		if (at == MYSQL_BAD)
			return 0;
		at = ((at >> 32) + (__u32)at) << 32;
	}
	if (type != 1)
		return 0;
	at = mysql_lenenc(h, len, off + 1); /* of the entry */
	if (at != MYSQL_BAD)
		at = mysql_lenenc(h, len, (__u32)(at >> 32)); /* of the name */
	if (at == MYSQL_BAD || (at >> 32) + (__u32)at > len)
		return 0;
	return mysql_take_schema(s, h, (__u32)(at >> 32), (__u32)at);
}

MYSQL_INLINE void mysql_status(struct dbps_session *s, __u32 status)
{
	s->status = (__u16)status;
	if (status & MYSQL_DB_DROPPED)
		s->db_len = 0;
	if (!(status & MYSQL_IN_TRANS)) {
		s->flags &= ~DBPS_IN_TRANSACTION;
	} else if (!(s->flags & DBPS_IN_TRANSACTION)) {
		s->flags |= DBPS_IN_TRANSACTION;
		s->trx_start_ns = s->start_ns;
	}
}

/* OK, or OK in the place of EOF. */
DBPS_STEP_FN int mysql_ok(struct dbps_session *s, const struct dbps_head *h, __u32 head_len)
{
	__u64 at = mysql_lenenc(h, head_len, 1); /* affected rows */
	__u32 status, off;

	if (!s || !h)
		return 0;
	if (at != MYSQL_BAD)
		at = mysql_lenenc(h, head_len, (__u32)(at >> 32)); /* insert id */
	off = (__u32)(at >> 32);
	if (at == MYSQL_BAD || off > DBPS_HEAD_MAX - 4 || off + 4 > head_len)
		return MYSQL_FOUND_OK;
	status = mysql_u16(h->b + off);
	mysql_status(s, status);
	if (status & MYSQL_STATE_CHANGED)
		return MYSQL_FOUND_OK | mysql_state_changes(s, h, off + 4, head_len);
	return MYSQL_FOUND_OK;
}

MYSQL_INLINE int mysql_error(struct dbps_session *s, const struct dbps_head *h, __u32 head_len)
{
	__u32 code = head_len >= 3 ? mysql_u16(h->b + 1) : 0;

	if (code == MYSQL_PROGRESS)
		return MYSQL_FOUND_NOTHING;
	s->last_error = (__u16)code;
	s->errors++;
	return MYSQL_FOUND_ERROR;
}

/* The end of one result; of the statement too, unless more follow (1.8). */
MYSQL_INLINE int mysql_result_end(struct dbps_session *s, int found)
{
	if (s->status & MYSQL_MORE_RESULTS) {
		s->results++;
		s->phase = DBPS_PHASE_FIRST;
		return found;
	}
	return found | MYSQL_FOUND_END;
}

/* EOF of 5 bytes, or OK with the first byte FE. */
MYSQL_INLINE int mysql_terminator(struct dbps_session *s, const struct dbps_head *h, __u32 head_len,
				  __u32 len)
{
	int found = 0;

	if (len == 5)
		mysql_status(s, mysql_u16(h->b + 3));
	else
		found = mysql_ok(s, h, head_len);
	return mysql_result_end(s, found);
}

/* What comes behind the last column definition. */
MYSQL_INLINE __u8 mysql_behind_defs(const struct dbps_session *s)
{
	return s->flags & DBPS_DEPRECATE_EOF ? DBPS_PHASE_ROWS : DBPS_PHASE_DEFS_EOF;
}

/* Column count, 1.8: its size against the packet's says whether a metadata byte follows. */
MYSQL_INLINE int mysql_column_count(struct dbps_session *s, const struct dbps_head *h,
				    __u32 head_len, __u32 len)
{
	__u32 n = h->b[0], size = 1;

	if (n == 0xfc) {
		n = mysql_u16(h->b + 1);
		size = 3;
	}
	if (!n || head_len < size || len > size + 1)
		return MYSQL_FOUND_BROKEN;
	s->defs_left = n;
	s->phase = len == size + 1 && h->b[size] == 0 ? mysql_behind_defs(s) : DBPS_PHASE_DEFS;
	return MYSQL_FOUND_NOTHING;
}

MYSQL_INLINE int mysql_first(struct dbps_session *s, const struct dbps_head *h, __u32 head_len,
			     __u32 len)
{
	int found;

	switch (h->b[0]) {
	case 0x00:
		return mysql_result_end(s, mysql_ok(s, h, head_len));
	case 0xff:
		found = mysql_error(s, h, head_len);
		return found ? found | MYSQL_FOUND_END : found;
	case 0xfb:
		s->phase = DBPS_PHASE_INFILE;
		return MYSQL_FOUND_FILE;
	case 0xfe:
		return mysql_terminator(s, h, head_len, len);
	default:
		return mysql_column_count(s, h, head_len, len);
	}
}

MYSQL_INLINE int mysql_row(struct dbps_session *s, const struct dbps_head *h, __u32 head_len,
			   __u32 len)
{
	/* A row starts with FE only when its first column has 16 MiB, with FF never (1.8). */
	if (h->b[0] == 0xfe && len < MYSQL_PACKET_FULL)
		return mysql_terminator(s, h, head_len, len);
	if (h->b[0] == 0xff) {
		int found = mysql_error(s, h, head_len);

		return found ? found | MYSQL_FOUND_END : found;
	}
	s->rows++;
	return MYSQL_FOUND_NOTHING;
}

/* PREPARE-OK, 1.9. Where EOFs are unknown the end is taken from the next request. */
MYSQL_INLINE int mysql_prepared(struct dbps_session *s, const struct dbps_head *h, __u32 head_len)
{
	__u32 columns, params;

	if (h->b[0] == 0xff) {
		int found = mysql_error(s, h, head_len);

		return found ? found | MYSQL_FOUND_END : found;
	}
	if (h->b[0] != 0x00 || head_len < 12)
		return MYSQL_FOUND_BROKEN;
	s->last_stmt_id = mysql_u32(h->b + 1);
	columns = mysql_u16(h->b + 5);
	params = mysql_u16(h->b + 7);
	s->defs_left = columns + params;
	if (!s->defs_left)
		return MYSQL_FOUND_PREPARED | MYSQL_FOUND_END;
	if (!(s->flags & DBPS_DEPRECATE_EOF))
		s->defs_left += (columns > 0) + (params > 0);
	s->phase = s->flags & DBPS_KNOWN_EOF ? DBPS_PHASE_PREPARE_DEFS : DBPS_PHASE_UNFRAMED;
	return MYSQL_FOUND_PREPARED;
}

/* Answers to a login and to Change user: any number of rounds until OK or ERR (1.5). */
MYSQL_INLINE int mysql_auth_answer(struct dbps_session *s, const struct dbps_head *h,
				   __u32 head_len)
{
	int end = s->phase == DBPS_PHASE_CHANGE_USER ? MYSQL_FOUND_END : 0;

	if (h->b[0] == 0x00)
		return mysql_ok(s, h, head_len) | MYSQL_FOUND_LOGIN | end;
	if (h->b[0] == 0xff && mysql_error(s, h, head_len))
		return MYSQL_FOUND_ERROR | MYSQL_FOUND_LOGIN | end;
	return MYSQL_FOUND_NOTHING;
}

/*
 * The packet after the definitions tells whether EOFs are deprecated, also where the login was not
 * seen: an EOF is FE with 5 bytes, and no row and no OK is (1.8).
 */
MYSQL_INLINE bool mysql_is_defs_eof(struct dbps_session *s, const struct dbps_head *h, __u32 len)
{
	s->flags |= DBPS_KNOWN_EOF;
	s->phase = DBPS_PHASE_ROWS;
	if (h->b[0] != 0xfe || len != 5) {
		s->flags |= DBPS_DEPRECATE_EOF;
		return false;
	}
	mysql_status(s, mysql_u16(h->b + 3));
	return true;
}

/**
 * @brief One whole packet from the server.
 * @param h Its first bytes, @param head_len how many of them are valid (at least 1 unless len is
 * 0).
 * @param len Length of its payload; at most MYSQL_PACKET_FULL.
 * @return enum mysql_found bits.
 */
DBPS_STEP_FN int mysql_answer(struct dbps_session *s, const struct dbps_head *h, __u32 head_len,
			      __u32 len)
{
	int found;

	if (!s || !h)
		return 0;
	if (!head_len)
		return MYSQL_FOUND_BROKEN;
	switch (s->phase) {
	case DBPS_PHASE_FIRST:
	case DBPS_PHASE_INFILE:
		return mysql_first(s, h, head_len, len);
	case DBPS_PHASE_DEFS:
		if (!--s->defs_left)
			s->phase = mysql_behind_defs(s);
		return MYSQL_FOUND_NOTHING;
	case DBPS_PHASE_PREPARED:
		return mysql_prepared(s, h, head_len);
	case DBPS_PHASE_PREPARE_DEFS:
		return --s->defs_left ? MYSQL_FOUND_NOTHING : MYSQL_FOUND_END;
	case DBPS_PHASE_ONE_PACKET:
		found = h->b[0] == 0xff ? mysql_error(s, h, head_len) : MYSQL_FOUND_OK;
		return found | MYSQL_FOUND_END;
	case DBPS_PHASE_GREETED:
	case DBPS_PHASE_AUTH:
	case DBPS_PHASE_CHANGE_USER:
		return mysql_auth_answer(s, h, head_len);
	case DBPS_PHASE_OPAQUE:
		/* To what is not known, but an error ends anything. */
		found = h->b[0] == 0xff ? mysql_error(s, h, head_len) : 0;
		return found ? found | MYSQL_FOUND_END : found;
	case DBPS_PHASE_IDLE:
		/* OceanBase may send one more OK behind an answer (2.5). */
		if (h->b[0] == 0x00 && s->id >> 30 == 3)
			return MYSQL_FOUND_NOTHING;
		/* Not an answer: the server says why it closes (1.13.5). */
		return h->b[0] == 0xff ? mysql_error(s, h, head_len) : MYSQL_FOUND_BROKEN;
	case DBPS_PHASE_FIELD_LIST:
		/* A definition starts with 03 "def". */
		if (h->b[0] < 0xfe)
			return MYSQL_FOUND_NOTHING;
		break;
	case DBPS_PHASE_DEFS_EOF:
		if (!mysql_is_defs_eof(s, h, len))
			break;
		return s->status & MYSQL_CURSOR_EXISTS ? MYSQL_FOUND_END : MYSQL_FOUND_NOTHING;
	case DBPS_PHASE_ROWS:
	case DBPS_PHASE_STREAM:
		break;
	default:
		return MYSQL_FOUND_NOTHING;
	}
	return mysql_row(s, h, head_len, len);
}

/* ---------------------------------------------------------------- client to server ---------- */

/* Take header bytes of one direction. Returns how many were taken, or negative. */
DBPS_STEP_FN int mysql_header_bytes(struct dbps_stream *stream, const struct dbps_span *span,
				    __u32 pos, __u32 avail)
{
	__u32 have, n;

	if (!stream || !span || stream->hdr_have > 3)
		return -1;
	have = stream->hdr_have;
	n = 4 - have;
	if (n > avail)
		n = avail;
	if (n == 4) {
		if (dbps_span_read(span, pos, stream->hdr, 4))
			return -1;
	} else {
		for (__u32 i = 0; i < 3; i++) {
			if (i >= n)
				break;
			if (dbps_span_read(span, pos + i, &stream->hdr[(have + i) & 3], 1))
				return -1;
		}
	}
	stream->hdr_have = (__u8)(have + n);
	return (int)n;
}

/* The header is there: begin the packet. */
MYSQL_INLINE void mysql_packet_begin(struct dbps_stream *stream)
{
	stream->hdr_have = 0;
	stream->left = mysql_u24(stream->hdr);
	stream->seq = stream->hdr[3];
	if (!stream->full) {
		stream->got = 0;
		stream->skip = 0;
	}
	stream->full = stream->left == MYSQL_PACKET_FULL;
}

/* Whether a message of sequence 0 from the client is a command (protocol.md 0, last rule). */
MYSQL_INLINE bool mysql_expects_command(const struct dbps_session *s)
{
	return s->phase >= DBPS_PHASE_IDLE && s->phase != DBPS_PHASE_CHANGE_USER &&
	       s->phase != DBPS_PHASE_INFILE;
}

MYSQL_INLINE bool mysql_keeps_request(const struct dbps_session *s)
{
	if (s->phase == DBPS_PHASE_GREETED)
		return true;
	return mysql_expects_command(s) && s->in.seq == 0;
}

/* How the answer to a command is followed (1.6). */
MYSQL_INLINE __u8 mysql_answer_phase(__u8 command)
{
	switch (command) {
	case COM_FIELD_LIST:
		return DBPS_PHASE_FIELD_LIST;
	case COM_STATISTICS:
	case COM_SHUTDOWN:
	case COM_DEBUG:
	case COM_SET_OPTION:
		return DBPS_PHASE_ONE_PACKET;
	case COM_STMT_PREPARE:
		return DBPS_PHASE_PREPARED;
	case COM_STMT_FETCH:
		return DBPS_PHASE_ROWS;
	case COM_CHANGE_USER:
		return DBPS_PHASE_CHANGE_USER;
	case COM_BINLOG_DUMP:
	case COM_BINLOG_DUMP_GTID:
		return DBPS_PHASE_STREAM;
	case COM_CLONE:
	case COM_SUBSCRIBE:
		return DBPS_PHASE_UNFRAMED;
	case COM_STMT_SEND_LONG_DATA:
	case COM_STMT_CLOSE:
		return DBPS_PHASE_IDLE; /* no answer */
	case COM_QUIT:
		return DBPS_PHASE_CLOSED;
	default:
		return DBPS_PHASE_FIRST;
	}
}

/* Where the text of a Query starts: behind the attributes that MySQL 8 clients send (1.6). */
MYSQL_INLINE __u32 mysql_text_offset(const struct dbps_record *r)
{
	if (!(r->s.caps & MYSQL_QUERY_ATTRIBUTES) || r->s.command != COM_QUERY)
		return 1;
	if (r->request.have < 3 || r->request.body[1] != 0)
		return 0; /* attributes with values: the text is not found */
	return 3;
}

/* Whether the text may be a USE: it starts with U, or with a blank or a comment (1.11). */
MYSQL_INLINE bool mysql_may_use(__u32 c)
{
	return (c | 32) == 'u' || c <= ' ' || c == '/' || c == '#' || c == '-';
}

/* The text of a Query or a Prepare. */
MYSQL_INLINE void mysql_begin_text(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	__u32 off = mysql_text_offset(r);

	s->text_off = (__u8)off;
	if (!off || s->in.got < off)
		return;
	s->text_len = s->in.got - off;
	s->flags |= DBPS_HAS_TEXT;
	if (s->text_len && s->command == COM_QUERY && mysql_may_use(r->request.body[off & 3]))
		s->flags |= DBPS_APPLIES;
}

/* A whole command was read: the statement begins. */
MYSQL_INLINE void mysql_begin(struct dbps_record *r, __u64 now_ns)
{
	struct dbps_session *s = &r->s;
	__u8 command = s->in.got ? r->request.body[0] : COM_SLEEP;

	s->command = command;
	s->sequence++;
	s->start_ns = now_ns;
	s->results = 0;
	s->text_len = 0;
	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES | DBPS_RESYNCED | DBPS_SENT | DBPS_APPLIES);
	s->phase = DBPS_PHASE_FIRST;
	if (command == COM_QUERY) {
		mysql_begin_text(r);
		return;
	}
	if (command == COM_STMT_EXECUTE || command == COM_STMT_BULK_EXECUTE ||
	    command == COM_STMT_FETCH) {
		if (s->in.got >= 5)
			s->stmt_id = mysql_u32(r->request.body + 1);
		if (s->stmt_id == MYSQL_DIRECT_STMT)
			s->stmt_id = s->last_stmt_id;
		s->flags |= DBPS_EXECUTES;
		if (mysql_unlikely(s->flags & DBPS_PREPARED_USE))
			s->flags |= DBPS_APPLIES;
		if (command != COM_STMT_FETCH)
			return;
	}
	if (command == COM_STMT_PREPARE)
		mysql_begin_text(r);
	if (command == COM_INIT_DB || command == COM_RESET_CONNECTION)
		s->flags |= DBPS_APPLIES;
	s->phase = mysql_answer_phase(command);
	if (s->phase == DBPS_PHASE_IDLE)
		s->end_ns = now_ns;
}

/* The login packet (1.4) was read whole, or an SSLRequest was. */
MYSQL_INLINE void mysql_login_read(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	__u32 caps = mysql_u32(r->request.body);

	/* The capabilities of an SSLRequest hold for the login behind it, whatever that says
	 * (MariaDB, sql/sql_acl.cc, parse_client_handshake_packet()). */
	if (!(s->flags & DBPS_KNOWN_CAPS))
		s->caps = caps & s->server_caps;
	if (s->in.got <= 32 && (caps & MYSQL_SSL)) {
		s->flags |= DBPS_TLS | DBPS_KNOWN_CAPS;
		s->phase = DBPS_PHASE_AUTH;
		return;
	}
	s->flags |= DBPS_KNOWN_CAPS | DBPS_KNOWN_EOF;
	if (s->caps & MYSQL_DEPRECATE_EOF)
		s->flags |= DBPS_DEPRECATE_EOF;
	s->phase = DBPS_PHASE_AUTH;
}

/* A whole message was read from the client. Returns 1 when a statement begins with it, else 0. */
MYSQL_INLINE int mysql_request(struct dbps_record *r, __u64 now_ns)
{
	struct dbps_session *s = &r->s;

	if (s->phase == DBPS_PHASE_GREETED) {
		mysql_login_read(r);
		return 0;
	}
	if (s->phase == DBPS_PHASE_INFILE && !s->in.got)
		s->phase = DBPS_PHASE_FIRST;
	if (!mysql_expects_command(s) || s->in.skip)
		return 0;
	mysql_begin(r, now_ns);
	return 1;
}

/*
 * Payload bytes of a request: keep the first `cap`, or fewer where a piece was kept with a smaller
 * one. The first piece is read in one go, later ones in blocks that fit behind any kept offset.
 * Returns how many were taken, or negative.
 */
MYSQL_INLINE int mysql_request_bytes(struct dbps_record *r, const struct dbps_span *span, __u32 pos,
				     __u32 avail, __u32 cap)
{
	struct dbps_stream *in = &r->s.in;
	__u32 n = in->left < avail ? in->left : avail, have = in->got, keep = n;

	if (!in->skip && !have && n <= DBPS_NAMES_MAX) {
		/* The everyday request: the setting is not even looked up. */
		if (dbps_span_read(span, pos, r->request.body, n))
			return -1;
		r->request.have = n;
	} else if (!in->skip && !have) {
		MYSQL_SAME(keep);
		if (keep > cap)
			keep = cap;
		if (dbps_span_read(span, pos, dbps_body(r), keep))
			return -1;
		r->request.have = keep;
	} else if (!in->skip && have < cap && r->request.have == have) {
		if (n > DBPS_DB_MAX)
			n = DBPS_DB_MAX;
		if (dbps_span_read(span, pos, dbps_body(r) + have, n))
			return -1;
		r->request.have = have + n < cap ? have + n : cap;
	}
	in->got = have + n;
	if (!in->skip)
		r->request.len = in->got;
	in->left -= n;
	return (int)n;
}

/* ---------------------------------------------------------------- what an OK brings ---------- */

/* The block of the kept request at `off`, NULL behind its end. What is in it behind the end is of
 * an older request. */
MYSQL_INLINE const struct dbps_block *mysql_block(const struct dbps_request *q, __u32 off)
{
	if (off >= q->have || off > DBPS_NAMES_MAX)
		return NULL;
	return (const struct dbps_block *)(q->body + off);
}

/* Offset behind a name at `off`, 0 when there is none; its length in ret_len. */
MYSQL_INLINE __u32 mysql_skip_name(const struct dbps_record *r, __u32 off, __u32 *ret_len)
{
	const struct dbps_block *b = off ? mysql_block(&r->request, off) : NULL;

	*ret_len = 0;
	if (!b)
		return 0;
	*ret_len = mysql_name_len(b, r->request.have - off);
	return off + *ret_len + 1;
}

/* User at `off`. Returns the offset behind it, or 0. */
MYSQL_INLINE __u32 mysql_set_user(struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = mysql_block(&r->request, off);
	__u32 len;

	if (!b)
		return 0;
	len = mysql_name_len(b, r->request.have - off);
	mysql_take_user(&r->s, b, len);
	return len == DBPS_DB_MAX ? 0 : off + len + 1;
}

MYSQL_INLINE void mysql_set_db(struct dbps_session *s, const struct dbps_request *q, __u32 off,
			       __u32 len, __u32 quoting)
{
	const struct dbps_block *b = mysql_block(q, off);

	if (b && len > q->have - off)
		len = q->have - off;
	if (b)
		mysql_take_db(s, b, len, quoting);
	else
		s->db_len = 0;
}

/* Skip the authentication data of a login packet (1.4). Returns the offset behind it, or 0. */
MYSQL_INLINE __u32 mysql_skip_auth(const struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = off ? mysql_block(&r->request, off) : NULL;

	if (!b)
		return 0;
	if (!(r->s.caps & (MYSQL_LENENC_AUTH | MYSQL_SECURE_CONNECTION)))
		return off + mysql_name_len(b, r->request.have - off) + 1;
	if ((r->s.caps & MYSQL_LENENC_AUTH) && b->b[0] == 0xfc)
		return off + 3 + mysql_u16(b->b + 1);
	return off + 1 + b->b[0];
}

/* Of the connection attribute in a block, `_pid` and `program_name` are kept. */
DBPS_STEP_FN int mysql_take_attribute(struct dbps_session *s, const struct dbps_block *b)
{
	__u32 pid = 0, n;

	if (!s || !b)
		return 0;
	if (b->b[0] == 4 && b->b[1] == '_' && b->b[2] == 'p' && b->b[3] == 'i' && b->b[4] == 'd') {
		for (__u32 i = 0; i < 10; i++) {
			if (i >= b->b[5] || b->b[6 + i] < '0' || b->b[6 + i] > '9')
				break;
			pid = pid * 10 + (b->b[6 + i] - '0');
		}
		s->attr_pid = pid;
	}
	if (b->b[0] == 12 && mysql_u32(b->b + 1) == 0x676f7270 &&
	    mysql_u32(b->b + 5) == 0x5f6d6172 &&
	    mysql_u32(b->b + 9) == 0x656d616e) { /* "program_name" */
		n = b->b[13] < DBPS_PROGRAM_MAX ? b->b[13] : DBPS_PROGRAM_MAX;
		for (__u32 i = 0; i < DBPS_PROGRAM_MAX; i++) {
			if (i >= n)
				break;
			s->program[i] = (char)b->b[14 + i];
		}
		s->program_len = (__u8)n;
	}
	return 0;
}

/* Keys and values of 251 bytes and more end the walk. Returns the offset behind it, or 0. */
MYSQL_INLINE __u32 mysql_attribute(struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = off ? mysql_block(&r->request, off) : NULL, *value;

	if (!b || b->b[0] > 250)
		return 0;
	off += 1 + b->b[0];
	value = mysql_block(&r->request, off);
	if (!value || value->b[0] > 250)
		return 0;
	off += 1 + value->b[0];
	if (off > r->request.have)
		return 0;
	mysql_take_attribute(&r->s, b);
	return off;
}

/* The connection attributes, behind their total length (1.4). The first 16 are looked at. */
MYSQL_INLINE void mysql_attributes(struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = off ? mysql_block(&r->request, off) : NULL;

	if (!b)
		return;
	off += b->b[0] < 0xfb ? 1 : b->b[0] == 0xfc ? 3 : 4;
	for (int i = 0; i < 16; i++) {
		off = mysql_attribute(r, off);
		if (!off)
			break;
	}
}

/* The login was accepted: user, database and attributes of the login packet hold. */
MYSQL_INLINE void mysql_apply_login(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	__u32 off, db, len;

	s->flags |= DBPS_KNOWN_LOGIN;
	if (s->caps & (MYSQL_COMPRESS | MYSQL_ZSTD_COMPRESSION))
		s->flags |= DBPS_COMPRESSED;
	off = mysql_skip_auth(r, mysql_set_user(r, 32));
	if (s->caps & MYSQL_CONNECT_WITH_DB) {
		db = off;
		off = mysql_skip_name(r, off, &len);
		if (off)
			mysql_set_db(&r->s, &r->request, db, len, MYSQL_PLAIN);
	}
	if (s->caps & MYSQL_PLUGIN_AUTH)
		off = mysql_skip_name(r, off, &len);
	if (s->caps & MYSQL_CONNECT_ATTRS)
		mysql_attributes(r, off);
}

/* Change user (1.4): user NUL, u8 length and authentication data, db NUL. */
MYSQL_INLINE void mysql_apply_change_user(struct dbps_record *r)
{
	__u32 off = mysql_set_user(r, 1), db, len;
	const struct dbps_block *b = off ? mysql_block(&r->request, off) : NULL;

	r->s.flags |= DBPS_KNOWN_LOGIN;
	r->s.flags &= ~DBPS_IN_TRANSACTION;
	r->s.prepare_era++;
	r->s.db_len = 0;
	if (!b)
		return;
	db = off + 1 + b->b[0];
	if (mysql_skip_name(r, db, &len))
		mysql_set_db(&r->s, &r->request, db, len, MYSQL_PLAIN);
}

/*
 * Reader of `USE name` (1.11), a byte at a time, in the statement number `want` of a text that may
 * hold several. Offsets are those of the bytes.
 */
struct mysql_use {
	__u32 state; /* enum mysql_use_state */
	__u32 back;  /* state behind a comment or a quoted text */
	__u32 quote; /* what closes it */
	__u32 want;  /* statements still to pass */
	__u32 name;  /* offset of the name */
	__u32 len;
	__u32 quoting; /* enum mysql_quoting of the name */
};

enum mysql_use_state {
	USE_BLANK, /* before a statement */
	USE_U,
	USE_US,
	USE_USE,
	USE_GAP, /* between USE and the name */
	USE_NAME,
	USE_QUOTED,  /* in the name */
	USE_TICK,    /* behind a backtick in it: its end, or half of two */
	USE_OTHER,   /* in another statement */
	USE_TEXT,    /* in a quoted text of another statement */
	USE_ESCAPE,  /* behind a backslash in it */
	USE_SLASH,   /* behind '/' */
	USE_DASH,    /* behind '-' */
	USE_OPEN,    /* behind the opening of a comment */
	USE_VERSION, /* in the number of a comment that is executed */
	USE_COMMENT,
	USE_STAR, /* behind '*' in a comment */
	USE_LINE, /* in a comment to the end of the line */
	USE_DONE,
};

MYSQL_INLINE bool mysql_is_space(__u32 c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Bytes of a name without quotes. */
MYSQL_INLINE bool mysql_is_name(__u32 c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       c == '_' || c == '$' || c >= 0x80;
}

/* A comment may begin with c; the state is `here` behind it. Returns whether it may. */
MYSQL_INLINE bool mysql_use_comment(struct mysql_use *u, __u32 c, __u32 here)
{
	if (c != '/' && c != '-' && c != '#')
		return false;
	u->back = here;
	u->state = c == '/' ? USE_SLASH : c == '-' ? USE_DASH : USE_LINE;
	return true;
}

/* Outside of a USE: look for the end of the statement, pass over what is quoted. */
MYSQL_INLINE void mysql_use_other(struct mysql_use *u, __u32 c)
{
	if (c == ';') {
		u->state = u->want ? USE_BLANK : USE_DONE;
		u->want--;
	} else if (c == '\'' || c == '"' || c == '`') {
		u->quote = c;
		u->state = USE_TEXT;
	} else if (!mysql_use_comment(u, c, USE_OTHER)) {
		u->state = USE_OTHER;
	}
}

/* Before a statement: USE is looked for in the one that is wanted. */
MYSQL_INLINE void mysql_use_blank(struct mysql_use *u, __u32 c)
{
	if (mysql_is_space(c) || c == '*' || mysql_use_comment(u, c, USE_BLANK))
		return;
	if (!u->want && (c | 32) == 'u')
		u->state = USE_U;
	else
		mysql_use_other(u, c);
}

/* In a comment, or where one may begin. */
MYSQL_INLINE void mysql_use_in_comment(struct mysql_use *u, __u32 c)
{
	switch (u->state) {
	case USE_SLASH:
		u->state = c == '*' ? USE_OPEN : u->back;
		break;
	case USE_DASH:
		u->state = c == '-' ? USE_LINE : u->back;
		break;
	case USE_OPEN:
		/* What is behind the bang is executed; M is MariaDB's. */
		u->state = c == '!'   ? USE_VERSION
			   : c == 'M' ? USE_OPEN
			   : c == '*' ? USE_STAR
				      : USE_COMMENT;
		break;
	case USE_VERSION:
		if (c < '0' || c > '9')
			u->state = u->back;
		break;
	case USE_LINE:
		if (c == '\n')
			u->state = u->back;
		break;
	default: /* USE_COMMENT, USE_STAR */
		u->state = c == '*'			      ? USE_STAR
			   : c == '/' && u->state == USE_STAR ? u->back
							      : USE_COMMENT;
		break;
	}
}

/* Behind USE: the name. */
MYSQL_INLINE void mysql_use_name(struct mysql_use *u, __u32 c, __u32 off)
{
	if (mysql_is_space(c)) {
		u->state = USE_GAP;
	} else if (c == '`') {
		u->name = off + 1;
		u->quoting = MYSQL_TICKS;
		u->state = USE_QUOTED;
	} else if (!mysql_use_comment(u, c, USE_GAP)) {
		u->name = off;
		u->state = mysql_is_name(c) && u->state == USE_GAP ? USE_NAME : USE_OTHER;
	}
}

DBPS_STEP_FN __u32 mysql_use_byte(struct mysql_use *u, __u32 c, __u32 off)
{
	if (!u)
		return USE_DONE;
	switch (u->state) {
	case USE_BLANK:
		mysql_use_blank(u, c);
		break;
	case USE_U:
		u->state = (c | 32) == 's' ? USE_US : USE_OTHER;
		break;
	case USE_US:
		u->state = (c | 32) == 'e' ? USE_USE : USE_OTHER;
		break;
	case USE_USE:
	case USE_GAP:
		mysql_use_name(u, c, off);
		break;
	case USE_NAME:
		if (mysql_is_name(c))
			break;
		u->len = off - u->name;
		u->state = USE_DONE;
		break;
	case USE_QUOTED:
		u->state = c == '`' ? USE_TICK : USE_QUOTED;
		break;
	case USE_TICK:
		u->len = off - 1 - u->name;
		u->state = c == '`' ? USE_QUOTED : USE_DONE;
		break;
	case USE_OTHER:
		mysql_use_other(u, c);
		break;
	case USE_TEXT:
		u->state = c == u->quote		  ? USE_OTHER
			   : c == '\\' && u->quote != '`' ? USE_ESCAPE
							  : USE_TEXT;
		break;
	case USE_ESCAPE:
		u->state = USE_TEXT;
		break;
	default:
		mysql_use_in_comment(u, c);
		break;
	}
	return u->state;
}

struct mysql_use_text {
	const struct dbps_request *q;
	__u32 off;
	struct mysql_use u;
};

DBPS_TURN(DBPS_NAMES_MAX, mysql_use_loop, struct mysql_use_text, t)
{
	__u32 at = t->off + i;

	if (at >= t->q->have || at >= sizeof(t->q->body))
		return 1;
	return mysql_use_byte(&t->u, t->q->body[at], at) == USE_DONE;
}

/* USE in the statement number `index` of a text, at `off` of its request, that the server answered
 * with OK. */
MYSQL_INLINE void mysql_apply_use(struct dbps_session *s, const struct dbps_request *q, __u32 off,
				  __u32 index)
{
	struct mysql_use_text t = {.q = q, .off = off, .u = {.state = USE_BLANK, .want = index}};
	struct mysql_use *u = &t.u;

	if (off > 3)
		return;
	DBPS_LOOP(mysql_use_loop, &t);
	if (u->state == USE_NAME)
		u->len = q->have - u->name;
	else if (u->state == USE_TICK)
		u->len = q->have - 1 - u->name;
	if (u->len)
		mysql_set_db(s, q, u->name, u->len, u->quoting);
}

/*
 * The server said OK: what the request asked for takes effect. Of a Query that holds several
 * statements it is the one behind as many as there were results; a procedure with results of its
 * own is not told from them. Returns 1 when the prepared statement's text is to be applied
 * likewise.
 */
DBPS_STEP_FN int mysql_apply_ok(struct dbps_record *r, int found)
{
	struct dbps_session *s;
	__u32 before;

	if (!r)
		return 0;
	s = &r->s;
	before = s->results - !(found & MYSQL_FOUND_END);
	if (found & MYSQL_FOUND_LOGIN) {
		if (s->command == COM_CHANGE_USER)
			mysql_apply_change_user(r);
		else
			mysql_apply_login(r);
	} else if (s->command == COM_INIT_DB) {
		mysql_set_db(s, &r->request, 1, r->request.len - 1, MYSQL_PLAIN);
	} else if (s->command == COM_RESET_CONNECTION) {
		s->prepare_era++;
	} else if (s->command == COM_QUERY && !(found & MYSQL_FOUND_SCHEMA)) {
		mysql_apply_use(s, &r->request, s->text_off, before);
	}
	return s->command == COM_STMT_EXECUTE;
}

/* Whether what was found may bring something that mysql_apply_ok() has to do. */
MYSQL_INLINE bool mysql_applies(const struct dbps_session *s, int found)
{
	return (found & MYSQL_FOUND_OK) &&
	       (found & MYSQL_FOUND_LOGIN || s->flags & DBPS_APPLIES || s->results);
}

/* The statement is over. */
MYSQL_INLINE void mysql_end(struct dbps_session *s, __u64 now_ns, __u8 phase)
{
	s->end_ns = now_ns;
	s->phase = phase;
	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES | DBPS_APPLIES);
}

/* ---------------------------------------------------------------- the bytes of a call ------- */

/* Packets of one call that are followed, and of them those that one look at the window takes. */
#define MYSQL_PACKETS_MAX    65536
#define MYSQL_WINDOW_PACKETS 16

/* The bytes that one call moved, and how far they are understood. */
struct mysql_feed {
	struct dbps_record *r;
	struct dbps_window *window; /* answers only */
	struct dbps_span span;
	__u32 whole; /* bytes of the call */
	__u32 total; /* where the packets end that lie there: less than `whole` in an outer packet
		      */
	__u32 pos;
	bool broken;
	bool keeps; /* a text is to be kept before the server comes to its next request */
};

/* Where the packets at the begin of a call end: in an outer one that is not known yet. */
MYSQL_INLINE __u32 mysql_total(const struct dbps_record *r, __u32 pos, __u32 n)
{
	return r->s.flags & DBPS_WRAPPED ? pos : n;
}

/* A request's header is there. A statement whose end was not seen has ended by now. */
MYSQL_INLINE void mysql_header(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	bool goes_on = s->in.full;

	mysql_packet_begin(&s->in);
	if (goes_on)
		return;
	if (s->phase == DBPS_PHASE_UNKNOWN)
		s->phase = DBPS_PHASE_IDLE;
	if (!mysql_keeps_request(s)) {
		s->in.skip = 1;
		return;
	}
	r->request.have = 0;
	r->request.len = 0;
	if (s->phase > DBPS_PHASE_IDLE)
		dbps_on_resync(s);
}

/* A whole message is there. */
MYSQL_INLINE void mysql_message(struct dbps_record *r)
{
	__u32 last_used = r->s.stmt_id;

	if (mysql_request(r, dbps_now()))
		dbps_on_begin(r, last_used);
}

/* ---------------------------------------------------------------- packets in packets -------- */

/* Lengths of headers (1.10, 2.5), and what OceanBase's flags say. */
#define MYSQL_OUTER_HEADER 7
#define MYSQL_OB20_HEADER  31
#define MYSQL_OB20_TAIL	   4
#define MYSQL_OB20_EXTRA   1u /* the payload begins with information that is no packet */
#define MYSQL_OB20_LAST	   2u

/* Whether bytes are the header of an OceanBase 2.0 packet: magic, version, and lengths that agree.
 */
MYSQL_INLINE bool mysql_is_ob20(const __u8 *h)
{
	return !mysql_u24(h + 4) && mysql_u16(h + 7) == 0x20ab && mysql_u16(h + 9) == 20 &&
	       mysql_u24(h) == mysql_u32(h + 19) + 28;
}

/* Whether the bytes of a call begin with one. */
MYSQL_INLINE bool mysql_begins_ob20(const struct dbps_span *span, __u32 n)
{
	__u8 h[MYSQL_OB20_HEADER + 1];

	return n >= MYSQL_OB20_HEADER && !dbps_span_read(span, 0, h, MYSQL_OB20_HEADER) &&
	       mysql_is_ob20(h);
}

/* Bytes of one direction that a call moved and that were not looked at yet. */
struct mysql_outer_feed {
	struct dbps_record *r;
	struct dbps_outer *o;
	struct dbps_span span;
	__u32 avail;
	__u32 pos;
};

/*
 * Take bytes of the outer header: all of it where it lies whole in the call, else one at a time.
 * Returns how many, or negative.
 */
MYSQL_INLINE int mysql_outer_bytes(const struct mysql_outer_feed *f)
{
	struct dbps_outer *o = f->o;
	__u32 have = o->have;

	if (!have && f->r->s.flags & DBPS_OB20 && f->avail >= MYSQL_OB20_HEADER)
		return dbps_span_read(&f->span, 0, o->hdr, MYSQL_OB20_HEADER) ? -1
									      : MYSQL_OB20_HEADER;
	if (!have && f->avail >= MYSQL_OUTER_HEADER)
		return dbps_span_read(&f->span, 0, o->hdr, MYSQL_OUTER_HEADER) ? -1
									       : MYSQL_OUTER_HEADER;
	if (have >= sizeof(o->hdr) || dbps_span_read(&f->span, 0, &o->hdr[have], 1))
		return -1;
	return 1;
}

/* Whether the header is all there: OceanBase's goes on for a packet that is not compressed. */
MYSQL_INLINE bool mysql_outer_is_whole(const struct dbps_session *s, const struct dbps_outer *o)
{
	if (o->have < MYSQL_OUTER_HEADER)
		return false;
	if (!(s->flags & DBPS_OB20) || mysql_u24(o->hdr + 4))
		return true;
	if (o->have < MYSQL_OB20_HEADER)
		return false;
	return !(o->hdr[23] & MYSQL_OB20_EXTRA) || o->have >= MYSQL_OB20_HEADER + 4;
}

/* Whether some of an outer packet is still to come. One branch: each more is another way that the
 * kernel's verifier follows to its end. */
MYSQL_INLINE bool mysql_outer_is_open(const struct dbps_outer *o)
{
	return (o->have | o->skip | o->left | o->tail) != 0;
}

/* Behind an OceanBase header. Negative: that is none. */
MYSQL_INLINE int mysql_ob20_begin(struct dbps_outer *o)
{
	__u32 payload = mysql_u32(o->hdr + 19), extra = 0;

	if (!mysql_is_ob20(o->hdr))
		return -1;
	o->tail = MYSQL_OB20_TAIL;
	o->last = (o->hdr[23] & MYSQL_OB20_LAST) != 0;
	o->left = payload;
	if (!(o->hdr[23] & MYSQL_OB20_EXTRA))
		return 0;
	extra = mysql_u32(o->hdr + MYSQL_OB20_HEADER);
	if (payload < 4 || extra > payload - 4)
		return -1;
	o->skip = extra;
	o->left = payload - 4 - extra;
	return 0;
}

/* A header is there: begin the outer packet. Negative: framing is lost. */
MYSQL_INLINE int mysql_outer_begin(struct mysql_outer_feed *f)
{
	struct dbps_session *s = &f->r->s;
	struct dbps_outer *o = f->o;

	o->seq = o->hdr[3];
	o->hidden = mysql_u24(o->hdr + 4);
	o->skip = 0;
	o->tail = 0;
	o->last = 0;
	if (s->flags & DBPS_OB20 && !o->hidden) {
		o->have = 0;
		return mysql_ob20_begin(o);
	}
	/* One that is compressed has the short header: what was read behind it is given back. */
	f->pos -= o->have - MYSQL_OUTER_HEADER;
	o->have = 0;
	o->left = mysql_u24(o->hdr);
	if (s->flags & DBPS_OB20 && o->hidden)
		o->blind = 1;
	return 0;
}

/* A request of sequence 0 begins a command, whatever came before it. */
MYSQL_INLINE void mysql_outer_request(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;

	if (r->my.outer_in.seq || !(s->flags & DBPS_COMPRESSED))
		return;
	if (s->phase == DBPS_PHASE_UNKNOWN)
		s->phase = DBPS_PHASE_IDLE;
	if (s->phase > DBPS_PHASE_IDLE)
		dbps_on_resync(s);
	__builtin_memset(&s->in, 0, sizeof(s->in));
	r->my.outer_in.blind = 0;
	if (r->my.outer_out.blind)
		__builtin_memset(&s->out, 0, sizeof(s->out));
	r->my.outer_out.blind = 0;
}

/* A command that cannot be read begins. */
MYSQL_INLINE void mysql_begin_opaque(struct dbps_record *r, __u64 now_ns)
{
	struct dbps_session *s = &r->s;

	s->command = COM_SLEEP;
	s->sequence++;
	s->start_ns = now_ns;
	s->results = 0;
	s->text_len = 0;
	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES | DBPS_RESYNCED | DBPS_SENT | DBPS_APPLIES);
	s->phase = DBPS_PHASE_OPAQUE;
	dbps_on_begin(r, s->stmt_id);
}

/*
 * All of an outer packet was read whose packets are not readable. Their lengths still are known:
 * inside of a packet that has begun in clear, framing goes on.
 */
MYSQL_INLINE void mysql_hidden_request(struct dbps_record *r)
{
	struct dbps_outer *o = &r->my.outer_in;
	struct dbps_session *s = &r->s;
	struct dbps_stream *in = &s->in;

	if (!o->blind && in->left && in->left >= o->hidden) {
		in->left -= o->hidden;
		in->got += o->hidden;
		if (!in->skip)
			r->request.len = in->got;
		if (!in->left && !in->full)
			mysql_message(r);
		return;
	}
	o->blind = 1;
	__builtin_memset(in, 0, sizeof(*in));
	if (s->phase == DBPS_PHASE_IDLE && !o->seq) {
		mysql_begin_opaque(r, dbps_now());
	} else if (s->phase == DBPS_PHASE_IDLE) {
		/* The file of a LOAD DATA that was taken to be over when the server waited for it.
		 */
		s->phase = DBPS_PHASE_UNFRAMED;
		s->flags &= ~DBPS_SENT;
	} else if (s->phase == DBPS_PHASE_OPAQUE && !(s->flags & DBPS_SENT)) {
		s->start_ns = dbps_now();
	}
}

/* The same of an answer. Rows go on; of anything else the end is told by what the server does. */
MYSQL_INLINE bool mysql_hidden_answer(struct dbps_record *r)
{
	struct dbps_outer *o = &r->my.outer_out;
	struct dbps_session *s = &r->s;
	struct dbps_stream *out = &s->out;

	if (!o->blind && out->left && out->left >= o->hidden && out->got &&
	    s->phase == DBPS_PHASE_ROWS && r->my.head.b[0] < 0xfe) {
		out->left -= o->hidden;
		out->got += o->hidden;
		return !out->left && !out->full;
	}
	o->blind = 1;
	__builtin_memset(out, 0, sizeof(*out));
	if (s->phase == DBPS_PHASE_CHANGE_USER)
		s->flags &= ~DBPS_KNOWN_LOGIN;
	if (s->phase > DBPS_PHASE_OPAQUE)
		s->phase = DBPS_PHASE_UNFRAMED;
	return false;
}

/* Whether the packets that the server sends are looked at. */
MYSQL_INLINE bool mysql_follows_answers(const struct dbps_session *s)
{
	return s->phase != DBPS_PHASE_UNKNOWN && s->phase != DBPS_PHASE_CLOSED &&
	       s->phase != DBPS_PHASE_UNFRAMED && !(s->flags & DBPS_TLS);
}

/* What a step in an outer packet came to. */
enum mysql_outer_found {
	MYSQL_OUTER_MORE,
	MYSQL_OUTER_LOST,   /* that is no outer packet, or it cannot be read */
	MYSQL_OUTER_PACKET, /* a server packet that went on in compressed bytes is whole */
	MYSQL_OUTER_LAST,   /* the answer is over */
};

/* Pass over bytes of one kind. Returns whether they are all there. */
MYSQL_INLINE bool mysql_outer_pass(struct mysql_outer_feed *f, __u32 *count)
{
	__u32 n = *count < f->avail ? *count : f->avail;

	*count -= n;
	f->pos = n;
	return !*count;
}

/* Bytes whose packets are not readable. */
MYSQL_INLINE int mysql_outer_hidden(struct mysql_outer_feed *f, bool reads)
{
	if (!mysql_outer_pass(f, &f->o->left))
		return MYSQL_OUTER_MORE;
	if (reads)
		mysql_hidden_request(f->r);
	else if (mysql_follows_answers(&f->r->s) && mysql_hidden_answer(f->r))
		return MYSQL_OUTER_PACKET;
	return MYSQL_OUTER_MORE;
}

MYSQL_INLINE int mysql_outer_header(struct mysql_outer_feed *f, bool reads)
{
	int n = mysql_outer_bytes(f);

	if (n < 0)
		return MYSQL_OUTER_LOST;
	f->o->have += (__u8)n;
	f->pos = (__u32)n;
	if (!mysql_outer_is_whole(&f->r->s, f->o))
		return MYSQL_OUTER_MORE;
	if (mysql_outer_begin(f))
		return MYSQL_OUTER_LOST;
	if (reads)
		mysql_outer_request(f->r);
	return MYSQL_OUTER_MORE;
}

/**
 * @brief What lies at the begin of `avail` bytes: a part of an outer packet.
 * @param base Their address.
 * @return Bytes that were taken; bytes of inner packets that lie there in clear << 32; enum
 * mysql_outer_found << 60.
 */
DBPS_STEP_FN __u64 mysql_outer(struct dbps_record *r, __u64 base, __u32 avail, __u32 reads)
{
	struct mysql_outer_feed f = {.r = r, .avail = avail};
	struct dbps_outer *o;
	__u64 found = MYSQL_OUTER_MORE;
	__u32 n = 0;

	if (!r)
		return 0;
	f.span.base = (__typeof__(f.span.base))(unsigned long)base;
	o = f.o = reads ? &r->my.outer_in : &r->my.outer_out;
	if (o->skip) {
		mysql_outer_pass(&f, &o->skip);
	} else if (o->left &&
		   (o->hidden || o->blind || (!reads && !mysql_follows_answers(&r->s)))) {
		found = (__u64)mysql_outer_hidden(&f, reads);
	} else if (o->left) {
		n = o->left < avail ? o->left : avail;
		o->left -= n;
	} else if (o->tail) {
		if (mysql_outer_pass(&f, &o->tail) && o->last && !reads)
			found = MYSQL_OUTER_LAST;
	} else {
		found = (__u64)mysql_outer_header(&f, reads);
	}
	return found << 60 | (__u64)n << 32 | f.pos;
}

/* The same at the feed's position; its packets in clear are those up to f->total then. Negative:
 * framing is lost. */
MYSQL_INLINE int mysql_feed_outer(struct mysql_feed *f, bool reads)
{
	__u64 base = (__u64)(unsigned long)f->span.base + f->pos;
	__u64 r = mysql_outer(f->r, base, f->whole - f->pos, reads);

	if (r >> 60 == MYSQL_OUTER_LOST)
		return -1;
	f->pos += (__u32)r;
	f->total = f->pos + ((__u32)(r >> 32) & 0xfffffff);
	return (int)(r >> 60);
}

/*
 * OceanBase's frames show in the first request of a session: a frame's fifth byte is 0, which as a
 * command no client sends. What was taken for a packet's header is the begin of the frame's then.
 * Of servers that read headers apart it is known that they have none. Returns whether it is one.
 */
MYSQL_INLINE bool mysql_begins_frames(struct mysql_feed *f)
{
	struct dbps_session *s = &f->r->s;
	__u8 command;

	if (mysql_likely(s->sequence || s->in.got) || s->phase != DBPS_PHASE_IDLE ||
	    s->flags & (DBPS_READS_APART | DBPS_WRAPPED))
		return false;
	if (dbps_span_read(&f->span, f->pos, &command, 1) || command)
		return false;
	s->flags |= DBPS_OB20;
	__builtin_memcpy(f->r->my.outer_in.hdr, s->in.hdr, 4);
	f->r->my.outer_in.have = 4;
	__builtin_memset(&s->in, 0, sizeof(s->in));
	f->total = f->pos;
	return true;
}

/* ---------------------------------------------------------------- requests ahead of time ---- */

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
