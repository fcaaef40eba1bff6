/*
 * SELECT over the sessions: what is seen of them, in which names and types, and what SQLite may not
 * do: write, reach out, or go on for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "console.h"
#include "sql/memory.h"
#include "sql/query.h"

static void any_select_works(void **state)
{
	(void)state;
	assert_answer("select id, user from processlist where db = 'test'", "id|user\n41|admin\n");
	assert_answer("SELECT count(*) FROM processlist;", "count(*)\n4\n");
	assert_answer("select server, count(*) n, max(time) from processlist group by server "
		      "order by n desc, server desc limit 1",
		      "server|n|max(time)\nmysql-3307|2|7\n");
	assert_answer("select a.id from processlist a join processlist b on b.id = a.id "
		      "where b.info like 'select%'",
		      "id\n41\n");
	assert_answer("with x as (select user from processlist where command = 'Query') "
		      "select count(*) from x",
		      "count(*)\n2\n");
	assert_answer("select (select count(*) from processlist) as n", "n\n4\n");
	assert_answer("select id from processlist where id in (42, 4294967337) order by 1 desc",
		      "id\n4294967337\n42\n");
	assert_answer("select id from processlist where id = '42' or id = 41.0", "id\n41\n42\n");
	assert_answer("select user from processlist where 0", "user\n");
}

static void every_column_is_there(void **state)
{
	_cleanup_free_ char *sessions = ask("show full sessions");
	_cleanup_free_ char *all = ask("select * from processlist");

	(void)state;
	/* The ages differ. */
	assert_memory_equal(sessions, all, strcspn(sessions, "\n"));
}

static void the_servers_own_name_of_the_table_works(void **state)
{
	(void)state;
	assert_answer("SELECT ID, USER FROM INFORMATION_SCHEMA.PROCESSLIST WHERE COMMAND='query' "
		      "AND DB = 'TEST'",
		      "ID|USER\n41|admin\n");
	assert_answer("select p.Id, `User` from information_schema.processlist as p where p.id=42",
		      "Id|User\n42|app\n");
	/* As mysqld_exporter asks. */
	assert_answer("SELECT user, SUBSTRING_INDEX(host, ':', 1) AS host, COALESCE(command,'') AS "
		      "command, COALESCE(state,'') AS state, count(*) AS processes, sum(time) AS "
		      "seconds FROM information_schema.processlist WHERE ID != connection_id() AND "
		      "TIME >= 0 AND user='app' GROUP BY user, SUBSTRING_INDEX(host, ':', 1), "
		      "command, state ORDER BY null",
		      "user|host|command|state|processes|seconds\n"
		      "app|localhost|Sleep|SLEEP|1|7\n");
	assert_answer("select concat('kill ', id, ';') from processlist where user = 'admin'",
		      "concat('kill ', id, ';')\nkill 41;\n");
}

static void mysqls_quotes_and_comments_are_understood(void **state)
{
	(void)state;
	/* "user" is a text here, and no column. */
	assert_answer("select \"user\" as t, 'it\\'s', \"a'b\" from processlist limit 1",
		      "t|'it''s'|'a''b'\nuser|it's|a'b\n");
	assert_answer("select id /* not all */ from processlist # of them\n"
		      "where user = \"admin\" -- nor here",
		      "id\n41\n");
	assert_answer("select id from processlist where user like 'ad\\_in' or info like '%\\%'",
		      "id\n");
	assert_answer("select id from processlist where user like 'AD_in'", "id\n41\n");
	assert_answer("select current_user, database() from processlist limit 1",
		      "current_user()|database()\nroot@localhost|\\N\n");
	assert_answer("select if(id = 41, left(user, 2), right(user, 2)) x, char_length(user) "
		      "from processlist where id < 43",
		      "x|char_length(user)\nad|5\npp|3\n");
	assert_answer("select concat_ws('-', 'a', null, 'b'), concat('a', null) "
		      "from processlist limit 1",
		      "concat_ws('-', 'a', null, 'b')|concat('a', null)\na-b|\\N\n");
	assert_answer(
		"select substring_index('a.b.c', '.', 2) a, substring_index('a.b.c', '.', -2) "
		"b, substring_index('a.b', '.', -5) c, substring_index('a.b', '', 1) d "
		"from processlist limit 1",
		"a|b|c|d\na.b|b.c|a.b|\n");
}

/* Types of the columns of the last answer: 'U'nsigned, 'S'igned, 'D'ouble or 'T'ext each. */
static const char *types_of(const char *statement)
{
	static char types[32];
	_cleanup_free_ char *answer = ask(statement);
	struct wire_cursor bytes =
		wire_cursor(connection.channel.out.bytes, connection.channel.out.len);
	struct wire_slice count = answer_packet(&bytes);
	size_t n = (uint8_t)*count.data;

	assert_true(n < sizeof(types));
	for (size_t i = 0; i < n; i++) {
		struct wire_slice packet = answer_packet(&bytes);
		/* The fixed part is at the end: type, flags, decimals, two zeros. */
		const uint8_t *end = (const uint8_t *)packet.data + packet.len;

		if (end[-6] == WIRE_TYPE_LONGLONG)
			types[i] = end[-5] & WIRE_COLUMN_UNSIGNED ? 'U' : 'S';
		else
			types[i] = end[-6] == WIRE_TYPE_DOUBLE ? 'D' : 'T';
	}
	types[n] = '\0';
	return types;
}

static void columns_have_the_types_of_what_is_in_them(void **state)
{
	(void)state;
	assert_string_equal(types_of("select id, user, time_ms, db, last_error from processlist"),
			    "UTDTU");
	assert_string_equal(types_of("select count(*), id - 100, avg(id), 'x', null, max(user) "
				     "from processlist"),
			    "SSDTTT");
	/* What differs from row to row is what holds all of it. */
	assert_string_equal(types_of("select id from processlist union select 'x'"), "T");
	assert_string_equal(types_of("select id from processlist union select -1"), "S");
	assert_string_equal(types_of("select id from processlist union select 1.5"), "D");
	assert_string_equal(types_of("select id, time_ms from processlist where 0"), "UD");
	assert_answer("select -1 a, 9e999 b, x'41' c from processlist limit 1",
		      "a|b|c\n-1|\\N|A\n");
}

static void callers_see_what_show_shows_them(void **state)
{
	(void)state;
	become(1001, "app", 0);
	assert_answer("select id from processlist", "id\n42\n4294967337\n4503599627371500\n");
	assert_answer("select count(*) from processlist where id = 41", "count(*)\n0\n");
	become(1001, "app", DBPS_RIGHT_SUPER);
	assert_answer("select count(*) from processlist", "count(*)\n3\n");
	become(1001, "app", DBPS_RIGHT_PROCESS);
	assert_answer("select count(*) from processlist", "count(*)\n4\n");
}

static void a_chosen_server_is_all_that_is_seen(void **state)
{
	(void)state;
	assert_answer("use mysql-3307", "OK: ");
	assert_answer("select id, database() d from processlist",
		      "id|d\n41|mysql-3307\n4503599627371500|mysql-3307\n");
	assert_answer("select user from processlist where id = 41", "user\nother\n");
	fake.n_servers = 1;
	assert_answer("select 1 from processlist", "ERR 1049 42000: Unknown database 'mysql-3307'");
}

static void errors_have_the_servers_numbers(void **state)
{
	(void)state;
	assert_answer_begins("select nowhere from processlist",
			     "ERR 1054 42S22: no such column: nowhere;");
	assert_answer_begins("select `nowhere` from processlist",
			     "ERR 1054 42S22: no such column: nowhere;");
	assert_answer("select id from processlist a, processlist b",
		      "ERR 1052 23000: ambiguous column name: id");
	assert_answer("select 1 from t", "ERR 1146 42S02: no such table: t");
	assert_answer("select sleep(1) from processlist",
		      "ERR 1305 42000: no such function: sleep");
	assert_answer("select id from processlist where", "ERR 1064 42000: incomplete input");
	assert_answer("select id from processlist group having x",
		      "ERR 1064 42000: near \"having\": syntax error");
	fake.snapshot_error = -EOPNOTSUPP;
	assert_answer("select id from processlist",
		      "ERR 1105 HY000: dbps could not find out: Operation not supported");
}

static void what_sqlite_takes_for_something_else_is_refused(void **state)
{
	static const char *const refused[] = {
		"select id from processlist; select 2",
		"select id from processlist where user = 'a' || user = 'b'",
		"select @a from processlist",
		"select ? from processlist",
		"select :a from processlist",
		"select $a from processlist",
		"select [id] from processlist",
		"select 'a from processlist",
		"select `a from processlist",
		"select 'a\\0b' from processlist",
		"select id from processlist /* and so on",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_answer_begins(refused[i], "ERR 1064 42000: dbps ");
	assert_answer_begins("select 'a' 'b' x from processlist", "ERR 1064 42000: near \"x\"");
}

static void nothing_but_the_sessions_is_read(void **state)
{
	static const char *const refused[] = {
		"select * from sqlite_master",
		"select * from sqlite_schema",
		"select name from pragma_database_list",
		"select * from pragma_table_info('processlist')",
		"select name from dbstat",
		"select sql from sqlite_stmt",
		"select value from json_each('[1]'), processlist",
		"select load_extension('/tmp/x.so') from processlist",
		"select fts3_tokenizer('simple') from processlist",
		"with x as (select 1) insert into processlist select * from x",
		"with x as (select 1) delete from processlist",
		"with x as (select 1) update processlist set id = 1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		_cleanup_free_ char *answer = ask(refused[i]);

		if (strncmp(answer, "ERR 1290 HY000: dbps reads the sessions only: ", 46) != 0 &&
		    strncmp(answer, "ERR 1064 42000: table processlist may not be modified", 53) !=
			    0 &&
		    strncmp(answer, "ERR 1146 42S02: ", 16) != 0)
			assert_string_equal(answer, refused[i]);
	}
}

/* What no statement of the console could be: the authorizer alone refuses it. */
static void sqlite_itself_may_only_select(void **state)
{
	static const char *const refused[] = {
		"attach ':memory:' as x",
		"attach '/tmp/dbps-must-not-be' as x",
		"detach main",
		"pragma temp_store",
		"pragma writable_schema = on",
		"vacuum",
		"vacuum into '/tmp/dbps-must-not-be'",
		"create table t (a)",
		"create temp table t (a)",
		"create virtual table t using fts5(a)",
		"create virtual table t using processlist",
		"create view v as select 1",
		"drop table processlist",
		"insert into processlist (id) values (1)",
		"delete from processlist",
		"begin",
		"savepoint x",
		"explain select 1; drop table processlist",
		"analyze",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		_cleanup_(sql_query_done) struct sql_query query = {0};
		int r;

		assert_int_equal(sql_query_open(&connection, &query), 0);
		r = sql_query_prepare(&query, refused[i]);
		if (!r)
			r = sql_query_step(&query);
		if (r == SQLITE_DONE || r == SQLITE_ROW || r == SQLITE_OK)
			assert_string_equal(refused[i], "not allowed");
	}
	assert_int_not_equal(access("/tmp/dbps-must-not-be", F_OK), 0);
}

static void time_is_limited(void **state)
{
	(void)state;
	test_daemon.config.sql_time_limit_ms = 20;
	assert_answer(
		"with recursive n(i) as (select 1 union all select i + 1 from n) "
		"select count(*) from n",
		"ERR 3024 HY000: Query execution was interrupted, maximum statement execution "
		"time exceeded (sql.time_limit_ms = 20)");
	assert_answer_begins("select count(*) from processlist a, processlist b, processlist c, "
			     "processlist d, processlist e, processlist f, processlist g, "
			     "processlist h, processlist i, processlist j, processlist k, "
			     "processlist l, processlist m, processlist n, processlist o",
			     "ERR 3024 HY000: ");
	test_daemon.config.sql_time_limit_ms = 5000;
	assert_answer("select count(*) from processlist", "count(*)\n4\n");
}

static const char many[] = "with recursive n(i) as (select 1 union all select i + 1 from n limit "
			   "100000) ";

static void assert_many(const char *rest, const char *want)
{
	char statement[512];

	snprintf(statement, sizeof(statement), "%s%s", many, rest);
	assert_answer_begins(statement, want);
}

static void memory_is_limited(void **state)
{
	(void)state;
	test_daemon.config.sql_memory_limit_mib = 4;
	/* A sorter, a result, and values that are too long. */
	assert_many("select count(*) from (select i, hex(randomblob(50)) h from n order by h)",
		    "ERR 3170 HY000: Memory capacity exceeded (sql.memory_limit_mib = 4)");
	assert_many("select hex(randomblob(1000)) from n", "ERR 3170 HY000: ");
	assert_many("select group_concat(hex(randomblob(100))) from n",
		    "ERR 1406 22001: string or blob too big");
	assert_answer_begins("select zeroblob(1000000000) from processlist",
			     "ERR 1406 22001: string or blob too big");
	become(1001, "app", DBPS_RIGHT_PROCESS);
	assert_many("select count(*) from (select i, hex(randomblob(50)) h from n order by h)",
		    "ERR 3170 HY000: ");
	test_daemon.config.sql_memory_limit_mib = 32;
	assert_answer("select count(*) from processlist", "count(*)\n4\n");
}

static pthread_barrier_t step;

/* As much as one statement may have, of a caller without SUPER. */
static void *hold_memory(void *data)
{
	void *held;

	(void)data;
	sql_memory_begin(4 << 20, true);
	held = sqlite3_malloc64((4 << 20) - 8192);
	pthread_barrier_wait(&step);
	pthread_barrier_wait(&step);
	sqlite3_free(held);
	sql_memory_end();
	return held;
}

static void *take_memory(bool shares)
{
	void *taken;

	sql_memory_begin(4 << 20, shares);
	taken = sqlite3_malloc64(1 << 20);
	sqlite3_free(taken);
	sql_memory_end();
	return taken;
}

static void memory_of_others_is_limited_together_and_keeps_nobody_from_running(void **state)
{
	pthread_t threads[SQL_MEMORY_SHARES];

	(void)state;
	free(ask("select 1 from processlist")); /* SQLite makes what it keeps */
	pthread_barrier_init(&step, NULL, SQL_MEMORY_SHARES + 1);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hold_memory, NULL), 0);
	pthread_barrier_wait(&step);
	test_daemon.config.sql_memory_limit_mib = 4;
	assert_null(take_memory(true));
	assert_non_null(take_memory(false));
	assert_answer("select count(*) from processlist", "count(*)\n4\n");
	become(1001, "app", DBPS_RIGHT_PROCESS);
	assert_answer_begins("select count(*) from processlist", "ERR ");
	pthread_barrier_wait(&step);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		void *held = NULL;

		assert_int_equal(pthread_join(threads[i], &held), 0);
		assert_non_null(held);
	}
	pthread_barrier_destroy(&step);
	assert_non_null(take_memory(true));
	assert_answer("select count(*) from processlist", "count(*)\n4\n");
}

/* Each table of WITH reads the one before twice: compiled, it would be 2 to the power of 40. */
static void compiling_is_limited(void **state)
{
	_cleanup_free_ char *statement = malloc(10000);
	size_t len;

	(void)state;
	test_daemon.config.sql_memory_limit_mib = 4;
	len = (size_t)sprintf(statement, "with c0 as (select id from processlist)");
	for (int i = 1; i < 40; i++)
		len += (size_t)sprintf(statement + len, ", c%d as (select a.id from c%d a, c%d b)",
				       i, i - 1, i - 1);
	sprintf(statement + len, " select * from c39");
	assert_answer_begins(statement, "ERR 3170 HY000: ");
}

static void statements_are_limited(void **state)
{
	_cleanup_free_ char *statement = malloc(200000);
	size_t len;

	(void)state;
	assert_non_null(statement);
	len = (size_t)sprintf(statement, "select 1 from processlist where 1");
	while (len < 70000)
		len += (size_t)sprintf(statement + len, " and 1");
	assert_answer_begins(statement, "ERR ");
	len = (size_t)sprintf(statement, "select 1 from processlist where ");
	memset(statement + len, '(', 300);
	sprintf(statement + len + 300, "1");
	memset(statement + len + 301, ')', 300);
	statement[len + 601] = '\0';
	assert_answer_begins(statement, "ERR 1064 ");
	len = (size_t)sprintf(statement, "select 1 from processlist");
	for (int i = 1; i < 50; i++)
		len += (size_t)sprintf(statement + len, " union select 1 from processlist");
	assert_answer(statement, "1\n1\n");
	sprintf(statement + len, " union select 1 from processlist");
	assert_answer(statement, "ERR 1064 42000: A statement may have at most 50 SELECTs");
	len = (size_t)sprintf(statement, "select 1 from processlist where user like '%%");
	memset(statement + len, 'a', 2000);
	sprintf(statement + len + 2000, "'");
	assert_answer(statement, "ERR 1064 42000: LIKE pattern is too long");
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(any_select_works),
		test(every_column_is_there),
		test(the_servers_own_name_of_the_table_works),
		test(mysqls_quotes_and_comments_are_understood),
		test(columns_have_the_types_of_what_is_in_them),
		test(callers_see_what_show_shows_them),
		test(a_chosen_server_is_all_that_is_seen),
		test(errors_have_the_servers_numbers),
		test(what_sqlite_takes_for_something_else_is_refused),
		test(nothing_but_the_sessions_is_read),
		test(sqlite_itself_may_only_select),
		test(time_is_limited),
		test(memory_is_limited),
		test(memory_of_others_is_limited_together_and_keeps_nobody_from_running),
		test(compiling_is_limited),
		test(statements_are_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
