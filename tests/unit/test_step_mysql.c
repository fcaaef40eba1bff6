/*
 * The MySQL step, fed with conversations as a server's socket moves them: whole, a byte at a time,
 * and cut at every place. However the bytes are cut, the session must come out the same.
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
#define DBPS_STEP_FN  static
#define dbps_now()    (++clock_ns)

static void dbps_on_begin(struct dbps_record *r, __u32 last_used);
static void dbps_on_found(struct dbps_record *r, int found);
static void dbps_on_resync(struct dbps_session *s);

#include "dbps/mysql.h"

/* ---------------------------------------------------------------- the driver ---------------- */

static unsigned int n_begun, n_prepared, n_broken, n_resyncs, n_skipped;

static void dbps_on_begin(struct dbps_record *r, __u32 last_used)
{
	(void)r;
	(void)last_used;
	n_begun++;
}

static void dbps_on_resync(struct dbps_session *s)
{
	n_resyncs++;
	mysql_end(s, dbps_now(), DBPS_PHASE_IDLE);
}

/* As session_found() does in the kernel. */
static void dbps_on_found(struct dbps_record *r, int found)
{
	struct dbps_session *s = &r->s;

	if (found & MYSQL_FOUND_BROKEN) {
		n_broken++;
		return;
	}
	if (found & MYSQL_FOUND_PREPARED)
		n_prepared++;
	if (mysql_applies(s, found))
		mysql_apply_ok(r, found);
	if (found & MYSQL_FOUND_LOGIN)
		mysql_end(s, dbps_now(),
			  found & MYSQL_FOUND_ERROR ? DBPS_PHASE_CLOSED : DBPS_PHASE_IDLE);
	else if (found & MYSQL_FOUND_END)
		mysql_end(s, dbps_now(), DBPS_PHASE_IDLE);
}

static struct dbps_record *new_record(void)
{
	struct dbps_record *r = calloc(1, dbps_record_size(DBPS_TEXT_DEFAULT));

	assert_non_null(r);
	r->s.phase = DBPS_PHASE_GREETED;
	r->s.flags = DBPS_KNOWN_ID | DBPS_FRAMED_IN;
	r->s.server_caps = 0x81fff7feu;
	n_begun = n_prepared = n_broken = n_resyncs = n_skipped = 0;
	return r;
}

/* As session_unframe(). */
static void loses_framing(struct dbps_record *r)
{
	n_broken++;
	r->s.flags &= ~DBPS_HELD;
	memset(&r->s.in, 0, sizeof(r->s.in));
	memset(&r->s.out, 0, sizeof(r->s.out));
	r->s.phase = DBPS_PHASE_UNFRAMED;
}

static void server_reads(struct dbps_record *r, const void *bytes, size_t n, size_t requested)
{
	struct dbps_span span = {bytes};

	if (n == 4 && mysql_skips_header(&r->s)) {
		n_skipped++;
		return;
	}
	if ((r->s.flags & MYSQL_EVERYDAY_MASK) != MYSQL_EVERYDAY ||
	    !mysql_everyday_request(r, &span, (__u32)n, requested)) {
		if (mysql_requests(r, &span, (__u32)n) < n && ~r->s.flags & DBPS_TLS)
			loses_framing(r);
	}
}

/* As MariaDB reads: a header, then just what it announces, in two calls when it is cut. */
static void server_reads_apart(struct dbps_record *r, const uint8_t *bytes, size_t n, size_t cut)
{
	for (size_t at = 0; at < n;) {
		size_t len = mysql_u24(bytes + at), first = cut && cut < len ? cut : len;

		server_reads(r, bytes + at, 4, 4);
		at += 4;
		if (first)
			server_reads(r, bytes + at, first, len);
		if (first < len)
			server_reads(r, bytes + at + first, len - first, len - first);
		at += len;
	}
}

static void server_sends(struct dbps_record *r, const void *bytes, size_t n)
{
	struct mysql_short_answer answer;
	struct dbps_window window;
	struct dbps_span span = {bytes};
	__u64 taken = 0;

	memset(&window, 0xa5, sizeof(window));
	r->s.flags |= DBPS_SENT;
	if (n <= MYSQL_SHORT_ANSWER && r->s.phase >= DBPS_PHASE_FIRST && !r->s.out.left &&
	    !r->s.out.hdr_have && !r->s.out.full && !(r->s.flags & DBPS_WRAPPED)) {
		memset(&answer, 0xa5, sizeof(answer));
		memcpy(answer.b, bytes, n);
		taken = mysql_everyday_answer(&r->s, &answer, (__u32)n);
		if (taken >> 32 == MYSQL_FOUND_END)
			mysql_end(&r->s, dbps_now(), DBPS_PHASE_IDLE);
	}
	mysql_answers_header(r);
	if (mysql_sent(r, &span, (__u32)n, (__u32)taken, &window))
		loses_framing(r);
}

/* One move of bytes: what the server read ('<'), or what it sent ('>'). */
struct move {
	char way;
	size_t n;
	uint8_t bytes[2048];
};

#define MOVES_MAX 64

struct talk {
	size_t n;
	struct move move[MOVES_MAX];
};

/* Append a packet, to the last move if it goes the same way and `join`. */
static void say(struct talk *t, char way, bool join, uint8_t seq, const void *payload, size_t n)
{
	struct move *m;

	if (!join || !t->n || t->move[t->n - 1].way != way) {
		assert_true(t->n < MOVES_MAX);
		t->move[t->n++] = (struct move){.way = way};
	}
	m = &t->move[t->n - 1];
	assert_true(m->n + 4 + n <= sizeof(m->bytes));
	m->bytes[m->n++] = (uint8_t)n;
	m->bytes[m->n++] = (uint8_t)(n >> 8);
	m->bytes[m->n++] = (uint8_t)(n >> 16);
	m->bytes[m->n++] = seq;
	memcpy(m->bytes + m->n, payload, n);
	m->n += n;
}

#define SAY(t, way, seq, s)  say(t, way, true, seq, s, sizeof(s) - 1)
#define NEXT(t, way, seq, s) say(t, way, false, seq, s, sizeof(s) - 1)

static void move_bytes(struct dbps_record *r, char way, const uint8_t *bytes, size_t n)
{
	if (!n)
		return;
	if (way == '<')
		server_reads(r, bytes, n, 0);
	else
		server_sends(r, bytes, n);
}

/* Play a talk with each move cut at `cut`; 0: whole; SIZE_MAX: a byte at a time. */
static void play_on(struct dbps_record *r, const struct talk *t, size_t cut)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct move *m = &t->move[i];

		if (cut == SIZE_MAX) {
			for (size_t j = 0; j < m->n; j++)
				move_bytes(r, m->way, m->bytes + j, 1);
		} else if (cut < m->n) {
			move_bytes(r, m->way, m->bytes, cut);
			move_bytes(r, m->way, m->bytes + cut, m->n - cut);
		} else {
			move_bytes(r, m->way, m->bytes, m->n);
		}
	}
}

static struct dbps_record *play(const struct talk *t, size_t cut)
{
	struct dbps_record *r = new_record();

	clock_ns = 0;
	play_on(r, t, cut);
	return r;
}

/* Play a talk as a server reads it that takes headers apart; bodies are cut at `cut`. */
static struct dbps_record *play_apart(const struct talk *t, size_t cut)
{
	struct dbps_record *r = new_record();

	clock_ns = 0;
	r->s.flags |= DBPS_READS_APART;
	for (size_t i = 0; i < t->n; i++) {
		const struct move *m = &t->move[i];

		if (m->way == '<')
			server_reads_apart(r, m->bytes, m->n, cut);
		else
			server_sends(r, m->bytes, m->n);
	}
	assert_int_equal(r->s.lost, 0);
	r->s.flags &= ~(DBPS_READS_APART | DBPS_READS_EXACT);
	return r;
}

static void assert_same(const struct dbps_record *a, const struct dbps_record *b)
{
	assert_int_equal(a->s.phase, b->s.phase);
	assert_int_equal(a->s.command, b->s.command);
	assert_int_equal(a->s.sequence, b->s.sequence);
	assert_int_equal(a->s.rows, b->s.rows);
	assert_int_equal(a->s.errors, b->s.errors);
	assert_int_equal(a->s.last_error, b->s.last_error);
	assert_int_equal(a->s.status, b->s.status);
	assert_int_equal(a->s.flags, b->s.flags);
	assert_int_equal(a->s.text_len, b->s.text_len);
	assert_int_equal(a->s.stmt_id, b->s.stmt_id);
	assert_int_equal(a->s.user_len, b->s.user_len);
	assert_memory_equal(a->s.user, b->s.user, sizeof(a->s.user));
	assert_int_equal(a->s.db_len, b->s.db_len);
	assert_memory_equal(a->s.db, b->s.db, a->s.db_len);
	assert_int_equal(a->s.program_len, b->s.program_len);
	assert_int_equal(a->s.attr_pid, b->s.attr_pid);
	assert_int_equal(a->request.have, b->request.have);
	assert_memory_equal(a->request.body, b->request.body, a->request.have);
}

/* The talk's end, which does not depend on how it was cut. Owned by the caller. */
static struct dbps_record *play_all_cuts(const struct talk *t)
{
	struct dbps_record *whole = play(t, 0), *other;
	size_t longest = 0;

	for (size_t i = 0; i < t->n; i++)
		longest = t->move[i].n > longest ? t->move[i].n : longest;
	for (size_t cut = 1; cut < longest; cut++) {
		other = play(t, cut);
		assert_same(whole, other);
		free(other);
	}
	other = play(t, SIZE_MAX);
	assert_same(whole, other);
	free(other);
	for (size_t cut = 0; cut < longest; cut++) {
		other = play_apart(t, cut);
		assert_same(whole, other);
		free(other);
	}
	assert_int_equal(n_broken, 0);
	assert_int_equal(n_resyncs, 0);
	return whole;
}

/* ---------------------------------------------------------------- packets ------------------- */

#define OK	    "\x00\x00\x00\x02\x00\x00\x00"
#define OK_IN_TRANS "\x00\x00\x00\x03\x00\x00\x00"
#define EOF_PACKET  "\xfe\x00\x00\x02\x00"
#define EOF_MORE    "\xfe\x00\x00\x0a\x00"
#define EOF_CURSOR  "\xfe\x00\x00\x42\x00"
#define OK_EOF	    "\xfe\x00\x00\x02\x00\x00\x00"
#define OK_MORE	    "\x00\x00\x00\x0a\x00\x00\x00"
#define BEGIN                                                                                      \
	"\x03"                                                                                     \
	"begin"
#define ERROR_1213 "\xff\xbd\x04#40001Deadlock found"
#define ERROR_1064 "\xff\x28\x04#42000You have an error"
#define DEFINITION                                                                                 \
	"\x03"                                                                                     \
	"def\x00\x00\x00\x01"                                                                      \
	"1\x00\x0c\x3f\x00\x01\x00\x00\x00\x03\x81\x00\x00\x00\x00"

#define CAPS_PLAIN                                                                                 \
	(MYSQL_CONNECT_WITH_DB | (1u << 9) | MYSQL_SECURE_CONNECTION | MYSQL_PLUGIN_AUTH |         \
	 MYSQL_CONNECT_ATTRS)

/* Login of `user` with database `db`, and the server's OK. */
static void login(struct talk *t, uint32_t caps, const char *user, const char *db)
{
	uint8_t p[512] = {};
	size_t n = 32;

	memset(t, 0, sizeof(*t));
	memcpy(p, &caps, 4);
	n += (size_t)sprintf((char *)p + n, "%s", user) + 1;
	p[n++] = 20;
	memset(p + n, 0xee, 20);
	n += 20;
	if (caps & MYSQL_CONNECT_WITH_DB)
		n += (size_t)sprintf((char *)p + n, "%s", db) + 1;
	n += (size_t)sprintf((char *)p + n, "mysql_native_password") + 1;
	memcpy(p + n,
	       "\x1e\x04_pid\x04"
	       "4711\x0cprogram_name\x06worker",
	       31);
	n += 31;
	say(t, '<', true, 1, p, n);
	NEXT(t, '>', 2, OK);
}

static void assert_db(const struct dbps_record *r, const char *db)
{
	assert_int_equal(r->s.db_len, strlen(db));
	assert_memory_equal(r->s.db, db, strlen(db));
}

/* ---------------------------------------------------------------- tests --------------------- */

static void test_login_gives_user_database_and_attributes(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.user_len, 5);
	assert_memory_equal(r->s.user, "alice", 5);
	assert_db(r, "shop");
	assert_int_equal(r->s.attr_pid, 4711);
	assert_int_equal(r->s.program_len, 6);
	assert_memory_equal(r->s.program, "worker", 6);
	assert_int_equal(r->s.sequence, 0);
	free(r);
}

static void test_user_holds_only_after_ok(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	t.n--;
	r = play(&t, 0);
	assert_int_equal(r->s.phase, DBPS_PHASE_AUTH);
	assert_int_equal(r->s.user_len, 0);
	free(r);
	NEXT(&t, '>', 2, "\xff\x15\x04#28000Access denied");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_CLOSED);
	assert_int_equal(r->s.last_error, 1045);
	assert_int_equal(r->s.user_len, 0);
	free(r);
}

/* A session of an exact server, logged in, that has run one statement. */
static struct dbps_record *exact_session(void)
{
	struct dbps_record *r = new_record();
	struct talk t;

	login(&t, CAPS_PLAIN, "alice", "shop");
	r->s.flags |= DBPS_READS_APART;
	server_reads_apart(r, t.move[0].bytes, t.move[0].n, 0);
	server_sends(r, t.move[1].bytes, t.move[1].n);
	server_reads_apart(r, (const uint8_t *)"\x02\0\0\0\x03x", 6, 0);
	server_sends(r, "\x07\0\0\x01" OK, 11);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.sequence, 1);
	assert_true(r->s.flags & DBPS_READS_EXACT);
	return r;
}

static void test_header_of_an_exact_server_is_not_looked_at(void **state)
{
	struct dbps_record *r = exact_session();
	__u64 bytes = r->s.bytes_in;

	(void)state;
	/* A body as long as a header is still the body. */
	server_reads_apart(r, (const uint8_t *)"\x04\0\0\0\x02two", 8, 0);
	assert_int_equal(n_skipped, 1);
	assert_int_equal(r->s.command, COM_INIT_DB);
	assert_int_equal(r->s.bytes_in, bytes + 8);
	server_sends(r, "\x07\0\0\x01" OK, 11);
	assert_db(r, "two");
	free(r);
}

static void test_header_of_an_exact_server_is_looked_at_now_and_then(void **state)
{
	struct dbps_record *r = exact_session();

	(void)state;
	for (int i = 0; i < 2 * MYSQL_HEADER_CHECK; i++) {
		server_reads_apart(r, (const uint8_t *)"\x02\0\0\0\x03x", 6, 0);
		server_sends(r, "\x07\0\0\x01" OK, 11);
	}
	assert_int_equal(n_skipped, 2 * MYSQL_HEADER_CHECK - 2);
	assert_int_equal(r->s.sequence, 1 + 2 * MYSQL_HEADER_CHECK);
	free(r);
}

static void test_a_server_that_asks_for_more_is_not_exact(void **state)
{
	struct dbps_record *r = exact_session();

	(void)state;
	r->s.sequence = MYSQL_HEADER_CHECK; /* this header is looked at */
	server_reads(r, "\x02\0\0\0", 4, 4);
	server_reads(r, "\x03x", 2, 16384);
	assert_false(r->s.flags & DBPS_READS_EXACT);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	free(r);
}

static void test_answer_to_a_header_alone_is_that_of_an_empty_packet(void **state)
{
	struct dbps_record *r = exact_session();

	(void)state;
	server_reads(r, "\0\0\0\0", 4, 4);
	assert_int_equal(n_skipped, 1);
	server_sends(r, "\x18\0\0\x01" ERROR_1064, 28);
	assert_int_equal(r->s.sequence, 2);
	assert_int_equal(r->s.command, COM_SLEEP);
	assert_int_equal(r->s.errors, 1);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	free(r);
}

static void test_answer_in_the_middle_of_a_body_loses_the_framing(void **state)
{
	struct dbps_record *r = exact_session();

	(void)state;
	server_reads(r, "\x09\0\0\0", 4, 4);
	server_reads(r, "\x03x", 2, 9);
	server_sends(r, "\x18\0\0\x01" ERROR_1064, 28);
	assert_int_equal(r->s.lost, 1);
	assert_false(r->s.flags & DBPS_READS_EXACT);
	assert_int_equal(r->s.sequence, 1);
	free(r);
}

static void test_unknown_length_behind_an_unread_header_loses_the_framing(void **state)
{
	struct dbps_record *r = exact_session();
	struct dbps_span span = {(const uint8_t *)"\x03x"};

	(void)state;
	server_reads(r, "\x02\0\0\0", 4, 4);
	assert_false(mysql_everyday_request(r, &span, 2, 0));
	assert_int_equal(r->s.lost, 1);
	free(r);
}

static void test_full_packet_behind_an_unread_header_goes_on(void **state)
{
	static uint8_t half[MYSQL_PACKET_FULL];
	struct dbps_record *r = exact_session();

	(void)state;
	half[0] = COM_QUERY;
	server_reads(r, "\xff\xff\xff\0", 4, 4);
	assert_int_equal(n_skipped, 1);
	server_reads(r, half, sizeof(half), sizeof(half));
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	server_reads(r, "\x03\0\0\x01", 4, 4);
	server_reads(r, "abc", 3, 3);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	assert_int_equal(r->request.len, MYSQL_PACKET_FULL + 3);
	free(r);
}

static void test_authentication_rounds(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "bob", "");
	t.n--;
	NEXT(&t, '>', 2, "\xfemysql_native_password\0aaaaaaaaaaaaaaaaaaaa");
	NEXT(&t, '<', 3, "xxxxxxxxxxxxxxxxxxxx");
	NEXT(&t, '>', 4, OK);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_memory_equal(r->s.user, "bob", 3);
	assert_db(r, "");
	free(r);
}

static void test_ssl_request_makes_the_session_opaque(void **state)
{
	struct dbps_record *r = new_record();
	uint8_t p[36] = {32, 0, 0, 1, 0x00, 0x0a};

	(void)state;
	server_reads(r, p, sizeof(p), 0);
	assert_true(r->s.flags & DBPS_TLS);
	free(r);
}

/* The client's hello may be read with it: no packet, and left to the caller. */
static void test_what_is_behind_an_ssl_request_is_not_taken(void **state)
{
	struct dbps_record *r = new_record();
	uint8_t p[40] = {32, 0, 0, 1, 0x00, 0x0a, [36] = 22, 3, 1, 0};
	struct dbps_span span = {p};

	(void)state;
	assert_int_equal(mysql_requests(r, &span, sizeof(p)), 36);
	assert_int_equal(r->s.in.hdr_have, 0);
	free(r);
}

/* A result set of `rows` rows, in both styles; the statement must be over at its last byte only. */
static void result_set(struct talk *t, bool deprecated, unsigned int rows)
{
	uint8_t seq = 1;

	NEXT(t, '<', 0, "\x03select 1");
	NEXT(t, '>', seq++, "\x02");
	SAY(t, '>', seq++, DEFINITION);
	SAY(t, '>', seq++, DEFINITION);
	if (!deprecated)
		SAY(t, '>', seq++, EOF_PACKET);
	for (unsigned int i = 0; i < rows; i++)
		SAY(t, '>', seq++,
		    "\x01"
		    "1\xfb");
	if (deprecated)
		SAY(t, '>', seq++, OK_EOF);
	else
		SAY(t, '>', seq++, EOF_PACKET);
}

static void check_result_set(uint32_t caps, bool deprecated, unsigned int rows)
{
	struct dbps_record *r;
	struct talk t;

	login(&t, caps, "alice", "shop");
	result_set(&t, deprecated, rows);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.rows, rows);
	assert_int_equal(r->s.sequence, 1);
	assert_int_equal(r->s.text_len, 8);
	free(r);
	t.move[t.n - 1].n--;
	r = play(&t, 0);
	assert_true(dbps_session_executes(&r->s));
	free(r);
}

static void test_result_sets_end_at_their_last_byte(void **state)
{
	(void)state;
	for (unsigned int rows = 0; rows <= 130; rows = rows * 2 + 1) {
		check_result_set(CAPS_PLAIN, false, rows);
		check_result_set(CAPS_PLAIN | MYSQL_DEPRECATE_EOF, true, rows);
	}
}

/* Where the login was not seen, the first result set tells which style it is. */
static void test_eof_style_is_learnt(void **state)
{
	(void)state;
	for (int deprecated = 0; deprecated <= 1; deprecated++) {
		struct dbps_record *r = new_record();
		struct talk t = {};

		r->s.phase = DBPS_PHASE_IDLE;
		result_set(&t, deprecated, 3);
		for (size_t i = 0; i < t.n; i++)
			move_bytes(r, t.move[i].way, t.move[i].bytes, t.move[i].n);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_int_equal(r->s.rows, 3);
		assert_true(r->s.flags & DBPS_KNOWN_EOF);
		assert_int_equal(!!(r->s.flags & DBPS_DEPRECATE_EOF), deprecated);
		free(r);
	}
}

static void test_multiple_results_end_with_the_last(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x03select 1; do 1; select 2");
	NEXT(&t, '>', 1, "\x01");
	SAY(&t, '>', 2, DEFINITION);
	SAY(&t, '>', 3, EOF_PACKET);
	SAY(&t, '>', 4,
	    "\x01"
	    "1");
	SAY(&t, '>', 5, EOF_MORE);
	NEXT(&t, '>', 6, OK_MORE);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	assert_int_equal(r->s.results, 2);
	free(r);
	NEXT(&t, '>', 7, OK);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.sequence, 1);
	free(r);
}

static void test_error_is_kept_and_progress_is_not_one(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0,
	     "\x03"
	     "alter table t");
	NEXT(&t, '>', 1,
	     "\xff\xff\xff\x01\x01\x02\x00\x00\x00\x05"
	     "copying");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	assert_int_equal(r->s.errors, 0);
	free(r);
	NEXT(&t, '>', 2, ERROR_1064);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.last_error, 1064);
	assert_int_equal(r->s.errors, 1);
	free(r);
}

/* A deadlock's error has no status, and ends the transaction; that the next one begins is seen. */
static void test_deadlock_ends_the_transaction(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, BEGIN);
	NEXT(&t, '>', 1, OK_IN_TRANS);
	NEXT(&t, '<', 0, "\x03update t");
	NEXT(&t, '>', 1, ERROR_1064);
	r = play_all_cuts(&t);
	assert_true(r->s.flags & DBPS_IN_TRANSACTION);
	free(r);
	NEXT(&t, '<', 0, "\x03update t");
	NEXT(&t, '>', 1, ERROR_1213);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.last_error, 1213);
	assert_false(r->s.flags & DBPS_IN_TRANSACTION);
	free(r);
	NEXT(&t, '<', 0, BEGIN);
	NEXT(&t, '>', 1, OK_IN_TRANS);
	r = play_all_cuts(&t);
	assert_true(r->s.flags & DBPS_IN_TRANSACTION);
	free(r);
}

static void test_local_infile(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x03load data local infile 'x' into table t");
	NEXT(&t, '>', 1, "\xfbx");
	NEXT(&t, '<', 2, "1\n2\n");
	NEXT(&t, '<', 3, "3\n");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_INFILE);
	assert_int_equal(r->s.sequence, 1);
	free(r);
	NEXT(&t, '<', 4, "");
	NEXT(&t, '>', 5, OK);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.sequence, 1);
	free(r);
}

static void check_use(const char *text, const char *answer, size_t answer_len, const char *db)
{
	struct dbps_record *r;
	struct talk t;
	char p[256];
	int n = snprintf(p, sizeof(p), "\x03%s", text);

	login(&t, CAPS_PLAIN, "alice", "shop");
	say(&t, '<', false, 0, p, (size_t)n);
	say(&t, '>', false, 1, answer, answer_len);
	r = play_all_cuts(&t);
	assert_db(r, db);
	free(r);
}

static void test_use_in_a_statement(void **state)
{
	(void)state;
	check_use("use stock", OK, 7, "stock");
	check_use("USE `sto ck`", OK, 7, "sto ck");
	check_use("use`stock`", OK, 7, "stock");
	check_use("  /* x */ -- y\n # z\n UsE\tstock ; ", OK, 7, "stock");
	check_use("use stock;", OK, 7, "stock");
	check_use("use stock/* why */", OK, 7, "stock");
	check_use("use /* to */ stock", OK, 7, "stock");
	check_use("use -- to\n stock", OK, 7, "stock");
	check_use("/*!50000 use stock */", OK, 7, "stock");
	check_use("/*M!100000 use stock*/", OK, 7, "stock");
	check_use("use `a``b ;c`", OK, 7, "a`b ;c");
	check_use("use```a`", OK, 7, "`a");
	check_use("use stock", "\x00\x02\x00\x00\x00", 5, "stock"); /* no OK is so short, no EOF */
	check_use("use stock", ERROR_1064, sizeof(ERROR_1064) - 1, "shop");
	check_use("used stock", OK, 7, "shop");
	check_use("update t set a = 'use x'", OK, 7, "shop");
	check_use("use stock; select 1", OK_MORE, 7, "stock");
	/* Session tracking says more than the text. */
	check_use("call p()", "\x00\x00\x00\x02\x40\x00\x00\x00\x07\x01\x05\x04next", 16, "next");
}

/* Of several statements the one counts that the OK answers. */
static void test_use_among_other_statements(void **state)
{
	static const char text[] = "\x03select ';use a', \"\\\";\"; /* ; */ use b;do 1;use `c`";
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	say(&t, '<', false, 0, text, sizeof(text) - 1);
	NEXT(&t, '>', 1, "\x01");
	SAY(&t, '>', 2, DEFINITION);
	SAY(&t, '>', 3, EOF_PACKET);
	SAY(&t, '>', 4, EOF_MORE);
	r = play_all_cuts(&t);
	assert_db(r, "shop");
	free(r);
	NEXT(&t, '>', 5, OK_MORE);
	r = play_all_cuts(&t);
	assert_db(r, "b");
	free(r);
	NEXT(&t, '>', 6, OK_MORE);
	r = play_all_cuts(&t);
	assert_db(r, "b");
	free(r);
	NEXT(&t, '>', 7, OK);
	r = play_all_cuts(&t);
	assert_db(r, "c");
	free(r);
}

static void test_session_tracking_gives_the_schema(void **state)
{
	static const char tracked[] = "\x00\x00\x00\x02\x40\x00\x00\x00\x0c"
				      "\x00\x03\x01"
				      "a\x00\x01\x05\x04next";
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN | MYSQL_SESSION_TRACK, "alice", "shop");
	NEXT(&t, '<', 0, "\x03use next");
	say(&t, '>', false, 1, tracked, sizeof(tracked) - 1);
	r = play_all_cuts(&t);
	assert_db(r, "next");
	free(r);
}

static void test_init_db_and_dropped_database(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x02stock");
	r = play_all_cuts(&t);
	assert_db(r, "shop");
	free(r);
	NEXT(&t, '>', 1, OK);
	r = play_all_cuts(&t);
	assert_db(r, "stock");
	free(r);
	NEXT(&t, '<', 0,
	     "\x03"
	     "drop database stock");
	NEXT(&t, '>', 1, "\x00\x00\x00\x02\x01\x00\x00");
	r = play_all_cuts(&t);
	assert_db(r, "");
	free(r);
}

static void test_change_user(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0,
	     "\x11"
	     "bob\0\x02zzstock\0\x21\x00");
	NEXT(&t, '>', 1, "\xfemysql_native_password\0aaaa");
	NEXT(&t, '<', 2, "xxxx");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_CHANGE_USER);
	assert_memory_equal(r->s.user, "alice", 5);
	free(r);
	NEXT(&t, '>', 3, OK);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.user_len, 3);
	assert_memory_equal(r->s.user, "bob", 3);
	assert_db(r, "stock");
	assert_int_equal(r->s.prepare_era, 1);
	free(r);
}

/* MariaDB goes on as before, but for the transaction and the prepared statements. */
static void test_change_user_refused(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0,
	     "\x03"
	     "begin");
	NEXT(&t, '>', 1, "\x00\x00\x00\x03\x00\x00\x00");
	NEXT(&t, '<', 0,
	     "\x11"
	     "bob\0\x02zzstock\0\x21\x00");
	NEXT(&t, '>', 1, "\xff\x15\x04#28000Access denied");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.last_error, 1045);
	assert_memory_equal(r->s.user, "alice", 5);
	assert_db(r, "shop");
	assert_int_equal(r->s.prepare_era, 1);
	assert_false(r->s.flags & DBPS_IN_TRANSACTION);
	free(r);
	NEXT(&t, '<', 0, BEGIN);
	NEXT(&t, '>', 1, OK_IN_TRANS);
	r = play_all_cuts(&t);
	assert_true(r->s.flags & DBPS_IN_TRANSACTION);
	assert_int_equal(r->s.sequence, 3);
	free(r);
}

static void test_prepare_execute_and_close(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x16select ?");
	NEXT(&t, '>', 1, "\x00\x07\x00\x00\x00\x01\x00\x01\x00\x00\x00\x00");
	SAY(&t, '>', 2, DEFINITION);
	SAY(&t, '>', 3, EOF_PACKET);
	SAY(&t, '>', 4, DEFINITION);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_PREPARE_DEFS);
	free(r);
	SAY(&t, '>', 5, EOF_PACKET);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(n_prepared, 1);
	assert_int_equal(r->s.last_stmt_id, 7);
	free(r);
	/* MariaDB's direct execution names the last one. */
	NEXT(&t, '<', 0, "\x17\xff\xff\xff\xff\x00\x01\x00\x00\x00");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	assert_int_equal(r->s.stmt_id, 7);
	assert_true(r->s.flags & DBPS_EXECUTES);
	free(r);
	NEXT(&t, '>', 1, OK);
	NEXT(&t, '<', 0, "\x18\x07\x00\x00\x00\x00\x00long");
	NEXT(&t, '<', 0, "\x19\x07\x00\x00\x00");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.command, COM_STMT_CLOSE);
	assert_int_equal(r->s.sequence, 4);
	free(r);
}

static void test_cursor_and_fetch(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x17\x07\x00\x00\x00\x01\x01\x00\x00\x00");
	NEXT(&t, '>', 1, "\x01");
	SAY(&t, '>', 2, DEFINITION);
	SAY(&t, '>', 3, EOF_CURSOR);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	free(r);
	NEXT(&t, '<', 0, "\x1c\x07\x00\x00\x00\x0a\x00\x00\x00");
	NEXT(&t, '>', 1, "\x00\x00\x01");
	SAY(&t, '>', 2, "\x00\x00\x02");
	SAY(&t, '>', 3, EOF_PACKET);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.rows, 2);
	free(r);
}

static void test_one_packet_answers(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x09");
	NEXT(&t, '>', 1, "Uptime: 7  Threads: 1");
	NEXT(&t, '<', 0, "\x1b\x00\x00");
	NEXT(&t, '>', 1, EOF_PACKET);
	NEXT(&t, '<', 0, "\x0e");
	NEXT(&t, '>', 1, OK);
	NEXT(&t, '<', 0, "\x04t\0");
	NEXT(&t, '>', 1, DEFINITION);
	SAY(&t, '>', 2, DEFINITION);
	SAY(&t, '>', 3, EOF_PACKET);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	assert_int_equal(r->s.sequence, 4);
	free(r);
}

static void test_binlog_dump_streams(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "repl", "");
	NEXT(&t, '<', 0,
	     "\x12\x04\x00\x00\x00\x00\x00\x01\x00\x00\x00"
	     "bin.1");
	NEXT(&t, '>', 1,
	     "\x00"
	     "event one");
	NEXT(&t, '>', 2,
	     "\x00"
	     "event two");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_STREAM);
	free(r);
	NEXT(&t, '>', 3, EOF_PACKET);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	free(r);
}

static void test_transaction_is_seen_in_the_status(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0,
	     "\x03"
	     "begin");
	NEXT(&t, '>', 1, OK_IN_TRANS);
	r = play_all_cuts(&t);
	assert_true(r->s.flags & DBPS_IN_TRANSACTION);
	assert_int_equal(r->s.trx_start_ns, r->s.start_ns);
	free(r);
	NEXT(&t, '<', 0,
	     "\x03"
	     "commit");
	NEXT(&t, '>', 1, OK);
	r = play_all_cuts(&t);
	assert_false(r->s.flags & DBPS_IN_TRANSACTION);
	free(r);
}

/* Requests of 16 MiB and more go on in the next packet, until one that is shorter. */
static void test_request_over_16_mib(void **state)
{
	struct dbps_record *r = new_record();
	uint8_t *big = malloc(4 + MYSQL_PACKET_FULL);
	size_t at;

	(void)state;
	assert_non_null(big);
	r->s.phase = DBPS_PHASE_IDLE;
	memset(big, 'x', 4 + MYSQL_PACKET_FULL);
	memcpy(big, "\xff\xff\xff\x00\x03", 5);
	for (at = 0; at < 4 + MYSQL_PACKET_FULL; at += 0x10000)
		server_reads(r, big + at,
			     4 + MYSQL_PACKET_FULL - at < 0x10000 ? 4 + MYSQL_PACKET_FULL - at
								  : 0x10000,
			     0);
	assert_int_equal(n_begun, 0);
	server_reads(r, "\x02\x00\x00\x01", 4, 0);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	server_reads(r, "yz", 2, 0);
	assert_int_equal(n_begun, 1);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	assert_int_equal(r->s.text_len, MYSQL_PACKET_FULL - 1 + 2);
	assert_int_equal(r->request.have, DBPS_BODY_CAP);
	free(r);
	/* Just full: an empty packet ends it. */
	r = new_record();
	r->s.phase = DBPS_PHASE_IDLE;
	server_reads(r, big, 4 + MYSQL_PACKET_FULL, 0);
	assert_int_equal(n_begun, 0);
	server_reads(r, "\x00\x00\x00\x01", 4, 0);
	assert_int_equal(n_begun, 1);
	free(r);
	free(big);
}

/* A row of 16 MiB and more, and one just below, with first bytes that look like a terminator. */
static void test_row_over_16_mib(void **state)
{
	struct dbps_record *r = new_record();
	uint8_t *big = malloc(4 + MYSQL_PACKET_FULL);

	(void)state;
	assert_non_null(big);
	r->s.phase = DBPS_PHASE_ROWS;
	memset(big, 'x', 4 + MYSQL_PACKET_FULL);
	memcpy(big, "\xff\xff\xff\x05\xfe", 5);
	server_sends(r, big, 4 + MYSQL_PACKET_FULL);
	assert_int_equal(r->s.rows, 0);
	server_sends(r, "\x01\x00\x00\x06z", 5);
	assert_int_equal(r->s.rows, 1);
	assert_int_equal(r->s.phase, DBPS_PHASE_ROWS);
	server_sends(r, "\x05\x00\x00\x07\xfe\x00\x00\x02\x00", 9);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	free(r);
	free(big);
}

static void test_pipelined_requests_are_told_apart(void **state)
{
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_IDLE;
	server_reads(r, "\x02\x00\x00\x00", 4, 0);
	server_reads(r,
		     "\x03"
		     "a",
		     2, 0);
	server_sends(r, "\x07\x00\x00\x01" OK, 11);
	server_reads(r, "\x02\x00\x00\x00", 4, 0);
	server_reads(r,
		     "\x03"
		     "b",
		     2, 0);
	assert_int_equal(r->s.sequence, 2);
	assert_int_equal(r->request.body[1], 'b');
	assert_int_equal(n_resyncs, 0);
	/* A request whose predecessor's answer was not seen ends that one, where none is read
	 * ahead. */
	r->s.flags |= DBPS_READS_APART;
	server_reads(r, "\x02\x00\x00\x00", 4, 4);
	assert_int_equal(n_resyncs, 1);
	free(r);
}

/* Three requests in one call, and a fourth in the next: each begins when the one before was
 * answered. */
static void test_requests_read_ahead_wait_for_their_turn(void **state)
{
	static const uint8_t three[] = "\x02\0\0\0\x03"
				       "a\x05\0\0\0\x19\x01\0\0\0\x02\0\0\0\x03"
				       "b";
	static const uint8_t fourth[] = "\x02\0\0\0\x03"
					"c";
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_IDLE;
	server_reads(r, three, sizeof(three) - 1, 0);
	server_reads(r, fourth, sizeof(fourth) - 1, 0);
	assert_int_equal(r->s.sequence, 1);
	assert_int_equal(r->request.body[1], 'a');
	assert_true(r->s.flags & DBPS_HELD);
	server_sends(r, "\x07\x00\x00\x01" OK, 11);
	assert_int_equal(r->s.sequence, 3); /* Close has no answer */
	assert_int_equal(r->request.body[1], 'b');
	assert_false(r->s.flags & DBPS_SENT);
	server_sends(r, "\x07\x00\x00\x01" OK, 11);
	assert_int_equal(r->s.sequence, 4);
	assert_int_equal(r->request.body[1], 'c');
	assert_false(r->s.flags & DBPS_HELD);
	assert_int_equal(n_resyncs, 0);
	free(r);
}

/* Play requests that are read ahead and their answers, each in one move, cut at every place. */
static struct dbps_record *play_ahead(const void *requests, size_t n, const void *answers,
				      size_t n_answers)
{
	struct talk t = {.n = 2, .move = {{'<', n, {0}}, {'>', n_answers, {0}}}};
	struct dbps_record *whole = NULL, *r;

	memcpy(t.move[0].bytes, requests, n);
	memcpy(t.move[1].bytes, answers, n_answers);
	for (size_t cut = 0; cut < n + n_answers; cut++) {
		r = new_record();
		r->s.phase = DBPS_PHASE_IDLE;
		play_on(r, &t, cut);
		assert_int_equal(n_broken + n_resyncs, 0);
		if (whole) {
			assert_same(whole, r);
			free(r);
		} else {
			whole = r;
		}
	}
	return whole;
}

#define AHEAD(requests, answers)                                                                   \
	play_ahead(requests, sizeof(requests) - 1, answers, sizeof(answers) - 1)

/* The answer to a request may lie behind that to the one before, in the same send. */
static void test_answers_in_one_send_are_told_apart(void **state)
{
	struct dbps_record *r;

	(void)state;
	r = AHEAD("\2\0\0\0\3a"
		  "\2\0\0\0\3b"
		  "\2\0\0\0\3c",
		  "\7\0\0\1" OK "\x1a\0\0\1" ERROR_1064);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	assert_int_equal(r->s.sequence, 3);
	assert_int_equal(r->request.body[1], 'c');
	assert_int_equal(r->s.errors, 1);
	assert_false(r->s.flags & (DBPS_HELD | DBPS_SENT));
	free(r);

	/* Some of the third one's is there. */
	r = AHEAD("\2\0\0\0\3a"
		  "\2\0\0\0\3b",
		  "\7\0\0\1" OK "\7\0\0");
	assert_int_equal(r->s.sequence, 2);
	assert_int_equal(r->s.out.hdr_have, 3);
	assert_true(r->s.flags & DBPS_SENT);
	free(r);
}

/* The bytes behind a LOAD DATA LOCAL INFILE or a Change user are the file's, or the login's. */
static void test_what_a_statement_asks_for_may_be_there(void **state)
{
	struct dbps_record *r;

	(void)state;
	r = AHEAD("\5\0\0\0\3load"
		  "\2\0\0\2"
		  "1\n"
		  "\0\0\0\3"
		  "\2\0\0\0\3b",
		  "\2\0\0\1\xfbx"
		  "\7\0\0\4" OK);
	assert_int_equal(r->s.sequence, 2);
	assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
	assert_int_equal(r->request.body[1], 'b');
	free(r);

	/* Numbers of packets come round to 0, which is no command then. */
	r = AHEAD("\5\0\0\0\3load"
		  "\2\0\0\0"
		  "1\n"
		  "\0\0\0\1",
		  "\2\0\0\1\xfbx"
		  "\7\0\0\2" OK);
	assert_int_equal(r->s.sequence, 1);
	assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
	free(r);
}

/* Where an answer is not followed it is not known when the server comes to the next request. */
static void test_what_is_held_behind_an_unknown_answer_is_given_up(void **state)
{
	static const uint8_t two[] = "\2\0\0\0\x16s"
				     "\2\0\0\0\3b";
	static const uint8_t prepared[] = "\x0c\0\0\1\0\7\0\0\0\1\0\0\0\0\0\0";
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_IDLE; /* joined: whether EOFs are sent is not known */
	server_reads(r, two, sizeof(two) - 1, 0);
	assert_true(r->s.flags & DBPS_HELD);
	server_sends(r, prepared, sizeof(prepared) - 1);
	assert_int_equal(n_broken, 1);
	assert_int_equal(r->s.sequence, 1);
	free(r);
}

/* Of a request that began in held bytes less is kept; what comes behind them leaves no gap. */
static void test_text_that_was_held_in_part_has_no_gap(void **state)
{
	static uint8_t two[6 + 4 + 600] = "\2\0\0\0\3a";
	struct dbps_record *r = new_record();
	uint8_t rest[300];

	(void)state;
	memcpy(two + 6, "\x84\3\0\0", 4); /* 900 */
	memset(two + 10, 'x', 600);
	memset(rest, 'y', sizeof(rest));
	r->s.phase = DBPS_PHASE_IDLE;
	server_reads(r, two, sizeof(two), 0);
	server_sends(r, "\x07\x00\x00\x01" OK, 11);
	server_reads(r, rest, sizeof(rest), 0);
	assert_int_equal(r->request.len, 900);
	assert_int_equal(r->request.have, DBPS_NAMES_MAX);
	free(r);
}

/* A packet of the compressed protocol; what is stored is `n` bytes, `plain` of them when inflated.
 */
static void wrap(struct talk *t, char way, uint8_t seq, const void *bytes, size_t n, size_t plain)
{
	struct move *m;

	if (!t->n || t->move[t->n - 1].way != way || !seq)
		t->move[t->n++] = (struct move){.way = way};
	m = &t->move[t->n - 1];
	m->bytes[m->n++] = (uint8_t)n;
	m->bytes[m->n++] = (uint8_t)(n >> 8);
	m->bytes[m->n++] = 0;
	m->bytes[m->n++] = seq;
	m->bytes[m->n++] = (uint8_t)plain;
	m->bytes[m->n++] = (uint8_t)(plain >> 8);
	m->bytes[m->n++] = 0;
	memcpy(m->bytes + m->n, bytes, n);
	m->n += n;
}

#define WRAP(t, way, seq, s)	    wrap(t, way, seq, s, sizeof(s) - 1, 0)
#define HIDE(t, way, seq, n, plain) wrap(t, way, seq, "zzzzzzzzzzzzzzzzzzzz", n, plain)

/* Short packets are stored, and followed as in clear; behind a compressed one the next begins anew.
 */
static void test_compressed_packets(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0,
		     "\x06\0\0\0\x03"
		     "use b");
		WRAP(&t, '>', 1, "\x07\0\0\1" OK);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_int_equal(r->s.sequence, 1);
		assert_memory_equal(r->s.db, "b", 1);
		free(r);

		HIDE(&t, '<', 0, 20, 90);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
		assert_int_equal(r->s.sequence, 2);
		assert_false(r->s.flags & DBPS_HAS_TEXT);
		free(r);

		WRAP(&t, '>', 1, "\x18\0\0\1" ERROR_1064);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_int_equal(r->s.last_error, 1064);
		free(r);

		WRAP(&t, '<', 0, "\x02\0\0\0\x03q");
		HIDE(&t, '>', 1, 19, 5000);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_UNFRAMED);
		assert_true(r->s.flags & DBPS_HAS_TEXT);
		free(r);

		WRAP(&t, '>', 2, "\xff\xff no header");
		WRAP(&t, '<', 0, "\x02\0\0\0\x03r");
		r = play(&t, cut);
		assert_int_equal(r->s.sequence, 4);
		assert_int_equal(n_broken, 0);
		assert_int_equal(r->request.body[1], 'r');
		free(r);
	}
}

/* Connector/J 2 numbers its first command on from the login, inside of an outer packet 0. */
static void test_compressed_command_of_another_number(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x06\0\0\1\x03set a");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_int_equal(r->s.sequence, 1);
		assert_true(r->s.flags & DBPS_HAS_TEXT);
		free(r);
		WRAP(&t, '>', 1, "\x07\0\0\1" OK);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_int_equal(n_broken, 0);
		free(r);
	}
}

/* Of a LOAD DATA that is compressed the name of the file may be in clear. */
static void test_compressed_request_for_a_file(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		HIDE(&t, '<', 0, 20, 90);
		WRAP(&t, '>', 1, "\x02\0\0\1\xfb/");
		HIDE(&t, '<', 2, 20, 90);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_INFILE);
		free(r);
		WRAP(&t, '<', 3, "\0\0\0\3");
		WRAP(&t, '>', 4, "\x07\0\0\4" OK);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_int_equal(r->s.sequence, 1);
		assert_int_equal(n_broken, 0);
		free(r);

		/* No file: a row whose first column is NULL. */
		HIDE(&t, '<', 0, 20, 90);
		WRAP(&t, '>', 1, "\1\0\0\1\1");
		WRAP(&t, '>', 2, "\1\0\0\4\xfb");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
		free(r);
	}
}

/* The numbers of the packets of a file go round: the one behind 255 begins no command. */
static void test_compressed_file_goes_round(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x05\0\0\0\x03load");
		WRAP(&t, '>', 1, "\x02\0\0\1\xfb/");
		HIDE(&t, '<', 254, 20, 90);
		HIDE(&t, '<', 255, 20, 90);
		HIDE(&t, '<', 0, 20, 90);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_INFILE);
		assert_int_equal(r->s.sequence, 1);
		assert_true(r->s.flags & DBPS_HAS_TEXT);
		free(r);

		WRAP(&t, '<', 1, "\0\0\0\xe0");
		WRAP(&t, '>', 2, "\x07\0\0\xe1" OK);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		free(r);

		/* Behind a file whose last packet has that number the next one begins. */
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x05\0\0\0\x03load");
		WRAP(&t, '>', 1, "\x02\0\0\1\xfb/");
		HIDE(&t, '<', 254, 20, 90);
		WRAP(&t, '<', 255, "\0\0\0\xe0");
		WRAP(&t, '>', 0, "\x07\0\0\xe1" OK);
		WRAP(&t, '<', 0, "\x02\0\0\0\x03q");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_int_equal(r->s.sequence, 2);
		assert_int_equal(n_broken, 0);
		free(r);
	}
}

/* Where the request for the file, or the answer behind it, is compressed, it is the number of what
 * the server has sent that tells whether it has answered. */
static void test_compressed_file_goes_round_unseen(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		/* The file is stored: what is in it is no command. */
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x05\0\0\0\x03load");
		HIDE(&t, '>', 1, 20, 90);
		WRAP(&t, '<', 254, "\2\0\0\1\3a");
		WRAP(&t, '<', 255, "\2\0\0\2\3b");
		WRAP(&t, '<', 0, "\2\0\0\3\3c");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_UNFRAMED);
		assert_int_equal(r->s.sequence, 1);
		assert_int_equal(n_resyncs, 0);
		free(r);

		/* Its last packet has that number, and the next command begins. */
		WRAP(&t, '<', 255, "\0\0\0\4");
		HIDE(&t, '>', 0, 20, 90);
		WRAP(&t, '<', 0, "\x02\0\0\0\x03q");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_int_equal(r->s.sequence, 2);
		assert_int_equal(r->request.body[1], 'q');
		assert_int_equal(n_broken, 0);
		free(r);

		/* Also where the file is compressed: the text of the LOAD DATA is over. */
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x05\0\0\0\x03load");
		WRAP(&t, '>', 1, "\x02\0\0\1\xfb/");
		HIDE(&t, '<', 254, 20, 90);
		WRAP(&t, '<', 255, "\0\0\0\4");
		HIDE(&t, '>', 0, 20, 90);
		WRAP(&t, '<', 0, "\x02\0\0\0\x03q");
		r = play(&t, cut);
		assert_int_equal(r->s.sequence, 2);
		assert_int_equal(r->request.body[1], 'q');
		free(r);

		/* One of the number behind it, too. */
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x05\0\0\0\x03load");
		WRAP(&t, '>', 1, "\x02\0\0\1\xfb/");
		HIDE(&t, '<', 255, 20, 90);
		WRAP(&t, '<', 0, "\0\0\0\4");
		WRAP(&t, '>', 1, "\x07\0\0\5" OK);
		WRAP(&t, '<', 0, "\x02\0\0\0\x03q");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_int_equal(r->s.sequence, 2);
		free(r);
	}
}

/* A request of many outer packets begins when it is all there. */
static void test_compressed_request_goes_round(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\2\0\0\0\3p");
		WRAP(&t, '>', 1, "\x07\0\0\1" OK);
		WRAP(&t, '<', 0, "\x07\0\0\0\3ab");
		WRAP(&t, '<', 255, "cd");
		WRAP(&t, '<', 0, "ef");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_int_equal(r->s.sequence, 2);
		assert_memory_equal(r->request.body, "\3abcdef", 7);
		free(r);
	}
}

/* The number of a statement is not known whose Prepare, or the answer to it, is compressed: what is
 * executed directly behind that is not the one before. */
static void test_direct_behind_a_compressed_prepare(void **state)
{
	static const char prepare[] = "\x09\0\0\0\x16select 1";
	static const char direct[] = "\x0a\0\0\0\x17\xff\xff\xff\xff\0\1\0\0\0";
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, prepare);
		WRAP(&t, '>', 1, "\x0c\0\0\1\0\7\0\0\0\0\0\0\0\0\0\0");
		WRAP(&t, '<', 0, direct);
		r = play(&t, cut);
		assert_int_equal(r->s.stmt_id, 7);
		free(r);

		WRAP(&t, '>', 1, "\x07\0\0\1" OK);
		WRAP(&t, '<', 0, prepare);
		HIDE(&t, '>', 1, 20, 90);
		WRAP(&t, '<', 0, direct);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_true(r->s.flags & DBPS_EXECUTES);
		assert_int_equal(r->s.stmt_id, 0);
		free(r);

		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, prepare);
		WRAP(&t, '>', 1, "\x0c\0\0\1\0\7\0\0\0\0\0\0\0\0\0\0");
		HIDE(&t, '<', 0, 20, 90);
		HIDE(&t, '>', 1, 20, 90);
		WRAP(&t, '<', 0, direct);
		r = play(&t, cut);
		assert_int_equal(r->s.stmt_id, 0);
		free(r);
	}
}

/* As MySQL's client sends what it does not wait for: the header and the command are stored. Which
 * statement is executed is not known then, and not that of before. */
static void test_compressed_behind_a_stored_command(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x0a\0\0\0\x17\7\0\0\0\0\1\0\0\0");
		WRAP(&t, '>', 1, "\x07\0\0\1" OK);
		WRAP(&t, '<', 0, "\x5a\0\0\0\x17");
		HIDE(&t, '<', 1, 20, 0x59);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_int_equal(r->s.sequence, 2);
		assert_int_equal(r->s.command, COM_STMT_EXECUTE);
		assert_int_equal(r->s.stmt_id, 0);
		free(r);
	}
}

/* As mysql2 for Node sends what is longer than a packet: the header alone is stored. What it asks
 * for is not known, and not what was asked for before. */
static void test_compressed_behind_a_stored_header(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0, "\x02\0\0\0\x16q");
		WRAP(&t, '>', 1, "\x18\0\0\1" ERROR_1064);
		WRAP(&t, '<', 0, "\x5a\0\0\0");
		HIDE(&t, '<', 1, 20, 85);
		WRAP(&t, '<', 2, "xxxxx");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_OPAQUE);
		assert_int_equal(r->s.command, COM_SLEEP);
		assert_int_equal(r->s.sequence, 2);
		assert_false(r->s.flags & DBPS_HAS_TEXT);
		free(r);

		WRAP(&t, '>', 3, "\x18\0\0\1" ERROR_1064);
		WRAP(&t, '<', 0, "\x02\0\0\0\x03r");
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_int_equal(r->s.sequence, 3);
		assert_int_equal(n_broken, 0);
		assert_int_equal(r->request.body[1], 'r');
		free(r);
	}
}

/* Compression begins behind the OK of the login, also where a call cuts that; the OK of a Change
 * user is inside of a compressed packet, and another packet may be behind it there. */
static void test_compression_begins_once(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 80; cut++) {
		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '>', 1, "\x1a\0\0\1" ERROR_1064);
		r = play(&t, cut);
		assert_int_equal(r->s.last_error, 1064);
		assert_int_equal(n_broken, 0);
		free(r);

		login(&t, CAPS_PLAIN | MYSQL_COMPRESS, "alice", "shop");
		WRAP(&t, '<', 0,
		     "\x0a\0\0\0\x11"
		     "bob\0\2zzb\0");
		WRAP(&t, '>', 1, "\x07\0\0\1" OK "\x1a\0\0\1" ERROR_1064);
		r = play(&t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_int_equal(r->s.last_error, 1064);
		assert_false(mysql_outer_is_open(&r->my.outer_out));
		assert_int_equal(n_broken, 0);
		free(r);
	}
}

/* A frame of OceanBase's (2.5) around packets. */
static void frame(struct talk *t, char way, uint8_t flags, const char *extra, const void *packets,
		  size_t n)
{
	size_t extra_len = extra ? strlen(extra) + 4 : 0, payload = n + extra_len;
	uint8_t head[31] = {(uint8_t)(payload + 28),
			    (uint8_t)((payload + 28) >> 8),
			    0,
			    0,
			    0,
			    0,
			    0,
			    0xab,
			    0x20,
			    20};
	struct move *m = &t->move[t->n++];

	*m = (struct move){.way = way};
	head[19] = (uint8_t)payload;
	head[20] = (uint8_t)(payload >> 8);
	head[23] = (uint8_t)(flags | (extra ? 1 : 0));
	memcpy(m->bytes, head, sizeof(head));
	m->n = sizeof(head);
	if (extra) {
		memcpy(m->bytes + m->n, (uint8_t[4]){(uint8_t)(extra_len - 4)}, 4);
		memcpy(m->bytes + m->n + 4, extra, extra_len - 4);
		m->n += extra_len;
	}
	memcpy(m->bytes + m->n, packets, n);
	m->n += n + 4; /* and a checksum */
}

#define FRAME(t, way, flags, extra, s) frame(t, way, flags, extra, s, sizeof(s) - 1)

static void test_oceanbase_frames(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 120; cut++) {
		login(&t, CAPS_PLAIN, "alice@test", "shop");
		r = play(&t, cut);
		t.n = 0;
		FRAME(&t, '<', 2, NULL,
		      "\x06\0\0\0\x03"
		      "use b");
		FRAME(&t, '>', 0, "extra", "\x07\0\0\1\0\0");
		FRAME(&t, '>', 2, NULL, "\0\2\0\0\0");
		FRAME(&t, '<', 2, "some more", "\x02\0\0\0\x03q");
		play_on(r, &t, cut);
		assert_true(r->s.flags & DBPS_OB20);
		assert_int_equal(r->s.sequence, 2);
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_memory_equal(r->s.db, "b", 1);
		assert_int_equal(r->request.body[1], 'q');
		t.n = 0;
		/* The answer is not understood, but it is the last frame of it. */
		FRAME(&t, '>', 2, NULL, "\1\0\0\1\1");
		play_on(r, &t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_IDLE);
		assert_int_equal(n_broken, 0);
		free(r);
	}
}

/* As two threads of one server do: one reads the next request before the tap of the other sees the
 * answer's end. */
static void test_frames_read_ahead_wait_for_their_turn(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 240; cut++) {
		login(&t, CAPS_PLAIN, "alice@test", "shop");
		r = play(&t, cut);
		t.n = 0;
		FRAME(&t, '<', 2, NULL, "\x06\0\0\0\x03use b");
		FRAME(&t, '<', 2, "some", "\x02\0\0\0\x03q");
		FRAME(&t, '<', 2, NULL, "\5\0\0\0\x19\1\0\0\0\2\0\0\0\x03r");
		play_on(r, &t, cut);
		assert_int_equal(r->s.sequence, 1);
		assert_int_equal(r->request.body[1], 'u');
		assert_true(r->s.flags & DBPS_HELD);
		t.n = 0;
		FRAME(&t, '>', 2, "extra", "\7\0\0\1" OK);
		play_on(r, &t, cut);
		assert_int_equal(r->s.sequence, 2);
		assert_int_equal(r->request.body[1], 'q');
		assert_int_equal(r->s.phase, DBPS_PHASE_FIRST);
		assert_memory_equal(r->s.db, "b", 1);
		t.n = 0;
		FRAME(&t, '>', 0, NULL, "\7\0\0\1\0\0");
		FRAME(&t, '>', 2, NULL, "\0\2\0\0\0");
		play_on(r, &t, cut);
		assert_int_equal(r->s.sequence, 4); /* Close has no answer */
		assert_int_equal(r->request.body[1], 'r');
		assert_false(r->s.flags & (DBPS_HELD | DBPS_SENT));
		assert_int_equal(n_broken + n_resyncs, 0);
		free(r);
	}
}

static void test_behind_a_quit_nothing_is_a_frame(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	for (size_t cut = 0; cut < 60; cut++) {
		login(&t, CAPS_PLAIN, "alice@test", "shop");
		r = play(&t, cut);
		t.n = 0;
		FRAME(&t, '<', 2, NULL, "\1\0\0\0\1");
		memset(t.move[0].bytes + t.move[0].n, 0, 50);
		t.move[0].n += 50;
		play_on(r, &t, cut);
		assert_int_equal(r->s.phase, DBPS_PHASE_CLOSED);
		assert_int_equal(n_broken, 0);
		free(r);
	}
}

/* Only the first request of a session tells, and none of a server that reads headers apart. */
static void test_frames_are_told_by_the_first_request(void **state)
{
	static const uint8_t sleep[] = "\2\0\0\0\0x";
	struct dbps_record *r;

	(void)state;
	for (int i = 0; i < 2; i++) {
		r = new_record();
		r->s.phase = DBPS_PHASE_IDLE;
		if (i)
			r->s.flags |= DBPS_READS_APART;
		else
			server_reads(r, "\1\0\0\0\x0e", 5, 0);
		server_sends(r, "\7\0\0\1" OK, i ? 0 : 11);
		server_reads(r, sleep, sizeof(sleep) - 1, 0);
		assert_false(r->s.flags & DBPS_OB20);
		assert_int_equal(r->s.sequence, i ? 1 : 2);
		free(r);
	}
}

static void test_names_that_are_too_long_are_cut_and_marked(void **state)
{
	struct dbps_record *r;
	struct talk t;
	char user[200];

	(void)state;
	memset(user, 'u', sizeof(user));
	user[150] = 0;
	login(&t, CAPS_PLAIN, user, "shop");
	r = play_all_cuts(&t);
	assert_int_equal(r->s.user_len, DBPS_USER_MAX);
	assert_true(r->s.flags & DBPS_CUT_USER);
	assert_db(r, "shop");
	free(r);
}

/* What an older request left behind the end of this one is not part of a name. */
static void test_names_end_with_their_request(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x03select 'a text that is longer'");
	NEXT(&t, '>', 1, OK);
	NEXT(&t, '<', 0,
	     "\x11"
	     "bo");
	NEXT(&t, '>', 1, OK);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.user_len, 2);
	assert_memory_equal(r->s.user, "bo", 2);
	assert_db(r, "");
	free(r);
	NEXT(&t, '<', 0,
	     "\x11"
	     "bob\0\x02zzsto");
	NEXT(&t, '>', 1, OK);
	r = play_all_cuts(&t);
	assert_db(r, "sto");
	free(r);
}

static void test_attribute_that_is_cut_is_not_taken(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	t.move[0].n -= 3;
	t.move[0].bytes[0] -= 3;
	r = play_all_cuts(&t);
	assert_int_equal(r->s.attr_pid, 4711);
	assert_int_equal(r->s.program_len, 0);
	free(r);
}

static void test_empty_request_keeps_nothing_of_the_one_before(void **state)
{
	struct dbps_record *r;
	struct talk t;

	(void)state;
	login(&t, CAPS_PLAIN, "alice", "shop");
	NEXT(&t, '<', 0, "\x03use a");
	NEXT(&t, '>', 1, OK);
	NEXT(&t, '<', 0, "");
	NEXT(&t, '>', 1, ERROR_1064);
	r = play_all_cuts(&t);
	assert_int_equal(r->s.command, COM_SLEEP);
	assert_int_equal(r->request.len, 0);
	free(r);
}

static void test_column_count_of_nothing_is_broken(void **state)
{
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_FIRST;
	server_sends(r, "\x03\x00\x00\x01\xfc\x00\x00", 7);
	assert_int_equal(n_broken, 1);
	free(r);
}

static void test_garbage_is_said_to_be_broken(void **state)
{
	struct dbps_record *r = new_record();

	(void)state;
	r->s.phase = DBPS_PHASE_IDLE;
	server_sends(r, "\x03\x00\x00\x01xyz", 7);
	assert_int_equal(n_broken, 1);
	r->s.phase = DBPS_PHASE_PREPARED;
	server_sends(r, "\x03\x00\x00\x01xyz", 7);
	assert_int_equal(n_broken, 2);
	free(r);
}

/* Any bytes, in any phase: no access outside the record (run with SAN=1), no endless loop. */
static void test_random_bytes(void **state)
{
	unsigned int seed = 20261122;
	uint8_t bytes[600];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct dbps_record *r = new_record();

		r->s.phase = (uint8_t)(rand_r(&seed) % DBPS_PHASE_N);
		r->s.caps = (uint32_t)rand_r(&seed);
		r->s.defs_left = 1;
		for (int j = 0; j < 6; j++) {
			size_t n = (size_t)rand_r(&seed) % sizeof(bytes) + 1;

			for (size_t k = 0; k < n; k++)
				bytes[k] = (uint8_t)rand_r(&seed);
			bytes[1] = bytes[2] = 0;
			if (j & 1)
				server_sends(r, bytes, n);
			else
				server_reads(r, bytes, n, 0);
			if (!r->s.phase)
				break;
		}
		free(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_login_gives_user_database_and_attributes),
		cmocka_unit_test(test_user_holds_only_after_ok),
		cmocka_unit_test(test_header_of_an_exact_server_is_not_looked_at),
		cmocka_unit_test(test_header_of_an_exact_server_is_looked_at_now_and_then),
		cmocka_unit_test(test_a_server_that_asks_for_more_is_not_exact),
		cmocka_unit_test(test_answer_to_a_header_alone_is_that_of_an_empty_packet),
		cmocka_unit_test(test_answer_in_the_middle_of_a_body_loses_the_framing),
		cmocka_unit_test(test_unknown_length_behind_an_unread_header_loses_the_framing),
		cmocka_unit_test(test_full_packet_behind_an_unread_header_goes_on),
		cmocka_unit_test(test_authentication_rounds),
		cmocka_unit_test(test_ssl_request_makes_the_session_opaque),
		cmocka_unit_test(test_result_sets_end_at_their_last_byte),
		cmocka_unit_test(test_eof_style_is_learnt),
		cmocka_unit_test(test_multiple_results_end_with_the_last),
		cmocka_unit_test(test_error_is_kept_and_progress_is_not_one),
		cmocka_unit_test(test_deadlock_ends_the_transaction),
		cmocka_unit_test(test_local_infile),
		cmocka_unit_test(test_use_in_a_statement),
		cmocka_unit_test(test_use_among_other_statements),
		cmocka_unit_test(test_session_tracking_gives_the_schema),
		cmocka_unit_test(test_init_db_and_dropped_database),
		cmocka_unit_test(test_change_user),
		cmocka_unit_test(test_change_user_refused),
		cmocka_unit_test(test_prepare_execute_and_close),
		cmocka_unit_test(test_cursor_and_fetch),
		cmocka_unit_test(test_one_packet_answers),
		cmocka_unit_test(test_binlog_dump_streams),
		cmocka_unit_test(test_transaction_is_seen_in_the_status),
		cmocka_unit_test(test_request_over_16_mib),
		cmocka_unit_test(test_row_over_16_mib),
		cmocka_unit_test(test_pipelined_requests_are_told_apart),
		cmocka_unit_test(test_names_that_are_too_long_are_cut_and_marked),
		cmocka_unit_test(test_names_end_with_their_request),
		cmocka_unit_test(test_attribute_that_is_cut_is_not_taken),
		cmocka_unit_test(test_empty_request_keeps_nothing_of_the_one_before),
		cmocka_unit_test(test_what_is_behind_an_ssl_request_is_not_taken),
		cmocka_unit_test(test_answers_in_one_send_are_told_apart),
		cmocka_unit_test(test_what_a_statement_asks_for_may_be_there),
		cmocka_unit_test(test_what_is_held_behind_an_unknown_answer_is_given_up),
		cmocka_unit_test(test_text_that_was_held_in_part_has_no_gap),
		cmocka_unit_test(test_compression_begins_once),
		cmocka_unit_test(test_frames_are_told_by_the_first_request),
		cmocka_unit_test(test_frames_read_ahead_wait_for_their_turn),
		cmocka_unit_test(test_behind_a_quit_nothing_is_a_frame),
		cmocka_unit_test(test_compressed_packets),
		cmocka_unit_test(test_compressed_command_of_another_number),
		cmocka_unit_test(test_compressed_request_for_a_file),
		cmocka_unit_test(test_compressed_file_goes_round),
		cmocka_unit_test(test_compressed_file_goes_round_unseen),
		cmocka_unit_test(test_compressed_request_goes_round),
		cmocka_unit_test(test_direct_behind_a_compressed_prepare),
		cmocka_unit_test(test_compressed_behind_a_stored_header),
		cmocka_unit_test(test_compressed_behind_a_stored_command),
		cmocka_unit_test(test_oceanbase_frames),
		cmocka_unit_test(test_requests_read_ahead_wait_for_their_turn),
		cmocka_unit_test(test_column_count_of_nothing_is_broken),
		cmocka_unit_test(test_garbage_is_said_to_be_broken),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
