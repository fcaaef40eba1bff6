/*
 * Which sessions make room, from rows that the tests write: how many, in which order, and which are
 * spared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "access/protect.h"
#include "cleanup.h"
#include "kill/reserve.h"

#define AUTOCOMMIT 2 /* a status that was seen */

static struct dbps_session sessions[16];
static struct dbps_row row[16];
static struct dbps_rows rows;
static struct dbps_reserve_plan plan;

static int begin(void **state)
{
	(void)state;
	memset(sessions, 0, sizeof(sessions));
	memset(row, 0, sizeof(row));
	rows = (struct dbps_rows){.row = row};
	return 0;
}

static int end(void **state)
{
	(void)state;
	dbps_reserve_plan_done(&plan);
	return 0;
}

/* An idle session of server 0 that ended its last statement then; the caller changes it. */
static struct dbps_session *add(uint64_t end_ns)
{
	struct dbps_session *s = &sessions[rows.n];

	*s = (struct dbps_session){.phase = DBPS_PHASE_IDLE,
				   .flags = DBPS_KNOWN_ID | DBPS_KNOWN_LOGIN | DBPS_FRAMED_IN,
				   .status = AUTOCOMMIT,
				   .family = DBPS_FAMILY_INET,
				   .local_port = 3306,
				   .end_ns = end_ns};
	row[rows.n] = (struct dbps_row){.session = s, .id = rows.n + 1};
	rows.n++;
	return s;
}

static void choose(uint32_t max, uint32_t connected, size_t wanted)
{
	struct dbps_server_limits limits = {
		.max_connections = max, .connected = connected, .uncounted_port = 3307};

	assert_int_equal(dbps_reserve_plan(&rows, 0, &limits, wanted, &plan), 0);
}

static void assert_candidates(const char *ids)
{
	char text[64] = "";

	for (size_t i = 0; i < plan.n_candidates; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d", i ? " " : "",
			 (int)plan.candidates[i]->id);
	assert_string_equal(text, ids);
}

static void the_longest_idle_go_first_and_transactions_last(void **state)
{
	(void)state;
	add(500)->flags |= DBPS_IN_TRANSACTION;
	add(300);
	add(200);
	add(0)->status = 0; /* older than dbps */
	add(100)->flags |= DBPS_IN_TRANSACTION;
	add(300);
	choose(6, 0, 2);
	assert_int_equal(plan.wanted, 2);
	assert_candidates("3 2 6 4 5 1");
	assert_string_equal(dbps_reserve_word(&row[2]), "idle");
	assert_string_equal(dbps_reserve_word(&row[3]), "idle, transaction unknown");
	assert_string_equal(dbps_reserve_word(&row[4]), "idle in transaction");
}

static void nothing_is_dropped_while_there_is_room(void **state)
{
	(void)state;
	add(100);
	choose(10, 0, 9);
	assert_int_equal(plan.wanted, 0);
	dbps_reserve_plan_done(&plan);
	choose(10, 0, 10);
	assert_int_equal(plan.wanted, 1);
	dbps_reserve_plan_done(&plan);
	choose(10, 8, 3); /* it counts more than are known */
	assert_int_equal(plan.wanted, 1);
	assert_int_equal(plan.in_use, 8);
}

static void connections_that_do_not_count_are_left_out(void **state)
{
	(void)state;
	add(100)->local_port = 3307;
	add(200);
	sessions[1].family = DBPS_FAMILY_UNIX; /* its port means nothing */
	sessions[1].local_port = 3307;
	add(300);
	row[2].server = 1;
	choose(1, 0, 1);
	assert_int_equal(plan.in_use, 1);
	assert_candidates("2");
}

static void only_what_is_known_to_be_idle_is_dropped(void **state)
{
	struct dbps_protect_options none = {0};

	(void)state;
	dbps_protect_set(&none);
	add(1)->phase = DBPS_PHASE_FIRST;
	add(2)->in.left = 7;
	add(3)->phase = DBPS_PHASE_AUTH;
	add(4)->phase = DBPS_PHASE_UNKNOWN;
	add(5)->flags |= DBPS_TLS;
	add(6);
	row[5].own = true;
	add(7)->phase = DBPS_PHASE_CLOSED;
	memcpy(add(8)->program, "dbpsd", 5);
	sessions[7].program_len = 5;
	add(9);
	choose(9, 0, 9);
	assert_int_equal(plan.wanted, 9);
	assert_candidates("9");
	assert_int_equal(plan.kept[DBPS_RESERVE_EXECUTES], 3);
	assert_int_equal(plan.kept[DBPS_RESERVE_UNSEEN], 2);
	assert_int_equal(plan.kept[DBPS_RESERVE_PROTECTED], 1);
}

#define test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(the_longest_idle_go_first_and_transactions_last),
		test(nothing_is_dropped_while_there_is_room),
		test(connections_that_do_not_count_are_left_out),
		test(only_what_is_known_to_be_idle_is_dropped),
	};

	return cmocka_run_group_tests_name("reserve", tests, NULL, NULL);
}
