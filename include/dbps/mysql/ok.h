/*
 * What an OK brings: the login, CHANGE_USER, INIT_DB or USE that the kept request asked for. The
 * text of a USE is read byte by byte, as the server's lexer reads it.
 */
#ifndef DBPS_MYSQL_OK_H
#define DBPS_MYSQL_OK_H

#include "dbps/mysql/answer.h"
#include "dbps/mysql/request.h"

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

#endif
