/*
 * Titles of PostgreSQL's backends: whose session it is and what it does, or nothing when more than
 * one reading is possible.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dbps/kernel.h"
#include "server/title.h"

static const struct dbps_session over_unix = {
	.family = DBPS_FAMILY_UNIX, .tgid = 4711, .sequence = 0};
static const struct dbps_session over_tcp = {.family = DBPS_FAMILY_INET,
					     .tgid = 4711,
					     .remote_addr = {127, 0, 0, 1},
					     .remote_port = 5000};

static void check_title(const char *title, const struct dbps_session *session, const char *user,
			const char *db, int command, uint32_t flags)
{
	struct dbps_adoption a;

	assert_true(dbps_title_parse(title, session, &a));
	assert_int_equal(a.id, 4711);
	assert_int_equal(a.user_len, strlen(user));
	assert_memory_equal(a.user, user, strlen(user));
	assert_int_equal(a.db_len, strlen(db));
	assert_memory_equal(a.db, db, strlen(db));
	assert_int_equal(a.command, command);
	assert_int_equal(a.flags, flags);
	assert_int_equal(a.start_ns, 0);
}

static void titles(void **state)
{
	(void)state;
	check_title("postgres: web shop [local] idle", &over_unix, "web", "shop", 0, 0);
	check_title("postgres: web shop 127.0.0.1(5000) idle in transaction", &over_tcp, "web",
		    "shop", 0, DBPS_IN_TRANSACTION);
	check_title("postgres: 15/main: web shop 127.0.0.1(5000) idle in transaction (aborted)",
		    &over_tcp, "web", "shop", 0, DBPS_IN_TRANSACTION | DBPS_ABORTED);
	check_title("postgres: web shop [local] SELECT", &over_unix, "web", "shop", 3, 0);
	check_title("postgres: web shop [local] UPDATE waiting", &over_unix, "web", "shop", 3, 0);
}

static void what_is_no_title(void **state)
{
	static const char *const bad[] = {
		"",
		"postgres: ",
		"postgres: checkpointer",
		"psql -h localhost",
		"postgres: web shop 127.0.0.1(5001) idle", /* another client */
		"postgres: my web shop [local] idle",	   /* which of the blanks? */
		"postgres: web shop [local] authentication",
		"postgres: web [local] idle",
	};
	struct dbps_adoption a;

	(void)state;
	memset(&a, 0x5a, sizeof(a));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(dbps_title_parse(bad[i], i == 4 ? &over_tcp : &over_unix, &a));
	assert_int_equal(a.command, 0x5a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(titles),
		cmocka_unit_test(what_is_no_title),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
