/*
 * From records to rows and columns, with a snapshot, a registry and a map of prepared texts that
 * the tests write themselves.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "access/protect.h"
#include "cleanup.h"
#include "kernel/kernel.h"
#include "server/own.h"
#include "server/registry.h"
#include "session/client.h"
#include "session/columns.h"

#define NOW 10000000000ULL

/* ---------------------------------------------------------------- what the rows are made of - */

static _Alignas(8) char snapshot[1 << 16];
static size_t snapshot_len;
static int snapshot_error;
static unsigned int text_bytes_asked;
static struct dbps_server_view servers[2];
static const char *prepared;
static size_t prepared_whole;
static struct dbps_prepared_key prepared_key;
static struct dbps_holder holders[4];
static size_t n_holders;
static unsigned int holders_asked;

int dbps_kernel_snapshot(struct dbps_kernel *kernel, __u64 cookie, unsigned int text_bytes,
			 bool threads, void **ret_data, size_t *ret_len)
{
	(void)threads, (void)kernel;
	(void)cookie;
	text_bytes_asked = text_bytes;
	if (snapshot_error)
		return snapshot_error;
	*ret_data = snapshot_len ? malloc(snapshot_len) : NULL;
	if (snapshot_len)
		memcpy(*ret_data, snapshot, snapshot_len);
	*ret_len = snapshot_len;
	return 0;
}

int dbps_kernel_snapshot_at(struct dbps_kernel *kernel, const struct dbps_place *place,
			    unsigned int text_bytes, void **ret_data, size_t *ret_len)
{
	return dbps_kernel_snapshot(kernel, place->cookie, text_bytes, false, ret_data, ret_len);
}

int dbps_kernel_prepared(struct dbps_kernel *kernel, const struct dbps_prepared_key *key,
			 char **ret_text, size_t *ret_len, size_t *ret_whole_len)
{
	(void)kernel;
	prepared_key = *key;
	if (!prepared)
		return -ENOENT;
	*ret_text = strdup(prepared);
	*ret_len = strlen(prepared);
	*ret_whole_len = prepared_whole;
	return 0;
}

int dbps_registry_list(struct dbps_registry *registry, struct dbps_server_view **ret_views,
		       size_t *ret_n)
{
	(void)registry;
	*ret_views = malloc(sizeof(servers));
	memcpy(*ret_views, servers, sizeof(servers));
	*ret_n = ARRAY_SIZE(servers);
	return 0;
}

int dbps_registry_by_pid(struct dbps_registry *registry, pid_t pid, struct dbps_server_view *ret)
{
	(void)registry;
	for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
		if (servers[i].pid != pid)
			continue;
		*ret = servers[i];
		return 0;
	}
	return -ENOENT;
}

int dbps_kernel_holders(struct dbps_kernel *kernel, const struct dbps_client_end *ends, size_t n,
			struct dbps_holder **ret_holders, size_t *ret_n)
{
	(void)kernel;
	holders_asked++;
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ends[i].key, ends[i].cookie);
	*ret_holders = malloc(sizeof(holders));
	memcpy(*ret_holders, holders, sizeof(holders));
	*ret_n = n_holders;
	return 0;
}

static int start(void **state)
{
	(void)state;
	n_holders = 0;
	holders_asked = 0;
	snapshot_len = 0;
	snapshot_error = 0;
	prepared = NULL;
	memset(servers, 0, sizeof(servers));
	servers[0] = (struct dbps_server_view){
		.index = 0, .pid = 100, .engine = DBPS_ENGINE_MARIADB, .name = "mariadb-3306"};
	servers[1] = (struct dbps_server_view){
		.index = 1, .pid = 200, .engine = DBPS_ENGINE_MYSQL, .name = "mysql-3307"};
	return 0;
}

/* Adds a record of a session that is logged in and asleep; the caller changes it. */
static struct dbps_session *add(uint64_t id, const char *text)
{
	struct dbps_snapshot_row *raw = (void *)(snapshot + snapshot_len);
	size_t len = text ? strlen(text) : 0;

	memset(raw, 0, sizeof(*raw) + len + 8);
	raw->text_have = (uint32_t)len;
	raw->size = (uint32_t)((sizeof(*raw) + len + 7) & ~7UL);
	raw->now_ns = NOW;
	if (text)
		memcpy(raw + 1, text, len);
	raw->session = (struct dbps_session){
		.flags = DBPS_KNOWN_ID | DBPS_KNOWN_LOGIN | DBPS_KNOWN_CAPS | DBPS_FRAMED_IN,
		.phase = DBPS_PHASE_IDLE,
		.family = DBPS_FAMILY_UNIX,
		.tgid = 100,
		.id = id,
		.cookie = 0x1000 + id,
		.user = "admin",
		.user_len = 5,
		.text_len = (uint32_t)len,
		.start_ns = NOW - 7500000000,
		.end_ns = NOW - 2500000000,
	};
	snapshot_len += raw->size;
	return &raw->session;
}

static struct dbps_session *add_query(uint64_t id, const char *text)
{
	struct dbps_session *s = add(id, text);

	s->phase = DBPS_PHASE_FIRST;
	s->command = 0x03;
	s->flags |= DBPS_HAS_TEXT;
	return s;
}

static struct dbps_rows *read_rows(void)
{
	struct dbps_rows *rows = NULL;

	assert_int_equal(dbps_rows_read(NULL, NULL, 0, DBPS_ROWS_TEXT, &rows), 0);
	assert_non_null(rows);
	return rows;
}

static struct dbps_value value_of(const struct dbps_row *row, const char *name)
{
	for (size_t i = 0; i < dbps_n_columns; i++)
		if (strcmp(dbps_columns[i].name, name) == 0)
			return dbps_columns[i].get(row);
	fail_msg("no column %s", name);
	return (struct dbps_value){.null = true};
}

/* NULL: the column is NULL. */
static void assert_words(const struct dbps_row *row, const char *name, const char *expected)
{
	struct dbps_value value = value_of(row, name);

	assert_int_equal(value.null, !expected);
	if (!expected)
		return;
	assert_int_equal(value.len, strlen(expected));
	assert_memory_equal(value.text, expected, value.len);
}

static void assert_number(const struct dbps_row *row, const char *name, uint64_t expected)
{
	struct dbps_value value = value_of(row, name);

	assert_false(value.null);
	assert_int_equal(value.integer, expected);
}

static void assert_null_value(const struct dbps_row *row, const char *name)
{
	assert_true(value_of(row, name).null);
}

/* ---------------------------------------------------------------- behaviour ----------------- */

static void nothing_is_returned_on_failure(void **state)
{
	struct dbps_rows *rows = (void *)0x1;

	(void)state;
	snapshot_error = -EPERM;
	assert_int_equal(dbps_rows_read(NULL, NULL, 0, DBPS_ROWS_TEXT, &rows), -EPERM);
	assert_ptr_equal(rows, (void *)0x1);
	dbps_rows_free(NULL);
}

static void no_sessions_are_no_rows(void **state)
{
	struct dbps_rows *rows = read_rows();

	(void)state;
	assert_int_equal(rows->n, 0);
	assert_null(dbps_rows_find(rows, 1));
	dbps_rows_free(rows);
}

static void rows_are_sorted_and_found_by_id(void **state)
{
	struct dbps_session *unknown, *other;
	struct dbps_rows *rows;

	(void)state;
	add(42, NULL);
	unknown = add(0, NULL);
	unknown->flags &= ~(uint32_t)DBPS_KNOWN_ID;
	add(7, NULL);
	other = add(7, NULL);
	other->tgid = 200;
	rows = read_rows();
	assert_int_equal(rows->n, 4);
	assert_int_equal(rows->row[0].id, 7);
	assert_int_equal(rows->row[1].id, 42);
	assert_int_equal(rows->row[2].id, 1ULL << 32 | 7);
	assert_int_equal(rows->row[3].id, DBPS_ID_UNKNOWN | 0x1000);
	for (size_t i = 0; i < rows->n; i++)
		assert_ptr_equal(dbps_rows_find(rows, rows->row[i].id), &rows->row[i]);
	assert_null(dbps_rows_find(rows, 8));
	assert_null(dbps_rows_find(rows, UINT64_MAX));
	assert_words(&rows->row[2], "server", "mysql-3307");
	assert_number(&rows->row[2], "server_id", 7);
	assert_null_value(&rows->row[3], "server_id");
	dbps_rows_free(rows);
}

static void a_session_of_a_server_not_known_yet_has_an_id_of_its_own(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add(7, NULL)->tgid = 999;
	rows = read_rows();
	assert_int_equal(rows->row[0].server, UINT32_MAX);
	assert_int_equal(rows->row[0].id, DBPS_ID_UNKNOWN | 0x1007);
	assert_null_value(&rows->row[0], "server");
	assert_number(&rows->row[0], "server_id", 7);
	dbps_rows_free(rows);
}

static void hosts_are_printed_as_the_server_prints_them(void **state)
{
	static const struct {
		uint8_t family;
		const char *addr;
		uint16_t port;
		const char *host;
		const char *transport;
	} hosts[] = {
		{DBPS_FAMILY_UNIX, NULL, 0, "localhost", "unix"},
		{DBPS_FAMILY_INET, "127.0.0.1", 1, "127.0.0.1:1", "tcp"},
		{DBPS_FAMILY_INET, "255.200.90.0", 65535, "255.200.90.0:65535", "tcp"},
		{DBPS_FAMILY_INET6, "::1", 38558, "::1:38558", "tcp6"},
		{DBPS_FAMILY_INET6, "::ffff:10.0.0.7", 80, "10.0.0.7:80", "tcp6"},
		{DBPS_FAMILY_INET6, "2001:db8:1:2:3:4:5:ffff", 80, "2001:db8:1:2:3:4:5:ffff:80",
		 "tcp6"},
		{DBPS_FAMILY_UNKNOWN, NULL, 80, NULL, NULL},
	};
	struct dbps_rows *rows;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct dbps_session *s = add(i, NULL);

		s->family = hosts[i].family;
		s->remote_port = hosts[i].port;
		if (hosts[i].addr)
			inet_pton(s->family == DBPS_FAMILY_INET ? AF_INET : AF_INET6, hosts[i].addr,
				  s->remote_addr);
	}
	rows = read_rows();
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		assert_words(&rows->row[i], "host", hosts[i].host);
		assert_words(&rows->row[i], "transport", hosts[i].transport);
	}
	dbps_rows_free(rows);
}

static void a_session_asleep(void **state)
{
	struct dbps_rows *rows;
	const struct dbps_row *row;

	(void)state;
	add(7, "select 1")->command = 0x03;
	rows = read_rows();
	row = &rows->row[0];
	assert_words(row, "user", "admin");
	assert_words(row, "db", NULL);
	assert_words(row, "command", "Sleep");
	assert_number(row, "time", 2);
	assert_words(row, "state", "SLEEP");
	assert_words(row, "phase", "idle");
	assert_words(row, "info", NULL);
	assert_words(row, "why_no_info", NULL);
	assert_null_value(row, "info_bytes");
	assert_null_value(row, "transaction_ms");
	dbps_rows_free(rows);
}

static void a_statement_that_runs(void **state)
{
	struct dbps_session *s = add_query(7, " select 1 ;");
	struct dbps_rows *rows;
	const struct dbps_row *row;

	(void)state;
	s->flags |= DBPS_IN_TRANSACTION;
	s->trx_start_ns = NOW - 1500000;
	memcpy(s->db, "test", 4);
	s->db_len = 4;
	rows = read_rows();
	row = &rows->row[0];
	assert_words(row, "db", "test");
	assert_words(row, "command", "Query");
	assert_number(row, "time", 7);
	assert_words(row, "state", "ACTIVE");
	assert_words(row, "phase", "executing");
	assert_words(row, "info", "select 1");
	assert_number(row, "info_bytes", 8);
	assert_number(row, "info_cut", 0);
	assert_words(row, "framing", "exact");
	assert_true(value_of(row, "time_ms").real == 7500.0);
	assert_true(value_of(row, "transaction_ms").real == 1.5);
	dbps_rows_free(rows);
}

static void text_is_left_where_the_kernel_wrote_it(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add_query(7, "select 1");
	rows = read_rows();
	assert_null(rows->row[0].owned);
	assert_true(rows->row[0].info > (char *)rows->data &&
		    rows->row[0].info < (char *)rows->data + snapshot_len);
	dbps_rows_free(rows);
}

static void without_text_none_is_asked_for(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add_query(7, NULL);
	assert_int_equal(dbps_rows_read(NULL, NULL, 0, 0, &rows), 0);
	assert_int_equal(text_bytes_asked, 0);
	assert_null(rows->row[0].info);
	assert_null(rows->row[0].why_no_info);
	dbps_rows_free(rows);
}

static void passwords_are_masked_in_both_kinds_of_text(void **state)
{
	struct dbps_session *s;
	struct dbps_rows *rows;

	(void)state;
	s = add_query(7, "do 1; set password = 'x';");
	s->caps = 1 << 16;
	s->results = 1;
	s = add(8, NULL);
	s->phase = DBPS_PHASE_FIRST;
	s->command = 0x17;
	s->flags |= DBPS_EXECUTES;
	prepared = "create user u identified by 'x' ; ";
	prepared_whole = strlen(prepared);
	rows = read_rows();
	assert_words(&rows->row[0], "info", "set password = '***'");
	assert_number(&rows->row[0], "info_bytes", strlen("set password = 'x'"));
	assert_words(&rows->row[1], "info", "create user u identified by '***'");
	dbps_rows_free(rows);
}

static void several_statements_are_split_only_where_agreed(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add_query(1, "do 1; do 2");
	add_query(2, "do 1; do 2")->caps = 1 << 16;
	add_query(3, "do 1; do 2")->flags &= ~(uint32_t)DBPS_KNOWN_CAPS;
	add_query(4, "do 1; do 2")->results = 1;
	rows = read_rows();
	assert_words(&rows->row[0], "info", "do 1; do 2");
	assert_words(&rows->row[1], "info", "do 1");
	assert_words(&rows->row[2], "info", "do 1");
	assert_words(&rows->row[3], "info", "do 2");
	dbps_rows_free(rows);
}

static void a_prepared_statement_shows_its_text(void **state)
{
	struct dbps_session *s = add(7, NULL);
	struct dbps_rows *rows;

	(void)state;
	s->phase = DBPS_PHASE_ROWS;
	s->command = 0x17;
	s->flags |= DBPS_EXECUTES;
	s->stmt_id = 3;
	s->prepare_era = 2;
	prepared = "select ?; ";
	prepared_whole = 5000;
	rows = read_rows();
	assert_int_equal(prepared_key.cookie, 0x1007);
	assert_int_equal(prepared_key.era, 2);
	assert_int_equal(prepared_key.stmt_id, 3);
	assert_words(&rows->row[0], "command", "Execute");
	assert_words(&rows->row[0], "phase", "sending rows");
	assert_words(&rows->row[0], "info", "select ?; ");
	assert_number(&rows->row[0], "info_cut", 1);
	assert_number(&rows->row[0], "info_bytes", 5000);
	dbps_rows_free(rows);
}

static void a_statement_without_text_says_why(void **state)
{
	static const struct {
		uint32_t flags;
		const char *why;
	} reasons[] = {
		{0, "the command has no text"},
		{DBPS_TLS,
		 "the connection is encrypted (TLS), and its library is not read: see dbps doctor"},
		{DBPS_COMPRESSED, "the request was sent compressed"},
		{DBPS_EXECUTES, "the text of the prepared statement is not known"},
		{DBPS_SPLICED_IN,
		 "the server moves bytes in a way that no tap sees (io_uring, or the like)"},
		{DBPS_JOINED, "the statement is older than dbps"},
	};
	struct dbps_rows *rows;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		struct dbps_session *s = add(i, NULL);

		s->phase =
			reasons[i].flags & DBPS_COMPRESSED ? DBPS_PHASE_OPAQUE : DBPS_PHASE_FIRST;
		s->command = 0x0e;
		s->flags = DBPS_KNOWN_ID | reasons[i].flags;
	}
	rows = read_rows();
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		assert_words(&rows->row[i], "info", NULL);
		assert_words(&rows->row[i], "why_no_info", reasons[i].why);
	}
	dbps_rows_free(rows);
}

/* Of a compressed LOAD DATA LOCAL the server's request for the file may be in clear. */
static void a_compressed_request_is_busy(void **state)
{
	static const uint8_t phases[] = {
		DBPS_PHASE_OPAQUE,
		DBPS_PHASE_INFILE,
		DBPS_PHASE_UNFRAMED,
	};
	struct dbps_rows *rows;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		struct dbps_session *s = add(i, NULL);

		s->phase = phases[i];
		s->flags = DBPS_KNOWN_ID | DBPS_COMPRESSED;
	}
	rows = read_rows();
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++) {
		assert_words(&rows->row[i], "command", "Busy");
		assert_words(&rows->row[i], "why_no_info", "the request was sent compressed");
	}
	dbps_rows_free(rows);
}

static void a_login_under_way(void **state)
{
	struct dbps_session *s = add(7, NULL);
	struct dbps_rows *rows;

	(void)state;
	s->phase = DBPS_PHASE_AUTH;
	s->flags = DBPS_KNOWN_ID;
	s->db_len = 4;
	rows = read_rows();
	assert_words(&rows->row[0], "user", "unauthenticated user");
	assert_words(&rows->row[0], "db", NULL);
	assert_words(&rows->row[0], "command", "Connect");
	assert_words(&rows->row[0], "state", "INIT");
	assert_number(&rows->row[0], "time", 7);
	dbps_rows_free(rows);
}

static void what_was_refused_before_it_had_an_id_is_no_session(void **state)
{
	struct dbps_session *s = add(7, NULL);
	struct dbps_rows *rows;

	(void)state;
	s->phase = DBPS_PHASE_CLOSED;
	s->flags = 0;
	s = add(8, NULL);
	s->phase = DBPS_PHASE_CLOSED;
	s->command = 0x01;
	rows = read_rows();
	assert_int_equal(rows->n, 1);
	assert_words(&rows->row[0], "command", "Quit");
	assert_words(&rows->row[0], "phase", "closing");
	dbps_rows_free(rows);
}

static void a_session_older_than_dbps_is_not_guessed_at(void **state)
{
	struct dbps_session *s = add(0, NULL);
	struct dbps_rows *rows;
	const struct dbps_row *row;

	(void)state;
	s->phase = DBPS_PHASE_UNKNOWN;
	s->flags = DBPS_JOINED;
	s->start_ns = s->end_ns = 0;
	rows = read_rows();
	row = &rows->row[0];
	assert_words(row, "user", NULL);
	assert_words(row, "command", NULL);
	assert_words(row, "state", NULL);
	assert_null_value(row, "time");
	assert_null_value(row, "time_ms");
	assert_null_value(row, "connected_s");
	assert_null_value(row, "sequence");
	assert_words(row, "framing", "unknown");
	assert_words(row, "note", "older than dbps");
	dbps_rows_free(rows);
}

static void an_encrypted_session_is_not_guessed_at(void **state)
{
	struct dbps_session *s = add(7, NULL);
	struct dbps_rows *rows;
	const struct dbps_row *row;

	(void)state;
	s->phase = DBPS_PHASE_AUTH;
	s->flags = DBPS_KNOWN_ID | DBPS_FRAMED_IN | DBPS_TLS;
	rows = read_rows();
	row = &rows->row[0];
	assert_words(row, "user", NULL);
	assert_words(row, "command", NULL);
	assert_words(row, "state", NULL);
	assert_null_value(row, "time");
	assert_words(row, "phase", "encrypted");
	assert_words(
		row, "why_no_info",
		"the connection is encrypted (TLS), and its library is not read: see dbps doctor");
	assert_number(row, "server_id", 7);
	dbps_rows_free(rows);
}

static void words_of_the_engines(void **state)
{
	static const struct {
		uint8_t command;
		const char *mariadb, *mysql;
	} commands[] = {
		{0x02, "Init DB", "Init DB"},
		{0x0e, "Ping", "Ping"},
		{0x15, "Register Slave", "Register Replica"},
		{0x1e, "Unimpl get tid", "Binlog Dump GTID"},
		{0x1f, "Reset connection", "Reset Connection"},
		{0xfa, "Bulk_execute", "Bulk_execute"},
		{0x77, "Error", "Error"},
	};
	struct dbps_rows *rows;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		for (uint32_t tgid = 100; tgid <= 200; tgid += 100) {
			struct dbps_session *s = add(i, NULL);

			s->tgid = tgid;
			s->phase = DBPS_PHASE_ONE_PACKET;
			s->command = commands[i].command;
		}
	}
	rows = read_rows();
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		assert_words(dbps_rows_find(rows, i), "command", commands[i].mariadb);
		assert_words(dbps_rows_find(rows, 1ULL << 32 | i), "command", commands[i].mysql);
	}
	dbps_rows_free(rows);
}

static void states_of_kills(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add_query(1, "do 1")->flags |= DBPS_KILLED;
	add_query(2, "do 1")->flags |= DBPS_KILLED | DBPS_KILLED_SESSION;
	add(3, NULL)->flags |= DBPS_KILLED;
	rows = read_rows();
	assert_words(&rows->row[0], "state", "QUERY_KILLED");
	assert_words(&rows->row[1], "state", "SESSION_KILLED");
	assert_words(&rows->row[2], "state", "SLEEP");
	dbps_rows_free(rows);
}

static void time_is_never_negative(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add(1, NULL)->end_ns = NOW + 1;
	rows = read_rows();
	assert_number(&rows->row[0], "time", 0);
	assert_true(value_of(&rows->row[0], "time_ms").real == 0);
	dbps_rows_free(rows);
}

static void the_daemons_own_session_is_marked(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	servers[0].link_id = 7;
	servers[1].link_cookie = 0x1008;
	add(7, NULL);
	add(8, NULL);
	add(7, NULL)->tgid = 200;
	add(8, NULL)->tgid = 200;
	rows = read_rows();
	assert_number(&rows->row[0], "own", 1);
	assert_number(&rows->row[1], "own", 0);
	assert_number(&rows->row[2], "own", 0);
	assert_number(&rows->row[3], "own", 1);
	assert_words(&rows->row[3], "note", "control link of dbpsd");
	dbps_rows_free(rows);
}

static struct dbps_snapshot_row *raw_of(struct dbps_session *s)
{
	return (void *)((char *)s - offsetof(struct dbps_snapshot_row, session));
}

static void an_orphan_executes_though_its_client_has_gone(void **state)
{
	static const struct {
		enum dbps_peer peer;
		const char *orphan, *phase;
	} peers[] = {
		{DBPS_PEER_THERE, NULL, "executing"},
		{DBPS_PEER_HALF_CLOSED, NULL, "executing"},
		{DBPS_PEER_CLOSED, "closed", "orphaned: client closed"},
		{DBPS_PEER_RESET, "reset", "orphaned: reset by client"},
		{DBPS_PEER_TIMED_OUT, "timed out", "orphaned: client timed out"},
		{DBPS_PEER_CUT, "cut", "orphaned: cut off"},
		{DBPS_PEER_GONE, "gone", "orphaned: client gone"},
		{DBPS_PEER_N, NULL, "executing"},
	};
	struct dbps_rows *rows;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
		struct dbps_snapshot_row *raw = raw_of(add_query(i, "do 1"));

		raw->peer = peers[i].peer;
		raw->peer_ns = i == 2 ? NOW - 1500000000 : 0;
	}
	raw_of(add(100, NULL))->peer = DBPS_PEER_CLOSED;
	rows = read_rows();
	for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
		assert_words(&rows->row[i], "orphan", peers[i].orphan);
		assert_words(&rows->row[i], "phase", peers[i].phase);
		assert_int_equal(value_of(&rows->row[i], "orphan_ms").null, i != 2);
	}
	assert_true(value_of(&rows->row[2], "orphan_ms").real == 1500.0);
	assert_null_value(&rows->row[ARRAY_SIZE(peers)], "orphan");
	assert_words(&rows->row[ARRAY_SIZE(peers)], "phase", "idle");
	dbps_rows_free(rows);
}

static void the_table_of_columns_is_whole(void **state)
{
	static const char *const titles[DBPS_N_PROCESSLIST_COLUMNS] = {
		"Id", "User", "Host", "db", "Command", "Time", "State", "Info"};
	struct dbps_rows *rows;

	(void)state;
	add_query(1, "do 1");
	rows = read_rows();
	for (size_t i = 0; i < dbps_n_columns; i++) {
		const struct dbps_column *c = &dbps_columns[i];

		assert_true(c->name && *c->name && c->unit && c->help && *c->help && c->get);
		assert_int_equal(strcspn(c->name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ "), strlen(c->name));
		if (i < DBPS_N_PROCESSLIST_COLUMNS)
			assert_string_equal(c->title, titles[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(c->name, dbps_columns[j].name);
		if (c->type == DBPS_TYPE_TEXT && !c->get(&rows->row[0]).null)
			assert_non_null(c->get(&rows->row[0]).text);
	}
	dbps_rows_free(rows);
}

/* A client's ^C sends the id that it was greeted with. */
static void ids_of_the_console_are_plain_and_nobody_elses(void **state)
{
	struct dbps_session session = {
		.flags = DBPS_KNOWN_ID, .id = DBPS_ID_CONSOLE | 7, .cookie = 99};

	(void)state;
	assert_int_equal(dbps_row_id(&session, DBPS_OWN_INDEX), DBPS_ID_CONSOLE | 7);
	assert_int_equal(dbps_row_id(&session, 0), DBPS_ID_UNKNOWN | 99);
	assert_int_equal(dbps_row_id(&session, 1), 1ULL << 32 | DBPS_ID_CONSOLE | 7);
	session.id = DBPS_ID_CONSOLE - 1;
	assert_int_equal(dbps_row_id(&session, 0), DBPS_ID_CONSOLE - 1);
}

/* CLOCK_BOOTTIME when a process began, to the tick that /proc tells. */
static uint64_t start_of(pid_t pid)
{
	unsigned long long ticks = 0;
	char path[64], line[1024];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	assert_int_equal(sscanf(strrchr(line, ')'),
				") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d "
				"%*d %*d %*d %llu",
				&ticks),
			 1);
	return ticks * (1000000000 / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void hold(uint64_t id, pid_t pid, uint64_t start_ns)
{
	holders[n_holders++] = (struct dbps_holder){.cookie = 0x1000 + id,
						    .pid = (uint32_t)pid,
						    .start_ns = start_ns,
						    .command = "app"};
}

static void a_client_is_the_process_that_holds_the_other_end(void **state)
{
	struct dbps_rows *rows;
	const struct dbps_client_process *client;

	(void)state;
	add(1, NULL)->client_pid = (uint32_t)getpid();
	add(2, NULL);
	hold(1, getpid(), start_of(getpid()) + 1);
	rows = read_rows();
	assert_int_equal(holders_asked, 0);
	client = dbps_row_client(&rows->row[0]);
	assert_non_null(client);
	assert_int_equal(client->pid, getpid());
	assert_string_equal(client->command, "app");
	assert_non_null(strstr(client->exe, "test_session_rows"));
	assert_int_equal(client->cgroup[0], '/');
	assert_string_equal(client->server, "");
	assert_true(dbps_row_owner(&rows->row[0]).known);
	assert_null(dbps_row_client(&rows->row[1]));
	assert_false(dbps_row_owner(&rows->row[1]).known);
	assert_int_equal(holders_asked, 1);
	dbps_rows_free(rows);
}

static void a_process_number_that_means_another_is_not_shown(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add(1, NULL)->client_pid = (uint32_t)getpid();
	hold(1, getpid(), start_of(getpid()) - 20000000);
	rows = read_rows();
	assert_null(dbps_row_client(&rows->row[0]));
	dbps_rows_free(rows);
}

static void of_several_holders_it_is_who_connected_else_the_oldest(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add(1, NULL)->client_pid = (uint32_t)getpid();
	add(2, NULL)->client_pid = 4194999;
	hold(2, getpid(), start_of(getpid()));
	hold(1, getppid(), start_of(getppid()));
	hold(1, getpid(), start_of(getpid()));
	hold(2, getppid(), start_of(getppid()));
	rows = read_rows();
	assert_int_equal(dbps_row_client(&rows->row[0])->pid, getpid());
	assert_int_equal(dbps_row_client(&rows->row[1])->pid,
			 start_of(getppid()) <= start_of(getpid()) ? getppid() : getpid());
	dbps_rows_free(rows);
}

static void a_client_that_is_a_server_is_a_proxy(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	servers[1].pid = getpid();
	add(1, NULL);
	hold(1, getpid(), start_of(getpid()));
	rows = read_rows();
	assert_string_equal(dbps_row_client(&rows->row[0])->server, "mysql-3307");
	assert_string_equal(dbps_proxy(&rows->row[0]), "mysql-3307");
	assert_string_equal(dbps_protected(&rows->row[0]), "protect.proxies");
	dbps_rows_free(rows);
}

static void a_pooler_is_one_by_its_name(void **state)
{
	struct dbps_rows *rows;

	(void)state;
	add(1, NULL);
	hold(1, getpid(), start_of(getpid()));
	rows = read_rows();
	assert_null(dbps_proxy(&rows->row[0]));
	dbps_protect_set(&(struct dbps_protect_options){.proxies = "other, ap?"});
	assert_string_equal(dbps_proxy(&rows->row[0]), "app");
	dbps_protect_set(&(struct dbps_protect_options){.proxies = "test_session_rows"});
	assert_string_equal(dbps_proxy(&rows->row[0]), "app");
	dbps_protect_set(&(struct dbps_protect_options){0});
	dbps_rows_free(rows);
}

static void check_wait(struct dbps_thread_look look, const char *word)
{
	const struct dbps_session session = {.fd = 30, .tgid = (uint32_t)getpid()};
	const struct dbps_row row = {.session = &session, .thread = &look};
	const char *seen = dbps_row_wait(&row);

	if (word)
		assert_string_equal(seen, word);
	else
		assert_null(seen);
}

static void what_a_thread_waits_for(void **state)
{
	struct dbps_thread_look sleeps = {.state = DBPS_THREAD_SLEEPS, .call = SYS_futex};
	int set = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	int pair[2];

	(void)state;
	check_wait((struct dbps_thread_look){0}, NULL);
	check_wait((struct dbps_thread_look){.state = DBPS_THREAD_RUNS}, "cpu");
	check_wait((struct dbps_thread_look){.state = DBPS_THREAD_READY}, "runnable");
	check_wait((struct dbps_thread_look){.state = DBPS_THREAD_DISK}, "disk");
	check_wait((struct dbps_thread_look){.state = DBPS_THREAD_STOPPED}, "stopped");
	check_wait(sleeps, "futex");
	sleeps.call = -1;
	check_wait(sleeps, "other");
	sleeps.call = SYS_fsync;
	check_wait(sleeps, "disk");
	sleeps.call = SYS_ppoll;
	check_wait(sleeps, "poll");
	sleeps.awaited = true;
	check_wait(sleeps, "receive");
	sleeps.full = true;
	check_wait(sleeps, "send");
	sleeps.call = SYS_sendto;
	sleeps.call_fd = 31;
	check_wait(sleeps, "other");
	sleeps.call_fd = 30;
	check_wait(sleeps, "send");
	/* PostgreSQL: by what is in the set. */
	sleeps.call = SYS_epoll_pwait;
	sleeps.call_fd = (uint64_t)set;
	check_wait(sleeps, "latch");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(dup2(pair[0], 30), 30);
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, 30, &event), 0);
	check_wait(sleeps, "send");
	close(pair[0]);
	close(pair[1]);
	close(30);
	close(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_of_the_console_are_plain_and_nobody_elses),
		cmocka_unit_test_setup(nothing_is_returned_on_failure, start),
		cmocka_unit_test_setup(no_sessions_are_no_rows, start),
		cmocka_unit_test_setup(rows_are_sorted_and_found_by_id, start),
		cmocka_unit_test_setup(a_session_of_a_server_not_known_yet_has_an_id_of_its_own,
				       start),
		cmocka_unit_test_setup(hosts_are_printed_as_the_server_prints_them, start),
		cmocka_unit_test_setup(a_session_asleep, start),
		cmocka_unit_test_setup(a_statement_that_runs, start),
		cmocka_unit_test_setup(text_is_left_where_the_kernel_wrote_it, start),
		cmocka_unit_test_setup(without_text_none_is_asked_for, start),
		cmocka_unit_test_setup(passwords_are_masked_in_both_kinds_of_text, start),
		cmocka_unit_test_setup(several_statements_are_split_only_where_agreed, start),
		cmocka_unit_test_setup(a_prepared_statement_shows_its_text, start),
		cmocka_unit_test_setup(a_statement_without_text_says_why, start),
		cmocka_unit_test_setup(a_compressed_request_is_busy, start),
		cmocka_unit_test_setup(a_login_under_way, start),
		cmocka_unit_test_setup(what_was_refused_before_it_had_an_id_is_no_session, start),
		cmocka_unit_test_setup(a_session_older_than_dbps_is_not_guessed_at, start),
		cmocka_unit_test_setup(an_encrypted_session_is_not_guessed_at, start),
		cmocka_unit_test_setup(words_of_the_engines, start),
		cmocka_unit_test_setup(states_of_kills, start),
		cmocka_unit_test_setup(time_is_never_negative, start),
		cmocka_unit_test_setup(the_daemons_own_session_is_marked, start),
		cmocka_unit_test_setup(an_orphan_executes_though_its_client_has_gone, start),
		cmocka_unit_test_setup(the_table_of_columns_is_whole, start),
		cmocka_unit_test_setup(a_client_is_the_process_that_holds_the_other_end, start),
		cmocka_unit_test_setup(a_process_number_that_means_another_is_not_shown, start),
		cmocka_unit_test_setup(of_several_holders_it_is_who_connected_else_the_oldest,
				       start),
		cmocka_unit_test_setup(a_client_that_is_a_server_is_a_proxy, start),
		cmocka_unit_test_setup(a_pooler_is_one_by_its_name, start),
		cmocka_unit_test(what_a_thread_waits_for),
	};

	return cmocka_run_group_tests_name("session rows", tests, NULL, NULL);
}
