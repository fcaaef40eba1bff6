/*
 * The session record: what the kernel side keeps for one client connection of a database server, in
 * the storage of the server's socket. Written by bpf/session.bpf.h and the protocol steps only;
 * copied whole to user space by the snapshot iterator. Host byte order unless a field says
 * otherwise.
 */
#ifndef DBPS_SESSION_H
#define DBPS_SESSION_H

#ifndef __VMLINUX_H__
#include <assert.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>
#endif

/* Changes with every change of a shared layout: pins of another layout are replaced, not adopted.
 */
#define DBPS_LAYOUT 22

/*
 * MySQL names are at most 80 (user, MariaDB) and 64 (database) characters of up to 3 bytes. Longer
 * ones are cut and the record says so (DBPS_CUT_USER, DBPS_CUT_DB).
 */
#define DBPS_USER_MAX	 128
#define DBPS_DB_MAX	 192
#define DBPS_PROGRAM_MAX 32
#define DBPS_VERSION_MAX 64

/* Head of a server packet that is kept while its rest is still to be sent: OK with session state.
 */
#define DBPS_HEAD_MAX 256

/* Request bytes kept per session: command byte and text. Settable at load between the two. */
#define DBPS_TEXT_MIN	  512
#define DBPS_TEXT_DEFAULT 1024
#define DBPS_TEXT_MAX	  16384

enum dbps_family { DBPS_FAMILY_UNKNOWN, DBPS_FAMILY_INET, DBPS_FAMILY_INET6, DBPS_FAMILY_UNIX };

/* Where the session stands; protocol.md 1.5 to 1.9. Ordered: everything from IDLE on is logged in.
 */
enum dbps_phase {
	DBPS_PHASE_UNKNOWN,  /* older than dbps, nothing seen yet */
	DBPS_PHASE_GREETED,  /* greeting sent, login awaited */
	DBPS_PHASE_AUTH,     /* login read, authentication rounds */
	DBPS_PHASE_CLOSED,   /* refused, quit, or the peer has gone: nothing more will come */
	DBPS_PHASE_IDLE,     /* no statement */
	DBPS_PHASE_OPAQUE,   /* a statement whose bytes cannot be read (TLS, compression) */
	DBPS_PHASE_UNFRAMED, /* a statement, its answer is not followed: ends at the next request */
	DBPS_PHASE_FIRST,    /* a statement, first packet of a result awaited */
	DBPS_PHASE_DEFS,     /* column definitions, `defs_left` to come */
	DBPS_PHASE_DEFS_EOF, /* the packet after the definitions: EOF, or a row when deprecated */
	DBPS_PHASE_ROWS,     /* rows until EOF, OK or ERR */
	DBPS_PHASE_PREPARED, /* first packet of a Prepare */
	DBPS_PHASE_PREPARE_DEFS, /* definitions and EOFs after PREPARE-OK */
	DBPS_PHASE_FIELD_LIST,	 /* column definitions without a count until EOF */
	DBPS_PHASE_ONE_PACKET,	 /* any one packet is the answer (Statistics, Set option, Debug) */
	DBPS_PHASE_INFILE,	 /* LOCAL INFILE: the client sends the file */
	DBPS_PHASE_CHANGE_USER,	 /* authentication rounds of Change user */
	DBPS_PHASE_STREAM,	 /* Binlog dump: packets without end until EOF or ERR */
	DBPS_PHASE_N,
};

/* What is known of the session, and what is special about it. */
enum dbps_flag {
	DBPS_KNOWN_ID = 1 << 0,	   /* `id` is the server's connection id */
	DBPS_KNOWN_LOGIN = 1 << 1, /* `user` and `db` are the server's */
	DBPS_KNOWN_CAPS = 1 << 2,  /* `caps` are those agreed at login */
	DBPS_KNOWN_EOF = 1 << 3,   /* whether EOF packets are sent was seen: DBPS_DEPRECATE_EOF */
	DBPS_DEPRECATE_EOF = 1 << 4,
	DBPS_JOINED = 1 << 5, /* the session is older than dbps */
	DBPS_TLS = 1 << 6,
	DBPS_COMPRESSED = 1 << 7,
	DBPS_FRAMED_IN = 1 << 8, /* requests are followed exactly */
	DBPS_RESYNCED = 1 << 9,	 /* an end was taken from the next request, not from the answer */
	DBPS_CUT_USER = 1 << 10,
	DBPS_CUT_DB = 1 << 11,
	DBPS_IN_TRANSACTION = 1 << 12,
	DBPS_HAS_TEXT = 1 << 13,       /* the request holds this statement's text */
	DBPS_EXECUTES = 1 << 14,       /* the text is that of prepared statement `stmt_id` */
	DBPS_SPLICED_IN = 1 << 15,     /* bytes moved that no tap could read (counted) */
	DBPS_KILLED = 1 << 16,	       /* QUERY_KILLED: a kill of this statement was asked for */
	DBPS_KILLED_SESSION = 1 << 17, /* SESSION_KILLED */
	DBPS_READS_APART = 1 << 18,  /* the server reads headers in a call of their own: a read that
					would block means that it waits for a command */
	DBPS_SENT = 1 << 19,	     /* bytes were sent since the statement began */
	DBPS_APPLIES = 1 << 20,	     /* an OK of this statement may change session state */
	DBPS_PREPARED_USE = 1 << 21, /* one of its prepared statements may be a USE */
	DBPS_READS_EXACT = 1 << 22,  /* and asks for just the rest of the packet in the next call */
	DBPS_TLS_READ = 1 << 23,     /* with DBPS_TLS: its plaintext is followed in the library */
	DBPS_PGSQL = 1 << 24,	     /* speaks PostgreSQL's protocol (pgsql.h), else MySQL's */
	DBPS_ABORTED = 1 << 25, /* PostgreSQL: its transaction has failed, nothing but its end is
				   taken */
	DBPS_READS_AHEAD = 1 << 26, /* PostgreSQL: the server reads on while a statement executes: a
				       pooler, which serves all sessions in one process */
	DBPS_OB20 = 1 << 28,	    /* its packets are inside of OceanBase's (protocol.md 2.5) */
	DBPS_HELD = 1 << 27,	    /* the server has read requests that it comes to later */
	DBPS_LEFT_OUT = 1 << 29,    /* the kernel left out all taps of an event (counted) */
};

/* Packets inside of outer ones: the compressed protocol's, or OceanBase's. */
#define DBPS_WRAPPED (DBPS_COMPRESSED | DBPS_OB20)

/* Framing of one direction: MySQL packets are u24 length, u8 sequence, payload (protocol.md 1.1).
 * PostgreSQL messages are u8 type, u32 length, body (4.2): the type is in `seq`, and hdr_have is 0
 * to 5. */
struct dbps_stream {
	__u32 left;    /* payload bytes of the current packet still to come */
	__u32 got;     /* payload bytes of the current message so far, over continuation packets */
	__u8 hdr[4];   /* header being gathered, wire order */
	__u8 hdr_have; /* bytes of it so far, 0 to 3; 4: read and not looked at */
	__u8 seq;      /* sequence id of the current packet */
	__u8 full;     /* the current packet is 0xffffff long: the message goes on in the next */
	__u8 skip;     /* the current message is not looked at */
};

/*
 * An event between two statements finds the caches cold, and each line that it touches costs more
 * than the work: what every event needs comes first, in two lines. The storage of a socket puts
 * eight bytes of its own before the record, so that the lines end at 56 and 120.
 */
struct dbps_session {
	/* Odd while a tap writes; a copy is whole when it is even and the same before and after. */
	__u32 gen;
	__u32 flags; /* enum dbps_flag */
	struct dbps_stream in;
	struct dbps_stream out;
	__u8 phase;    /* enum dbps_phase */
	__u8 command;  /* COM_* of the current statement, or of the last one */
	__u8 family;   /* enum dbps_family */
	__u8 text_off; /* offset of the text in the request's body */
	__u16 status;  /* server status of the last OK or EOF (protocol.md 1.7) */
	__u8 lost;     /* an event of this session was not followed: framing starts anew */
	__u8 armed;    /* the cancel map may have an entry; set without the lock, never cleared */
	__u32 tid;     /* thread that read the current statement */
	__u16 results; /* results of this statement that are complete (MORE_RESULTS) */
	__u16 last_error; /* code of the last ERR, 0: none yet */
	/* --- 56 bytes --- */
	__u64 sequence; /* number of the current or last statement, from 1 */
	__u64 start_ns; /* CLOCK_MONOTONIC: its begin; login phase: the greeting */
	__u64 end_ns;	/* end of the last statement, or of the login */
	__u64 rows;
	__u64 bytes_in;
	__u64 bytes_out;
	__u32 defs_left;
	__u32 stmt_id;	    /* Execute: its prepared statement */
	__u32 text_len;	    /* whole length of the text, bytes */
	__u32 last_stmt_id; /* newest prepared statement, for direct execution (protocol.md 1.9) */
	/* --- 120 bytes --- */
	__u32 tgid;	   /* process that owns the server's end */
	__u32 prepare_era; /* raised when all prepared statements are dropped */
	__u64 errors;
	__u64 trx_start_ns; /* CLOCK_MONOTONIC, valid with DBPS_IN_TRANSACTION */
	__u64 cookie;
	__u64 id; /* the server's connection id; PostgreSQL: process id */
	__u64 connected_ns;
	__u32 caps;	      /* agreed capability bits */
	__u32 server_caps;    /* as greeted */
	__u32 client_pid;     /* Unix sockets: the peer's process, else 0 */
	__u32 client_uid;     /* Unix sockets: the peer's effective user, valid with client_pid */
	__u32 attr_pid;	      /* `_pid` of the connection attributes: the client's own claim */
	__u32 netns;	      /* inode of the socket's network namespace */
	__u8 local_addr[16];  /* network order; IPv4 in the first 4 bytes */
	__u8 remote_addr[16]; /* network order */
	__u16 local_port;
	__u16 remote_port;
	__u32 inode; /* of the socket file, to find its descriptor */
	__u8 user_len;
	__u8 db_len; /* 0: no database */
	__u8 program_len;
	__u8 pad;
	__s32 fd;	   /* the server's descriptor of the socket, as it was at first */
	__u32 server_tgid; /* the server: tgid, or the parent of a PostgreSQL backend */
	__u32 sqlstate;	   /* PostgreSQL: of the last error, as DBPS_SQLSTATE(); 0: none yet */
	__u64 sent_ns;	   /* with DBPS_COMPRESSED: when the last bytes were sent */
	char user[DBPS_USER_MAX];
	char db[DBPS_DB_MAX];
	char program[DBPS_PROGRAM_MAX];
};

/* First bytes of a server packet. */
struct dbps_head {
	__u8 b[DBPS_HEAD_MAX];
};

/* Bytes of a request in which names are looked for: login, attributes, USE. */
#define DBPS_NAMES_MAX 512

/* Bytes of an answer that are read at once. */
#define DBPS_WINDOW 1024

/* Bytes of the answer that is looked at. A head may start behind each packet header in it. */
struct dbps_window {
	__u8 b[DBPS_WINDOW + 4 + DBPS_HEAD_MAX];
};

/*
 * The request under way, or the last one. It is the value of the prepared map as it stands. Both
 * maps are made larger than the struct, for the text that is kept: see dbps_body(). Names are read
 * in blocks of DBPS_DB_MAX bytes, so that much lies behind each offset that is looked at.
 */
struct dbps_request {
	__u32 len;				 /* payload bytes of the whole message */
	__u32 have;				 /* of them in `body` */
	__u8 body[DBPS_NAMES_MAX + DBPS_DB_MAX]; /* command byte, then text */
};

/* First bytes of a PostgreSQL message: what is looked at of any of them. */
#define DBPS_PGSQL_HEAD 128

struct dbps_pgsql_head {
	__u8 b[DBPS_PGSQL_HEAD];
};

/* A statement or a portal is known by a hash of its name (pgsql_name()); 0: it is not known. */
struct dbps_pgsql_portal {
	__u32 portal;
	__u32 statement;
};

#define DBPS_PGSQL_PORTALS 4

/* What the step of PostgreSQL (pgsql.h) needs besides the session. What an everyday statement
 * touches is in the line that ends with the request's length. */
struct dbps_pgsql {
	struct dbps_pgsql_head head; /* of a server message that a call cut */
	struct dbps_pgsql_head call; /* of a Bind, Execute or Close that is being read */
	struct dbps_pgsql_portal portals[DBPS_PGSQL_PORTALS];
	__u64 room[15]; /* up to that line */
	__u64 held;	/* address of bytes that the server has read, and comes to later */
	__u32 held_len; /* bytes there */
	__u32 bound;	/* statement of the unnamed portal */
	__u32 parsed;	/* statement of the last Parse */
	__u16 parses;	/* Parse messages that were not answered yet */
	__u8 waits;	/* the server reads no message until it has sent ReadyForQuery */
	__u8 extended;	/* a Sync is still to come */
	__u8 skips;	/* after an error, up to the Sync */
	__u8 failed;	/* an error was sent since the statement began */
	__u8 unnamed;	/* the request is the Parse of the unnamed statement */
	__u8 asked;	/* for encryption: the answer is one byte */
	__u8 portal_next;
	__u8 ahead;	    /* with DBPS_READS_AHEAD: further statements that were read */
	__u8 named_portals; /* there may be one in `portals` */
	__u8 pad;
};

/* What a thread has used so far. */
struct dbps_usage {
	__u64 cpu_ns;	   /* as the scheduler has it: up to its last tick or switch */
	__u64 read_bytes;  /* from disks */
	__u64 write_bytes; /* to be written to disks */
};

/* The outer packets of one direction (protocol.md 1.10, 2.5). */
struct dbps_outer {
	__u32 skip;   /* bytes of the current one still to come before its inner packets */
	__u32 left;   /* bytes of inner packets */
	__u32 tail;   /* bytes behind them */
	__u32 hidden; /* inner bytes that are in it compressed; 0: they are in clear */
	__u8 hdr[36]; /* header being gathered */
	__u8 have;    /* bytes of it so far */
	__u8 seq;     /* of the current one; 0 begins a command */
	__u8 blind;   /* inner framing was lost in compressed bytes, up to the next command */
	__u8 last;    /* OceanBase says: the last one of the answer */
};

/* Bytes of requests that the server has read while it executes another: still in its memory. */
struct dbps_held {
	__u64 base;
	__u32 len;   /* 0: none */
	__u32 first; /* what its first bytes were, to see that they still are */
};

#define DBPS_HELD_MAX 4

/* What the step of MySQL (mysql.h) needs besides the session. */
struct dbps_mysql {
	struct dbps_head head; /* of a server packet that a call cut, or that exceeds the window */
	struct dbps_outer outer_in, outer_out; /* with DBPS_WRAPPED */
	struct dbps_held held[DBPS_HELD_MAX];  /* with DBPS_HELD, in order */
	__u8 prepared;			       /* a Prepare was accepted whose text is to be kept */
	__u8 pad[7]; /* keeps what comes behind it in one line, see dbps_record.begun */
};

/* The storage of one socket: the session, and what only the kernel side needs of it. */
struct dbps_record {
	struct dbps_session s;
	/* Where taps can be preempted (bpf/taps.bpf.h): the thread whose receive, and whose send, a
	 * tap has taken. A line, so that what follows keeps its place. */
	__u32 taken[2];
	__u32 room[14];
	union {
		struct dbps_mysql my;
		struct dbps_pgsql pg; /* with DBPS_PGSQL */
	};
	/* Of the thread, at the statement's begin; cpu_ns 0: unknown. In the line of the request's
	 * length, which a begin writes. */
	struct dbps_usage begun;
	struct dbps_request request;
};

/* Five characters, six bits each, as PostgreSQL packs them (MAKE_SQLSTATE() in utils/elog.h). */
#define DBPS_SQLSTATE(a, b, c, d, e)                                                               \
	((__u32)((a) - '0') | (__u32)((b) - '0') << 6 | (__u32)((c) - '0') << 12 |                 \
	 (__u32)((d) - '0') << 18 | (__u32)((e) - '0') << 24)
#define DBPS_SQLSTATE_CANCELED	 DBPS_SQLSTATE('5', '7', '0', '1', '4')
#define DBPS_SQLSTATE_TERMINATED DBPS_SQLSTATE('5', '7', 'P', '0', '1')

_Static_assert(sizeof(struct dbps_stream) == 16, "shared layout");
_Static_assert(__builtin_offsetof(struct dbps_session, sequence) == 56, "the second line");
_Static_assert(__builtin_offsetof(struct dbps_session, tgid) == 120, "the third line");
_Static_assert(sizeof(struct dbps_session) % 8 == 0, "shared layout");
_Static_assert(__builtin_offsetof(struct dbps_record, pg.held) % 64 == 56 &&
		       __builtin_offsetof(struct dbps_record, request.body) % 64 == 56,
	       "one line");

/* All of the body, as long as the map was made. */
static inline __u8 *dbps_body(struct dbps_record *r)
{
	return (__u8 *)&r->request + __builtin_offsetof(struct dbps_request, body);
}

/* Encrypted, and nothing but that is known of what it does. */
static inline bool dbps_session_is_dark(const struct dbps_session *s)
{
	return (s->flags & (DBPS_TLS | DBPS_TLS_READ)) == DBPS_TLS;
}

/* Whether it executes what could not be read: no client asks for a Sleep, the command of 0. */
static inline bool dbps_session_is_hidden(const struct dbps_session *s)
{
	return s->phase == DBPS_PHASE_OPAQUE ||
	       (s->phase > DBPS_PHASE_IDLE && s->flags & DBPS_COMPRESSED && !s->command);
}

/* What the maps hold when this much text is kept: behind each kept byte lies a block. */
static inline __u32 dbps_request_size(__u32 text_bytes)
{
	__u32 room = text_bytes + 1 + DBPS_DB_MAX, least = DBPS_NAMES_MAX + DBPS_DB_MAX;

	return __builtin_offsetof(struct dbps_request, body) + (room > least ? room : least);
}

static inline __u32 dbps_record_size(__u32 text_bytes)
{
	__u32 before = __builtin_offsetof(struct dbps_record, request);

	return (before + dbps_request_size(text_bytes) + 7) & ~7u;
}

/* The process that is registered as its server. */
static inline __u32 dbps_session_server(const struct dbps_session *s)
{
	return s->server_tgid ? s->server_tgid : s->tgid;
}

static inline bool dbps_session_executes(const struct dbps_session *s)
{
	return s->phase > DBPS_PHASE_IDLE;
}

#endif
