/*
 * The slots of the cancel table: what the daemon publishes is what a server that polls sees, and
 * what the kernel side has settled is seen no more, whatever the order of the two.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cleanup.h"
#include "dbps/slots.h"

static struct dbps_cancel_table table;
static const struct dbps_cancel_watch watch = {.table = &table, .alive_fd = -1};

static int clear(void **state)
{
	(void)state;
	memset(&table, 0, sizeof(table));
	dbps_slots_clear(&table);
	return 0;
}

static uint32_t prepare(uint64_t cookie, uint32_t wanted)
{
	uint32_t slot = dbps_slots_find_free(&table);

	assert_true(slot < DBPS_CANCEL_SLOTS);
	dbps_slots_prepare(&table, &table.slot[slot], cookie, wanted);
	return slot;
}

static uint32_t publish(uint64_t cookie, uint32_t wanted)
{
	uint32_t slot = prepare(cookie, wanted);

	assert_true(dbps_slots_publish(&table.slot[slot]));
	return slot;
}

static void release(uint64_t cookie, uint32_t wanted)
{
	uint32_t slot = dbps_slots_find(&table, cookie, wanted);

	assert_true(slot < DBPS_CANCEL_SLOTS);
	dbps_slots_release(&table, &table.slot[slot]);
}

static void published_is_seen_by_its_cookie_alone(void **state)
{
	(void)state;
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_NONE);
	publish(7, DBPS_CANCEL_STATEMENT);
	assert_int_equal(table.pending, 1);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_STATEMENT);
	assert_int_equal(dbps_cancel_pending(&watch, 8), DBPS_CANCEL_NONE);
	assert_int_equal(dbps_cancel_pending(&watch, 0), DBPS_CANCEL_NONE);
	release(7, DBPS_CANCEL_STATEMENT);
	assert_int_equal(table.pending, 0);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_NONE);
}

static void prepared_is_not_believed(void **state)
{
	(void)state;
	prepare(7, DBPS_CANCEL_STATEMENT);
	assert_int_equal(table.pending, 1);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_NONE);
}

static void the_session_weighs_more_than_its_statement(void **state)
{
	(void)state;
	publish(7, DBPS_CANCEL_SESSION);
	publish(7, DBPS_CANCEL_STATEMENT);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_SESSION);
	release(7, DBPS_CANCEL_SESSION);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_STATEMENT);
}

static void settled_is_withdrawn(void **state)
{
	uint32_t slot = publish(7, DBPS_CANCEL_STATEMENT);

	(void)state;
	dbps_slots_settled(&table, 8, DBPS_CANCEL_STATEMENT);
	dbps_slots_settled(&table, 7, DBPS_CANCEL_SESSION);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_STATEMENT);
	dbps_slots_settled(&table, 7, DBPS_CANCEL_STATEMENT);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_NONE);
	assert_int_equal(dbps_slot_state(table.slot[slot].word), DBPS_SLOT_WITHDRAWN);
	release(7, DBPS_CANCEL_STATEMENT);
	assert_int_equal(table.pending, 0);
}

static void settled_before_it_was_published_never_shows(void **state)
{
	uint32_t slot = prepare(7, DBPS_CANCEL_STATEMENT);

	(void)state;
	dbps_slots_settled(&table, 7, DBPS_CANCEL_STATEMENT);
	assert_false(dbps_slots_publish(&table.slot[slot]));
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_NONE);
}

/* The kernel side read the slot's word, and then the slot came to be another cancel's. */
static void a_late_withdrawal_meets_no_later_use(void **state)
{
	uint32_t slot = publish(7, DBPS_CANCEL_STATEMENT);
	uint64_t before = table.slot[slot].word;

	(void)state;
	release(7, DBPS_CANCEL_STATEMENT);
	assert_int_equal(publish(7, DBPS_CANCEL_STATEMENT), slot);
	dbps_slot_withdraw(&table.slot[slot], before);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_STATEMENT);
}

static void published_while_it_is_withdrawn_is_withdrawn(void **state)
{
	uint32_t slot = prepare(7, DBPS_CANCEL_STATEMENT);
	uint64_t prepared = table.slot[slot].word;

	(void)state;
	assert_true(dbps_slots_publish(&table.slot[slot]));
	dbps_slot_withdraw(&table.slot[slot], prepared);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_NONE);
}

static void a_full_table_says_so(void **state)
{
	(void)state;
	for (uint64_t cookie = 1; cookie <= DBPS_CANCEL_SLOTS; cookie++)
		publish(cookie, DBPS_CANCEL_SESSION);
	assert_int_equal(dbps_slots_find_free(&table), DBPS_CANCEL_SLOTS);
	assert_int_equal(dbps_slots_find(&table, 1000, DBPS_CANCEL_SESSION), DBPS_CANCEL_SLOTS);
	assert_int_equal(dbps_slots_find(&table, 64, DBPS_CANCEL_STATEMENT), DBPS_CANCEL_SLOTS);
	assert_int_equal(table.pending, DBPS_CANCEL_SLOTS);
	release(3, DBPS_CANCEL_SESSION);
	publish(1000, DBPS_CANCEL_SESSION);
	assert_int_equal(dbps_cancel_pending(&watch, 1000), DBPS_CANCEL_SESSION);
	assert_int_equal(dbps_cancel_pending(&watch, 3), DBPS_CANCEL_NONE);
}

static void what_a_dead_daemon_left_is_cleared(void **state)
{
	uint32_t slot = publish(7, DBPS_CANCEL_STATEMENT);
	uint64_t before = table.slot[slot].word;

	(void)state;
	dbps_slots_clear(&table);
	assert_int_equal(table.pending, 0);
	assert_int_equal(dbps_cancel_pending(&watch, 7), DBPS_CANCEL_NONE);
	assert_int_equal(publish(7, DBPS_CANCEL_STATEMENT), slot);
	assert_int_not_equal(table.slot[slot].word, before);
}

/* --- the race that matters: a server whose statements end by themselves while they are killed ---
 */

#define ROUNDS 20000

static struct {
	uint64_t sequence; /* what the server executes, 0: nothing */
	uint64_t meant;	   /* statement of the armed entry, 0: none */
	uint64_t settled;  /* of that entry */
	uint64_t wrong, hit;
	bool stop;
} world;

/* As the taps: the record shows the end, then it is settled, then withdrawn. */
static void end_statement(uint64_t n)
{
	__atomic_store_n(&world.sequence, 0, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&world.meant, __ATOMIC_SEQ_CST) == n) {
		__atomic_store_n(&world.settled, n, __ATOMIC_SEQ_CST);
		dbps_slots_settled(&table, 7, DBPS_CANCEL_STATEMENT);
	}
}

static void *serve(void *data)
{
	(void)data;
	for (uint64_t n = 1; !__atomic_load_n(&world.stop, __ATOMIC_SEQ_CST); n++) {
		__atomic_store_n(&world.sequence, n, __ATOMIC_SEQ_CST);
		for (int i = 0; i < 20; i++) {
			if (dbps_cancel_pending(&watch, 7) == DBPS_CANCEL_NONE)
				continue;
			if (__atomic_load_n(&world.meant, __ATOMIC_SEQ_CST) == n)
				world.hit++;
			else
				world.wrong++;
			break;
		}
		end_statement(n);
	}
	return NULL;
}

/* As a kill: arm, see that the statement still executes, publish. */
static void kill_one(void)
{
	uint32_t slot;
	uint64_t n;

	while (!(n = __atomic_load_n(&world.sequence, __ATOMIC_SEQ_CST)))
		sched_yield();
	__atomic_store_n(&world.meant, n, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&world.sequence, __ATOMIC_SEQ_CST) == n) {
		slot = prepare(7, DBPS_CANCEL_STATEMENT);
		if (__atomic_load_n(&world.settled, __ATOMIC_SEQ_CST) != n &&
		    dbps_slots_publish(&table.slot[slot]))
			while (__atomic_load_n(&world.settled, __ATOMIC_SEQ_CST) != n)
				sched_yield();
		release(7, DBPS_CANCEL_STATEMENT);
	}
	__atomic_store_n(&world.meant, 0, __ATOMIC_SEQ_CST);
}

static void no_statement_but_the_one_meant_sees_it(void **state)
{
	pthread_t server;

	(void)state;
	memset(&world, 0, sizeof(world));
	pthread_create(&server, NULL, serve, NULL);
	for (int i = 0; i < ROUNDS; i++)
		kill_one();
	__atomic_store_n(&world.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(server, NULL);
	assert_int_equal(world.wrong, 0);
	assert_int_not_equal(world.hit, 0);
	assert_int_equal(table.pending, 0);
}

int main(void)
{
#define test(f) cmocka_unit_test_setup(f, clear)
	const struct CMUnitTest tests[] = {
		test(published_is_seen_by_its_cookie_alone),
		test(prepared_is_not_believed),
		test(the_session_weighs_more_than_its_statement),
		test(settled_is_withdrawn),
		test(settled_before_it_was_published_never_shows),
		test(a_late_withdrawal_meets_no_later_use),
		test(published_while_it_is_withdrawn_is_withdrawn),
		test(a_full_table_says_so),
		test(what_a_dead_daemon_left_is_cleared),
		test(no_statement_but_the_one_meant_sees_it),
	};

	return cmocka_run_group_tests_name("cancel slots", tests, NULL, NULL);
}
