/*
 * The MySQL step: the protocol's state machine for one session, fed with the bytes that the server's
 * socket moved. Pure: the same code runs in the kernel, in cmocka and in a fuzzer.
 *
 * The includer says how bytes are read and how much of a request is kept:
 *   struct dbps_span                                        where a call's bytes are
 *   int dbps_span_read(span, off, void *dst, u32 n)         0, or negative: not readable
 *   DBPS_BODY_CAP                                           bytes kept of a request, DBPS_TEXT_MIN + 1 at least
 *   DBPS_STEP_FN                                            linkage of the larger functions
 *
 * Invariants:
 * 1. Every packet header is followed by position, over any cut between calls; no byte of a payload is
 *    ever taken for a header.
 * 2. A request counts when its last byte was read, an answer when its last byte was sent.
 * 3. Login, USE, INIT_DB and CHANGE_USER take effect at the server's OK, from the kept request.
 *
 * Source: protocol.md 1, cited by section.
 */
#ifndef DBPS_MYSQL_H
#define DBPS_MYSQL_H

#include "session.h"

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
#define MYSQL_CONNECT_WITH_DB	   (1u << 3)
#define MYSQL_COMPRESS		   (1u << 5)
#define MYSQL_SSL		   (1u << 11)
#define MYSQL_SECURE_CONNECTION	   (1u << 15)
#define MYSQL_PLUGIN_AUTH	   (1u << 19)
#define MYSQL_CONNECT_ATTRS	   (1u << 20)
#define MYSQL_LENENC_AUTH	   (1u << 21)
#define MYSQL_SESSION_TRACK	   (1u << 23)
#define MYSQL_DEPRECATE_EOF	   (1u << 24)
#define MYSQL_ZSTD_COMPRESSION	   (1u << 26)
#define MYSQL_QUERY_ATTRIBUTES	   (1u << 27)

/* 1.7 */
#define MYSQL_IN_TRANS	      0x0001
#define MYSQL_MORE_RESULTS    0x0008
#define MYSQL_CURSOR_EXISTS   0x0040
#define MYSQL_DB_DROPPED      0x0100
#define MYSQL_STATE_CHANGED   0x4000

#define MYSQL_PACKET_FULL     0xffffffu
#define MYSQL_PROGRESS	      0xffff /* MariaDB: not an error (1.7) */
#define MYSQL_DIRECT_STMT     0xffffffffu

/* What a step has found, for the caller to act on. */
enum mysql_found {
	MYSQL_FOUND_NOTHING = 0,
	MYSQL_FOUND_END = 1 << 0,     /* the statement's answer is complete */
	MYSQL_FOUND_OK = 1 << 1,      /* OK: what was asked for takes effect */
	MYSQL_FOUND_ERROR = 1 << 2,   /* ERR: s->last_error */
	MYSQL_FOUND_LOGIN = 1 << 3,   /* with OK: logged in; with ERROR: refused */
	MYSQL_FOUND_PREPARED = 1 << 4, /* PREPARE-OK: s->last_stmt_id */
	MYSQL_FOUND_BROKEN = 1 << 5,  /* not the protocol */
	MYSQL_FOUND_SCHEMA = 1 << 6,  /* session tracking gave the database: s->db is set */
};

static inline __u32 mysql_u16(const __u8 *b)
{
	return b[0] | (__u32)b[1] << 8;
}

static inline __u32 mysql_u24(const __u8 *b)
{
	return b[0] | (__u32)b[1] << 8 | (__u32)b[2] << 16;
}

static inline __u32 mysql_u32(const __u8 *b)
{
	return mysql_u24(b) | (__u32)b[3] << 24;
}

/* Bytes of a request from some offset on; request.body has room for one at each offset that is kept. */
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

DBPS_STEP_FN int mysql_take_db(struct dbps_session *s, const struct dbps_block *src, __u32 len)
{
	if (!s || !src)
		return 0;
	s->flags &= ~DBPS_CUT_DB;
	if (len > DBPS_DB_MAX) {
		s->flags |= DBPS_CUT_DB;
		len = DBPS_DB_MAX;
	}
	for (__u32 i = 0; i < DBPS_DB_MAX; i++) {
		if (i >= len)
			break;
		s->db[i] = (char)src->b[i];
	}
	s->db_len = (__u8)len;
	return 0;
}

/* Length of a NUL-terminated name; DBPS_DB_MAX: longer than a block. */
DBPS_STEP_FN __u32 mysql_name_len(const struct dbps_block *src)
{
	if (!src)
		return 0;
	for (__u32 i = 0; i < DBPS_DB_MAX; i++) {
		if (!src->b[i])
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
	v = h->b[(off + 1) & (DBPS_HEAD_MAX - 1)] | (__u32)h->b[(off + 2) & (DBPS_HEAD_MAX - 1)] << 8;
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
 * Session state changes of an OK packet (1.7) from `off` on: of all of them, the schema (type 1). An
 * entry that lies beyond the head is not seen; USE then takes effect from the statement's text.
 */
static inline int mysql_state_changes(struct dbps_session *s, const struct dbps_head *h,
				      __u32 off, __u32 len)
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

static inline void mysql_status(struct dbps_session *s, __u32 status)
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

static inline int mysql_error(struct dbps_session *s, const struct dbps_head *h, __u32 head_len)
{
	__u32 code = head_len >= 3 ? mysql_u16(h->b + 1) : 0;

	if (code == MYSQL_PROGRESS)
		return MYSQL_FOUND_NOTHING;
	s->last_error = (__u16)code;
	s->errors++;
	return MYSQL_FOUND_ERROR;
}

/* The end of one result; of the statement too, unless more follow (1.8). */
static inline int mysql_result_end(struct dbps_session *s, int found)
{
	if (s->status & MYSQL_MORE_RESULTS) {
		s->results++;
		s->phase = DBPS_PHASE_FIRST;
		return found;
	}
	return found | MYSQL_FOUND_END;
}

/* EOF of 5 bytes, or OK with the first byte FE. */
static inline int mysql_terminator(struct dbps_session *s, const struct dbps_head *h,
				   __u32 head_len, __u32 len)
{
	int found = 0;

	if (len == 5)
		mysql_status(s, mysql_u16(h->b + 3));
	else
		found = mysql_ok(s, h, head_len);
	return mysql_result_end(s, found);
}

/* Column count, 1.8: its size against the packet's says whether a metadata byte follows. */
static inline int mysql_column_count(struct dbps_session *s, const struct dbps_head *h,
				     __u32 head_len, __u32 len)
{
	__u32 n = h->b[0], size = 1;

	if (n == 0xfc) {
		n = mysql_u16(h->b + 1);
		size = 3;
	}
	if (head_len < size || len > size + 1)
		return MYSQL_FOUND_BROKEN;
	s->defs_left = n;
	s->phase = DBPS_PHASE_DEFS;
	if (len == size + 1 && h->b[size] == 0)
		s->phase = s->flags & DBPS_DEPRECATE_EOF ? DBPS_PHASE_ROWS : DBPS_PHASE_DEFS_EOF;
	return MYSQL_FOUND_NOTHING;
}

static inline int mysql_first(struct dbps_session *s, const struct dbps_head *h, __u32 head_len,
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
		return MYSQL_FOUND_NOTHING;
	case 0xfe:
		return mysql_terminator(s, h, head_len, len);
	default:
		return mysql_column_count(s, h, head_len, len);
	}
}

static inline int mysql_row(struct dbps_session *s, const struct dbps_head *h, __u32 head_len,
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

/*
 * The packet after the definitions tells whether EOFs are deprecated, also where the login was not
 * seen: an EOF is FE with 5 bytes, and no row and no OK is (1.8).
 */
static inline int mysql_defs_eof(struct dbps_session *s, const struct dbps_head *h, __u32 head_len,
				 __u32 len)
{
	s->flags |= DBPS_KNOWN_EOF;
	s->phase = DBPS_PHASE_ROWS;
	if (h->b[0] != 0xfe || len != 5) {
		s->flags |= DBPS_DEPRECATE_EOF;
		return mysql_row(s, h, head_len, len);
	}
	mysql_status(s, mysql_u16(h->b + 3));
	return s->status & MYSQL_CURSOR_EXISTS ? MYSQL_FOUND_END : MYSQL_FOUND_NOTHING;
}

/* PREPARE-OK, 1.9. Where EOFs are unknown the end is taken from the next request. */
static inline int mysql_prepared(struct dbps_session *s, const struct dbps_head *h, __u32 head_len)
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
static inline int mysql_auth_answer(struct dbps_session *s, const struct dbps_head *h,
				    __u32 head_len)
{
	int end = s->phase == DBPS_PHASE_CHANGE_USER ? MYSQL_FOUND_END : 0;

	if (h->b[0] == 0x00)
		return mysql_ok(s, h, head_len) | MYSQL_FOUND_LOGIN | end;
	if (h->b[0] == 0xff && mysql_error(s, h, head_len))
		return MYSQL_FOUND_ERROR | MYSQL_FOUND_LOGIN | end;
	return MYSQL_FOUND_NOTHING;
}

/**
 * @brief One whole packet from the server.
 * @param h Its first bytes, @param head_len how many of them are valid (at least 1 unless len is 0).
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
	case DBPS_PHASE_ROWS:
		return mysql_row(s, h, head_len, len);
	case DBPS_PHASE_FIRST:
	case DBPS_PHASE_INFILE:
		return mysql_first(s, h, head_len, len);
	case DBPS_PHASE_DEFS:
		if (!--s->defs_left)
			s->phase = s->flags & DBPS_DEPRECATE_EOF ? DBPS_PHASE_ROWS
								 : DBPS_PHASE_DEFS_EOF;
		return MYSQL_FOUND_NOTHING;
	case DBPS_PHASE_DEFS_EOF:
		return mysql_defs_eof(s, h, head_len, len);
	case DBPS_PHASE_PREPARED:
		return mysql_prepared(s, h, head_len);
	case DBPS_PHASE_PREPARE_DEFS:
		return --s->defs_left ? MYSQL_FOUND_NOTHING : MYSQL_FOUND_END;
	case DBPS_PHASE_FIELD_LIST:
		return h->b[0] == 0xff || (h->b[0] == 0xfe && len < 64) ?
			       mysql_row(s, h, head_len, len) :
			       MYSQL_FOUND_NOTHING;
	case DBPS_PHASE_ONE_PACKET:
		found = h->b[0] == 0xff ? mysql_error(s, h, head_len) : MYSQL_FOUND_OK;
		return found | MYSQL_FOUND_END;
	case DBPS_PHASE_STREAM:
		return mysql_row(s, h, head_len, len);
	case DBPS_PHASE_GREETED:
	case DBPS_PHASE_AUTH:
	case DBPS_PHASE_CHANGE_USER:
		return mysql_auth_answer(s, h, head_len);
	case DBPS_PHASE_IDLE:
		/* Not an answer: the server says why it closes (1.13.5). */
		return h->b[0] == 0xff ? mysql_error(s, h, head_len) : MYSQL_FOUND_BROKEN;
	default:
		return MYSQL_FOUND_NOTHING;
	}
}

/* ---------------------------------------------------------------- client to server ---------- */

/* Take header bytes of one direction. Returns how many were taken, or negative. */
static inline int mysql_header_bytes(struct dbps_stream *stream, const struct dbps_span *span,
				     __u32 pos, __u32 avail)
{
	__u32 have = stream->hdr_have, n = 4 - have;

	if (have > 3)
		return -1;
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
static inline void mysql_packet_begin(struct dbps_stream *stream)
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
static inline bool mysql_expects_command(const struct dbps_session *s)
{
	return s->phase >= DBPS_PHASE_IDLE && s->phase != DBPS_PHASE_CHANGE_USER &&
	       s->phase != DBPS_PHASE_INFILE;
}

static inline bool mysql_keeps_request(const struct dbps_session *s)
{
	if (s->phase == DBPS_PHASE_GREETED)
		return true;
	return mysql_expects_command(s) && s->in.seq == 0;
}

/* How the answer to a command is followed (1.6). */
static inline __u8 mysql_answer_phase(__u8 command)
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
static inline __u32 mysql_text_offset(const struct dbps_record *r)
{
	if (!(r->s.caps & MYSQL_QUERY_ATTRIBUTES) || r->s.command != COM_QUERY)
		return 1;
	if (r->request.have < 3 || r->request.body[1] != 0)
		return 0; /* attributes with values: the text is not found */
	return 3;
}

/* A whole command was read: the statement begins. */
static inline void mysql_begin(struct dbps_record *r, __u64 now_ns)
{
	struct dbps_session *s = &r->s;
	__u32 off;

	s->command = s->in.got ? r->request.body[0] : COM_SLEEP;
	s->sequence++;
	s->statements++;
	s->start_ns = now_ns;
	s->results = 0;
	s->text_len = 0;
	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES | DBPS_RESYNCED | DBPS_SENT);
	s->phase = mysql_answer_phase(s->command);
	if (s->command == COM_STMT_EXECUTE || s->command == COM_STMT_BULK_EXECUTE ||
	    s->command == COM_STMT_FETCH) {
		if (s->in.got >= 5)
			s->stmt_id = mysql_u32(r->request.body + 1);
		if (s->stmt_id == MYSQL_DIRECT_STMT)
			s->stmt_id = s->last_stmt_id;
		s->flags |= DBPS_EXECUTES;
	} else if (s->command == COM_QUERY || s->command == COM_STMT_PREPARE) {
		off = mysql_text_offset(r);
		s->text_off = (__u16)off;
		if (off && s->in.got >= off) {
			s->text_len = s->in.got - off;
			s->flags |= DBPS_HAS_TEXT;
		}
	}
	if (s->phase == DBPS_PHASE_IDLE)
		s->end_ns = now_ns;
}

/* The login packet (1.4) was read whole, or an SSLRequest was. */
static inline void mysql_login_read(struct dbps_record *r)
{
	struct dbps_session *s = &r->s;
	__u32 caps = mysql_u32(r->request.body);

	if (s->in.got <= 32 && (caps & MYSQL_SSL)) {
		s->flags |= DBPS_TLS;
		s->phase = DBPS_PHASE_AUTH;
		return;
	}
	s->caps = caps & s->server_caps;
	s->flags |= DBPS_KNOWN_CAPS | DBPS_KNOWN_EOF;
	if (s->caps & MYSQL_DEPRECATE_EOF)
		s->flags |= DBPS_DEPRECATE_EOF;
	s->phase = DBPS_PHASE_AUTH;
}

/* A whole message was read from the client. Returns 1 when a statement begins with it, else 0. */
DBPS_STEP_FN int mysql_request(struct dbps_record *r, __u64 now_ns)
{
	struct dbps_session *s;

	if (!r)
		return 0;
	s = &r->s;
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
 * Payload bytes of a request: keep the first DBPS_BODY_CAP. The first piece is read in one go, later
 * ones in blocks that fit behind any kept offset. Returns how many were taken, or negative.
 */
static inline int mysql_request_bytes(struct dbps_record *r, const struct dbps_span *span,
				      __u32 pos, __u32 avail)
{
	struct dbps_stream *in = &r->s.in;
	__u32 n = in->left < avail ? in->left : avail, have = in->got, keep = n;

	if (!in->skip && !have && n <= DBPS_NAMES_MAX) {
		/* The everyday request: the setting is not even looked up. */
		if (dbps_span_read(span, pos, r->request.body, n))
			return -1;
		r->request.have = n;
	} else if (!in->skip && !have) {
		if (keep > DBPS_BODY_CAP)
			keep = DBPS_BODY_CAP;
		if (dbps_span_read(span, pos, dbps_body(r), keep))
			return -1;
		r->request.have = keep;
	} else if (!in->skip && have < DBPS_BODY_CAP) {
		if (n > DBPS_DB_MAX)
			n = DBPS_DB_MAX;
		if (dbps_span_read(span, pos, dbps_body(r) + have, n))
			return -1;
		r->request.have = have + n < DBPS_BODY_CAP ? have + n : DBPS_BODY_CAP;
	}
	in->got = have + n;
	if (!in->skip)
		r->request.len = in->got;
	in->left -= n;
	return (int)n;
}

/* ---------------------------------------------------------------- what an OK brings ---------- */

/* The block of the kept request at `off`, NULL behind its end. */
static inline const struct dbps_block *mysql_block(const struct dbps_record *r, __u32 off)
{
	if (off >= r->request.have || off > DBPS_NAMES_MAX)
		return NULL;
	return (const struct dbps_block *)(r->request.body + off);
}

/* Offset behind a NUL-terminated string at `off`, 0 when there is none; its length in ret_len. */
static inline __u32 mysql_skip_name(const struct dbps_record *r, __u32 off, __u32 *ret_len)
{
	const struct dbps_block *b = off ? mysql_block(r, off) : NULL;

	*ret_len = 0;
	if (!b)
		return 0;
	*ret_len = mysql_name_len(b);
	return off + *ret_len + 1;
}

/* User at `off`, NUL-terminated. Returns the offset behind it, or 0. */
static inline __u32 mysql_set_user(struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = mysql_block(r, off);
	__u32 len;

	if (!b)
		return 0;
	len = mysql_name_len(b);
	mysql_take_user(&r->s, b, len);
	return len == DBPS_DB_MAX ? 0 : off + len + 1;
}

static inline void mysql_set_db(struct dbps_record *r, __u32 off, __u32 len)
{
	const struct dbps_block *b = mysql_block(r, off);

	if (b)
		mysql_take_db(&r->s, b, len);
	else
		r->s.db_len = 0;
}

/* Skip the authentication data of a login packet (1.4). Returns the offset behind it, or 0. */
static inline __u32 mysql_skip_auth(const struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = off ? mysql_block(r, off) : NULL;

	if (!b)
		return 0;
	if (!(r->s.caps & (MYSQL_LENENC_AUTH | MYSQL_SECURE_CONNECTION)))
		return off + mysql_name_len(b) + 1;
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
	if (b->b[0] == 12 && mysql_u32(b->b + 1) == 0x676f7270 && mysql_u32(b->b + 5) == 0x5f6d6172 &&
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
static inline __u32 mysql_attribute(struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = off ? mysql_block(r, off) : NULL;

	if (!b || b->b[0] > 250)
		return 0;
	mysql_take_attribute(&r->s, b);
	off += 1 + b->b[0];
	b = mysql_block(r, off);
	if (!b || b->b[0] > 250)
		return 0;
	return off + 1 + b->b[0];
}

/* The connection attributes, behind their total length (1.4). The first 16 are looked at. */
static inline void mysql_attributes(struct dbps_record *r, __u32 off)
{
	const struct dbps_block *b = off ? mysql_block(r, off) : NULL;

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
static inline void mysql_apply_login(struct dbps_record *r)
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
			mysql_set_db(r, db, len);
	}
	if (s->caps & MYSQL_PLUGIN_AUTH)
		off = mysql_skip_name(r, off, &len);
	if (s->caps & MYSQL_CONNECT_ATTRS)
		mysql_attributes(r, off);
}

/* Change user (1.4): user NUL, u8 length and authentication data, db NUL. */
static inline void mysql_apply_change_user(struct dbps_record *r)
{
	__u32 off = mysql_set_user(r, 1), db, len;
	const struct dbps_block *b = off ? mysql_block(r, off) : NULL;

	r->s.flags |= DBPS_KNOWN_LOGIN;
	r->s.flags &= ~DBPS_IN_TRANSACTION;
	r->s.prepare_era++;
	r->s.db_len = 0;
	if (!b)
		return;
	db = off + 1 + b->b[0];
	if (mysql_skip_name(r, db, &len))
		mysql_set_db(r, db, len);
}

static inline bool mysql_is_space(__u32 c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Reader of `USE name`, a byte at a time. Offsets count from the start of the text. */
struct mysql_use {
	__u32 state; /* enum mysql_use_state */
	__u32 name;  /* offset of the name */
	__u32 len;
};

enum mysql_use_state {
	USE_BLANK,	    /* before USE: blanks and comments */
	USE_SLASH,	    /* behind '/' */
	USE_DASH,	    /* behind '-' */
	USE_STAR_COMMENT,
	USE_STAR,	    /* behind '*' in a comment */
	USE_LINE_COMMENT,
	USE_U,
	USE_US,
	USE_USE,
	USE_GAP,	    /* between USE and the name */
	USE_NAME,
	USE_QUOTED,
	USE_DONE,
	USE_NO,		    /* not a USE */
};

DBPS_STEP_FN __u32 mysql_use_byte(struct mysql_use *u, __u32 c, __u32 off)
{
	if (!u)
		return USE_NO;
	switch (u->state) {
	case USE_BLANK:
		u->state = mysql_is_space(c) ? USE_BLANK : c == '/' ? USE_SLASH : c == '-' ? USE_DASH :
			   c == '#' ? USE_LINE_COMMENT : (c | 32) == 'u' ? USE_U : USE_NO;
		break;
	case USE_SLASH:
		u->state = c == '*' ? USE_STAR_COMMENT : USE_NO;
		break;
	case USE_DASH:
		u->state = c == '-' ? USE_LINE_COMMENT : USE_NO;
		break;
	case USE_STAR_COMMENT:
	case USE_STAR:
		u->state = c == '*' ? USE_STAR : c == '/' && u->state == USE_STAR ? USE_BLANK :
										     USE_STAR_COMMENT;
		break;
	case USE_LINE_COMMENT:
		u->state = c == '\n' ? USE_BLANK : USE_LINE_COMMENT;
		break;
	case USE_U:
		u->state = (c | 32) == 's' ? USE_US : USE_NO;
		break;
	case USE_US:
		u->state = (c | 32) == 'e' ? USE_USE : USE_NO;
		break;
	case USE_USE:
		u->state = mysql_is_space(c) ? USE_GAP : c == '`' ? USE_QUOTED : USE_NO;
		u->name = off + 1;
		break;
	case USE_GAP:
		u->name = c == '`' ? off + 1 : off;
		u->state = mysql_is_space(c) ? USE_GAP : c == '`' ? USE_QUOTED : USE_NAME;
		break;
	case USE_NAME:
		if (mysql_is_space(c) || c == ';' || c == '/' || c == '#')
			u->state = USE_DONE;
		break;
	case USE_QUOTED:
		if (c == '`')
			u->state = USE_DONE;
		break;
	default:
		break;
	}
	if (u->state == USE_DONE)
		u->len = off - u->name;
	return u->state;
}

/* USE in the text of a Query that the server answered with OK (1.11). */
static inline void mysql_apply_use(struct dbps_record *r)
{
	struct mysql_use u = {.state = USE_BLANK};
	__u32 off = r->s.text_off, end = r->request.have, c;

	for (__u32 i = 0; i < DBPS_NAMES_MAX; i++) {
		if (off + i >= end || off > 3)
			break;
		c = r->request.body[off + i];
		if (mysql_use_byte(&u, c, off + i) >= USE_DONE)
			break;
	}
	if (u.state == USE_NAME || u.state == USE_QUOTED)
		u.len = end - u.name;
	else if (u.state != USE_DONE)
		return;
	mysql_set_db(r, u.name, u.len);
}

/*
 * The server said OK: what the request asked for takes effect. A Query's text is that of its first
 * statement while no result came before this OK.
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
		mysql_set_db(r, 1, r->request.len - 1);
	} else if (s->command == COM_RESET_CONNECTION) {
		s->prepare_era++;
	} else if (s->command == COM_QUERY && !before && (s->flags & DBPS_HAS_TEXT) &&
		   !(found & MYSQL_FOUND_SCHEMA)) {
		mysql_apply_use(r);
	}
	return 0;
}

/* The statement is over. */
static inline void mysql_end(struct dbps_session *s, __u64 now_ns, __u8 phase)
{
	s->end_ns = now_ns;
	s->phase = phase;
	s->flags &= ~(DBPS_HAS_TEXT | DBPS_EXECUTES);
}

#endif
