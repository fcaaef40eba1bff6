/*
 * Server to client: what one packet of an answer makes of the session, by its first bytes.
 */
#ifndef DBPS_MYSQL_ANSWER_H
#define DBPS_MYSQL_ANSWER_H

#include "dbps/mysql/protocol.h"

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

/* The server has ended the transaction and does not say so. The next status that tells of one is
 * another than the last. */
MYSQL_INLINE void mysql_rolled_back(struct dbps_session *s)
{
	s->status &= (__u16)~MYSQL_IN_TRANS;
	s->flags &= ~DBPS_IN_TRANSACTION;
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
	if (code == MYSQL_DEADLOCK)
		mysql_rolled_back(s);
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

/*
 * Answers to a login and to Change user: any number of rounds until OK or ERR (1.5). MariaDB goes
 * on with the user and database of before when it has refused a Change user, but it has dropped
 * transaction and prepared statements first (sql/sql_parse.cc, dispatch_command()); MySQL closes.
 */
MYSQL_INLINE int mysql_auth_answer(struct dbps_session *s, const struct dbps_head *h,
				   __u32 head_len)
{
	bool change = s->phase == DBPS_PHASE_CHANGE_USER;

	if (h->b[0] == 0x00)
		return mysql_ok(s, h, head_len) | MYSQL_FOUND_LOGIN |
		       (change ? MYSQL_FOUND_END : 0);
	if (h->b[0] != 0xff || !mysql_error(s, h, head_len))
		return MYSQL_FOUND_NOTHING;
	if (!change)
		return MYSQL_FOUND_ERROR | MYSQL_FOUND_LOGIN;
	mysql_rolled_back(s);
	s->prepare_era++;
	return MYSQL_FOUND_ERROR | MYSQL_FOUND_END;
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

/*
 * To what is not known, but an error ends anything, and what begins so asks for a file. What comes
 * behind a hidden packet is not looked at.
 */
MYSQL_INLINE int mysql_opaque_answer(struct dbps_session *s, const struct dbps_head *h,
				     __u32 head_len)
{
	int found;

	if (!s->defs_left++ && h->b[0] == 0xfb) {
		s->phase = DBPS_PHASE_INFILE;
		return MYSQL_FOUND_FILE;
	}
	found = h->b[0] == 0xff ? mysql_error(s, h, head_len) : 0;
	return found ? found | MYSQL_FOUND_END : found;
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
		return mysql_opaque_answer(s, h, head_len);
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

#endif
