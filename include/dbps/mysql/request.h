/*
 * Client to server: headers, the bytes of a request that are kept, and the statement that begins
 * with its last byte.
 */
#ifndef DBPS_MYSQL_REQUEST_H
#define DBPS_MYSQL_REQUEST_H

#include "dbps/mysql/protocol.h"

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
	if (command == COM_STMT_PREPARE) {
		s->last_stmt_id = 0;
		mysql_begin_text(r);
	}
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

#endif
