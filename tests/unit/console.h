/*
 * A console without a socket: one connection, whose statements are run and whose answers are read
 * as text. Include in one file only, after cmocka.
 */
#ifndef DBPS_CONSOLE_TEST_H
#define DBPS_CONSOLE_TEST_H

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kill/audit.h"
#include "sql/connection.h"

#include "console_answer.h"
#include "console_fakes.h"

static struct dbps_daemon test_daemon = {.config = {.socket = (char *)"/run/dbps/test.sock",
						    .max_connections = 9,
						    .kill_wait_ms = 1234,
						    .sql_time_limit_ms = 5000,
						    .sql_memory_limit_mib = 32}};
static struct sql_counters counters;
static struct sql_connection connection;

static inline int set_up(void **state)
{
	const struct dbps_audit_options no_file = {0};

	(void)state;
	fake_reset();
	if (dbps_audit_open(&no_file, &test_daemon.audit) < 0)
		return -1;
	test_daemon.config.sql_time_limit_ms = 5000;
	test_daemon.config.sql_memory_limit_mib = 32;
	memset(&connection, 0, sizeof(connection));
	connection.daemon = &test_daemon;
	connection.counters = &counters;
	connection.id = 7;
	connection.channel.fd = -1;
	connection.caller = (struct dbps_caller){.rights = DBPS_RIGHT_PROCESS | DBPS_RIGHT_SUPER,
						 .user = "root"};
	snprintf(connection.login, sizeof(connection.login), "someone");
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	dbps_audit_close(test_daemon.audit);
	sql_conditions_clear(&connection);
	wire_writer_done(&connection.channel.out);
	return 0;
}

static inline void become(uid_t uid, const char *name, unsigned int rights)
{
	connection.caller.uid = uid;
	connection.caller.rights = rights;
	snprintf(connection.caller.user, sizeof(connection.caller.user), "%s", name);
}

/* The whole answer, and that there is exactly one. Owned by the caller. */
static inline char *ask(const char *statement)
{
	struct wire_writer *out = &connection.channel.out;
	struct wire_cursor bytes;
	char *answer;

	out->len = 0;
	sql_execute(&connection, statement, strlen(statement));
	assert_int_equal(out->error, 0);
	bytes = wire_cursor(out->bytes, out->len);
	answer = answer_read(&bytes);
	assert_int_equal(bytes.left, 0);
	return answer;
}

static inline void assert_answer(const char *statement, const char *want)
{
	_cleanup_free_ char *answer = ask(statement);

	assert_string_equal(answer, want);
}

static inline void assert_answer_begins(const char *statement, const char *want)
{
	_cleanup_free_ char *answer = ask(statement);

	if (strncmp(answer, want, strlen(want)) != 0)
		assert_string_equal(answer, want);
}

static inline void assert_answer_has(const char *statement, const char *want)
{
	_cleanup_free_ char *answer = ask(statement);

	if (!strstr(answer, want))
		assert_string_equal(answer, want);
}

#endif
