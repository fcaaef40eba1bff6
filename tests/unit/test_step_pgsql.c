/*
 * The PostgreSQL step, fed with conversations as a server moves them: a model of the server reads
 * into one buffer, comes to one message after the other and sends its answers. Calls are cut at
 * every place; however they are, the session must tell the same story.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dbps/kernel.h"
#include "turns.h"

struct dbps_span {
	const uint8_t *base;
};

static int dbps_span_read(const struct dbps_span *span, __u32 off, void *dst, __u32 n)
{
	memcpy(dst, span->base + off, n);
	return 0;
}

static __u64 clock_ns;

#define DBPS_BODY_CAP (DBPS_TEXT_DEFAULT + 1)
#define DBPS_STEP_FN  static __attribute__((unused))
#define dbps_now()    (++clock_ns)

/* The hooks of the MySQL step, which nothing calls here. */
static void dbps_on_begin(struct dbps_record *r, __u32 last_used)
{
	(void)r;
	(void)last_used;
}

static void dbps_on_found(struct dbps_record *r, int found)
{
	(void)r;
	(void)found;
}

static void dbps_on_resync(struct dbps_session *s)
{
	(void)s;
}

static void dbps_pgsql_on_begin(struct dbps_record *r);
static void dbps_pgsql_on_end(struct dbps_record *r, __u32 error);
static void dbps_pgsql_on_close(struct dbps_record *r, __u32 statement);
static void dbps_pgsql_on_version(struct dbps_record *r, const struct dbps_pgsql_head *h,
				  __u32 have);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include "dbps/pgsql.h"
#pragma GCC diagnostic pop

/* ---------------------------------------------------------------- the driver ---------------- */

#define RECEIVE_BUFFER 8192

/* What the session told, one line an end: "Query:select 1|00000|I". */
static char story[8192];
static char version[DBPS_PGSQL_HEAD];
static unsigned int n_begun;

static struct {
	__u32 era;
	__u32 statement;
	char text[256];
} prepared[32];
static size_t n_prepared;

static const char *prepared_text(const struct dbps_session *s)
{
	for (size_t i = n_prepared; i-- > 0;)
		if (prepared[i].era == s->prepare_era && prepared[i].statement == s->stmt_id)
			return prepared[i].text;
	return "?";
}

static const char *shown_text(struct dbps_record *r)
{
	static char text[DBPS_TEXT_DEFAULT + 2];

	if (r->s.flags & DBPS_EXECUTES)
		return prepared_text(&r->s);
	if (!(r->s.flags & DBPS_HAS_TEXT))
		return "-";
	snprintf(text, sizeof(text), "%.*s", (int)(r->request.have - r->s.text_off),
		 (const char *)dbps_body(r) + r->s.text_off);
	return text;
}

static const char *command_word(__u8 command)
{
	switch (command) {
	case COM_QUERY:
		return "Query";
	case COM_STMT_PREPARE:
		return "Prepare";
	case COM_STMT_EXECUTE:
		return "Execute";
	case PGSQL_COM_FUNCTION:
		return "Function";
	default:
		return "?";
	}
}

static void dbps_pgsql_on_begin(struct dbps_record *r)
{
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	n_begun++;
}

static void dbps_pgsql_on_end(struct dbps_record *r, __u32 error)
{
	struct dbps_session *s = &r->s;
	char code[6] = "00000";
	size_t len = strlen(story);

	for (int i = 0; error && i < 5; i++)
		code[i] = (char)('0' + (error >> (6 * i) & 63));
	if (s->phase == DBPS_PHASE_AUTH)
		snprintf(story + len, sizeof(story) - len, "login:%.*s/%.*s/%.*s\n", s->user_len,
			 s->user, s->db_len, s->db, s->program_len, s->program);
	else
		snprintf(story + len, sizeof(story) - len, "%s:%s|%s|%s\n",
			 command_word(s->command), shown_text(r), code,
			 s->flags & DBPS_ABORTED	  ? "E"
			 : s->flags & DBPS_IN_TRANSACTION ? "T"
							  : "I");
	mysql_end(s, dbps_now(), DBPS_PHASE_IDLE);
}

static void keep_text(struct dbps_record *r)
{
	const char *name = (const char *)r->request.body + 1;

	assert_true(n_prepared < 32);
	prepared[n_prepared].era = r->s.prepare_era;
	prepared[n_prepared].statement = r->pg.parsed;
	snprintf(prepared[n_prepared].text, sizeof(prepared->text), "%s", name + strlen(name) + 1);
	n_prepared++;
}

/* What the step said, and what it says of the rest. */
static int to_the_end(struct dbps_record *r, int said)
{
	while (said == PGSQL_PARSED) {
		keep_text(r);
		said = pgsql_rest(r);
	}
	return said;
}

static void dbps_pgsql_on_close(struct dbps_record *r, __u32 statement)
{
	for (size_t i = 0; i < n_prepared; i++)
		if (prepared[i].era == r->s.prepare_era && prepared[i].statement == statement)
			strcpy(prepared[i].text, "?");
}

static void dbps_pgsql_on_version(struct dbps_record *r, const struct dbps_pgsql_head *h,
				  __u32 have)
{
	(void)r;
	(void)have;
	snprintf(version, sizeof(version), "%.100s", (const char *)h->b + 15);
}

static struct dbps_record *new_record(void)
{
	struct dbps_record *r = calloc(1, sizeof(*r) + DBPS_BODY_CAP + DBPS_DB_MAX);

	assert_non_null(r);
	r->s.phase = DBPS_PHASE_GREETED;
	r->s.flags = DBPS_PGSQL | DBPS_FRAMED_IN;
	memset(prepared, 0, sizeof(prepared));
	n_prepared = n_begun = 0;
	story[0] = version[0] = 0;
	return r;
}

/* One message of the client, and what the server sends when it has come to it. */
struct turn {
	size_t n;
	uint8_t bytes[16384];
	size_t n_answer;
	uint8_t answer[16384];
};

#define TURNS_MAX 24

static struct talk {
	size_t n;
	struct turn turn[TURNS_MAX];
} talk;

static size_t put(uint8_t *to, size_t at, int type, const void *body, size_t n)
{
	uint32_t len = (uint32_t)n + 4;

	if (type)
		to[at++] = (uint8_t)type;
	to[at++] = (uint8_t)(len >> 24);
	to[at++] = (uint8_t)(len >> 16);
	to[at++] = (uint8_t)(len >> 8);
	to[at++] = (uint8_t)len;
	memcpy(to + at, body, n);
	return at + n;
}

static void client_bytes(int type, const void *body, size_t n)
{
	struct turn *t = &talk.turn[talk.n++];

	assert_true(talk.n <= TURNS_MAX);
	t->n_answer = 0;
	t->n = put(t->bytes, 0, type, body, n);
}

static void server_bytes(int type, const void *body, size_t n)
{
	struct turn *t = &talk.turn[talk.n - 1];

	assert_true(t->n_answer + n + 5 <= sizeof(t->answer));
	t->n_answer = put(t->answer, t->n_answer, type, body, n);
}

#define CLIENT(type, s) client_bytes(type, s, sizeof(s) - 1)
#define SERVER(type, s) server_bytes(type, s, sizeof(s) - 1)

static void sends(struct dbps_record *r, const uint8_t *bytes, size_t n, size_t cut)
{
	static struct dbps_window window;

	for (size_t at = 0; at < n;) {
		size_t len = n - at < cut ? n - at : cut;
		struct dbps_span span = {bytes + at};

		memset(&window, 0xa5, sizeof(window));
		if (r->s.flags & DBPS_FRAMED_IN)
			assert_true(pgsql_everyday_answer(r, &span, (__u32)len) ||
				    !to_the_end(r, pgsql_sent(r, &span, (__u32)len, &window)));
		else
			pgsql_sent_unframed(r, &span, (__u32)len);
		at += len;
	}
}

/* As pq_recvbuf(): what was not come to moves to the buffer's begin, the rest is read behind it. */
struct server {
	uint8_t buffer[RECEIVE_BUFFER];
	size_t at, len;
	const uint8_t *input;
	size_t n_input;
};

static void receive(struct dbps_record *r, struct server *s, size_t cut)
{
	struct dbps_span span;
	size_t n, requested;

	memmove(s->buffer, s->buffer + s->at, s->len - s->at);
	s->len -= s->at;
	s->at = 0;
	requested = n = sizeof(s->buffer) - s->len;
	if (n > cut)
		n = cut;
	if (n > s->n_input)
		n = s->n_input;
	assert_true(n > 0);
	memcpy(s->buffer + s->len, s->input, n);
	span.base = s->buffer + s->len;
	s->input += n;
	s->n_input -= n;
	s->len += n;
	if (r->s.flags & DBPS_FRAMED_IN || pgsql_reframes(r, &span, (__u32)n, requested))
		assert_int_equal(to_the_end(r, pgsql_received(r, &span, (__u32)n)), 0);
}

/* The server takes the next n bytes, reading when its buffer is empty. */
static void takes(struct dbps_record *r, struct server *s, size_t n, size_t cut)
{
	while (n) {
		size_t have = s->len - s->at;

		if (!have) {
			receive(r, s, cut);
			continue;
		}
		if (have > n)
			have = n;
		s->at += have;
		n -= have;
	}
}

/* All of the talk, with calls of at most so many bytes. */
static void play_cut(struct dbps_record *r, size_t cut_in, size_t cut_out)
{
	static uint8_t input[TURNS_MAX * sizeof(talk.turn[0].bytes)];
	static struct server server;
	size_t n = 0;

	for (size_t i = 0; i < talk.n; i++) {
		memcpy(input + n, talk.turn[i].bytes, talk.turn[i].n);
		n += talk.turn[i].n;
	}
	server.at = server.len = 0;
	server.input = input;
	server.n_input = n;
	for (size_t i = 0; i < talk.n; i++) {
		takes(r, &server, talk.turn[i].n, cut_in);
		sends(r, talk.turn[i].answer, talk.turn[i].n_answer, cut_out);
	}
}

/* As play_cut(), but the client waits for each answer. */
static void play_in_turn(struct dbps_record *r, size_t cut_in, size_t cut_out)
{
	static struct server server;

	server.at = server.len = 0;
	for (size_t i = 0; i < talk.n; i++) {
		server.input = talk.turn[i].bytes;
		server.n_input = talk.turn[i].n;
		takes(r, &server, talk.turn[i].n, cut_in);
		sends(r, talk.turn[i].answer, talk.turn[i].n_answer, cut_out);
	}
}

/* However the calls are cut, the story is this; the last session is the caller's. */
static struct dbps_record *tells(const char *expected)
{
	static const size_t cuts[] = {100000, 8192, 1000, 61, 7};
	struct dbps_record *r = NULL;

	for (size_t in = 1; in < 90; in++)
		for (size_t out = 0; out < 5; out++) {
			free(r);
			r = new_record();
			play_cut(r, in, in == 1 ? 1 : cuts[out]);
			assert_string_equal(story, expected);
		}
	for (size_t out = 1; out < 90; out++)
		for (size_t in = 0; in < 5; in++) {
			free(r);
			r = new_record();
			play_cut(r, cuts[in], out);
			assert_string_equal(story, expected);
			free(r);
			r = new_record();
			play_in_turn(r, cuts[in], out);
			assert_string_equal(story, expected);
		}
	return r;
}

#define STARTUP                                                                                    \
	"\0\3\0\0user\0alice\0database\0shop\0application_name\0psql\0client_encoding\0UTF8\0"

static void log_in(void)
{
	talk.n = 0;
	CLIENT(0, STARTUP);
	SERVER('R', "\0\0\0\0");
	SERVER('S', "application_name\0psql\0");
	SERVER('S', "server_version\00015.18 (Debian)\0");
	SERVER('K', "\0\0\x12\x34\1\2\3\4");
	SERVER('Z', "I");
}

static void query(const char *text, const char *tag, char status)
{
	client_bytes('Q', text, strlen(text) + 1);
	server_bytes('C', tag, strlen(tag) + 1);
	server_bytes('Z', &status, 1);
}

#define LOGIN "login:alice/shop/psql\n"

/* ---------------------------------------------------------------- login --------------------- */

static void test_login(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	r = tells(LOGIN);
	assert_int_equal(r->s.id, 0x1234);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_true(r->s.flags & DBPS_KNOWN_LOGIN);
	assert_int_equal(r->s.sequence, 0);
	assert_string_equal(version, "15.18 (Debian)");
	free(r);
}

static void test_login_with_password(void **state)
{
	(void)state;
	talk.n = 0;
	CLIENT(0, "\0\3\0\0user\0bob\0\0");
	SERVER('R', "\0\0\0\12SCRAM-SHA-256\0\0");
	CLIENT('p', "SCRAM-SHA-256\0\0\0\0\4n,,n");
	SERVER('R', "\0\0\0\13r=x");
	CLIENT('p', "c=biws,r=x");
	SERVER('R', "\0\0\0\14v=y");
	SERVER('R', "\0\0\0\0");
	SERVER('K', "\0\0\0\7\1\2\3\4");
	SERVER('Z', "I");
	query("select 1", "SELECT 1", 'I');
	/* The database is called as the user is. */
	free(tells("login:bob/bob/\nQuery:select 1|00000|I\n"));
}

static void test_login_refused(void **state)
{
	struct dbps_record *r;

	(void)state;
	talk.n = 0;
	CLIENT(0, STARTUP);
	SERVER('E', "SFATAL\0VFATAL\0C28P01\0Mno\0\0");
	r = tells("");
	assert_int_equal(r->s.phase, DBPS_PHASE_CLOSED);
	assert_int_equal(r->s.sqlstate, DBPS_SQLSTATE('2', '8', 'P', '0', '1'));
	assert_false(r->s.flags & DBPS_KNOWN_LOGIN);
	free(r);
}

static void test_encryption_refused(void **state)
{
	(void)state;
	talk.n = 0;
	CLIENT(0, "\4\322\26\60"); /* GSSENCRequest */
	talk.turn[0].answer[talk.turn[0].n_answer++] = 'N';
	CLIENT(0, "\4\322\26\57"); /* SSLRequest */
	talk.turn[1].answer[talk.turn[1].n_answer++] = 'N';
	CLIENT(0, STARTUP);
	SERVER('R', "\0\0\0\0");
	SERVER('K', "\0\0\0\7\1\2\3\4");
	SERVER('Z', "I");
	query("select 1", "SELECT 1", 'I');
	free(tells(LOGIN "Query:select 1|00000|I\n"));
}

static void test_encryption_accepted(void **state)
{
	struct dbps_record *r;

	(void)state;
	talk.n = 0;
	CLIENT(0, "\4\322\26\57");
	talk.turn[0].answer[talk.turn[0].n_answer++] = 'S';
	r = tells("");
	assert_true(r->s.flags & DBPS_TLS);
	assert_int_equal(r->s.phase, DBPS_PHASE_AUTH);
	free(r);
}

static void test_cancel_request_is_no_session(void **state)
{
	static const uint8_t cancel[] = "\0\0\0\20\4\322\26\56\0\0\0\1\0\0\0\2";
	struct dbps_record *r;

	(void)state;
	assert_false(pgsql_may_start(cancel, 16));
	talk.n = 0;
	CLIENT(0, "\4\322\26\57");
	talk.turn[0].answer[talk.turn[0].n_answer++] = 'N';
	CLIENT(0, "\4\322\26\56\0\0\0\1\0\0\0\2");
	r = tells("");
	assert_int_equal(r->s.phase, DBPS_PHASE_CLOSED);
	assert_false(r->s.flags & DBPS_KNOWN_ID);
	free(r);
}

static void test_first_packets(void **state)
{
	(void)state;
	assert_true(pgsql_may_start((const uint8_t *)"\0\0\0\10\4\322\26\57", 8));
	assert_true(pgsql_may_start((const uint8_t *)"\0\0\0\110\0\3\0\0", 8));
	assert_true(pgsql_may_start((const uint8_t *)"\0\0\0\110\0\3\0\2", 8));
	assert_true(pgsql_may_start((const uint8_t *)"\0\0\0\0\0\0\0\0", 1));
	assert_false(pgsql_may_start((const uint8_t *)"\0\0\0\110\0\2\0\0", 8));
	assert_false(pgsql_may_start((const uint8_t *)"\0\0\0\7\0\3\0\0", 8));
	assert_false(pgsql_may_start((const uint8_t *)"\0\0\47\21\0\3\0\0", 8));
	assert_false(pgsql_may_start((const uint8_t *)"GET / HTTP", 8));
}

/* ---------------------------------------------------------------- simple queries ------------ */

static void test_simple_queries(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	query("begin", "BEGIN", 'T');
	CLIENT('Q', "select g from generate_series(1,3) g\0");
	SERVER('T', "\0\1g\0\0\0\0\0\0\0\0\0\0\27\0\4\377\377\377\377\0\0");
	SERVER('D', "\0\1\0\0\0\1"
		    "1");
	SERVER('D', "\0\1\0\0\0\1"
		    "2");
	SERVER('D', "\0\1\0\0\0\1"
		    "3");
	SERVER('C', "SELECT 3\0");
	SERVER('Z', "T");
	CLIENT('Q', "select 1/0\0");
	SERVER('E', "SERROR\0VERROR\0C22012\0Mdivision by zero\0\0");
	SERVER('Z', "E");
	query("rollback", "ROLLBACK", 'I');
	CLIENT('Q', ";\0");
	SERVER('I', "");
	SERVER('Z', "I");
	r = tells(LOGIN "Query:begin|00000|T\n"
			"Query:select g from generate_series(1,3) g|00000|T\n"
			"Query:select 1/0|22012|E\n"
			"Query:rollback|00000|I\n"
			"Query:;|00000|I\n");
	assert_int_equal(r->s.rows, 3);
	assert_int_equal(r->s.errors, 1);
	assert_int_equal(r->s.sequence, 5);
	assert_int_equal(n_begun, 5);
	assert_int_equal(r->s.sqlstate, DBPS_SQLSTATE('2', '2', '0', '1', '2'));
	free(r);
}

static void test_long_messages(void **state)
{
	static char text[9000];
	static uint8_t row[9000];
	struct dbps_record *r;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	memset(row, 'Z', sizeof(row));
	log_in();
	client_bytes('Q', text, sizeof(text));
	for (int i = 0; i < 1; i++)
		server_bytes('D', row, sizeof(row));
	SERVER('C', "SELECT 1\0");
	SERVER('Z', "I");
	query("select 2", "SELECT 1", 'I');
	r = new_record();
	for (size_t cut = 1; cut < 9100; cut += cut < 20 ? 1 : 997) {
		free(r);
		r = new_record();
		play_cut(r, cut, cut);
		assert_int_equal(r->s.sequence, 2);
		assert_int_equal(r->s.rows, 1);
		assert_non_null(strstr(story, "x|00000|I\nQuery:select 2|00000|I\n"));
		assert_int_equal(strlen(strstr(story, "Query:x")),
				 6 + DBPS_TEXT_DEFAULT + 9 + strlen("Query:select 2|00000|I\n"));
	}
	free(r);
}

static void test_terminate(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	query("select 1", "SELECT 1", 'I');
	CLIENT('X', "");
	r = tells(LOGIN "Query:select 1|00000|I\n");
	assert_int_equal(r->s.phase, DBPS_PHASE_CLOSED);
	assert_int_equal(r->s.command, COM_QUIT);
	free(r);
}

/* Also in the middle of a group: it has no Sync any more. */
static void test_terminate_ends_a_group(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('P', "\0select 1\0\0\0");
	CLIENT('X', "");
	r = tells(LOGIN);
	assert_int_equal(r->s.phase, DBPS_PHASE_CLOSED);
	assert_int_equal(r->s.command, COM_QUIT);
	assert_false(r->s.flags & (DBPS_HAS_TEXT | DBPS_EXECUTES));
	free(r);
}

static void test_function_call(void **state)
{
	(void)state;
	log_in();
	CLIENT('F', "\0\0\0\1\0\0\0\0\0\0");
	SERVER('V', "\377\377\377\377");
	SERVER('Z', "I");
	free(tells(LOGIN "Function:-|00000|I\n"));
}

/* ---------------------------------------------------------------- extended protocol --------- */

static void sync(char status)
{
	CLIENT('S', "");
	server_bytes('Z', &status, 1);
}

static void test_unnamed(void **state)
{
	(void)state;
	log_in();
	for (int i = 0; i < 2; i++) {
		client_bytes('P', i ? "\0select $2\0\0\0" : "\0select $1\0\0\0", 13);
		SERVER('1', "");
		CLIENT('B', "\0\0\0\0\0\1\0\0\0\1"
			    "1\0\0");
		SERVER('2', "");
		CLIENT('D', "P\0");
		SERVER('n', "");
		CLIENT('E', "\0\0\0\0\0");
		SERVER('D', "\0\1\0\0\0\1"
			    "1");
		SERVER('C', "SELECT 1\0");
		sync('I');
	}
	free(tells(LOGIN "Execute:select $1|00000|I\nExecute:select $2|00000|I\n"));
}

static void test_named(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('P', "a\0select 'a'\0\0\0");
	SERVER('1', "");
	sync('I');
	CLIENT('P', "b\0select 'b'\0\0\0");
	SERVER('1', "");
	CLIENT('D', "Sb\0");
	SERVER('n', "");
	sync('I');
	CLIENT('B', "\0a\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('I');
	CLIENT('B', "cursor\0b\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "cursor\0\0\0\0\1");
	SERVER('s', "");
	sync('T');
	/* A portal that was bound before. */
	CLIENT('E', "cursor\0\0\0\0\1");
	SERVER('C', "SELECT 1\0");
	sync('I');
	CLIENT('C', "Sa\0");
	SERVER('3', "");
	sync('I');
	CLIENT('B', "\0a\0\0\0\0\0\0\0");
	SERVER('E', "SERROR\0VERROR\0C26000\0\0");
	sync('I');
	r = tells(LOGIN "Prepare:select 'a'|00000|I\nPrepare:select 'b'|00000|I\n"
			"Execute:select 'a'|00000|I\nExecute:select 'b'|00000|T\n"
			"Execute:select 'b'|00000|I\nExecute:?|26000|I\n");
	assert_int_equal(r->s.sequence, 6);
	free(r);
}

#define BIND_A "\0a\0\0\0\0\0\0\0"

/* A cursor goes on with the statement that it was bound to, when its name is another's by now. */
static void test_portals_outlive_names(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	query("begin", "BEGIN", 'T');
	CLIENT('P', "\0select 'rows'\0\0\0");
	SERVER('1', "");
	CLIENT('B', "C_1\0\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "C_1\0\0\0\0\2");
	SERVER('s', "");
	sync('T');
	CLIENT('P', "\0select 'other'\0\0\0");
	SERVER('1', "");
	CLIENT('B', "\0\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('T');
	CLIENT('E', "C_1\0\0\0\0\2");
	SERVER('s', "");
	sync('T');
	CLIENT('P', "a\0select 'a'\0\0\0");
	SERVER('1', "");
	CLIENT('B', "C_1\0a\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('B', BIND_A);
	SERVER('2', "");
	CLIENT('C', "Sa\0");
	SERVER('3', "");
	CLIENT('P', "a\0select 'b'\0\0\0");
	SERVER('1', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('T');
	CLIENT('E', "C_1\0\0\0\0\2");
	SERVER('C', "SELECT 1\0");
	sync('T');
	CLIENT('B', BIND_A);
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('T');
	r = tells(LOGIN "Query:begin|00000|T\nExecute:select 'rows'|00000|T\n"
			"Execute:select 'other'|00000|T\nExecute:?|00000|T\n"
			"Execute:?|00000|T\nExecute:?|00000|T\nExecute:select 'b'|00000|T\n");
	free(r);
}

/* A Parse that the server skipped has put no statement in the unnamed one's place. */
static void test_unnamed_that_was_skipped(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('P', "\0select 'old'\0\0\0");
	SERVER('1', "");
	sync('I');
	CLIENT('P', "a\0select nonsense\0\0\0");
	SERVER('E', "SERROR\0VERROR\0C42703\0\0");
	CLIENT('P', "\0select 'new'\0\0\0");
	sync('I');
	CLIENT('B', "\0\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('I');
	r = new_record();
	play_cut(r, 100000, 100000);
	assert_non_null(strstr(story, "|42703|I\nExecute:?|00000|I\n"));
	free(r);
}

/* A name goes on meaning what was told on the wire, until SQL may have made it another's. */
static void test_deallocated(void **state)
{
	static const struct {
		const char *text, *tag;
	} statements[] = {
		{"discard all", "DISCARD ALL"},
		{"deallocate all", "DEALLOCATE ALL"},
		{"prepare a as select 2", "PREPARE"},
	};
	char expected[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		log_in();
		CLIENT('P', "a\0select 'a'\0\0\0");
		SERVER('1', "");
		sync('I');
		query("discard temp", "DISCARD TEMP", 'I');
		query("deallocate b", "DEALLOCATE", 'I');
		query("prepare transaction 'x'", "PREPARE TRANSACTION", 'I');
		CLIENT('B', "\0a\0\0\0\0\0\0\0");
		CLIENT('E', "\0\0\0\0\0");
		SERVER('2', "");
		SERVER('C', "SELECT 1\0");
		sync('I');
		query(statements[i].text, statements[i].tag, 'I');
		CLIENT('B', "\0a\0\0\0\0\0\0\0");
		CLIENT('E', "\0\0\0\0\0");
		SERVER('2', "");
		SERVER('C', "SELECT 1\0");
		sync('I');
		snprintf(expected, sizeof(expected),
			 LOGIN "Prepare:select 'a'|00000|I\nQuery:discard temp|00000|I\n"
			       "Query:deallocate b|00000|I\n"
			       "Query:prepare transaction 'x'|00000|I\n"
			       "Execute:select 'a'|00000|I\nQuery:%s|00000|I\n"
			       "Execute:?|00000|I\n",
			 statements[i].text);
		free(tells(expected));
	}
}

/* What the server skips does nothing: it neither begins anything nor changes a text. */
static void test_errors_skip_to_sync(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('P', "a\0select 'a'\0\0\0");
	SERVER('1', "");
	sync('I');
	CLIENT('P', "a\0select 'other'\0\0\0");
	SERVER('E', "SERROR\0VERROR\0C42P05\0\0");
	CLIENT('B', "\0a\0\0\0\0\0\0\0");
	CLIENT('E', "\0\0\0\0\0");
	sync('I');
	query("select 1", "SELECT 1", 'I');
	CLIENT('B', "\0a\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('I');
	r = new_record();
	play_in_turn(r, 100000, 100000);
	/* Whether the text of a is still the old one is not known: it is not shown. */
	assert_string_equal(story, LOGIN "Prepare:select 'a'|00000|I\nPrepare:?|42P05|I\n"
					 "Query:select 1|00000|I\nExecute:?|00000|I\n");
	free(r);
	r = new_record();
	play_cut(r, 100000, 100000);
	assert_non_null(strstr(story, "|42P05|I\nQuery:select 1|00000|I\nExecute:?|00000|I\n"));
	assert_int_equal(r->s.sequence, 4);
	free(r);
}

/* As asyncpg prepares: a group that has no Sync, and goes on with whatever comes next. */
static void prepare_without_sync(const char *name)
{
	char parse[64], describe[64];
	int n = snprintf(parse, sizeof(parse), "%s%cselect '%s'%c%c", name, 0, name, 0, 0);
	int m = snprintf(describe, sizeof(describe), "S%s", name);

	client_bytes('P', parse, (size_t)n + 1);
	SERVER('1', "");
	client_bytes('D', describe, (size_t)m + 1);
	SERVER('n', "");
	CLIENT('H', "");
}

static void test_group_without_sync(void **state)
{
	(void)state;
	log_in();
	prepare_without_sync("a");
	query("select 1", "SELECT 1", 'I');
	prepare_without_sync("b");
	CLIENT('F', "\0\0\0\1\0\0\0\0\0\0");
	SERVER('V', "\377\377\377\377");
	SERVER('Z', "I");
	free(tells(LOGIN "Query:select 1|00000|I\nFunction:-|00000|I\n"));
	/* An error of the Query ends it: the server takes what comes next. */
	log_in();
	prepare_without_sync("a");
	CLIENT('Q', "select 1/0\0");
	SERVER('E', "SERROR\0VERROR\0C22012\0\0");
	SERVER('Z', "I");
	CLIENT('P', "b\0select 'b'\0\0\0");
	SERVER('1', "");
	CLIENT('B', "\0b\0\0\0\0\0\0\0");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('I');
	free(tells(LOGIN "Query:select 1/0|22012|I\nExecute:select 'b'|00000|I\n"));
}

/* One of the Parse before it does not: what is skipped up to the Sync changes no text. */
static void skipped_behind_a_parse(uint8_t type, const char *body, size_t n, const char *expected)
{
	struct dbps_record *r;

	log_in();
	CLIENT('P', "a\0select 'a'\0\0\0");
	SERVER('1', "");
	sync('I');
	CLIENT('P', "b\0select nonsense\0\0\0");
	client_bytes(type, body, n);
	SERVER('E', "SERROR\0VERROR\0C42703\0\0");
	CLIENT('P', "a\0select 'other'\0\0\0");
	sync('I');
	CLIENT('B', "\0a\0\0\0\0\0\0\0");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('I');
	r = new_record();
	play_cut(r, 100000, 100000);
	assert_non_null(strstr(story, expected));
	assert_null(strstr(story, "other"));
	free(r);
}

static void test_skipped_behind_a_parse(void **state)
{
	static const char query[] = "select 1", function[] = "\0\0\0\1\0\0\0\0\0";

	(void)state;
	skipped_behind_a_parse('Q', query, sizeof(query), "Query:select 1|42703|I\n");
	skipped_behind_a_parse('F', function, sizeof(function), "Function:-|42703|I\n");
}

/* Until it is executed, nothing has run for the time since it was prepared. */
static void test_time_behind_a_prepare(void **state)
{
	static const struct {
		uint8_t type, n;
		const char *body;
	} executed[] = {
		{'B', 9, "\0a\0\0\0\0\0\0\0"},
		{'E', 11, "cursor\0\0\0\0\0"},
		{'Q', 9, "select 1\0"},
		{'F', 10, "\0\0\0\1\0\0\0\0\0\0"},
	};
	__u64 later;

	(void)state;
	for (size_t i = 0; i < sizeof(executed) / sizeof(executed[0]); i++) {
		struct dbps_record *r = new_record();

		log_in();
		prepare_without_sync("a");
		play_in_turn(r, 8192, 8192);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		later = clock_ns += 1000;
		talk.n = 0;
		client_bytes(executed[i].type, executed[i].body, executed[i].n);
		play_in_turn(r, 8192, 8192);
		assert_true(r->s.start_ns > later);
		assert_int_equal(r->s.sequence, 1);
		/* What it goes on with is of the same statement. */
		if (executed[i].type == 'B') {
			later = clock_ns += 1000;
			talk.n = 0;
			CLIENT('E', "\0\0\0\0\0");
			play_in_turn(r, 8192, 8192);
			assert_true(r->s.start_ns < later);
		}
		free(r);
	}
}

/* Several groups in one read: each begins when the one before has ended. */
static void test_pipeline(void **state)
{
	(void)state;
	log_in();
	CLIENT('P', "\0select 1\0\0\0");
	SERVER('1', "");
	CLIENT('B', "\0\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('I');
	query("select 2", "SELECT 1", 'I');
	query("select 3", "SELECT 1", 'I');
	CLIENT('P', "\0select 4\0\0\0");
	SERVER('1', "");
	CLIENT('B', "\0\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('E', "SERROR\0VERROR\0C57014\0\0");
	sync('I');
	query("select 5", "SELECT 1", 'I');
	free(tells(LOGIN "Execute:select 1|00000|I\nQuery:select 2|00000|I\n"
			 "Query:select 3|00000|I\nExecute:select 4|57014|I\n"
			 "Query:select 5|00000|I\n"));
}

/* ---------------------------------------------------------------- copy ---------------------- */

static void test_copy_in(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('Q', "copy t from stdin\0");
	SERVER('G', "\0\0\1\0\0");
	CLIENT('d', "1\n");
	CLIENT('d', "2\n");
	CLIENT('H', "");
	CLIENT('S', ""); /* both are ignored there */
	CLIENT('c', "");
	SERVER('C', "COPY 2\0");
	SERVER('Z', "I");
	query("select 1", "SELECT 1", 'I');
	free(tells(LOGIN "Query:copy t from stdin|00000|I\nQuery:select 1|00000|I\n"));
	/* The server breaks it off, and ignores what still comes. */
	log_in();
	CLIENT('Q', "copy t from stdin\0");
	SERVER('G', "\0\0\1\0\0");
	CLIENT('d', "x\n");
	SERVER('E', "SERROR\0VERROR\0C22P02\0\0");
	SERVER('Z', "I");
	CLIENT('d', "2\n");
	CLIENT('c', "");
	query("select 1", "SELECT 1", 'I');
	r = tells(LOGIN "Query:copy t from stdin|22P02|I\nQuery:select 1|00000|I\n");
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	free(r);
}

/* As libpq does it: the Sync comes before it knows of the COPY, and another one after it. */
static void test_copy_in_extended(void **state)
{
	(void)state;
	log_in();
	CLIENT('P', "\0copy t from stdin\0\0\0");
	SERVER('1', "");
	CLIENT('B', "\0\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('E', "\0\0\0\0\0");
	SERVER('G', "\0\0\1\0\0");
	CLIENT('S', "");
	CLIENT('d', "1\n");
	CLIENT('c', "");
	SERVER('C', "COPY 1\0");
	sync('I');
	query("select 1", "SELECT 1", 'I');
	free(tells(LOGIN "Execute:copy t from stdin|00000|I\nQuery:select 1|00000|I\n"));
}

static void test_copy_out(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('Q', "copy t to stdout\0");
	SERVER('H', "\0\0\1\0\0");
	SERVER('d', "Z\0\0\0\5I\n");
	SERVER('d', "2\n");
	SERVER('c', "");
	SERVER('C', "COPY 2\0");
	SERVER('Z', "I");
	r = tells(LOGIN "Query:copy t to stdout|00000|I\n");
	assert_int_equal(r->s.rows, 2);
	free(r);
}

/* ---------------------------------------------------------------- framing ------------------- */

/* A session that was there before: its first whole read that fits is a message. */
/* As session_unframe() and pgsql_left_out() have it, while a statement executes. */
static struct dbps_record *left_out_record(void)
{
	struct dbps_record *r = new_record();

	r->s.flags = DBPS_PGSQL;
	r->s.phase = DBPS_PHASE_UNFRAMED;
	r->s.sequence = 1;
	r->pg.waits = 1;
	pgsql_left_out(r);
	return r;
}

/* Its end was what was left out: the next statement is not taken for it. */
static void test_left_out(void **state)
{
	struct dbps_record *r = left_out_record();

	(void)state;
	assert_false(dbps_session_executes(&r->s));
	talk.n = 0;
	CLIENT('Q', "select 2\0");
	SERVER('C', "SELECT 1\0");
	SERVER('Z', "I");
	play_cut(r, RECEIVE_BUFFER, RECEIVE_BUFFER);
	assert_string_equal(story, "Query:select 2|00000|I\n");
	assert_int_equal(r->s.sequence, 2);
	free(r);
}

/* It goes on, and its end is seen. */
static void test_left_out_before_the_end(void **state)
{
	static const uint8_t end[] = {'Z', 0, 0, 0, 5, 'I'};
	struct dbps_record *r = left_out_record();

	(void)state;
	sends(r, end, sizeof(end), sizeof(end));
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.sequence, 1);
	free(r);
}

static void test_joined(void **state)
{
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_UNKNOWN;
	r->s.flags = DBPS_PGSQL | DBPS_JOINED;
	talk.n = 0;
	query("select 1", "SELECT 1", 'T');
	query("select 2", "SELECT 1", 'I');
	play_in_turn(r, 100000, 100000);
	assert_string_equal(story, "Query:select 1|00000|T\nQuery:select 2|00000|I\n");
	free(r);
}

/* Joined in the middle of an answer: its end is seen, and the next statement is exact. */
static void test_joined_in_an_answer(void **state)
{
	static const uint8_t rest[] = "rest of a rowC\0\0\0\rSELECT 1\0Z\0\0\0\5T";
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_UNFRAMED;
	r->s.command = COM_QUERY;
	r->s.flags = DBPS_PGSQL | DBPS_JOINED;
	sends(r, rest, sizeof(rest) - 1, 100000);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_true(r->s.flags & DBPS_IN_TRANSACTION);
	talk.n = 0;
	query("select 2", "SELECT 1", 'I');
	play_in_turn(r, 100000, 100000);
	assert_non_null(strstr(story, "Query:select 2|00000|I\n"));
	free(r);
}

/* A Parse or a Bind may have been among what was not seen: names tell nothing any more. */
static void test_lost_names(void **state)
{
	struct dbps_record *r = new_record();

	(void)state;
	log_in();
	query("begin", "BEGIN", 'T');
	CLIENT('P', "a\0select 'a'\0\0\0");
	SERVER('1', "");
	CLIENT('B', "C_1\0a\0\0\0\0\0\0\0");
	SERVER('2', "");
	CLIENT('B', BIND_A);
	SERVER('2', "");
	sync('T');
	play_in_turn(r, 100000, 100000);
	pgsql_forget(r);
	talk.n = 0;
	CLIENT('E', "C_1\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('T');
	CLIENT('E', "\0\0\0\0\0");
	SERVER('C', "SELECT 1\0");
	sync('T');
	CLIENT('B', BIND_A);
	SERVER('2', "");
	sync('T');
	play_in_turn(r, 100000, 100000);
	assert_non_null(strstr(story, "select 'a'|00000|T\nExecute:?|00000|T\n"
				      "Execute:?|00000|T\nExecute:?|00000|T\n"));
	free(r);
}

/* Whether a whole call of the server is taken by the short path. */
static bool is_everyday_request(struct dbps_record *r, const char *bytes, size_t n)
{
	struct dbps_span span = {(const uint8_t *)bytes};

	return pgsql_everyday_request(r, &span, (__u32)n);
}

static bool is_everyday_answer(struct dbps_record *r, const char *bytes, size_t n)
{
	struct dbps_span span = {(const uint8_t *)bytes};

	return pgsql_everyday_answer(r, &span, (__u32)n);
}

#define EVERYDAY_REQUEST(r, s) is_everyday_request(r, s, sizeof(s) - 1)
#define EVERYDAY_ANSWER(r, s)  is_everyday_answer(r, s, sizeof(s) - 1)

static void test_everyday_statement(void **state)
{
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_IDLE;
	/* Two messages, a cut one, another one, none. */
	assert_false(EVERYDAY_REQUEST(r, "Q\0\0\0\6a\0S\0\0\0\4"));
	assert_false(EVERYDAY_REQUEST(r, "Q\0\0\0\7a\0"));
	assert_false(EVERYDAY_REQUEST(r, "P\0\0\0\6a\0"));
	assert_false(EVERYDAY_REQUEST(r, "Q\0\0\0\4"));
	assert_false(EVERYDAY_ANSWER(r, "Z\0\0\0\5I"));
	assert_int_equal(r->s.sequence, 0);

	assert_true(EVERYDAY_REQUEST(r, "Q\0\0\0\6a\0"));
	assert_int_equal(r->s.sequence, 1);
	assert_string_equal(shown_text(r), "a");
	assert_false(EVERYDAY_REQUEST(r, "Q\0\0\0\6b\0")); /* it waits */
	/* An error, no end, an end that is cut, a tag that has a meaning. */
	assert_false(EVERYDAY_ANSWER(r, "E\0\0\0\5\0Z\0\0\0\5I"));
	assert_false(EVERYDAY_ANSWER(r, "D\0\0\0\6\0\0"));
	assert_false(EVERYDAY_ANSWER(r, "C\0\0\0\6A\0Z\0\0\0\5"));
	assert_false(EVERYDAY_ANSWER(r, "C\0\0\0\14DISCARD\0Z\0\0\0\5I"));
	assert_int_equal(r->s.rows, 0);
	assert_true(EVERYDAY_ANSWER(r, "T\0\0\0\6\0\0D\0\0\0\6\0\0D\0\0\0\6\0\0"
				       "C\0\0\0\6A\0Z\0\0\0\5T"));
	assert_int_equal(r->s.rows, 2);
	assert_int_equal(r->s.results, 1);
	assert_string_equal(story, "Query:a|00000|T\n");
	free(r);
}

static void feed(struct dbps_record *r, const uint8_t *bytes, size_t n, size_t cut)
{
	for (size_t at = 0; at < n; at += cut) {
		struct dbps_span span = {bytes + at};

		__u32 piece = (__u32)(n - at < cut ? n - at : cut);

		assert_int_equal(to_the_end(r, pgsql_received(r, &span, piece)), 0);
	}
}

#define BIND	 "B\0\0\0\17\0s1\0\0\0\0\0\0\0\0"
#define BIND_IT	 "B\0\0\0\14\0\0\0\0\0\0\0\0"
#define DESCRIBE "D\0\0\0\6P\0"
#define EXECUTE	 "E\0\0\0\11\0\0\0\0\0"
#define SYNC	 "S\0\0\0\4"
#define PARSE	 "P\0\0\0\16\0select\0\0\0"

/* What drivers send for a statement with parameters: all of it in one call. */
static void test_everyday_execute(void **state)
{
	struct dbps_record *r = new_record();
	const struct dbps_pgsql_head name = {"s1"};
	const __u32 s1 = (__u32)pgsql_name(&name, sizeof(name), 0);

	(void)state;
	r->s.phase = DBPS_PHASE_IDLE;
	/* Without its end, with more behind it, with a portal of a name, too short for a name. */
	assert_false(EVERYDAY_REQUEST(r, BIND));
	assert_false(EVERYDAY_REQUEST(r, BIND DESCRIBE EXECUTE));
	assert_false(EVERYDAY_REQUEST(r, BIND EXECUTE SYNC SYNC));
	assert_false(EVERYDAY_REQUEST(r, BIND EXECUTE EXECUTE SYNC));
	assert_false(EVERYDAY_REQUEST(r, "B\0\0\0\15p\0\0\0\0\0\0\0\0" EXECUTE SYNC));
	assert_false(EVERYDAY_REQUEST(r, "B\0\0\0\5\0" EXECUTE SYNC));
	assert_false(EVERYDAY_REQUEST(r, BIND "D\0\0\0\7Ss\0" EXECUTE SYNC));
	/* The Parse of a named statement, whose text is kept; a Parse before a Bind of another one.
	 */
	assert_false(EVERYDAY_REQUEST(r, "P\0\0\0\21s\0select\0\0\0\0\0" BIND_IT EXECUTE SYNC));
	assert_false(EVERYDAY_REQUEST(r, PARSE BIND EXECUTE SYNC));
	assert_int_equal(r->s.sequence, 0);
	assert_int_equal(r->pg.parses, 0);

	assert_true(EVERYDAY_REQUEST(r, BIND DESCRIBE EXECUTE SYNC));
	assert_int_equal(r->s.command, COM_STMT_EXECUTE);
	assert_int_equal(r->s.flags & (DBPS_EXECUTES | DBPS_HAS_TEXT), DBPS_EXECUTES);
	assert_int_equal(r->s.stmt_id, s1);
	assert_true(EVERYDAY_ANSWER(r, "2\0\0\0\4T\0\0\0\6\0\0C\0\0\0\6A\0Z\0\0\0\5I"));

	assert_true(EVERYDAY_REQUEST(r, PARSE BIND_IT EXECUTE SYNC));
	assert_int_equal(r->s.sequence, 2);
	assert_string_equal(shown_text(r), "select");
	assert_int_equal(r->pg.parses, 1);
	assert_true(EVERYDAY_ANSWER(r, "1\0\0\0\0042\0\0\0\4C\0\0\0\6A\0Z\0\0\0\5I"));
	assert_int_equal(r->pg.parses, 0);
	/* The unnamed statement is still there. */
	assert_true(EVERYDAY_REQUEST(r, BIND_IT EXECUTE SYNC));
	assert_string_equal(shown_text(r), "select");
	free(r);
}

/* Each call that is taken at once leaves the session as its bytes one by one do. */
static void test_everyday_execute_cut(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
	} calls[] = {
#define CALL(s) {s, sizeof(s) - 1}
		CALL(BIND DESCRIBE EXECUTE SYNC),	   CALL(BIND EXECUTE SYNC),
		CALL(PARSE BIND_IT DESCRIBE EXECUTE SYNC), CALL(PARSE BIND_IT EXECUTE SYNC),
		CALL(BIND_IT DESCRIBE EXECUTE SYNC),
#undef CALL
	};

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct dbps_record *whole = new_record(), *cut = new_record();

		whole->s.phase = cut->s.phase = DBPS_PHASE_IDLE;
		assert_true(is_everyday_request(whole, calls[i].bytes, calls[i].n));
		feed(cut, (const uint8_t *)calls[i].bytes, calls[i].n, 1);
		assert_memory_equal(whole->request.body, cut->request.body, cut->request.have);
		assert_int_equal(whole->s.flags, cut->s.flags);
		assert_int_equal(whole->s.command, cut->s.command);
		assert_int_equal(whole->s.sequence, cut->s.sequence);
		assert_int_equal(whole->s.stmt_id, cut->s.stmt_id);
		assert_int_equal(whole->s.text_len, cut->s.text_len);
		assert_int_equal(whole->request.have, cut->request.have);
		assert_int_equal(whole->pg.bound, cut->pg.bound);
		assert_int_equal(whole->pg.parses, cut->pg.parses);
		assert_int_equal(whole->pg.parsed, cut->pg.parsed);
		assert_memory_equal(&whole->pg.waits, &cut->pg.waits, 5);
		free(whole);
		free(cut);
	}
}

static void test_bad_messages(void **state)
{
	static const uint8_t short_length[] = "Q\0\0\0\3";
	static const uint8_t long_length[] = "D\177\377\377\377";
	static struct dbps_window window;
	struct dbps_span span = {short_length};
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_IDLE;
	assert_int_equal(pgsql_received(r, &span, 5), -1);
	span.base = long_length;
	assert_int_equal(pgsql_sent(r, &span, 5, &window), -1);
	/* A server that reads though it owes an answer: not what was understood. */
	pgsql_forget(r);
	memset(&r->s.in, 0, sizeof(r->s.in));
	span.base = (const uint8_t *)"Q\0\0\0\5\0";
	assert_int_equal(pgsql_received(r, &span, 6), 0);
	assert_int_equal(pgsql_received(r, &span, 6), -1);
	free(r);
}

/* All is read before anything is answered, and answered in one call. */
static void test_pooler_reads_ahead(void **state)
{
	(void)state;
	for (size_t cut = 1; cut < 90; cut++) {
		struct dbps_record *r = new_record();
		uint8_t answers[1024];
		size_t n = 0;

		r->s.flags |= DBPS_READS_AHEAD;
		log_in();
		feed(r, talk.turn[0].bytes, talk.turn[0].n, cut);
		sends(r, talk.turn[0].answer, talk.turn[0].n_answer, cut);
		talk.n = 0;
		query("select 1", "SELECT 1", 'I');
		CLIENT('P', "\0select 2\0\0\0");
		CLIENT('B', "\0\0\0\0\0\0\0\0");
		CLIENT('E', "\0\0\0\0\0");
		SERVER('E', "SERROR\0C22012\0\0");
		sync('I');
		query("select 3", "SELECT 1", 'T');
		for (size_t i = 0; i < talk.n; i++) {
			feed(r, talk.turn[i].bytes, talk.turn[i].n, cut);
			memcpy(answers + n, talk.turn[i].answer, talk.turn[i].n_answer);
			n += talk.turn[i].n_answer;
		}
		sends(r, answers, n, cut);
		assert_string_equal(story, LOGIN "Query:select 1|00000|I\nQuery:-|22012|I\n"
						 "Query:-|00000|T\n");
		assert_int_equal(r->s.sequence, 3);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_false(r->s.flags & DBPS_KNOWN_ID);
		free(r);
	}
}

/* What lies behind a short message is not part of it. */
static void test_short_messages(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('Q', "do\0");
	SERVER('S', "server_version\0");
	SERVER('C', "DE");
	SERVER('K', "\1\2");
	SERVER('Z', "I");
	r = tells(LOGIN "Query:do|00000|I\n");
	assert_int_equal(r->s.prepare_era, 0);
	assert_int_equal(r->s.id, 0x1234);
	assert_string_equal(version, "15.18 (Debian)");
	free(r);
}

/* The connection ends with that answer. */
static void test_request_answered_with_an_error(void **state)
{
	struct dbps_record *r;

	(void)state;
	talk.n = 0;
	CLIENT(0, "\4\322\26\57");
	SERVER('E', "SFATAL\0C53300\0\0");
	r = tells("");
	assert_true(r->pg.waits);
	assert_false(r->s.flags & DBPS_TLS);
	free(r);
}

/* An async change of the program's name, as SET application_name reports it. */
static void test_program_changes(void **state)
{
	struct dbps_record *r;

	(void)state;
	log_in();
	CLIENT('Q', "set application_name='batch'\0");
	SERVER('C', "SET\0");
	SERVER('S', "application_name\0batch\0");
	SERVER('Z', "I");
	r = tells(LOGIN "Query:set application_name='batch'|00000|I\n");
	assert_int_equal(r->s.program_len, 5);
	assert_memory_equal(r->s.program, "batch", 5);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_login),
		cmocka_unit_test(test_login_with_password),
		cmocka_unit_test(test_login_refused),
		cmocka_unit_test(test_encryption_refused),
		cmocka_unit_test(test_encryption_accepted),
		cmocka_unit_test(test_cancel_request_is_no_session),
		cmocka_unit_test(test_first_packets),
		cmocka_unit_test(test_simple_queries),
		cmocka_unit_test(test_long_messages),
		cmocka_unit_test(test_terminate),
		cmocka_unit_test(test_terminate_ends_a_group),
		cmocka_unit_test(test_function_call),
		cmocka_unit_test(test_unnamed),
		cmocka_unit_test(test_named),
		cmocka_unit_test(test_portals_outlive_names),
		cmocka_unit_test(test_unnamed_that_was_skipped),
		cmocka_unit_test(test_deallocated),
		cmocka_unit_test(test_errors_skip_to_sync),
		cmocka_unit_test(test_group_without_sync),
		cmocka_unit_test(test_skipped_behind_a_parse),
		cmocka_unit_test(test_time_behind_a_prepare),
		cmocka_unit_test(test_pipeline),
		cmocka_unit_test(test_copy_in),
		cmocka_unit_test(test_copy_in_extended),
		cmocka_unit_test(test_copy_out),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_joined_in_an_answer),
		cmocka_unit_test(test_lost_names),
		cmocka_unit_test(test_everyday_statement),
		cmocka_unit_test(test_everyday_execute),
		cmocka_unit_test(test_everyday_execute_cut),
		cmocka_unit_test(test_bad_messages),
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_left_out_before_the_end),
		cmocka_unit_test(test_pooler_reads_ahead),
		cmocka_unit_test(test_short_messages),
		cmocka_unit_test(test_request_answered_with_an_error),
		cmocka_unit_test(test_program_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
