/*
 * Every statement of the console with its answer: to root, to a caller without rights, with a
 * server chosen and without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "dbps/slots.h"
#include "kill/audit.h"
#include "sql/connection.h"
#include "sql/statements.h"

#include "console.h"

static void root_sees_the_whole_host(void **state)
{
	(void)state;
	assert_answer("show processlist",
		      "Id|User|Host|db|Command|Time|State|Info\n"
		      "41|admin|localhost|test|Query|7|ACTIVE|select sleep(60)\n"
		      "42|app|localhost|\\N|Sleep|7|SLEEP|\\N\n"
		      "4294967337|other|localhost|x|Query|7|ACTIVE|do 1\n"
		      "4503599627371500|early|localhost|\\N|Sleep|7|SLEEP|\\N\n");
}

static void a_chosen_server_has_its_own_ids(void **state)
{
	(void)state;
	assert_answer("use mysql-3307", "OK: ");
	assert_answer("show full processlist",
		      "Id|User|Host|db|Command|Time|State|Info\n"
		      "41|other|localhost|x|Query|7|ACTIVE|do 1\n"
		      "4503599627371500|early|localhost|\\N|Sleep|7|SLEEP|\\N\n");
	assert_answer("select database()", "database()\nmysql-3307\n");
}

static void others_see_their_own_sessions(void **state)
{
	(void)state;
	become(1000, "admin", 0);
	assert_answer("show processlist",
		      "Id|User|Host|db|Command|Time|State|Info\n"
		      "41|admin|localhost|test|Query|7|ACTIVE|select sleep(60)\n");
	become(1000, "admin", DBPS_RIGHT_SUPER);
	assert_answer_has("show processlist", "\n41|admin");
	become(1000, "admin", DBPS_RIGHT_PROCESS);
	assert_answer_has("show processlist", "\n42|app");
}

static void info_is_cut_at_100_bytes_between_characters(void **state)
{
	char text[140];

	(void)state;
	memset(text, 'x', 99);
	snprintf(text + 99, sizeof(text) - 99, "\xc3\xbc and more");
	fake.sessions[0].text = text;
	fake.n_sessions = 1;
	_cleanup_free_ char *plain = ask("show processlist");
	assert_string_equal(strrchr(plain, '|') + 100, "\n");
	_cleanup_free_ char *full = ask("show full processlist");
	assert_string_equal(strrchr(full, '|') + 100, "\xc3\xbc and more\n");
	_cleanup_free_ char *sessions = ask("show sessions");
	assert_null(strstr(sessions, "and more"));
}

static void sessions_with_the_columns_that_are_wanted(void **state)
{
	(void)state;
	assert_answer_begins("show sessions server, ID, wait", "server|Id|wait\n");
	assert_answer_begins("show full sessions info", "Info\n");
	assert_answer_has("show sessions id,nonsense", "1064");
	assert_answer_has("show sessions id server", "1064");
	assert_answer_has("show sessions id,", "1064");
}

static void orphans_are_those_that_execute_for_nobody(void **state)
{
	(void)state;
	assert_answer("show orphans", "Id|User|Host|db|Command|Time|orphan|orphan_ms|Info\n");
	fake.sessions[1].peer = DBPS_PEER_CLOSED; /* it does not execute */
	fake.sessions[2].peer = DBPS_PEER_RESET;
	assert_answer("show orphans", "Id|User|Host|db|Command|Time|orphan|orphan_ms|Info\n"
				      "4294967337|other|localhost|x|Query|7|reset|\\N|do 1\n");
	assert_answer_begins("show full orphans", "id|user|host|db|command|time|state|info|server");
	become(1000, "admin", 0);
	assert_answer("show orphans", "Id|User|Host|db|Command|Time|orphan|orphan_ms|Info\n");
}

static void reserve_drops_what_is_idle(void **state)
{
	const char *columns = "Id|User|Host|db|idle_s|phase|answer\n";
	_cleanup_free_ char *dry = NULL, *real = NULL;

	(void)state;
	fake.limits = (struct dbps_server_limits){.max_connections = 2};
	assert_answer_begins("reserve 1", "ERR 1105 HY000: of which server?");
	assert_answer_begins("reserve 1 for nobody", "ERR 1049");
	assert_answer("use mariadb-3306", "OK: ");
	assert_answer("reserve 0", "OK: mariadb-3306: 0 of 2 connections are free: nothing was "
				   "dropped");
	dry = ask("reserve 1 dry run");
	assert_int_equal(strncmp(dry, columns, strlen(columns)), 0);
	assert_non_null(strstr(dry, "42|app|localhost|\\N|7|idle, transaction unknown|would be"));
	assert_int_equal(fake.n_killed_as_many, 0);
	real = ask("reserve 1 for `mariadb-3306`");
	assert_non_null(strstr(real, "|idle, transaction unknown|confirmed"));
	assert_int_equal(fake.n_killed_as_many, 1);
	assert_true(fake.kill_request.connection);
	assert_string_equal(fake.kill_reason, "reserve");
}

static void demote_and_restore_name_a_session_as_kill_does(void **state)
{
	(void)state;
	assert_answer_begins("demote 41", "OK: confirmed");
	assert_string_equal(fake.act, "demote");
	assert_int_equal(fake.kill_request.id, 41);
	assert_answer("use mysql-3307", "OK: ");
	assert_answer_begins("restore '41' /* it is done */", "OK: confirmed");
	assert_string_equal(fake.act, "restore");
	assert_int_equal(fake.kill_request.id, 1ULL << 32 | 41);
	assert_string_equal(fake.kill_statement, "restore '41' /* it is done */");
	assert_string_equal(fake.kill_reason, "it is done");
	fake.act = NULL;
	assert_answer_begins("demote", "ERR 1064");
	assert_answer_begins("demote 41 after statement", "ERR 1064");
	assert_answer_begins("demote -1", "ERR 1094 HY000: Unknown thread id: -1");
	assert_null(fake.act);
}

static void reserve_says_why_it_could_not(void **state)
{
	(void)state;
	assert_answer("reserve 1 for mariadb-3306",
		      "ERR 1105 HY000: how many connections mariadb-3306 serves is not known, "
		      "which needs its control link: no way in; without it: KILL WHERE server = "
		      "'mariadb-3306' AND phase = 'idle' LIMIT 1, which takes the longest idle "
		      "first");
	fake.limits = (struct dbps_server_limits){.max_connections = 2};
	assert_answer_begins("reserve 3 for mariadb-3306", "ERR 1105 HY000: mariadb-3306 "
							   "serves 2 connections at all");
	fake.kill_answer.outcome = DBPS_KILL_MISSED;
	free(ask("reserve 2 for mariadb-3306"));
	assert_answer("show warnings",
		      "Level|Code|Message\nWarning|1105|mariadb-3306: only 0 of 2 sessions could "
		      "be dropped: 1 executing, 1 changed meanwhile\n");
	become(1001, "app", DBPS_RIGHT_PROCESS);
	assert_answer_begins("reserve 1 for mariadb-3306", "ERR 1227");
}

static void sessions_have_every_column(void **state)
{
	(void)state;
	assert_answer_begins("show full sessions",
			     "id|user|host|db|command|time|state|info|server|");
}

static void kill_names_session_and_kind(void **state)
{
	static const struct {
		const char *statement;
		uint64_t id;
		bool connection;
	} kills[] = {
		{"kill 41", 41, true},
		{"KILL CONNECTION 41;", 41, true},
		{"kill query '41'", 41, false},
		{"Kill Query \" 41 \" -- now", 41, false},
		{"/* a */ kill /* b */ query # c\n 41 ;", 41, false},
		{"kill 4503599627371500", 4503599627371500, true},
		{"kill 18446744073709551615", UINT64_MAX, true},
		{"kill 0", 0, true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kills); i++) {
		fake.kill_request.id = 77;
		assert_answer(kills[i].statement,
			      "OK: confirmed: statement 3 interrupted after 1.4 ms (control link)");
		assert_true(fake.kill_request.id == kills[i].id);
		assert_int_equal(fake.kill_request.connection, kills[i].connection);
		assert_int_equal(fake.kill_request.timeout_ms, 1234);
		assert_ptr_equal(fake.kill_request.caller, &connection.caller);
	}
}

static void kill_of_no_id_kills_nothing(void **state)
{
	static const char *const wrong[] = {
		"kill",		  "kill query", "kill connection",  "kill 41 42",
		"kill x",	  "kill '4x'",	"kill ''",	    "kill '41",
		"kill 4.1",	  "kill 0x29",	"kill 41; kill 42", "kill query id",
		"kill (41)",	  "kill hard",	"kill user",	    "kill query connection 41",
		"kill '41' '42'", "kill null",	"kill @a",	    "kill - ",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		fake.kill_request.timeout_ms = 0;
		assert_answer_begins(wrong[i], "ERR 1064 42000: ");
		assert_int_equal(fake.kill_request.timeout_ms, 0);
	}
}

static void ids_that_nothing_can_have_are_unknown(void **state)
{
	(void)state;
	assert_answer("kill -1", "ERR 1094 HY000: Unknown thread id: -1");
	assert_answer("kill 18446744073709551616",
		      "ERR 1094 HY000: Unknown thread id: 18446744073709551616");
	assert_answer("use mariadb-3306", "OK: ");
	assert_answer("kill 4294967337", "ERR 1094 HY000: Unknown thread id: 4294967337");
	assert_int_equal(fake.kill_request.timeout_ms, 0);
}

static void kill_takes_the_ids_of_the_chosen_server(void **state)
{
	(void)state;
	assert_answer("use mysql-3307", "OK: ");
	assert_answer_begins("kill query 41", "OK: confirmed");
	assert_true(fake.kill_request.id == ((1ULL << 32) | 41));
	/* A session whose id is not known, when it is of this server and when of another. */
	assert_answer_begins("kill 4503599627371500", "OK: confirmed");
	assert_true(fake.kill_request.id == (DBPS_ID_UNKNOWN | 1004));
	assert_answer("kill 4503599627371497",
		      "ERR 1094 HY000: Unknown thread id: 4503599627371497");
}

static void errors_of_kill_name_the_id_that_was_asked_for(void **state)
{
	(void)state;
	assert_answer("use mysql-3307", "OK: ");
	fake.kill_answer = (struct dbps_kill_answer){
		DBPS_KILL_REFUSED, 1094, "HY000", false, 0, "Unknown thread id: 4294967337"};
	assert_answer("kill 41", "ERR 1094 HY000: Unknown thread id: 41");
	fake.kill_answer.error = 1095;
	assert_answer("kill 41", "ERR 1095 HY000: You are not owner of thread 41");
	fake.kill_answer = (struct dbps_kill_answer){
		DBPS_KILL_REFUSED, 1105, "HY000", false, 0, "nothing can reach the statement"};
	assert_answer("kill 41", "ERR 1105 HY000: nothing can reach the statement");
}

static void a_pending_kill_is_a_warning(void **state)
{
	(void)state;
	fake.kill_answer.outcome = DBPS_KILL_PENDING;
	snprintf(fake.kill_answer.text, sizeof(fake.kill_answer.text), "pending: still running");
	assert_answer("kill query 41", "OK 1: pending: still running");
	assert_answer("select @@warning_count", "@@warning_count\n1\n");
	assert_answer("show count(*) warnings", "@@session.warning_count\n1\n");
	assert_answer("show count(*) errors", "@@session.error_count\n0\n");
	assert_answer("show errors", "Level|Code|Message\n");
	assert_answer("show warnings limit 0", "Level|Code|Message\n");
	assert_answer("show warnings", "Level|Code|Message\nWarning|1105|pending: still running\n");
	assert_answer_begins("show grants", "Grants");
	assert_answer("show warnings", "Level|Code|Message\n");
}

static void a_missed_kill_is_ok(void **state)
{
	(void)state;
	fake.kill_answer.outcome = DBPS_KILL_MISSED;
	snprintf(fake.kill_answer.text, sizeof(fake.kill_answer.text), "missed: it had ended");
	assert_answer("kill query 41", "OK: missed: it had ended");
	assert_answer("show warnings", "Level|Code|Message\n");
}

static void errors_are_kept_for_show_warnings(void **state)
{
	(void)state;
	fake.kill_answer = (struct dbps_kill_answer){DBPS_KILL_REFUSED,	    1094, "HY000", false, 0,
						     "Unknown thread id: 5"};
	assert_answer("kill 5", "ERR 1094 HY000: Unknown thread id: 5");
	assert_answer("show errors", "Level|Code|Message\nError|1094|Unknown thread id: 5\n");
	assert_answer("show warnings", "Level|Code|Message\nError|1094|Unknown thread id: 5\n");
}

static void servers_are_for_those_with_process(void **state)
{
	(void)state;
	assert_answer("show servers",
		      "name|engine|version|pid|addresses|sessions|link|link_text|container\n"
		      "mariadb-3306|mariadb|10.11.19-MariaDB|100|0.0.0.0:3306|2|up|"
		      "root over /run/mysqld/mysqld.sock|\\N\n"
		      "mysql-3307|mysql|\\N|200||2|down|"
		      "Access denied for user 'root'@'localhost'|\\N\n");
	become(1000, "admin", DBPS_RIGHT_SUPER);
	assert_answer("show servers",
		      "ERR 1227 42000: Access denied; you need (at least one of) the PROCESS "
		      "privilege(s) for this operation");
	assert_answer_begins("show doctor", "ERR 1227 42000: ");
}

static void doctor_tells_what_works(void **state)
{
	(void)state;
	assert_answer_begins("show doctor", "subject|item|status|detail\n"
					    "kernel|tp_btf/sock_recv_length|ok|the tap\n");
	assert_answer_has("show doctor", "\nkernel|fast_thing|fallback|speed: kernel too old; "
					 "instead: slow_thing; lost: time\n");
	assert_answer_has("show doctor", "\nkernel|no_thing|missing|");
	assert_answer_has("show doctor", "\nmariadb-3306|KILL QUERY|ok|exactly: this one\n");
	assert_answer_has("show doctor", "\nmariadb-3306|KILL|ok|cut: its socket; roughly: ");
	assert_answer_has("show doctor", "\nmysql-3307|control link|problem|Access denied");
	assert_answer_has("show doctor", "\nmysql-3307|KILL QUERY|problem|");
	assert_answer_has("show doctor", "\nmysql-3307|KILL|fallback|cut: its socket; a running ");
	fake.servers[1].link = DBPS_LINK_UP;
	assert_answer_has("show doctor", "\nmysql-3307|KILL QUERY|fallback|roughly: ");
	assert_answer_has("show doctor", "\nlosses|bad_packet|missing|3 times\n");
}

static void grants_say_what_the_caller_may(void **state)
{
	(void)state;
	const char *own = "own sessions: those whose client runs on this host as uid 5\n";
	char expected[512];

	assert_answer("show grants",
		      "Grants for root@localhost|why\n"
		      "GRANT PROCESS ON *.* TO 'root'@'localhost'|root may do all\n"
		      "GRANT SUPER ON *.* TO 'root'@'localhost'|root may do all\n"
		      "GRANT USAGE ON *.* TO 'root'@'localhost'|own sessions: those whose client "
		      "runs on this host as uid 0\n");
	become(5, "eve", 0);
	snprintf(expected, sizeof(expected),
		 "Grants for eve@localhost|why\nGRANT USAGE ON *.* TO 'eve'@'localhost'|%s", own);
	assert_answer("show grants for current_user()", expected);
	become(5, "eve", DBPS_RIGHT_SUPER);
	snprintf(connection.caller.super_rule, sizeof(connection.caller.super_rule), "@dba");
	snprintf(expected, sizeof(expected),
		 "Grants for eve@localhost|why\n"
		 "GRANT SUPER ON *.* TO 'eve'@'localhost'|access.super names @dba\n"
		 "GRANT USAGE ON *.* TO 'eve'@'localhost'|%s",
		 own);
	assert_answer("SHOW GRANTS FOR CURRENT_USER;", expected);
	assert_answer("show grants for eve", expected);
	assert_answer("show grants for 'eve'@'localhost'", expected);
	assert_answer("show grants for `eve`@`%`;", expected);
	assert_answer_begins(
		"show grants for 'bob'@'%'",
		"ERR 1044 42000: Access denied for user 'eve'@'localhost' to the grants");
	assert_answer_begins("show grants for root", "ERR 1044");
	assert_answer_begins("show grants for", "ERR 1064");
	assert_answer_begins("show grants for eve@", "ERR 1064");
	assert_answer_begins("show grants for eve x", "ERR 1064");
}

/* A kill of session `i` of the fakes by somebody; refused with `error`, or confirmed. */
static void note_kill(uid_t uid, const char *name, unsigned int rights, size_t i,
		      unsigned int error)
{
	struct dbps_caller caller = {.uid = uid, .pid = 77, .rights = rights};
	struct dbps_kill_request request = {
		.id = 42, .caller = &caller, .statement = "kill query 42", .reason = "too long"};
	struct dbps_kill_answer answer = {.outcome =
						  error ? DBPS_KILL_REFUSED : DBPS_KILL_CONFIRMED,
					  .error = error,
					  .elapsed_ms = 1.5,
					  .text = "what was said"};
	struct dbps_rows *rows = NULL;
	struct dbps_audit_record record;

	snprintf(caller.user, sizeof(caller.user), "%s", name);
	assert_int_equal(dbps_rows_read(NULL, NULL, fake.sessions[i].cookie, DBPS_ROWS_TEXT, &rows),
			 0);
	dbps_audit_asked(&record, &request);
	dbps_audit_found(&record, &rows->row[0], dbps_caller_sees(&caller, &rows->row[0]));
	dbps_audit_ended(test_daemon.audit, &record, &answer, "by test");
	dbps_rows_free(rows);
}

static void kills_are_told_to_who_may_know(void **state)
{
	(void)state;
	note_kill(0, "root", DBPS_RIGHT_PROCESS | DBPS_RIGHT_SUPER, 0, 0);
	note_kill(1000, "ann", 0, 0, 0);
	note_kill(1000, "ann", 0, 2, ER_KILL_DENIED_ERROR);
	assert_answer_begins("show kills", "number|time|uid|caller|pid|program|kill|id|server|user|"
					   "host|db|sequence|text|text_bytes|reason|how|outcome|"
					   "error|ms|answer|cookie|seen\n3|");
	assert_answer_has("show kills",
			  "|1000|ann|77|\\N|kill query 42|42|mysql-3307|other|localhost|x|1|do 1|4|"
			  "too long|by test|refused|1095|1.5|what was said|1003|0\n2|");
	assert_answer_has("show kills", "|0|root|77|\\N|kill query 42|42|mariadb-3306|admin|");
	assert_answer_begins("show kills limit 0", "number|");
	become(1000, "ann", 0);
	/* An own kill of a session that one may not see tells nothing of that session. */
	assert_answer_has("show kills limit 1",
			  "|1000|ann|77|\\N|kill query 42|42|\\N|\\N|\\N|\\N|\\N|\\N|\\N|"
			  "too long|by test|refused|1095|1.5|what was said|\\N|0\n");
	assert_answer_has("show kills",
			  "|42|mariadb-3306|admin|localhost|test|1|select sleep(60)|");
	become(1001, "bob", DBPS_RIGHT_SUPER);
	assert_answer("show kills", "number|time|uid|caller|pid|program|kill|id|server|user|"
				    "host|db|sequence|text|text_bytes|reason|how|outcome|error|ms|"
				    "answer|cookie|seen\n");
	assert_answer_begins("show kills limit", "ERR 1064");
	assert_answer_begins("show kills x", "ERR 1064");
}

static void databases_are_servers(void **state)
{
	(void)state;
	assert_answer("show databases", "Database\nmariadb-3306\nmysql-3307\n");
	assert_answer("show schemas like 'my%'", "Database\nmysql-3307\n");
	assert_answer("show tables", "Tables\n");
	assert_answer("show full tables from `x` like 'y'", "Tables\n");
}

static void use_takes_names_of_servers(void **state)
{
	(void)state;
	assert_answer("use `mysql-3307`", "OK: ");
	assert_answer("USE 'mariadb-3306';", "OK: ");
	assert_answer("use nothing", "ERR 1049 42000: Unknown database 'nothing'");
	assert_answer("select schema()", "schema()\nmariadb-3306\n");
	assert_answer_begins("use", "ERR 1064");
	assert_answer_begins("use a b; c", "ERR 1064");
	assert_answer_begins("use `", "ERR 1064");
	/* Longer than a name can be, but like one as far as it is looked at. */
	assert_answer_begins(
		"use mariadb-3306xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
		"ERR 1049");
}

static void a_chosen_server_that_has_gone_is_unknown(void **state)
{
	(void)state;
	assert_answer("use mysql-3307", "OK: ");
	fake.n_servers = 1;
	assert_answer("show processlist", "ERR 1049 42000: Unknown database 'mysql-3307'");
	assert_answer("kill 41", "ERR 1094 HY000: Unknown thread id: 41");
}

static void status_and_losses_are_counted(void **state)
{
	(void)state;
	assert_answer("show losses",
		      "name|count\nno_storage|0\ncontended|0\nunreadable|0\nunknown_call|0\n"
		      "bad_packet|3\nresync|0\nprepared_text|0\nevent|0\ntorn|0\nleft_out|0\n");
	assert_answer("show global status like 'dbps_loss_bad%'",
		      "Variable_name|Value\nDbps_loss_bad_packet|3\n");
	assert_answer_has("show status", "\nUptime|");
}

static void variables_are_told_both_ways(void **state)
{
	(void)state;
	assert_answer("show variables like 'autocommit'", "Variable_name|Value\nautocommit|ON\n");
	assert_answer("select @@autocommit", "@@autocommit\n1\n");
	assert_answer("show session variables where variable_name = 'socket'",
		      "Variable_name|Value\nsocket|/run/dbps/test.sock\n");
	assert_answer("SELECT @@session.max_allowed_packet, @@GLOBAL.wait_timeout as w limit 1",
		      "@@session.max_allowed_packet|w\n1048576|28800\n");
	assert_answer("select @@nothing", "ERR 1193 HY000: Unknown system variable 'nothing'");
}

static void every_variable_has_a_value(void **state)
{
	(void)state;
	_cleanup_free_ char *answer = ask("show variables");
	size_t lines = 0;

	for (const char *at = answer; (at = strchr(at, '\n')); at++)
		lines++;
	assert_true(lines > 40);
	assert_null(strstr(answer, "|\\N"));
}

static void selects_are_what_clients_ask(void **state)
{
	(void)state;
	assert_answer("select @@version_comment limit 1",
		      "@@version_comment\ndbps: database sessions seen from the kernel\n");
	assert_answer("select connection_id()", "connection_id()\n7\n");
	assert_answer("SELECT CURRENT_USER(), USER()",
		      "CURRENT_USER()|USER()\nroot@localhost|someone@localhost\n");
	assert_answer("select current_user", "current_user\nroot@localhost\n");
	assert_answer("select DATABASE(), version() /*!50038 , @@autocommit */",
		      "DATABASE()|version()|@@autocommit\n\\N|5.7.99-dbps-" DBPS_VERSION "|1\n");
	assert_answer("select 1", "1\n1\n");
	assert_answer("select -1, 1.5, 'it''s' as `a b`, null n, true \"t\" from dual",
		      "-1|1.5|a b|n|t\n-1|1.5|it's|\\N|1\n");
	assert_answer("select 1 limit 0", "1\n");
	assert_answer("select sleep(0.001), 2", "sleep(0.001)|2\n0|2\n");
	assert_answer("select sleep(3600) limit 0", "sleep(3600)\n");
	assert_answer("select sleep(-3600)", "sleep(-3600)\n0\n");
}

static void a_statement_that_is_killed_says_so(void **state)
{
	(void)state;
	dbps_slots_prepare(&fake_cancels, &fake_cancels.slot[5], 99, DBPS_CANCEL_STATEMENT);
	assert_true(dbps_slots_publish(&fake_cancels.slot[5]));
	assert_answer("select sleep(0.001)", "sleep(0.001)\n0\n");
	connection.cookie = 99;
	assert_answer("select sleep(3600)", "ERR 1317 70100: Query execution was interrupted");
	fake.kill_answer =
		(struct dbps_kill_answer){.outcome = DBPS_KILL_PENDING, .interrupted = true};
	assert_answer("kill 41", "ERR 1317 70100: Query execution was interrupted");
	assert_true(fake.kill_request.interrupted(fake.kill_request.interrupted_data));
	connection.cookie = 0;
	assert_false(fake.kill_request.interrupted(fake.kill_request.interrupted_data));
	memset(&fake_cancels, 0, sizeof(fake_cancels));
}

static void other_selects_are_refused(void **state)
{
	static const char *const other[] = {
		"select",
		"select *",
		"select 1 + 1",
		"select sleep()",
		"select user",
		"select connection_id(1)",
		"select 1,",
		"select 'x",
		"select @a",
		"select 1 limit",
		"select 1; select 2",
		"select @@",
		"select @@session.",
		"select 1 as",
		"select version",
		"select 1 2",
		"select - ",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(other); i++)
		assert_answer_begins(other[i], "ERR 1064 42000: ");
}

/* "select 1,1,…" with n expressions. */
static const char *select_of(size_t n)
{
	static char text[2000];
	size_t len = (size_t)snprintf(text, sizeof(text), "select 1");

	while (--n)
		len += (size_t)snprintf(text + len, sizeof(text) - len, ",1");
	return text;
}

static void too_many_expressions_are_refused(void **state)
{
	(void)state;
	assert_answer_begins(select_of(64), "1|1|");
	assert_answer_begins(select_of(65), "ERR 1064");
}

static void settings_of_the_connection_are_accepted(void **state)
{
	static const char *const accepted[] = {
		"set names utf8mb4",
		"SET autocommit=1",
		"set @@session.sql_mode = 'A,B'",
		"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
		"set @a = 1",
		"SET @@SQL_QUOTE_SHOW_CREATE = 1/*!40101, @@SQL_MODE='X'*/",
		"begin",
		"commit work",
		"start transaction read only",
		"rollback;",
		"START TRANSACTION",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(accepted); i++)
		assert_answer(accepted[i], "OK: ");
}

static void settings_of_others_are_not(void **state)
{
	static const char *const refused[] = {
		"set",
		"set global read_only = 0",
		"set @@global.x = 1",
		"set password = 'x'",
		"set a = 'x",
		"set a = 1; drop table t",
		"set statement a = 1 for select 1",
		"begin; select 1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_answer_begins(refused[i], "ERR 1064 42000: ");
}

static void nothing_is_an_empty_query(void **state)
{
	(void)state;
	assert_answer("", "ERR 1065 42000: Query was empty");
	assert_answer(" ; ", "ERR 1065 42000: Query was empty");
	assert_answer("-- only this", "ERR 1065 42000: Query was empty");
}

static void an_error_says_where_and_what_is_understood(void **state)
{
	_cleanup_free_ char *answer = ask("show full tablets now, "
					  "and the rest of a text that is not quoted any more");

	(void)state;
	assert_non_null(strstr(answer, "near 'tablets now, and the rest of a text that is not '; "
				       "SHOW STATEMENTS lists"));
	for (size_t i = 0; i < sql_n_statements; i++)
		if (sql_statements[i].help)
			assert_answer_has("show statements", sql_statements[i].pattern);
}

static void failures_are_told(void **state)
{
	(void)state;
	fake.snapshot_error = -EOPNOTSUPP;
	assert_answer("show processlist",
		      "ERR 1105 HY000: dbps could not find out: Operation not supported");
	assert_answer_begins("show servers", "ERR 1105");
}

#define test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(root_sees_the_whole_host),
		test(a_chosen_server_has_its_own_ids),
		test(others_see_their_own_sessions),
		test(info_is_cut_at_100_bytes_between_characters),
		test(sessions_with_the_columns_that_are_wanted),
		test(orphans_are_those_that_execute_for_nobody),
		test(reserve_drops_what_is_idle),
		test(reserve_says_why_it_could_not),
		test(demote_and_restore_name_a_session_as_kill_does),
		test(sessions_have_every_column),
		test(kill_names_session_and_kind),
		test(kill_of_no_id_kills_nothing),
		test(ids_that_nothing_can_have_are_unknown),
		test(kill_takes_the_ids_of_the_chosen_server),
		test(errors_of_kill_name_the_id_that_was_asked_for),
		test(a_pending_kill_is_a_warning),
		test(a_missed_kill_is_ok),
		test(errors_are_kept_for_show_warnings),
		test(servers_are_for_those_with_process),
		test(doctor_tells_what_works),
		test(grants_say_what_the_caller_may),
		test(kills_are_told_to_who_may_know),
		test(databases_are_servers),
		test(use_takes_names_of_servers),
		test(a_chosen_server_that_has_gone_is_unknown),
		test(status_and_losses_are_counted),
		test(variables_are_told_both_ways),
		test(every_variable_has_a_value),
		test(selects_are_what_clients_ask),
		test(other_selects_are_refused),
		test(a_statement_that_is_killed_says_so),
		test(too_many_expressions_are_refused),
		test(settings_of_the_connection_are_accepted),
		test(settings_of_others_are_not),
		test(nothing_is_an_empty_query),
		test(an_error_says_where_and_what_is_understood),
		test(failures_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
