/*
 * RESERVE n [FOR server] [DRY RUN]: so many of the longest idle sessions of a full server are
 * dropped that n connections are free, and each is told with what became of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kill/kill.h"
#include "kill/reserve.h"
#include "mysql/result.h"
#include "server/client.h"
#include "session/columns.h"
#include "sql/statements.h"

#define LIMITS_TIMEOUT_MS 1000
#define LOOK_AGAIN_NS	  2000000

struct reserve {
	struct sql_connection *connection;
	uint64_t connections;
	bool dry_run;
	struct dbps_server_view server;
	struct dbps_server_limits limits;
	struct dbps_reserve_plan plan;
	struct dbps_kill_item *items; /* one for each candidate; the first `n_tried` were tried */
	size_t n_tried;
	size_t n_dropped; /* as far as is known: confirmed or pending */
};

/* ---------------------------------------------------------------- the statement ------------- */

/* As USE takes it, but for words that stand apart: they are the statement's. */
static int take_server(struct sql_input *input, char ret_name[DBPS_SERVER_NAME_MAX])
{
	_cleanup_free_ char *text = NULL;
	const char *start = input->token.start;
	size_t len;
	int r = 0;

	if (input->token.type == DBPS_TOKEN_NAME || input->token.type == DBPS_TOKEN_STRING) {
		r = sql_unquote(&input->token, &text, &len);
		start = text;
		sql_next(input);
	} else {
		if (input->token.type != DBPS_TOKEN_WORD)
			return -EINVAL;
		do
			sql_next(input);
		while (input->token.type != DBPS_TOKEN_END && input->token.start == input->end &&
		       !dbps_token_is_char(&input->token, ';'));
		len = (size_t)(input->end - start);
	}
	if (!r && (len >= DBPS_SERVER_NAME_MAX || memchr(start, '\0', len)))
		r = -EINVAL;
	if (!r)
		snprintf(ret_name, DBPS_SERVER_NAME_MAX, "%.*s", (int)len, start);
	return r;
}

static int parse(struct sql_input *input, struct reserve *reserve,
		 char ret_name[DBPS_SERVER_NAME_MAX])
{
	int r = sql_take_number(input, &reserve->connections);

	if (!r && sql_take_word(input, "FOR"))
		r = take_server(input, ret_name);
	if (!r && sql_take_word(input, "DRY")) {
		reserve->dry_run = true;
		r = sql_take_word(input, "RUN") ? 0 : -EINVAL;
	}
	return r ?: sql_at_end(input) ? 0 : -EINVAL;
}

/* The one that was named, or chosen with USE, or the only one that there is. */
static int find_server(struct sql_connection *connection, const char *name,
		       struct dbps_server_view *ret_view)
{
	_cleanup_free_ struct dbps_server_view *views = NULL;
	struct dbps_registry *registry = connection->daemon->registry;
	const struct dbps_server_view *only = NULL;
	size_t n, n_there = 0;
	int r;

	if (*name || connection->server[0])
		return dbps_registry_by_name(registry, *name ? name : connection->server, ret_view);
	r = dbps_registry_list(registry, &views, &n);
	for (size_t i = 0; !r && i < n; i++)
		if (views[i].pid) {
			only = &views[i];
			n_there++;
		}
	if (r || n_there != 1)
		return r ?: -ENOTUNIQ;
	*ret_view = *only;
	return 0;
}

/* ---------------------------------------------------------------- the act ------------------- */

static int make_items(struct reserve *reserve)
{
	const struct dbps_reserve_plan *plan = &reserve->plan;

	reserve->items = calloc(plan->n_candidates + 1, sizeof(*reserve->items));
	if (!reserve->items)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_candidates; i++) {
		const struct dbps_row *row = plan->candidates[i];

		reserve->items[i] = (struct dbps_kill_item){
			.id = row->id,
			.cookie = row->session->cookie,
			.sequence = row->session->sequence,
		};
	}
	return 0;
}

/* As many as are wanted; for each that was spared at the act, the next one. */
static void drop(struct reserve *reserve)
{
	const struct sql_connection *connection = reserve->connection;
	char statement[sizeof("RESERVE 4294967295 FOR ") + DBPS_SERVER_NAME_MAX];
	struct dbps_kill_request request = {
		.connection = true,
		.timeout_ms = (int)connection->daemon->config.kill_wait_ms,
		.caller = &connection->caller,
		.statement = statement,
		.reason = "reserve",
		.audit = connection->daemon->audit,
	};
	const struct dbps_reserve_plan *plan = &reserve->plan;

	snprintf(statement, sizeof(statement), "RESERVE %u FOR %s", (unsigned)reserve->connections,
		 reserve->server.name);
	while (reserve->n_dropped < plan->wanted && reserve->n_tried < plan->n_candidates) {
		struct dbps_kill_item *items = reserve->items + reserve->n_tried;
		size_t n = plan->wanted - reserve->n_dropped;

		if (n > plan->n_candidates - reserve->n_tried)
			n = plan->n_candidates - reserve->n_tried;
		dbps_kill_many(connection->daemon->kernel, connection->daemon->registry, &request,
			       items, n);
		for (size_t i = 0; i < n; i++)
			reserve->n_dropped += items[i].answer.outcome == DBPS_KILL_CONFIRMED ||
					      items[i].answer.outcome == DBPS_KILL_PENDING;
		reserve->n_tried += n;
	}
}

/*
 * A server has closed a connection some time before it stops to count it: it rolls back first. Its
 * own count tells when there is room.
 */
static bool await_room(struct reserve *reserve)
{
	const struct sql_connection *connection = reserve->connection;
	uint64_t wait_ns = (uint64_t)connection->daemon->config.kill_wait_ms * 1000000u;
	uint64_t deadline_ns = dbps_clock_ns() + wait_ns;
	const struct timespec pause = {.tv_nsec = LOOK_AGAIN_NS};

	for (;;) {
		struct dbps_link_error error = {0};

		if (dbps_link_limits(connection->daemon->registry, reserve->server.index,
				     LIMITS_TIMEOUT_MS, &reserve->limits, &error) < 0 ||
		    !reserve->limits.connected)
			return true; /* it does not say */
		if (reserve->limits.connected + reserve->connections <= reserve->plan.max)
			return true;
		if (dbps_clock_ns() > deadline_ns)
			return false;
		nanosleep(&pause, NULL);
	}
}

/* ---------------------------------------------------------------- the answer ---------------- */

static const struct wire_column columns[] = {
	{"Id", WIRE_TYPE_LONGLONG},	  {"User", WIRE_TYPE_VAR_STRING},
	{"Host", WIRE_TYPE_VAR_STRING},	  {"db", WIRE_TYPE_VAR_STRING},
	{"idle_s", WIRE_TYPE_DOUBLE},	  {"phase", WIRE_TYPE_VAR_STRING},
	{"answer", WIRE_TYPE_VAR_STRING},
};

static void put_name(struct wire_writer *out, const char *name, size_t len)
{
	if (len)
		wire_put_text(out, name, len);
	else
		wire_put_null(out);
}

static void put_candidate(struct wire_writer *out, const struct sql_scope *scope,
			  const struct dbps_row *row, const char *answer)
{
	const struct dbps_name user = dbps_row_login(row).user;
	uint64_t idle_ns = dbps_row_time_ns(row);

	wire_begin(out);
	wire_put_integer(out, sql_scope_id(scope, row));
	put_name(out, user.start, user.len);
	sql_put_string(out, row->host);
	put_name(out, row->session->db, row->session->db_len);
	if (idle_ns == UINT64_MAX)
		wire_put_null(out);
	else
		wire_put_real(out, (double)idle_ns / 1e9);
	sql_put_string(out, dbps_reserve_word(row));
	sql_put_string(out, answer);
	wire_end(out);
}

/* " 3 execute, 1 is protected …": who could not be dropped. */
static void list_spared(const struct reserve *reserve, char *ret, size_t size)
{
	const size_t *kept = reserve->plan.kept;
	const struct {
		size_t n;
		const char *what;
	} spared[] = {
		{kept[DBPS_RESERVE_EXECUTES], "executing"},
		{kept[DBPS_RESERVE_PROTECTED], "protected"},
		{kept[DBPS_RESERVE_UNSEEN], "not known to be idle"},
		{reserve->n_tried - reserve->n_dropped, "changed meanwhile"},
	};
	size_t len = 0;

	*ret = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(spared); i++)
		if (spared[i].n && len < size)
			len += (size_t)snprintf(ret + len, size - len, "%s%zu %s",
						len ? ", " : ": ", spared[i].n, spared[i].what);
}

/* Why fewer are free than was asked for. */
static void warn_short(struct reserve *reserve, size_t n_told, bool has_room)
{
	const struct dbps_reserve_plan *plan = &reserve->plan;
	char spared[160], text[320];

	if (n_told < plan->wanted) {
		list_spared(reserve, spared, sizeof(spared));
		snprintf(text, sizeof(text), "%s: only %zu of %zu sessions could be dropped%s",
			 reserve->server.name, n_told, plan->wanted, spared);
		sql_warn(reserve->connection, ER_UNKNOWN_ERROR, text);
	} else if (!has_room) {
		snprintf(text, sizeof(text),
			 "%s: it counts %u connections of %u still; some that were dropped are "
			 "being rolled back, or new ones came",
			 reserve->server.name, reserve->limits.connected, plan->max);
		sql_warn(reserve->connection, ER_UNKNOWN_ERROR, text);
	}
}

static int answer_rows(struct reserve *reserve, bool has_room)
{
	struct wire_writer *out = &reserve->connection->channel.out;
	const struct dbps_reserve_plan *plan = &reserve->plan;
	size_t n = reserve->n_tried;
	struct sql_scope scope;
	int r = sql_scope(reserve->connection, &scope);

	if (r)
		return r;
	if (reserve->dry_run)
		n = plan->wanted < plan->n_candidates ? plan->wanted : plan->n_candidates;
	warn_short(reserve, reserve->dry_run ? n : reserve->n_dropped, has_room);
	wire_columns(out, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < n; i++)
		put_candidate(out, &scope, plan->candidates[i],
			      reserve->dry_run ? "would be dropped"
					       : reserve->items[i].answer.text);
	wire_eof(out, sql_warning_count(reserve->connection));
	return 0;
}

static int answer_enough(const struct reserve *reserve)
{
	const struct dbps_reserve_plan *plan = &reserve->plan;
	char text[160];

	snprintf(text, sizeof(text), "%s: %u of %u connections are free: nothing was dropped",
		 reserve->server.name, plan->max - plan->in_use, plan->max);
	return sql_ok(reserve->connection, text);
}

static int act_and_answer(struct reserve *reserve)
{
	bool has_room = true;
	int r;

	if (!reserve->plan.wanted)
		return answer_enough(reserve);
	r = make_items(reserve);
	if (r)
		return r;
	if (!reserve->dry_run) {
		drop(reserve);
		has_room = await_room(reserve);
	}
	return answer_rows(reserve, has_room);
}

static void reserve_done(struct reserve *reserve)
{
	dbps_reserve_plan_done(&reserve->plan);
	free(reserve->items);
}

int sql_reserve(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	_cleanup_(reserve_done) struct reserve reserve = {.connection = connection};
	_cleanup_(sql_free_rows) struct dbps_rows *rows = NULL;
	struct dbps_registry *registry = connection->daemon->registry;
	struct dbps_link_error error = {0};
	char name[DBPS_SERVER_NAME_MAX] = "";
	int r = parse(input, &reserve, name);

	(void)options;
	if (r)
		return r;
	r = find_server(connection, name, &reserve.server);
	if (r == -ENOENT)
		return sql_error(connection, ER_BAD_DB_ERROR, "Unknown database '%s'",
				 *name ? name : connection->server);
	if (r == -ENOTUNIQ)
		return sql_error(connection, ER_UNKNOWN_ERROR,
				 "of which server? RESERVE n FOR name; SHOW SERVERS lists them");
	if (r)
		return r;
	r = dbps_link_limits(registry, reserve.server.index, LIMITS_TIMEOUT_MS, &reserve.limits,
			     &error);
	if (r)
		return sql_error(connection, ER_UNKNOWN_ERROR,
				 "how many connections %s serves is not known, which needs its "
				 "control link: %.200s; without it: KILL WHERE server = '%s' AND "
				 "phase = 'idle' LIMIT %" PRIu64 ", which takes the longest idle "
				 "first",
				 reserve.server.name, error.text[0] ? error.text : strerror(-r),
				 reserve.server.name, reserve.connections);
	if (reserve.connections > reserve.limits.max_connections)
		return sql_error(connection, ER_UNKNOWN_ERROR,
				 "%s serves %u connections at all (max_connections)",
				 reserve.server.name, reserve.limits.max_connections);
	r = dbps_rows_read(connection->daemon->kernel, registry, 0, 0, &rows);
	if (!r)
		r = dbps_reserve_plan(rows, reserve.server.index, &reserve.limits,
				      (size_t)reserve.connections, &reserve.plan);
	return r ?: act_and_answer(&reserve);
}
