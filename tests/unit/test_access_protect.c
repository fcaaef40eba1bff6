/*
 * Which sessions a kill of many spares, and why: by user, program and command, and the daemon's own
 * link.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "access/protect.h"
#include "config/config.h"
#include "server/engine.h"

#define COM_QUERY	0x03
#define COM_BINLOG_DUMP 0x12

static struct dbps_config config;

/* The defaults of the settings. */
static int protect_by_default(void **state)
{
	(void)state;
	if (dbps_config_defaults(&config))
		return -1;
	dbps_protect_set(
		&(struct dbps_protect_options){config.protect_users, config.protect_programs,
					       config.protect_commands, config.protect_proxies});
	return 0;
}

static int forget(void **state)
{
	(void)state;
	dbps_protect_set(&(struct dbps_protect_options){0});
	dbps_config_done(&config);
	return 0;
}

static struct dbps_session session_of(const char *user, const char *program)
{
	struct dbps_session session = {
		.flags = DBPS_KNOWN_LOGIN | DBPS_FRAMED_IN,
		.phase = DBPS_PHASE_FIRST,
		.command = COM_QUERY,
		.user_len = (uint8_t)strlen(user),
		.program_len = (uint8_t)strlen(program),
	};

	memcpy(session.user, user, strlen(user));
	memcpy(session.program, program, strlen(program));
	return session;
}

static const char *reason(const struct dbps_session *session)
{
	const struct dbps_row row = {.session = session, .engine = DBPS_ENGINE_MARIADB};

	return dbps_protected(&row);
}

static const char *reason_of(const char *user, const char *program)
{
	struct dbps_session session = session_of(user, program);

	return reason(&session);
}

static void ordinary_sessions_are_not_protected(void **state)
{
	(void)state;
	assert_null(reason_of("app", "mariadb"));
	assert_null(reason_of("root", ""));
	assert_null(reason_of("", ""));
}

static void users_are_compared_as_the_server_does(void **state)
{
	(void)state;
	assert_string_equal(reason_of("repl", ""), "protect.users");
	assert_null(reason_of("Repl", ""));
	assert_null(reason_of("repl2", ""));
	assert_null(reason_of("rep", ""));
}

static void programs_are_compared_in_any_case(void **state)
{
	(void)state;
	assert_string_equal(reason_of("app", "mysqldump"), "protect.programs");
	assert_string_equal(reason_of("app", "MariaBackup"), "protect.programs");
	assert_null(reason_of("app", "mysqldump2"));
}

static void replicas_read_the_binary_log(void **state)
{
	struct dbps_session session = session_of("app", "");

	(void)state;
	session.command = COM_BINLOG_DUMP;
	session.phase = DBPS_PHASE_STREAM;
	assert_string_equal(reason(&session), "protect.commands");
	/* What it once did does not count. */
	session.phase = DBPS_PHASE_IDLE;
	assert_null(reason(&session));
}

static void a_name_of_a_login_that_is_not_over_does_not_count(void **state)
{
	struct dbps_session session = session_of("repl", "");

	(void)state;
	session.flags &= ~(unsigned int)DBPS_KNOWN_LOGIN;
	assert_null(reason(&session));
}

static void the_own_link_is_protected_whatever_the_settings(void **state)
{
	struct dbps_session session = session_of("root", "");
	const struct dbps_row row = {.session = &session, .own = true};

	(void)state;
	dbps_protect_set(&(struct dbps_protect_options){0});
	assert_string_equal(dbps_protected(&row), "control link of dbpsd");
	assert_null(reason_of("repl", "mysqldump"));
}

static void lists_have_patterns_and_blanks(void **state)
{
	(void)state;
	dbps_protect_set(&(struct dbps_protect_options){
		.users = " , svc_*,two words ,\tx?z,", .programs = "*", .commands = "query"});
	assert_string_equal(reason_of("svc_pay", ""), "protect.commands");
	dbps_protect_set(&(struct dbps_protect_options){.users = " , svc_*,two words ,\tx?z,"});
	assert_string_equal(reason_of("svc_pay", ""), "protect.users");
	assert_string_equal(reason_of("two words", ""), "protect.users");
	assert_string_equal(reason_of("xyz", ""), "protect.users");
	assert_null(reason_of("two", ""));
	assert_null(reason_of("", ""));
	assert_null(reason_of("xz", ""));
}

#define test(f) cmocka_unit_test_setup_teardown(f, protect_by_default, forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(ordinary_sessions_are_not_protected),
		test(users_are_compared_as_the_server_does),
		test(programs_are_compared_in_any_case),
		test(replicas_read_the_binary_log),
		test(a_name_of_a_login_that_is_not_over_does_not_count),
		test(the_own_link_is_protected_whatever_the_settings),
		test(lists_have_patterns_and_blanks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
