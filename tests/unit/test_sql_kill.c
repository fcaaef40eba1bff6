/*
 * KILL as it is written: each grammar with what it asks for, each error with nothing killed, and
 * the answers of a kill of many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "access/protect.h"
#include "console.h"

/* Ids of the last kill of many, "41 42"; what it asked for is in fake.kill_request. */
static const char *killed(void)
{
	static char text[256];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < fake.n_kill_items; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%llu", i ? " " : "",
					(unsigned long long)fake.kill_items[i].id);
	return text;
}

static void forget(void)
{
	fake.n_kill_items = 0;
	memset(&fake.kill_request, 0, sizeof(fake.kill_request));
	fake.kill_request.id = 77;
}

static void assert_killed(const char *statement, const char *ids)
{
	forget();
	free(ask(statement));
	assert_string_equal(killed(), ids);
	assert_ptr_equal(fake.kill_request.caller, *ids ? &connection.caller : NULL);
}

static void words_before_the_id(void **state)
{
	static const struct {
		const char *statement;
		bool connection, soft;
		enum dbps_kill_when when;
	} kills[] = {
		{"kill 41", true, false, DBPS_KILL_NOW},
		{"kill hard 41", true, false, DBPS_KILL_NOW},
		{"KILL SOFT 41", true, true, DBPS_KILL_NOW},
		{"kill hard connection '41'", true, false, DBPS_KILL_NOW},
		{"kill soft connection 41", true, true, DBPS_KILL_NOW},
		{"kill soft query 41", false, true, DBPS_KILL_NOW},
		{"kill hard query 41;", false, false, DBPS_KILL_NOW},
		{"kill 41 after statement", true, false, DBPS_KILL_AFTER_STATEMENT},
		{"kill connection 41 AFTER TRANSACTION ;", true, false,
		 DBPS_KILL_AFTER_TRANSACTION},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kills); i++) {
		forget();
		assert_answer_begins(kills[i].statement, "OK: confirmed");
		assert_int_equal(fake.kill_request.id, 41);
		assert_int_equal(fake.kill_request.connection, kills[i].connection);
		assert_int_equal(fake.kill_request.soft, kills[i].soft);
		assert_int_equal(fake.kill_request.when, kills[i].when);
		assert_string_equal(fake.kill_statement, kills[i].statement);
		assert_string_equal(fake.kill_reason, "\\N");
		assert_ptr_equal(fake.kill_request.audit, test_daemon.audit);
	}
}

static void a_comment_is_the_reason(void **state)
{
	static const struct {
		const char *statement, *reason;
	} kills[] = {
		{"kill /* blocks the shop */ 41", "blocks the shop"},
		{"/*a*/ kill 41 /* b */", "a"},
		{"kill 41 /*\n two\n lines \n*/", "two\n lines"},
		{"kill '41' /**/", "\\N"},
		{"kill 41 -- /* not this */", "\\N"},
		{"kill '/* 41 */' ", ""},
		{"kill 41 /*! after statement */", "\\N"},
		{"kill where user = '/* x */' or id = 41 /* y */", "y"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kills); i++) {
		fake.kill_reason[0] = '\0';
		free(ask(kills[i].statement));
		assert_string_equal(fake.kill_reason, kills[i].reason);
	}
}

static void what_is_not_understood_kills_nothing(void **state)
{
	static const char *const wrong[] = {
		"kill hard soft 41",
		"kill query hard 41",
		"kill 41 after",
		"kill 41 after lunch",
		"kill query 41 after statement",
		"kill 41 after statement after transaction",
		"kill 41 limit 1",
		"kill 41 dry run",
		"kill 41 /* and so on",
		"kill where",
		"kill where ;",
		"kill where order by id",
		"kill where limit 1",
		"kill where dry run",
		"kill where ()",
		"kill where id = 41)",
		"kill where (id = 41",
		"kill where id = 41) or (1 = 1",
		"kill where id = 41; select 1",
		"kill where id = 41; drop table x",
		"kill where (select 1; select 2)",
		"kill where id = 41 limit",
		"kill where id = 41 limit x",
		"kill where id = 41 limit 1, 2",
		"kill where id = 41 limit -1",
		"kill where id = 41 limit 1 limit 2",
		"kill where id = 41 order id",
		"kill where id = 41 order by",
		"kill where id = 41 order by id)",
		"kill where id = 41 limit 1 order by id",
		"kill where id = 41 dry",
		"kill where id = 41 dry run dry run",
		"kill where id = 41 dry run limit 1",
		"kill where id = 41 after",
		"kill query where id = 41 after statement",
		"kill where user = 'admin",
		"kill where user = \"admin",
		"kill where user = 'admin' || db = 'x'",
		"kill where user = ?",
		"kill where user = @u",
		"kill where id = 41 -- \n /* dry run",
		"kill where id = 41 union select 1",
		"kill where id = 41 group by id",
		"kill where max(id) = 41",
		"kill where id = = 41",
		"kill where 41",
		"kill where '41'",
		"kill where id",
		"kill where time",
		"kill where time_ms",
		"kill where id & 41",
		"kill user",
		"kill user admin@",
		"kill user admin admin",
		"kill user 'admin",
		"kill user 'admin\\0x'",
		"kill user admin@'localhost\\0'",
		"kill '41\\0'",
		"kill user current_user",
		"kill user current_user()",
		"kill user admin where id = 41",
		"kill query user admin after statement",
		"kill query id",
		"kill query id x",
		"kill query id 41 after statement",
		"kill connection query id 41",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_free_ char *answer = NULL;

		forget();
		answer = ask(wrong[i]);
		if (strncmp(answer, "ERR 1064 42000: ", 16) != 0 || fake.kill_request.caller)
			assert_string_equal(wrong[i], answer);
	}
	assert_answer("kill where user = 'admin dry run",
		      "ERR 1064 42000: dbps finds no end of the quotes near ''admin dry run'; "
		      "SHOW STATEMENTS lists what it understands");
	assert_answer("kill where (id = 41",
		      "ERR 1064 42000: dbps does not understand this, something may be missing at "
		      "its end; SHOW STATEMENTS lists what it understands");
}

static void conditions_are_sqlites_with_its_errors(void **state)
{
	(void)state;
	forget();
	assert_answer("kill where user = admin",
		      "ERR 1054 42S22: no such column: admin; a text is written in quotes, and "
		      "SELECT * FROM processlist LIMIT 1 has all columns");
	assert_answer("kill where id in (select id from t)", "ERR 1146 42S02: no such table: t");
	assert_answer("kill where sleep(1)", "ERR 1305 42000: no such function: sleep");
	assert_answer("kill where load_extension('x')",
		      "ERR 1290 HY000: dbps reads the sessions only: not authorized to use "
		      "function: load_extension");
	assert_answer_begins("kill where id = 41 order by nowhere",
			     "ERR 1054 42S22: no such column: nowhere;");
	test_daemon.config.sql_time_limit_ms = 20;
	assert_answer_begins("kill where (with recursive n(i) as (select 1 union all select i + 1 "
			     "from n) select count(*) from n)",
			     "ERR 3024 HY000: ");
	assert_null(fake.kill_request.caller);
}

static void a_condition_chooses(void **state)
{
	(void)state;
	assert_killed("kill where user = 'admin'", "41");
	assert_killed("kill where user = \"admin\" or db = 'x'", "41 4294967337");
	assert_killed("kill where (((id = 42)))", "42");
	assert_killed("kill where id in (select id from processlist order by id limit 1)", "41");
	assert_killed("kill where info like 'select sleep%' and time >= 5", "41");
	assert_killed("kill where case when id = 41 then 1 end", "41");
	assert_killed("kill where `user` = 'app' # and no more", "42");
	assert_killed("kill where id = 41 or user = 'app' or null", "41 42");
	assert_killed("kill where not tls order by id limit 1", "41");
	assert_killed("kill where user in ('a', 'b')", "");
	assert_killed("KILL WHERE command = 'Sleep' ORDER BY user DESC LIMIT 1;",
		      "4503599627371500");
	assert_killed("kill where 1 order by (id = 42) desc, id limit 2", "42 41");
	assert_killed("kill where 1 limit 0", "");
	assert_killed("kill where 1 limit 1 dry run", "");
}

static void what_is_chosen_is_named_by_session_and_statement(void **state)
{
	const struct dbps_kill_item *items = fake.kill_items;

	(void)state;
	assert_killed("kill soft where id in (41, 42) order by id after transaction", "41 42");
	assert_true(items[0].cookie == 1001 && items[0].sequence == 1 && items[0].executes);
	assert_true(items[1].cookie == 1002 && items[1].sequence == 1 && !items[1].executes);
	assert_true(fake.kill_request.connection && fake.kill_request.soft);
	assert_int_equal(fake.kill_request.when, DBPS_KILL_AFTER_TRANSACTION);
	assert_int_equal(fake.kill_request.timeout_ms, 1234);
	/* Where nothing runs there is no statement to kill. */
	assert_killed("kill query where id in (41, 42)", "41");
	assert_false(fake.kill_request.connection);
}

static void the_oldest_comes_first(void **state)
{
	(void)state;
	fake.sessions[1].age_s = 60;
	fake.sessions[2].age_s = 30;
	assert_killed("kill where 1 limit 2", "42 4294967337");
	assert_killed("kill query where 1 limit 1", "4294967337");
}

static void a_kill_of_many_has_a_row_for_each(void **state)
{
	(void)state;
	fake.kill_answers[1] = (struct dbps_kill_answer){
		DBPS_KILL_PENDING, 0, "", false, 1234, "pending: it still runs"};
	fake.kill_answers[2] = (struct dbps_kill_answer){
		DBPS_KILL_REFUSED, 1105, "HY000", false, 0.5, "out of reach"};
	fake.kill_answers[3] = (struct dbps_kill_answer){DBPS_KILL_MISSED,	0, "", false, 0,
							 "missed: it had ended"};
	assert_answer("kill where 1 order by id",
		      "id|outcome|ms|text\n"
		      "41|confirmed|1.4|confirmed: statement 3 interrupted after 1.4 ms (control "
		      "link)\n"
		      "42|pending|1234|pending: it still runs\n"
		      "4294967337|refused|0.5|out of reach\n"
		      "4503599627371500|missed|0|missed: it had ended\n");
	assert_answer("show count(*) warnings", "@@session.warning_count\n2\n");
	assert_answer("show warnings limit 1",
		      "Level|Code|Message\nWarning|1105|42: pending: it still runs\n");
	assert_answer("show warnings", "Level|Code|Message\n"
				       "Warning|1105|42: pending: it still runs\n"
				       "Warning|1105|4294967337: out of reach\n");
	assert_answer("kill where 0", "id|outcome|ms|text\n");
	assert_answer("show warnings", "Level|Code|Message\n");
}

static void a_dry_run_lists_and_kills_nothing(void **state)
{
	(void)state;
	forget();
	assert_answer("kill query where time > 3 order by id limit 1 dry run",
		      "id|user|host|db|command|time|info|spared\n"
		      "41|admin|localhost|test|Query|7|select sleep(60)|\\N\n");
	assert_answer("kill user app dry run", "id|user|host|db|command|time|info|spared\n"
					       "42|app|localhost|\\N|Sleep|7|\\N|\\N\n");
	assert_answer("kill where 1 after statement limit 0 dry run",
		      "ERR 1064 42000: dbps does not "
		      "understand this near 'limit 0 "
		      "dry run'; SHOW STATEMENTS lists "
		      "what it understands");
	assert_null(fake.kill_request.caller);
}

static void protected_sessions_are_spared(void **state)
{
	const struct dbps_protect_options options = {.users = "app"};

	(void)state;
	dbps_protect_set(&options);
	assert_killed("kill where id in (41, 42)", "41");
	assert_answer("kill where id = 42", "id|outcome|ms|text\n42|spared|\\N|protect.users\n");
	/* They take no place of the limit. */
	assert_killed("kill where command = 'Sleep' order by id limit 1", "4503599627371500");
	assert_answer("kill where id = 42 dry run",
		      "id|user|host|db|command|time|info|spared\n"
		      "42|app|localhost|\\N|Sleep|7|\\N|protect.users\n");
	forget();
	assert_answer("kill user app", "OK: confirmed: 1 spared");
	assert_null(fake.kill_request.caller);
	assert_answer_begins("kill 42", "OK: confirmed: statement 3");
	dbps_protect_set(&(struct dbps_protect_options){0});
}

static void without_super_only_own_sessions_are_chosen(void **state)
{
	(void)state;
	become(1001, "app", DBPS_RIGHT_PROCESS);
	assert_killed("kill where 1 order by id", "42 4294967337 4503599627371500");
	assert_killed("kill where id = 41", "");
	/* What is seen may be asked about. */
	assert_killed("kill where id = (select id + 1 from processlist where id = 41)", "42");
	become(1001, "app", 0);
	assert_killed("kill where id = (select id + 1 from processlist where id = 41)", "");
}

static void a_user_is_named_exactly(void **state)
{
	static const struct {
		const char *statement, *ids;
	} kills[] = {
		{"kill user admin", "41"},
		{"KILL CONNECTION USER 'admin'", "41"},
		{"kill user `admin`@localhost", "41"},
		{"kill user \"admin\"@'%'", "41"},
		{"kill user admin@10.0.0.1", ""},
		{"kill user ADMIN", ""},
		{"kill user 'admi%'", ""},
		{"kill user adm", ""},
		{"kill user tcp", "43 44"},
		{"kill user tcp@10.0.0.1", "43"},
		{"kill user tcp@'10.0.0.1'", "43"},
		{"kill user tcp@'fe80::1'", "44"},
		{"kill user tcp@fe80::1", "44"},
		{"kill user tcp@10.0.0", ""},
		{"kill user tcp@'10.0.0.1:4711'", ""},
		{"kill query user app", ""},
		{"kill soft query user admin", "41"},
		{"kill user tcp limit 1", "43"},
	};

	(void)state;
	fake.sessions[4] = (struct fake_session){
		.cookie = 1005, .id = 43, .tgid = 100, .user = "tcp", .remote = "10.0.0.1"};
	fake.sessions[5] = (struct fake_session){
		.cookie = 1006, .id = 44, .tgid = 100, .user = "tcp", .remote = "fe80::1"};
	/* The name of one that is longer may be another's. */
	fake.sessions[6] = (struct fake_session){
		.cookie = 1007, .id = 45, .tgid = 100, .user = "tcp", .flags = DBPS_CUT_USER};
	fake.n_sessions = 7;
	for (size_t i = 0; i < ARRAY_SIZE(kills); i++)
		assert_killed(kills[i].statement, kills[i].ids);
}

static void a_user_kill_answers_ok_with_how_many(void **state)
{
	(void)state;
	for (size_t i = 0; i < 4; i++)
		fake.sessions[i].user = "app";
	assert_answer("kill user app", "OK (4): confirmed: 4 confirmed");
	fake.kill_answers[1] = (struct dbps_kill_answer){
		DBPS_KILL_PENDING, 0, "", false, 1234, "pending: it still runs"};
	fake.kill_answers[3] = (struct dbps_kill_answer){DBPS_KILL_MISSED,	0, "", false, 0,
							 "missed: it had ended"};
	assert_answer("kill user app", "OK (3) 1: pending: 2 confirmed, 1 missed, 1 pending");
	assert_answer("show warnings",
		      "Level|Code|Message\nWarning|1105|42: pending: it still runs\n");
	fake.kill_answers[0] = (struct dbps_kill_answer){
		DBPS_KILL_REFUSED, 1105, "HY000", false, 0.5, "out of reach"};
	assert_answer("kill user app",
		      "OK (2) 2: refused: 1 confirmed, 1 missed, 1 pending, 1 refused");
	assert_answer("kill user nobody", "OK: missed: no such session");
	/* As MariaDB: refused to who sees that there is one, of no effect to others. */
	become(5, "eve", DBPS_RIGHT_PROCESS);
	assert_answer("kill user app", "ERR 1095 HY000: Operation KILL USER failed for 'app'@'%'");
	become(5, "eve", 0);
	assert_answer("kill user app", "OK: missed: no such session");
}

static void a_query_id_names_a_statement(void **state)
{
	(void)state;
	fake.query_ids[0] = 900;
	fake.query_ids[1] = 901;
	assert_killed("kill query id 900", "41");
	assert_true(fake.kill_items[0].cookie == 1001 && fake.kill_items[0].executes);
	assert_false(fake.kill_request.connection);
	assert_killed("kill soft query id '900'", "41");
	assert_true(fake.kill_request.soft);
	assert_answer("kill query id 5", "ERR 1957 HY000: Unknown query id: 5");
	assert_answer("kill query id -1", "ERR 1957 HY000: Unknown query id: -1");
	/* MySQL knows none. */
	assert_answer("kill query id 901", "ERR 1957 HY000: Unknown query id: 901");
	fake.servers[1].engine = DBPS_ENGINE_MARIADB;
	assert_killed("kill query id 901", "4294967337");
	fake.query_ids[1] = 900;
	assert_answer("kill query id 900",
		      "ERR 1105 HY000: Several servers have a query 900: choose one with USE");
	fake.link_errors[0] = -ENOTCONN;
	assert_answer("kill query id 900", "ERR 1105 HY000: A server cannot be asked who executes "
					   "query 900: server 0 is silent");
	assert_answer("use mysql-3307", "OK: ");
	assert_killed("kill query id 900", "4294967337");
	become(5, "eve", DBPS_RIGHT_PROCESS);
	assert_answer("kill query id 900", "ERR 1979 HY000: You are not owner of query 900");
}

static void a_query_id_of_a_session_that_is_idle_by_now_is_unknown(void **state)
{
	(void)state;
	fake.query_ids[0] = 900;
	fake.sessions[0].text = NULL;
	forget();
	assert_answer("kill query id 900", "ERR 1957 HY000: Unknown query id: 900");
	assert_null(fake.kill_request.caller);
}

static void a_chosen_server_bounds_the_choice(void **state)
{
	(void)state;
	assert_answer("use mysql-3307", "OK: ");
	assert_killed("kill where id = 41", "4294967337");
	assert_answer("kill where id = 41",
		      "id|outcome|ms|text\n41|confirmed|1.4|confirmed: statement 3 interrupted "
		      "after 1.4 ms (control link)\n");
	assert_killed("kill user admin", "");
	fake.n_servers = 1;
	assert_answer("kill where 1", "ERR 1049 42000: Unknown database 'mysql-3307'");
	assert_answer("kill user app", "ERR 1049 42000: Unknown database 'mysql-3307'");
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(words_before_the_id),
		test(a_comment_is_the_reason),
		test(what_is_not_understood_kills_nothing),
		test(conditions_are_sqlites_with_its_errors),
		test(a_condition_chooses),
		test(what_is_chosen_is_named_by_session_and_statement),
		test(the_oldest_comes_first),
		test(a_kill_of_many_has_a_row_for_each),
		test(a_dry_run_lists_and_kills_nothing),
		test(protected_sessions_are_spared),
		test(without_super_only_own_sessions_are_chosen),
		test(a_user_is_named_exactly),
		test(a_user_kill_answers_ok_with_how_many),
		test(a_query_id_names_a_statement),
		test(a_query_id_of_a_session_that_is_idle_by_now_is_unknown),
		test(a_chosen_server_bounds_the_choice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
