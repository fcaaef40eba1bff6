/*
 * Matching sessions with the rows of the server's processlist: by address, by thread, and never by
 * guess.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <string.h>

#include "server/adopt.h"

#define UNKNOWN_FLAGS DBPS_JOINED

static struct dbps_session tcp4(const char *remote, uint16_t port)
{
	struct dbps_session s = {
		.flags = UNKNOWN_FLAGS, .family = DBPS_FAMILY_INET, .remote_port = port};

	inet_pton(AF_INET, remote, s.remote_addr);
	return s;
}

static struct dbps_session tcp6(const char *remote, uint16_t port)
{
	struct dbps_session s = {
		.flags = UNKNOWN_FLAGS, .family = DBPS_FAMILY_INET6, .remote_port = port};

	inet_pton(AF_INET6, remote, s.remote_addr);
	return s;
}

static struct dbps_session local(uint32_t inode, uint32_t tid)
{
	return (struct dbps_session){
		.flags = UNKNOWN_FLAGS, .family = DBPS_FAMILY_UNIX, .inode = inode, .tid = tid};
}

static struct dbps_server_row row(uint64_t id, const char *host)
{
	return (struct dbps_server_row){.id = id, .user = "u", .host = host, .command = "Sleep"};
}

static struct dbps_server_row local_row(uint64_t id, uint32_t tid, uint32_t inode)
{
	struct dbps_server_row r = row(id, "localhost");

	r.tid = tid;
	r.inode = inode;
	return r;
}

/* Match and compare with the wanted row of each session. */
static void check(const struct dbps_session *sessions, size_t n, const struct dbps_server_row *rows,
		  size_t n_rows, const int *wanted)
{
	const struct dbps_session *pointers[8];
	int match[8];

	assert_true(n <= 8);
	for (size_t i = 0; i < n; i++)
		pointers[i] = &sessions[i];
	dbps_adopt_match(pointers, n, rows, n_rows, match);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(match[i], wanted[i]);
}

static void tcp_sessions_match_by_remote_address(void **state)
{
	struct dbps_session sessions[] = {tcp4("10.0.0.1", 4711), tcp4("10.0.0.2", 4711),
					  tcp6("fd00::7", 4711), tcp6("::ffff:10.0.0.3", 99)};
	struct dbps_server_row rows[] = {row(1, "10.0.0.2:4711"), row(2, "10.0.0.1:4711"),
					 row(3, "10.0.0.3:99"), row(4, "fd00::7:4711"),
					 row(5, "10.0.0.9:4711")};

	(void)state;
	check(sessions, 4, rows, 5, (int[]){1, 0, 3, 2});
}

static void a_resolved_host_matches_by_port_if_nobody_else_has_it(void **state)
{
	struct dbps_session sessions[] = {tcp4("10.0.0.1", 4711), tcp4("10.0.0.2", 4712),
					  tcp4("10.0.0.3", 4712)};
	struct dbps_server_row rows[] = {row(1, "app1.example:4711"), row(2, "app2.example:4712"),
					 row(3, "app3.example:4712")};

	(void)state;
	check(sessions, 3, rows, 3, (int[]){0, -1, -1});
}

static void one_session_of_a_port_does_not_match_two_rows_of_it(void **state)
{
	struct dbps_session sessions[] = {tcp4("10.0.0.1", 4711)};
	struct dbps_server_row rows[] = {row(1, "app1.example:4711"), row(2, "app2.example:4711")};

	(void)state;
	check(sessions, 1, rows, 2, (int[]){-1});
}

static void another_address_on_the_same_port_is_no_match(void **state)
{
	struct dbps_session sessions[] = {tcp4("10.0.0.1", 4711)};
	struct dbps_server_row rows[] = {row(1, "10.0.0.2:4711")};

	(void)state;
	check(sessions, 1, rows, 1, (int[]){-1});
}

static void idle_unix_sessions_match_by_the_socket_their_thread_polls(void **state)
{
	struct dbps_session sessions[] = {local(500, 0), local(501, 0), local(502, 0)};
	struct dbps_server_row rows[] = {local_row(1, 71, 501), local_row(2, 72, 500),
					 local_row(3, 73, 777), local_row(4, 74, 0)};

	(void)state;
	check(sessions, 3, rows, 4, (int[]){1, 0, -1});
}

static void busy_unix_sessions_match_by_the_thread_that_read_them(void **state)
{
	struct dbps_session sessions[] = {local(500, 71), local(501, 72), local(502, 0)};
	struct dbps_server_row rows[] = {local_row(1, 72, 0), local_row(2, 71, 0),
					 local_row(3, 73, 0), local_row(4, 74, 0)};

	(void)state;
	check(sessions, 3, rows, 4, (int[]){1, 0, -1});
}

static void the_last_unix_session_gets_the_last_unix_row(void **state)
{
	struct dbps_session sessions[] = {local(500, 71), local(501, 0)};
	struct dbps_server_row rows[] = {local_row(1, 71, 0), local_row(2, 99, 0),
					 row(3, "10.0.0.1:1")};

	(void)state;
	check(sessions, 2, rows, 3, (int[]){0, 1});
}

static void two_unix_sessions_and_two_rows_stay_unknown(void **state)
{
	struct dbps_session sessions[] = {local(500, 0), local(501, 0)};
	struct dbps_server_row rows[] = {local_row(1, 0, 0), local_row(2, 0, 0)};

	(void)state;
	check(sessions, 2, rows, 2, (int[]){-1, -1});
}

static void rows_of_known_sessions_are_taken(void **state)
{
	struct dbps_session sessions[] = {local(500, 0), local(501, 0)};
	struct dbps_server_row rows[] = {local_row(7, 0, 0), local_row(8, 0, 0)};

	(void)state;
	sessions[0].flags = DBPS_KNOWN_ID | DBPS_KNOWN_LOGIN;
	sessions[0].id = 7;
	check(sessions, 2, rows, 2, (int[]){0, 1});
}

static void a_pool_of_threads_matches_nothing_by_thread(void **state)
{
	struct dbps_session sessions[] = {local(500, 0), local(501, 0), local(502, 0)};
	struct dbps_server_row rows[] = {local_row(1, 0, 0), local_row(2, 0, 0),
					 local_row(3, 0, 0)};

	(void)state;
	check(sessions, 3, rows, 3, (int[]){-1, -1, -1});
}

static void system_threads_match_nothing(void **state)
{
	struct dbps_session sessions[] = {local(500, 0), tcp4("10.0.0.1", 0)};
	struct dbps_server_row rows[] = {row(1, ""), row(2, ":"), row(3, "10.0.0.1:"),
					 row(4, "10.0.0.1:99999"), row(5, "10.0.0.1:12x")};

	(void)state;
	check(sessions, 2, rows, 5, (int[]){-1, -1});
}

static void only_joined_sessions_that_live_want_anything(void **state)
{
	struct dbps_session s = local(1, 0);

	(void)state;
	assert_true(dbps_adopt_wants(&s));
	s.flags |= DBPS_KNOWN_ID;
	assert_true(dbps_adopt_wants(&s));
	s.flags |= DBPS_KNOWN_LOGIN;
	assert_false(dbps_adopt_wants(&s));
	s = local(1, 0);
	s.phase = DBPS_PHASE_CLOSED;
	assert_false(dbps_adopt_wants(&s));
	s = (struct dbps_session){.family = DBPS_FAMILY_UNIX};
	assert_false(dbps_adopt_wants(&s));
}

static void nothing_matches_nothing(void **state)
{
	(void)state;
	check(NULL, 0, NULL, 0, NULL);
}

static void commands_are_known_by_their_words(void **state)
{
	(void)state;
	assert_int_equal(dbps_adopt_command("Sleep"), 0);
	assert_int_equal(dbps_adopt_command("Query"), 3);
	assert_int_equal(dbps_adopt_command("Execute"), 0x17);
	assert_int_equal(dbps_adopt_command("Killed"), -1);
	assert_int_equal(dbps_adopt_command(""), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_sessions_match_by_remote_address),
		cmocka_unit_test(a_resolved_host_matches_by_port_if_nobody_else_has_it),
		cmocka_unit_test(one_session_of_a_port_does_not_match_two_rows_of_it),
		cmocka_unit_test(another_address_on_the_same_port_is_no_match),
		cmocka_unit_test(idle_unix_sessions_match_by_the_socket_their_thread_polls),
		cmocka_unit_test(busy_unix_sessions_match_by_the_thread_that_read_them),
		cmocka_unit_test(the_last_unix_session_gets_the_last_unix_row),
		cmocka_unit_test(two_unix_sessions_and_two_rows_stay_unknown),
		cmocka_unit_test(rows_of_known_sessions_are_taken),
		cmocka_unit_test(a_pool_of_threads_matches_nothing_by_thread),
		cmocka_unit_test(system_threads_match_nothing),
		cmocka_unit_test(only_joined_sessions_that_live_want_anything),
		cmocka_unit_test(nothing_matches_nothing),
		cmocka_unit_test(commands_are_known_by_their_words),
	};

	return cmocka_run_group_tests_name("server_adopt", tests, NULL, NULL);
}
