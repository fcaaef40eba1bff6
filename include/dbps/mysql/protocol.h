/*
 * What both directions share: commands, capabilities and status bits, and how numbers and names are
 * read. protocol.md 1.3, 1.6, 1.7.
 */
#ifndef DBPS_MYSQL_PROTOCOL_H
#define DBPS_MYSQL_PROTOCOL_H

#include "dbps/session.h"

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
#define MYSQL_DEADLOCK	  1213	 /* its victim: the transaction was rolled back */
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

#endif
