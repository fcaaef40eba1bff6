/*
 * Kills against a kernel and a server that are played here: what is done in which order, and what
 * is answered for each thing that can happen in between.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernel/kernel.h"
#include "kill/demote.h"
#include "kill/kill.h"
#include "kill/reset.h"
#include "server/client.h"
#include "server/registry.h"

#define COOKIE	 77
#define ID	 41
#define QUERY_ID 900

/* Places where something can happen to the session by itself. */
enum moment {
	NEVER,
	AFTER_FIRST_READ,
	WHEN_ARMED,
	WHEN_QUERY_ID_IS_READ,
	WHEN_PINGED,
	WHEN_KILLED,	  /* by the server, over the link */
	WHEN_SOCKET_ENDS, /* by reset or shutdown */
	WHEN_WAITED_FOR,  /* by a drain */
};

static struct {
	/* the session and its server */
	struct dbps_session session;
	bool gone;
	bool own;
	bool sees, kills;
	enum dbps_engine engine;
	bool has_server;
	enum dbps_link_state link;

	/* what happens */
	enum moment ends_at;
	uint32_t ends_with; /* error code */
	enum moment closes_at;
	bool vanishes;	   /* closes without the kernel settling it */
	bool next_at_once; /* another statement follows the end */
	int told_late;	   /* the session is seen to be over so many waits before its end is told */
	int link_error;
	int ping_error;
	int query_over; /* so many KILL QUERY ID find nothing */
	bool alias;	/* KILL QUERY ID meets another connection */
	int reset_error, shutdown_error;
	int reset_many_result;
	int signal_result;	       /* of dbps_kernel_signal() */
	enum dbps_signalled signalled; /* what becomes of a signal to a statement */
	int signals_dropped;	       /* so many come to nothing */
	bool polls;		       /* the server looks at the cancel table */
	int slot_error;
	int arm_error;
	bool id_unknown; /* the kernel side does not know where the id is */
	bool id_stale;	 /* or knows another socket, which is gone */

	/* the cancel map */
	bool armed;
	bool others;	 /* somebody else's entry is there and is shared */
	int turn_error;	 /* of dbps_kernel_watch_turn() */
	int passed_with; /* the force that was passed on; -1: none was */
	uint32_t action;
	struct dbps_cancel cancel;

	/* what was done */
	char done[256];
	unsigned int n_arms, n_disarms;
	unsigned int n_lists; /* all sessions were read */
} world;

static void did(const char *what)
{
	size_t len = strlen(world.done);

	snprintf(world.done + len, sizeof(world.done) - len, "%s%s", len ? " " : "", what);
}

static void settle(enum dbps_cancel_outcome outcome, uint32_t error)
{
	if (!world.armed || world.cancel.settled_ns)
		return;
	if (outcome != DBPS_OUTCOME_CLOSED && world.action == DBPS_CANCEL_CONNECTION)
		return;
	if (outcome != DBPS_OUTCOME_CLOSED && world.action == DBPS_WATCH_TRANSACTION &&
	    world.session.flags & DBPS_IN_TRANSACTION)
		return;
	world.cancel.outcome = outcome;
	world.cancel.error = error;
	world.cancel.settled_ns = dbps_clock_ns();
}

static void end_statement(uint32_t error)
{
	if (!dbps_session_executes(&world.session))
		return;
	world.session.phase = DBPS_PHASE_IDLE;
	settle(DBPS_OUTCOME_ENDED, error);
	if (world.next_at_once) {
		world.session.sequence++;
		world.session.phase = DBPS_PHASE_FIRST;
	}
}

static void happen(enum moment moment)
{
	if (world.ends_at == moment)
		end_statement(world.ends_with);
	if (world.closes_at != moment)
		return;
	world.gone = true;
	if (!world.vanishes)
		settle(DBPS_OUTCOME_CLOSED, 0);
}

/* --- the session rows --- */

static struct dbps_rows *make_rows(uint64_t cookie)
{
	struct dbps_rows *rows = calloc(1, sizeof(*rows));
	struct dbps_session *copy = malloc(sizeof(*copy));

	*copy = world.session;
	rows->row = calloc(1, sizeof(*rows->row));
	rows->data = copy;
	if (!world.gone && (!cookie || cookie == COOKIE)) {
		rows->n = 1;
		rows->row[0].session = copy;
		rows->row[0].id = ID;
		rows->row[0].server = world.has_server ? 0 : UINT32_MAX;
		rows->row[0].own = world.own;
		snprintf(rows->row[0].server_name, sizeof(rows->row[0].server_name), "mariadb-1");
	}
	return rows;
}

int dbps_rows_read(struct dbps_kernel *kernel, struct dbps_registry *registry, uint64_t cookie,
		   unsigned int want, struct dbps_rows **ret_rows)
{
	(void)kernel;
	(void)registry;
	(void)want;
	*ret_rows = make_rows(cookie);
	world.n_lists++;
	happen(AFTER_FIRST_READ);
	return 0;
}

int dbps_rows_read_at(struct dbps_kernel *kernel, struct dbps_registry *registry,
		      const struct dbps_place *place, unsigned int want,
		      struct dbps_rows **ret_rows)
{
	(void)want;
	(void)kernel;
	(void)registry;
	*ret_rows = make_rows(place->cookie);
	if (!world.n_arms)
		happen(AFTER_FIRST_READ);
	return 0;
}

void dbps_rows_free(struct dbps_rows *rows)
{
	if (!rows)
		return;
	free(rows->row);
	free(rows->data);
	free(rows);
}

const struct dbps_row *dbps_rows_find(const struct dbps_rows *rows, uint64_t id)
{
	return rows->n && rows->row[0].id == id ? &rows->row[0] : NULL;
}

bool dbps_caller_sees(const struct dbps_caller *caller, const struct dbps_row *row)
{
	(void)caller;
	(void)row;
	return world.sees;
}

bool dbps_caller_kills(const struct dbps_caller *caller, const struct dbps_row *row)
{
	(void)caller;
	(void)row;
	return world.kills;
}

/* --- the kernel side --- */

void dbps_demotions_lift(struct dbps_demotions *demotions, uint64_t cookie)
{
	(void)demotions;
	assert_int_equal(cookie, COOKIE);
}

int dbps_kernel_watch_arm(struct dbps_kernel *kernel, const struct dbps_place *place, __u32 action,
			  const struct dbps_cancel *wanted, int timeout_ms,
			  struct dbps_session *ret_session)
{
	(void)kernel;
	(void)timeout_ms;
	assert_int_equal(place->cookie, COOKIE);
	if (world.arm_error)
		return world.arm_error;
	if (!world.others)
		world.cancel = (struct dbps_cancel){.sequence = wanted->sequence};
	assert_int_equal(world.cancel.sequence, wanted->sequence);
	world.action = action;
	world.armed = true;
	happen(WHEN_ARMED);
	if (world.gone) {
		world.armed = false;
		return -ESRCH;
	}
	world.n_arms++;
	*ret_session = world.session;
	return 0;
}

int dbps_kernel_watch_get(struct dbps_kernel *kernel, __u64 cookie, __u32 action,
			  struct dbps_cancel *ret)
{
	(void)kernel;
	(void)cookie;
	if (!world.armed || action != world.action)
		return -ENOENT;
	*ret = world.cancel;
	return 0;
}

void dbps_kernel_watch_disarm(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	(void)kernel;
	(void)cookie;
	assert_int_equal(action, world.action);
	assert_true(world.armed);
	world.armed = false;
	world.n_disarms++;
}

int dbps_kernel_watch_wait(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int timeout_ms,
			   struct dbps_cancel *ret)
{
	struct timespec pause = {.tv_nsec = timeout_ms < 5 ? timeout_ms * 1000000L : 5000000};

	if (dbps_kernel_watch_get(kernel, cookie, action, ret) < 0)
		return -ENOENT;
	if (ret->settled_ns && world.told_late-- <= 0)
		return 0;
	nanosleep(&pause, NULL);
	return -ETIMEDOUT;
}

/* --- a server that polls --- */

bool dbps_kernel_polls(struct dbps_kernel *kernel, pid_t pid)
{
	(void)kernel;
	(void)pid;
	return world.polls;
}

int dbps_kernel_slot_publish(struct dbps_kernel *kernel, __u64 cookie, __u32 action)
{
	(void)kernel;
	assert_int_equal(cookie, COOKIE);
	assert_true(world.armed);
	did(action == DBPS_CANCEL_QUERY ? "publish_query" : "publish_connection");
	if (!world.slot_error)
		happen(WHEN_KILLED);
	return world.slot_error;
}

int dbps_kernel_watch_arm_many(struct dbps_kernel *kernel, __u32 action, const __u64 *cookies,
			       const struct dbps_cancel *wanted, int *ret_results, size_t n)
{
	struct dbps_place place = {.cookie = cookies[0]};
	struct dbps_session session;

	if (n != 1)
		return -EINVAL;
	ret_results[0] = 0;
	return dbps_kernel_watch_arm(kernel, &place, action, wanted, 0, &session);
}

void dbps_kernel_reset_many(struct dbps_kernel *kernel, const struct dbps_session *const *sessions,
			    int *ret_results, size_t n)
{
	(void)kernel;
	if (n)
		did("reset_many");
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(sessions[i]->cookie, COOKIE);
		ret_results[i] = world.reset_many_result;
		if (!ret_results[i])
			happen(WHEN_SOCKET_ENDS);
	}
}

int dbps_kernel_watch_turn(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int force,
			   int timeout_ms)
{
	(void)kernel;
	(void)timeout_ms;
	assert_int_equal(cookie, COOKIE);
	assert_int_equal(action, DBPS_CANCEL_QUERY);
	assert_true(force > 0);
	if (world.turn_error == -EEXIST)
		happen(WHEN_KILLED); /* by the other */
	return world.turn_error;
}

void dbps_kernel_watch_pass(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int force)
{
	(void)kernel;
	(void)cookie;
	(void)action;
	world.passed_with = force;
}

int dbps_kernel_watch_next(struct dbps_kernel *kernel, __u64 cookie, __u32 action, int timeout_ms,
			   struct dbps_cancel *cancel)
{
	struct timespec pause = {.tv_nsec = timeout_ms * 1000000L};

	nanosleep(&pause, NULL);
	if (dbps_kernel_watch_get(kernel, cookie, action, cancel) < 0)
		return -ENOENT;
	return -ETIMEDOUT;
}

int dbps_registry_list(struct dbps_registry *registry, struct dbps_server_view **ret_views,
		       size_t *ret_n)
{
	*ret_views = calloc(1, sizeof(**ret_views));
	*ret_n = 1;
	return dbps_registry_by_index(registry, 0, *ret_views);
}

int dbps_kernel_find(struct dbps_kernel *kernel, pid_t tgid, __u64 id, struct dbps_place *ret_place)
{
	(void)kernel;
	assert_int_equal(tgid, 1);
	if (id != ID || world.id_unknown)
		return -ENOENT;
	*ret_place = (struct dbps_place){.cookie = world.id_stale ? COOKIE + 1 : COOKIE};
	return 0;
}

/* --- the server --- */

int dbps_registry_by_index(struct dbps_registry *registry, uint32_t index,
			   struct dbps_server_view *ret)
{
	(void)registry;
	if (index)
		return -ENOENT;
	*ret = (struct dbps_server_view){
		.pid = 1, .engine = world.engine, .name = "mariadb-1", .link = world.link};
	snprintf(ret->link_text, sizeof(ret->link_text), "switched off");
	return 0;
}

static int link_result(struct dbps_link_error *error)
{
	if (world.link_error)
		snprintf(error->text, sizeof(error->text), "access denied");
	return world.link_error;
}

int dbps_kernel_signal(struct dbps_kernel *kernel, const struct dbps_place *place, __u64 sequence,
		       int sig, bool now)
{
	(void)kernel;
	assert_int_equal(place->cookie, COOKIE);
	assert_int_equal(sequence, sig == SIGINT ? world.session.sequence : 0);
	if (world.signal_result < 0)
		return world.signal_result;
	if (sig == SIGINT && !now && world.cancel.signalled == DBPS_SIGNAL_HANDED)
		return 0;
	did(sig == SIGTERM ? "term" : now ? "int_now" : "int");
	if (sig == SIGINT) {
		world.cancel.signalled = now ? DBPS_SIGNAL_SENT : world.signalled;
		world.cancel.sends += world.cancel.signalled != DBPS_SIGNAL_HANDED;
	}
	if (world.signals_dropped-- <= 0)
		happen(WHEN_KILLED);
	return world.signal_result;
}

int dbps_link_ping(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		   struct dbps_link_error *ret_error)
{
	(void)registry;
	(void)server;
	(void)timeout_ms;
	did("ping");
	happen(WHEN_PINGED);
	return world.ping_error ? world.ping_error : link_result(ret_error);
}

int dbps_link_query_id(struct dbps_registry *registry, uint32_t server, uint64_t id, int timeout_ms,
		       uint64_t *ret_query_id, bool *ret_killed, struct dbps_link_error *ret_error)
{
	(void)registry;
	(void)server;
	(void)timeout_ms;
	assert_int_equal(id, ID);
	did("query_id");
	*ret_query_id = QUERY_ID;
	*ret_killed = false;
	happen(WHEN_QUERY_ID_IS_READ);
	return link_result(ret_error);
}

int dbps_link_query_ids(struct dbps_registry *registry, uint32_t server, const uint64_t *ids,
			size_t n, int timeout_ms, uint64_t *ret_query_ids,
			struct dbps_link_error *ret_error)
{
	(void)registry;
	(void)server;
	(void)timeout_ms;
	did("query_ids");
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(ids[i], ID);
		ret_query_ids[i] = QUERY_ID;
	}
	happen(WHEN_QUERY_ID_IS_READ);
	return link_result(ret_error);
}

static int kill_query_id(uint64_t query_id)
{
	assert_int_equal(query_id, QUERY_ID);
	if (world.query_over) {
		world.query_over--;
		return -ESRCH;
	}
	if (!world.alias)
		happen(WHEN_KILLED);
	return 0;
}

int dbps_link_kill(struct dbps_registry *registry, uint32_t server, const char *what, uint64_t id,
		   int timeout_ms, struct dbps_link_error *ret_error)
{
	char done[64];

	(void)registry;
	(void)server;
	(void)timeout_ms;
	(void)ret_error;
	snprintf(done, sizeof(done), "KILL %s", what);
	did(done);
	if (strstr(what, "QUERY ID"))
		return kill_query_id(id);
	assert_int_equal(id, ID);
	happen(WHEN_KILLED);
	return 0;
}

int dbps_link_adopt(struct dbps_registry *registry, uint32_t server, int timeout_ms,
		    struct dbps_link_error *ret_error)
{
	(void)registry;
	(void)server;
	(void)timeout_ms;
	(void)ret_error;
	did("adopt");
	return 0;
}

int dbps_reset_tcp(const struct dbps_session *session)
{
	assert_int_equal(session->cookie, COOKIE);
	did("reset");
	if (!world.reset_error)
		happen(WHEN_SOCKET_ENDS);
	return world.reset_error;
}

int dbps_reset_shutdown(const struct dbps_session *session)
{
	assert_int_equal(session->cookie, COOKIE);
	did("shutdown");
	if (!world.shutdown_error)
		happen(WHEN_SOCKET_ENDS);
	return world.shutdown_error;
}

int dbps_reset_receiving(const struct dbps_session *session)
{
	assert_int_equal(session->cookie, COOKIE);
	did("end_of_file");
	happen(WHEN_SOCKET_ENDS);
	return 0;
}

/* --- what drains wait with --- */

int dbps_kernel_snapshot_at(struct dbps_kernel *kernel, const struct dbps_place *place,
			    unsigned int text_bytes, void **ret_data, size_t *ret_len)
{
	struct dbps_snapshot_row *row;

	(void)kernel;
	(void)place;
	(void)text_bytes;
	*ret_data = NULL;
	*ret_len = 0;
	if (world.gone)
		return 0;
	row = calloc(1, sizeof(*row));
	row->session = world.session;
	*ret_data = row;
	*ret_len = sizeof(*row);
	return 0;
}

/* What was waited for happens. */
void dbps_kernel_watch_any(struct dbps_kernel *kernel, int timeout_ms, __u64 *seen)
{
	struct timespec pause = {.tv_nsec = timeout_ms < 5 ? timeout_ms * 1000000L : 5000000};

	(void)kernel;
	(void)seen;
	nanosleep(&pause, NULL);
	happen(WHEN_WAITED_FOR);
}

void dbps_kernel_watch_poke(struct dbps_kernel *kernel)
{
	(void)kernel;
}

/* --- helpers --- */

/* A session over TCP that executes statement 3 on a MariaDB with a link, and a caller who may. */
static int set_up(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	world.session = (struct dbps_session){
		.flags = DBPS_KNOWN_ID | DBPS_KNOWN_LOGIN | DBPS_KNOWN_CAPS,
		.phase = DBPS_PHASE_FIRST,
		.family = DBPS_FAMILY_INET,
		.sequence = 3,
		.cookie = COOKIE,
		.id = ID,
		.tid = 1234,
		.start_ns = dbps_clock_ns(),
	};
	world.sees = world.kills = world.has_server = true;
	world.engine = DBPS_ENGINE_MARIADB;
	world.link = DBPS_LINK_UP;
	world.ends_with = 1317;
	world.passed_with = -1;
	return 0;
}

static struct dbps_kill_answer kill_within(uint64_t id, bool connection, enum dbps_kill_when when,
					   int timeout_ms)
{
	struct dbps_caller caller = {.uid = 0};
	struct dbps_kill_request request = {.id = id,
					    .connection = connection,
					    .when = when,
					    .timeout_ms = timeout_ms,
					    .caller = &caller};
	struct dbps_kill_answer answer;

	memset(&answer, 0x5a, sizeof(answer));
	dbps_kill(NULL, NULL, &request, &answer);
	assert_int_equal(world.n_arms, world.n_disarms);
	assert_true(answer.outcome != DBPS_KILL_REFUSED || answer.error);
	assert_true(answer.outcome == DBPS_KILL_REFUSED || !answer.error);
	return answer;
}

static struct dbps_kill_answer kill_when(uint64_t id, bool connection, enum dbps_kill_when when)
{
	return kill_within(id, connection, when, 60);
}

static struct dbps_kill_answer kill_id(uint64_t id, bool connection)
{
	return kill_when(id, connection, DBPS_KILL_NOW);
}

static void check(bool connection, enum dbps_kill_outcome outcome, const char *text,
		  const char *done)
{
	struct dbps_kill_answer answer = kill_id(ID, connection);

	if (answer.outcome != outcome || !strstr(answer.text, text) ||
	    strcmp(world.done, done) != 0)
		print_error("got %d '%s', done '%s'\n", answer.outcome, answer.text, world.done);
	assert_int_equal(answer.outcome, outcome);
	assert_non_null(strstr(answer.text, text));
	assert_string_equal(world.done, done);
}

static void check_query(enum dbps_kill_outcome outcome, const char *text, const char *done)
{
	check(false, outcome, text, done);
}

static void check_connection(enum dbps_kill_outcome outcome, const char *text, const char *done)
{
	check(true, outcome, text, done);
}

/* --- who may --- */

static void check_refused(uint64_t id, unsigned int error, const char *text)
{
	struct dbps_kill_answer answer = kill_id(id, true);

	assert_int_equal(answer.outcome, DBPS_KILL_REFUSED);
	assert_int_equal(answer.error, error);
	assert_string_equal(answer.sqlstate, "HY000");
	assert_non_null(strstr(answer.text, text));
	assert_string_equal(world.done, "");
	assert_int_equal(world.n_arms, 0);
}

static void an_unknown_id_is_1094(void **state)
{
	(void)state;
	check_refused(ID + 1, 1094, "Unknown thread id: 42");
}

static void a_session_that_one_does_not_see_is_1095_too(void **state)
{
	(void)state;
	world.sees = world.kills = false;
	check_refused(ID, 1095, "You are not owner of thread 41");
}

static void a_session_that_one_sees_but_does_not_own_is_1095(void **state)
{
	(void)state;
	world.kills = false;
	check_refused(ID, 1095, "You are not owner of thread 41");
}

static void the_control_link_is_not_killed(void **state)
{
	(void)state;
	world.own = true;
	check_refused(ID, 1105, "control link of dbpsd to mariadb-1");
}

/* --- KILL QUERY --- */

static void a_statement_is_interrupted_by_its_query_id(void **state)
{
	(void)state;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "confirmed: statement 3 interrupted after",
		    "query_id KILL QUERY ID");
}

static void nothing_runs_in_an_idle_session(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	check_query(DBPS_KILL_MISSED, "nothing is running", "");
	assert_int_equal(world.n_arms, 0);
}

static void what_ends_before_the_entry_is_armed_is_missed(void **state)
{
	(void)state;
	world.ends_at = AFTER_FIRST_READ;
	check_query(DBPS_KILL_MISSED, "had ended before the kill", "");
}

static void the_next_statement_is_not_touched(void **state)
{
	(void)state;
	world.ends_at = AFTER_FIRST_READ;
	world.next_at_once = true;
	check_query(DBPS_KILL_MISSED, "statement 3 had ended before the kill", "");
}

static void what_ends_when_armed_is_missed(void **state)
{
	(void)state;
	world.ends_at = WHEN_ARMED;
	world.ends_with = 0;
	world.next_at_once = true;
	check_query(DBPS_KILL_MISSED, "had ended by itself", "");
}

static void no_kill_is_sent_for_a_query_id_that_may_be_the_next_ones(void **state)
{
	(void)state;
	world.ends_at = WHEN_QUERY_ID_IS_READ;
	world.ends_with = 0;
	world.next_at_once = true;
	check_query(DBPS_KILL_MISSED, "had ended by itself", "query_id");
}

static void an_interruption_by_somebody_else_is_not_ours(void **state)
{
	(void)state;
	world.ends_at = WHEN_QUERY_ID_IS_READ;
	check_query(DBPS_KILL_MISSED, "with error 1317", "query_id");
}

static void an_end_without_an_error_is_not_confirmed(void **state)
{
	(void)state;
	world.ends_at = WHEN_KILLED;
	world.ends_with = 0;
	check_query(DBPS_KILL_MISSED, "ended without an error", "query_id KILL QUERY ID");
}

static void an_end_with_another_error_is_not_confirmed(void **state)
{
	(void)state;
	world.ends_at = WHEN_KILLED;
	world.ends_with = 1062;
	check_query(DBPS_KILL_MISSED, "with error 1062", "query_id KILL QUERY ID");
}

static void an_end_that_cannot_be_read_is_confirmed_as_such(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_UNFRAMED;
	world.ends_at = WHEN_KILLED;
	world.ends_with = 0;
	check_query(DBPS_KILL_CONFIRMED, "cannot be read", "query_id KILL QUERY ID");
}

static void an_end_that_cannot_be_read_and_is_told_late_is_so_too(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_UNFRAMED;
	world.ends_at = WHEN_KILLED;
	world.ends_with = 0;
	world.told_late = 2;
	check_query(DBPS_KILL_CONFIRMED, "cannot be read", "query_id KILL QUERY ID query_id");
}

static void query_ids_that_pass_by_lead_to_a_kill_by_connection(void **state)
{
	(void)state;
	world.query_over = 100;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "control link, by connection",
		    "query_id KILL QUERY ID query_id KILL QUERY ID query_id KILL QUERY ID "
		    "ping KILL QUERY");
}

static void a_query_id_that_two_connections_have_leads_to_a_kill_by_connection(void **state)
{
	(void)state;
	world.alias = true;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "control link, by connection",
		    "query_id KILL QUERY ID query_id ping KILL QUERY");
}

static void other_engines_are_pinged_before_they_kill(void **state)
{
	(void)state;
	world.engine = DBPS_ENGINE_MYSQL;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "interrupted", "ping KILL QUERY");
}

static void no_kill_by_connection_is_sent_once_the_statement_has_ended(void **state)
{
	(void)state;
	world.engine = DBPS_ENGINE_MYSQL;
	world.ends_at = WHEN_PINGED;
	world.ends_with = 0;
	world.next_at_once = true;
	check_query(DBPS_KILL_MISSED, "had ended by itself", "ping");
}

static void without_a_link_the_answer_says_what_is_left(void **state)
{
	struct dbps_kill_answer answer;

	(void)state;
	world.link = DBPS_LINK_NONE;
	answer = kill_id(ID, false);
	assert_int_equal(answer.outcome, DBPS_KILL_REFUSED);
	assert_int_equal(answer.error, 1105);
	assert_string_equal(answer.text,
			    "KILL QUERY needs a control link to mariadb-1: switched off; KILL "
			    "CONNECTION resets the socket but the statement goes on executing");
}

static void a_link_that_is_down_says_why(void **state)
{
	(void)state;
	world.link_error = -ENOTCONN;
	check_query(DBPS_KILL_REFUSED, "mariadb-1: access denied", "query_id");
}

static void a_statement_that_goes_on_is_pending(void **state)
{
	(void)state;
	world.engine = DBPS_ENGINE_MYSQL;
	check_query(DBPS_KILL_PENDING, "statement 3 still executes in thread 1234",
		    "ping KILL QUERY");
}

/* Of one that is older than dbpsd. */
static void a_pending_one_says_nothing_that_is_not_known(void **state)
{
	(void)state;
	world.engine = DBPS_ENGINE_MYSQL;
	world.session.tid = 0;
	world.session.start_ns = 0;
	check_query(DBPS_KILL_PENDING, "statement 3 still executes; ", "ping KILL QUERY");
}

static void a_session_that_closes_is_confirmed(void **state)
{
	(void)state;
	world.closes_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "session closed", "query_id KILL QUERY ID");
}

static void a_session_older_than_dbps_is_asked_for_first(void **state)
{
	(void)state;
	world.session.flags = DBPS_JOINED;
	world.session.phase = DBPS_PHASE_UNKNOWN;
	check_query(DBPS_KILL_REFUSED, "older than dbps", "adopt");
}

static void what_was_left_out_is_not_called_older(void **state)
{
	(void)state;
	world.session.flags |= DBPS_PGSQL | DBPS_LEFT_OUT;
	world.session.phase = DBPS_PHASE_UNKNOWN;
	check_query(DBPS_KILL_REFUSED, "cannot be seen (the kernel left out an event)", "");
}

static void what_tls_hides_is_not_called_idle(void **state)
{
	(void)state;
	world.session.flags |= DBPS_TLS;
	world.session.phase = DBPS_PHASE_AUTH;
	check_query(DBPS_KILL_REFUSED, "TLS", "");
}

/* Armed by another kill. */
static void arm_for_another(uint32_t action)
{
	world.others = true;
	world.action = action;
	world.cancel = (struct dbps_cancel){.sequence = 3, .armed_ns = dbps_clock_ns()};
	world.armed = true;
}

static void a_second_kill_is_not_sent_and_shares_the_outcome(void **state)
{
	(void)state;
	arm_for_another(DBPS_CANCEL_QUERY);
	world.turn_error = -EEXIST;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "interrupted after 0.0 ms (as another kill asked)", "");
	assert_int_equal(world.passed_with, -1);
}

static void what_the_first_kill_goes_on_with_is_not_given_up_by_the_second(void **state)
{
	(void)state;
	arm_for_another(DBPS_CANCEL_QUERY);
	world.session.flags |= DBPS_PGSQL;
	world.cancel.signalled = DBPS_SIGNAL_HANDED;
	world.turn_error = -EEXIST;
	check_query(DBPS_KILL_PENDING, "not taken the kill yet (as another kill asked)", "");
}

static void a_second_kill_acts_when_the_first_could_not(void **state)
{
	(void)state;
	arm_for_another(DBPS_CANCEL_QUERY);
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "interrupted", "query_id KILL QUERY ID");
	assert_int_equal(world.passed_with, 2);
}

static void the_turn_passes_on_when_nothing_was_sent(void **state)
{
	(void)state;
	world.link_error = -ENOTCONN;
	check_query(DBPS_KILL_REFUSED, "mariadb-1: access denied", "query_id");
	assert_int_equal(world.passed_with, 0);
}

/* By its id a kill met another connection, and by its connection none could be sent. */
static void what_acted_has_acted_whatever_comes_after_it(void **state)
{
	(void)state;
	world.alias = true;
	world.ping_error = -ENOTCONN;
	check_query(DBPS_KILL_PENDING, "the server has the kill (control link)",
		    "query_id KILL QUERY ID query_id ping");
	assert_int_equal(world.passed_with, 2);
}

static void what_another_kill_has_interrupted_is_said(void **state)
{
	(void)state;
	arm_for_another(DBPS_CANCEL_QUERY);
	world.ends_at = WHEN_ARMED;
	check_query(DBPS_KILL_MISSED, "statement 3 had been interrupted with error 1317", "");
}

static void a_kill_of_another_statement_is_waited_for(void **state)
{
	(void)state;
	world.arm_error = -ETIMEDOUT;
	check_query(DBPS_KILL_PENDING, "a kill of another statement", "");
}

static void a_session_that_closes_before_it_is_armed_is_missed(void **state)
{
	(void)state;
	world.arm_error = -ESRCH;
	check_query(DBPS_KILL_MISSED, "had closed by itself", "");
}

static void a_session_whose_id_is_known_is_found_at_once(void **state)
{
	(void)state;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "interrupted", "query_id KILL QUERY ID");
	assert_int_equal(world.n_lists, 0);
}

static void one_whose_id_is_not_known_is_looked_for(void **state)
{
	(void)state;
	world.id_unknown = true;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "interrupted", "query_id KILL QUERY ID");
	assert_int_equal(world.n_lists, 1);
}

static void one_whose_id_was_another_sockets_is_looked_for(void **state)
{
	(void)state;
	world.id_stale = true;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "interrupted", "query_id KILL QUERY ID");
	assert_int_equal(world.n_lists, 1);
}

/* --- signals --- */

static void be_postgres(void)
{
	world.session.flags |= DBPS_PGSQL;
	world.link = DBPS_LINK_NONE;
	world.signalled = DBPS_SIGNAL_SENT;
}

static void a_backend_is_interrupted_by_a_signal(void **state)
{
	(void)state;
	be_postgres();
	world.ends_at = WHEN_KILLED;
	world.ends_with = DBPS_SQLSTATE_CANCELED;
	check_query(DBPS_KILL_CONFIRMED, "confirmed: statement 3 interrupted after", "int");
}

/* It drops what comes before it has turned to the statement. */
static void a_backend_that_drops_a_signal_gets_another(void **state)
{
	(void)state;
	be_postgres();
	world.signals_dropped = 2;
	world.ends_at = WHEN_KILLED;
	world.ends_with = DBPS_SQLSTATE_CANCELED;
	check_query(DBPS_KILL_CONFIRMED, "(signal)", "int int int");
}

static void a_backend_that_went_on_gets_no_signal(void **state)
{
	(void)state;
	be_postgres();
	world.signal_result = -EALREADY;
	world.ends_at = WHEN_ARMED;
	world.ends_with = DBPS_SQLSTATE('2', '2', '0', '1', '2');
	check_query(DBPS_KILL_MISSED, "ended by itself with SQLSTATE 22012", "");
}

static void a_signal_that_came_late_says_so(void **state)
{
	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_LATE;
	world.ends_at = WHEN_KILLED;
	world.ends_with = 0;
	check_query(DBPS_KILL_MISSED,
		    "ended by itself when the kill came; nothing else was running (signal)", "int");
}

static void a_signal_that_ended_it_before_the_second_look_has_interrupted_it(void **state)
{
	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_LATE;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "(signal)", "int");
}

static void a_signal_that_its_backend_did_not_send_any_more_says_so(void **state)
{
	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_HANDED;
	world.ends_at = WHEN_KILLED;
	world.ends_with = DBPS_SQLSTATE('2', '2', '0', '1', '2');
	check_query(DBPS_KILL_MISSED, "ended by itself with SQLSTATE 22012; no signal was sent",
		    "int");
}

static void what_another_has_interrupted_before_the_signal_is_not_ours(void **state)
{
	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_HANDED;
	world.ends_at = WHEN_KILLED;
	world.ends_with = DBPS_SQLSTATE_CANCELED;
	check_query(DBPS_KILL_MISSED, "been interrupted with SQLSTATE 57014; no signal was sent",
		    "int");
}

static void an_end_that_cannot_be_read_is_not_ours_when_no_signal_was_sent(void **state)
{
	(void)state;
	be_postgres();
	world.session.flags |= DBPS_TLS;
	world.session.phase = DBPS_PHASE_OPAQUE;
	world.signalled = DBPS_SIGNAL_HANDED;
	world.ends_at = WHEN_KILLED;
	world.ends_with = 0;
	check_query(DBPS_KILL_MISSED, "had ended by itself; no signal was sent", "int");
}

static void a_session_that_closes_before_the_signal_is_not_closed_by_it(void **state)
{
	struct dbps_kill_answer answer;

	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_HANDED;
	world.closes_at = WHEN_KILLED;
	answer = kill_id(ID, false);
	assert_int_equal(answer.outcome, DBPS_KILL_CONFIRMED);
	assert_non_null(strstr(answer.text, "session closed, and statement 3 with it"));
	assert_null(strstr(answer.text, "signal"));
}

static void a_backend_that_does_not_run_is_signalled_at_the_end(void **state)
{
	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_HANDED;
	check_query(DBPS_KILL_PENDING, "still executes", "int int_now");
}

static void a_kill_that_does_not_wait_is_handed_to_the_backend_too(void **state)
{
	struct dbps_kill_answer answer;

	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_HANDED;
	answer = kill_within(ID, false, DBPS_KILL_NOW, 0);
	assert_int_equal(answer.outcome, DBPS_KILL_PENDING);
	assert_string_equal(world.done, "int int_now");
}

static bool interrupt_at_once(const void *data)
{
	(void)data;
	return true;
}

static void a_kill_that_is_interrupted_stands(void **state)
{
	struct dbps_caller caller = {.uid = 0};
	struct dbps_kill_request request = {
		.id = ID, .timeout_ms = 60, .caller = &caller, .interrupted = interrupt_at_once};
	struct dbps_kill_answer answer;

	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_HANDED;
	dbps_kill(NULL, NULL, &request, &answer);
	assert_true(answer.interrupted);
	assert_string_equal(world.done, "int int_now");
}

/* The backend comes to run when nobody waits any longer. */
static bool interrupt_late(const void *data)
{
	(void)data;
	world.cancel.signalled = DBPS_SIGNAL_SENT;
	world.cancel.sends = 1;
	return true;
}

static void what_a_backend_took_at_last_is_not_given_up(void **state)
{
	struct dbps_caller caller = {.uid = 0};
	struct dbps_kill_request request = {
		.id = ID, .timeout_ms = 60, .caller = &caller, .interrupted = interrupt_late};
	struct dbps_kill_answer answer;

	(void)state;
	be_postgres();
	world.signalled = DBPS_SIGNAL_HANDED;
	dbps_kill(NULL, NULL, &request, &answer);
	assert_int_equal(answer.outcome, DBPS_KILL_PENDING);
	assert_non_null(strstr(answer.text, "the server has the kill (signal)"));
}

static void a_backend_is_ended_by_a_signal_not_by_its_socket(void **state)
{
	(void)state;
	be_postgres();
	world.closes_at = WHEN_KILLED;
	check_connection(DBPS_KILL_CONFIRMED, "(signal)", "term");
}

/* --- KILL CONNECTION --- */

static void an_idle_session_is_reset(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.closes_at = WHEN_SOCKET_ENDS;
	check_connection(DBPS_KILL_CONFIRMED, "confirmed: session closed after", "reset");
}

static void a_unix_session_is_shut_down(void **state)
{
	(void)state;
	world.session.family = DBPS_FAMILY_UNIX;
	world.session.phase = DBPS_PHASE_IDLE;
	world.closes_at = WHEN_SOCKET_ENDS;
	check_connection(DBPS_KILL_CONFIRMED, "(shutdown)", "shutdown");
}

static void a_kernel_that_cannot_reset_shuts_down(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.reset_error = -EOPNOTSUPP;
	world.closes_at = WHEN_SOCKET_ENDS;
	check_connection(DBPS_KILL_CONFIRMED, "(shutdown)", "reset shutdown");
}

static void a_busy_session_is_cut_before_the_server_kills_it(void **state)
{
	(void)state;
	world.closes_at = WHEN_KILLED;
	check_connection(DBPS_KILL_CONFIRMED, "(reset, control link)",
			 "reset ping KILL CONNECTION");
}

static void a_session_that_vanishes_is_closed(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.closes_at = WHEN_SOCKET_ENDS;
	world.vanishes = true;
	check_connection(DBPS_KILL_CONFIRMED, "session closed", "reset");
}

static void without_a_link_a_busy_session_stays_pending(void **state)
{
	(void)state;
	world.link = DBPS_LINK_NONE;
	check_connection(DBPS_KILL_PENDING,
			 "the connection is cut, but statement 3 still executes in thread 1234",
			 "reset");
}

static void a_session_that_closed_meanwhile_is_missed(void **state)
{
	(void)state;
	world.closes_at = WHEN_ARMED;
	check_connection(DBPS_KILL_MISSED, "had closed by itself", "");
}

static void a_socket_that_is_gone_already_is_no_error(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.reset_error = -ESTALE;
	world.gone = false;
	check_connection(DBPS_KILL_PENDING, "has not closed its end yet", "reset");
}

static void where_the_socket_cannot_be_ended_the_server_closes(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.reset_error = -EPERM;
	world.closes_at = WHEN_KILLED;
	check_connection(DBPS_KILL_CONFIRMED, "(control link)", "reset ping KILL CONNECTION");
}

static void what_nothing_can_close_is_refused(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.session.family = DBPS_FAMILY_UNIX;
	world.shutdown_error = -EPERM;
	world.link = DBPS_LINK_NONE;
	check_connection(DBPS_KILL_REFUSED, "Operation not permitted; switched off", "shutdown");
}

static void a_session_of_an_unknown_server_can_be_cut(void **state)
{
	(void)state;
	world.has_server = false;
	world.session.phase = DBPS_PHASE_IDLE;
	world.closes_at = WHEN_SOCKET_ENDS;
	check_connection(DBPS_KILL_CONFIRMED, "session closed", "reset");
}

/* --- drains --- */

static void check_drain(enum dbps_kill_when when, enum dbps_kill_outcome outcome, const char *text,
			const char *done)
{
	struct dbps_kill_answer answer = kill_when(ID, true, when);

	if (!strstr(answer.text, text))
		print_error("got '%s'\n", answer.text);
	assert_non_null(strstr(answer.text, text));
	assert_int_equal(answer.outcome, outcome);
	assert_string_equal(world.done, done);
}

static void a_drain_closes_an_idle_session_at_once(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.closes_at = WHEN_SOCKET_ENDS;
	check_drain(DBPS_KILL_AFTER_STATEMENT, DBPS_KILL_CONFIRMED,
		    "session closed after statement 3", "end_of_file");
}

static void a_drain_lets_the_statement_end(void **state)
{
	(void)state;
	world.ends_at = WHEN_WAITED_FOR;
	world.ends_with = 0;
	world.closes_at = WHEN_SOCKET_ENDS;
	check_drain(DBPS_KILL_AFTER_STATEMENT, DBPS_KILL_CONFIRMED,
		    "session closed after statement 3", "end_of_file");
}

static void a_drain_does_not_close_within_the_next_statement(void **state)
{
	(void)state;
	world.ends_at = WHEN_WAITED_FOR;
	world.ends_with = 0;
	world.next_at_once = true;
	check_drain(DBPS_KILL_AFTER_STATEMENT, DBPS_KILL_MISSED, "no more drains", "");
	assert_true(world.session.sequence > 3);
}

static void a_drain_that_cannot_go_on_says_so(void **state)
{
	(void)state;
	check_drain(DBPS_KILL_AFTER_STATEMENT, DBPS_KILL_MISSED,
		    "statement 3 has not ended in time", "");
}

static void a_drain_of_a_transaction_waits_for_its_end(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.session.flags |= DBPS_IN_TRANSACTION;
	check_drain(DBPS_KILL_AFTER_TRANSACTION, DBPS_KILL_MISSED, "has not ended in time", "");
}

static void a_drain_of_a_statement_does_not_wait_for_the_transaction(void **state)
{
	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.session.flags |= DBPS_IN_TRANSACTION;
	world.closes_at = WHEN_SOCKET_ENDS;
	check_drain(DBPS_KILL_AFTER_STATEMENT, DBPS_KILL_CONFIRMED, "session closed after",
		    "end_of_file");
}

static void a_session_that_closes_while_it_is_drained_is_missed(void **state)
{
	(void)state;
	world.closes_at = WHEN_WAITED_FOR;
	check_drain(DBPS_KILL_AFTER_STATEMENT, DBPS_KILL_MISSED, "had closed by itself", "");
}

/* --- many --- */

static struct dbps_kill_item item_of(uint64_t cookie, uint64_t sequence, bool executes)
{
	return (struct dbps_kill_item){
		.id = ID, .cookie = cookie, .sequence = sequence, .executes = executes};
}

static void each_of_many_is_judged_again(void **state)
{
	struct dbps_caller caller = {.uid = 0};
	struct dbps_kill_request request = {
		.connection = true, .timeout_ms = 60, .caller = &caller};
	struct dbps_kill_item items[] = {
		item_of(COOKIE + 1, 3, false),
		item_of(COOKIE, 2, false),
		item_of(COOKIE, 3, true),
		item_of(COOKIE, 3, false),
	};

	(void)state;
	world.session.phase = DBPS_PHASE_IDLE;
	world.closes_at = WHEN_SOCKET_ENDS;
	dbps_kill_many(NULL, NULL, &request, items, 4);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(items[i].answer.outcome, DBPS_KILL_MISSED);
		assert_non_null(strstr(items[i].answer.text, "has changed since it was chosen"));
	}
	assert_int_equal(items[3].answer.outcome, DBPS_KILL_CONFIRMED);
	assert_string_equal(world.done, "reset_many");
	assert_int_equal(world.n_arms, world.n_disarms);
}

static void one_of_many_that_goes_on_when_it_is_armed_is_left_alone(void **state)
{
	struct dbps_caller caller = {.uid = 0};
	struct dbps_kill_request request = {
		.connection = true, .timeout_ms = 60, .caller = &caller};
	struct dbps_kill_item item = item_of(COOKIE, 3, true);

	(void)state;
	world.ends_at = WHEN_ARMED;
	world.ends_with = 0;
	dbps_kill_many(NULL, NULL, &request, &item, 1);
	assert_non_null(strstr(item.answer.text, "has changed since it was chosen"));
	assert_string_equal(world.done, "");
	assert_int_equal(world.n_arms, world.n_disarms);
}

static void check_two(enum dbps_kill_outcome outcome, const char *text, const char *done)
{
	struct dbps_caller caller = {.uid = 0};
	struct dbps_kill_request request = {
		.connection = true, .timeout_ms = 60, .caller = &caller};
	struct dbps_kill_item items[] = {item_of(COOKIE, 3, false), item_of(COOKIE + 1, 3, false)};

	world.session.phase = DBPS_PHASE_IDLE;
	world.closes_at = WHEN_SOCKET_ENDS;
	dbps_kill_many(NULL, NULL, &request, items, 2);
	assert_int_equal(items[0].answer.outcome, outcome);
	assert_non_null(strstr(items[0].answer.text, text));
	assert_string_equal(world.done, done);
}

static void one_of_many_that_goes_on_when_it_is_reset_is_left_alone(void **state)
{
	(void)state;
	world.reset_many_result = -ECANCELED;
	check_two(DBPS_KILL_MISSED, "has changed since it was chosen", "reset_many");
}

static void what_cannot_be_reset_with_many_is_reset_alone(void **state)
{
	(void)state;
	world.reset_many_result = -ESTALE;
	check_two(DBPS_KILL_CONFIRMED, "(reset)", "reset_many reset");
}

/* --- servers that poll --- */

static void a_server_that_polls_ends_its_statement_itself(void **state)
{
	(void)state;
	world.polls = true;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "(cooperative)", "publish_query");
}

static void where_no_slot_is_free_the_link_is_used(void **state)
{
	(void)state;
	world.polls = true;
	world.slot_error = -ENOSPC;
	world.ends_at = WHEN_KILLED;
	check_query(DBPS_KILL_CONFIRMED, "(control link)", "publish_query query_id KILL QUERY ID");
}

static void a_server_that_polls_is_cut_and_told(void **state)
{
	(void)state;
	world.polls = true;
	world.closes_at = WHEN_KILLED;
	check_connection(DBPS_KILL_CONFIRMED, "session closed", "reset publish_connection");
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_unknown_id_is_1094),
		TEST(a_session_that_one_does_not_see_is_1095_too),
		TEST(a_session_that_one_sees_but_does_not_own_is_1095),
		TEST(the_control_link_is_not_killed),
		TEST(a_statement_is_interrupted_by_its_query_id),
		TEST(nothing_runs_in_an_idle_session),
		TEST(what_ends_before_the_entry_is_armed_is_missed),
		TEST(the_next_statement_is_not_touched),
		TEST(what_ends_when_armed_is_missed),
		TEST(no_kill_is_sent_for_a_query_id_that_may_be_the_next_ones),
		TEST(an_interruption_by_somebody_else_is_not_ours),
		TEST(an_end_without_an_error_is_not_confirmed),
		TEST(an_end_with_another_error_is_not_confirmed),
		TEST(an_end_that_cannot_be_read_is_confirmed_as_such),
		TEST(an_end_that_cannot_be_read_and_is_told_late_is_so_too),
		TEST(query_ids_that_pass_by_lead_to_a_kill_by_connection),
		TEST(a_query_id_that_two_connections_have_leads_to_a_kill_by_connection),
		TEST(other_engines_are_pinged_before_they_kill),
		TEST(no_kill_by_connection_is_sent_once_the_statement_has_ended),
		TEST(without_a_link_the_answer_says_what_is_left),
		TEST(a_link_that_is_down_says_why),
		TEST(a_statement_that_goes_on_is_pending),
		TEST(a_pending_one_says_nothing_that_is_not_known),
		TEST(a_session_that_closes_is_confirmed),
		TEST(a_session_older_than_dbps_is_asked_for_first),
		TEST(what_was_left_out_is_not_called_older),
		TEST(what_tls_hides_is_not_called_idle),
		TEST(a_second_kill_is_not_sent_and_shares_the_outcome),
		TEST(what_the_first_kill_goes_on_with_is_not_given_up_by_the_second),
		TEST(a_second_kill_acts_when_the_first_could_not),
		TEST(the_turn_passes_on_when_nothing_was_sent),
		TEST(what_acted_has_acted_whatever_comes_after_it),
		TEST(what_another_kill_has_interrupted_is_said),
		TEST(a_kill_of_another_statement_is_waited_for),
		TEST(a_session_that_closes_before_it_is_armed_is_missed),
		TEST(a_session_whose_id_is_known_is_found_at_once),
		TEST(one_whose_id_is_not_known_is_looked_for),
		TEST(one_whose_id_was_another_sockets_is_looked_for),
		TEST(a_backend_is_interrupted_by_a_signal),
		TEST(a_backend_that_drops_a_signal_gets_another),
		TEST(a_backend_that_went_on_gets_no_signal),
		TEST(a_signal_that_came_late_says_so),
		TEST(a_signal_that_ended_it_before_the_second_look_has_interrupted_it),
		TEST(a_signal_that_its_backend_did_not_send_any_more_says_so),
		TEST(what_another_has_interrupted_before_the_signal_is_not_ours),
		TEST(an_end_that_cannot_be_read_is_not_ours_when_no_signal_was_sent),
		TEST(a_session_that_closes_before_the_signal_is_not_closed_by_it),
		TEST(a_backend_that_does_not_run_is_signalled_at_the_end),
		TEST(a_kill_that_does_not_wait_is_handed_to_the_backend_too),
		TEST(a_kill_that_is_interrupted_stands),
		TEST(what_a_backend_took_at_last_is_not_given_up),
		TEST(a_backend_is_ended_by_a_signal_not_by_its_socket),
		TEST(an_idle_session_is_reset),
		TEST(a_unix_session_is_shut_down),
		TEST(a_kernel_that_cannot_reset_shuts_down),
		TEST(a_busy_session_is_cut_before_the_server_kills_it),
		TEST(a_session_that_vanishes_is_closed),
		TEST(without_a_link_a_busy_session_stays_pending),
		TEST(a_session_that_closed_meanwhile_is_missed),
		TEST(a_socket_that_is_gone_already_is_no_error),
		TEST(where_the_socket_cannot_be_ended_the_server_closes),
		TEST(what_nothing_can_close_is_refused),
		TEST(a_session_of_an_unknown_server_can_be_cut),
		TEST(a_drain_closes_an_idle_session_at_once),
		TEST(a_drain_lets_the_statement_end),
		TEST(a_drain_does_not_close_within_the_next_statement),
		TEST(a_drain_that_cannot_go_on_says_so),
		TEST(a_drain_of_a_transaction_waits_for_its_end),
		TEST(a_drain_of_a_statement_does_not_wait_for_the_transaction),
		TEST(a_session_that_closes_while_it_is_drained_is_missed),
		TEST(each_of_many_is_judged_again),
		TEST(one_of_many_that_goes_on_when_it_is_armed_is_left_alone),
		TEST(one_of_many_that_goes_on_when_it_is_reset_is_left_alone),
		TEST(what_cannot_be_reset_with_many_is_reset_alone),
		TEST(a_server_that_polls_ends_its_statement_itself),
		TEST(where_no_slot_is_free_the_link_is_used),
		TEST(a_server_that_polls_is_cut_and_told),
	};

	return cmocka_run_group_tests_name("kill_kill", tests, NULL, NULL);
}
