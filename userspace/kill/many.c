/*
 * Many kills as one: all are armed in one pass and read in one, each is judged and acted upon
 * without waiting for any other, and the outcomes are awaited together, under one deadline.
 */
#include <errno.h>
#include <string.h>
#include <sys/param.h>

#include "cleanup.h"
#include "drain.h"
#include "kernel/kernel.h"
#include "one.h"
#include "server/client.h"

#define SLICE_MIN_MS 5
#define SLICE_MAX_MS 200

struct many {
	struct dbps_kernel *kernel;
	struct dbps_registry *registry;
	const struct dbps_kill_request *request;
	struct dbps_server_view *views;
	size_t n_views;
	struct dbps_rows *rows; /* as they were found */
	size_t n;
	struct kill *kills;
	struct kill_errors *errors; /* of each */
};

static void many_done(struct many *many)
{
	dbps_rows_free(many->rows);
	free(many->views);
	free(many->kills);
	free(many->errors);
}

static void free_rows(struct dbps_rows **rows)
{
	dbps_rows_free(*rows);
}

static void refuse_all(struct many *many, int r)
{
	for (size_t i = 0; i < many->n; i++)
		if (!many->kills[i].answered)
			kill_refuse(&many->kills[i], ER_UNKNOWN, "cannot read the sessions: %s",
				    strerror(-r));
}

static const struct dbps_server_view *find_view(const struct many *many, uint32_t server)
{
	for (size_t i = 0; i < many->n_views; i++)
		if (many->views[i].index == server)
			return &many->views[i];
	return NULL;
}

/* --- choosing and arming --- */

static void take(const struct many *many, struct kill *kill)
{
	const struct dbps_row *row = dbps_rows_find(many->rows, kill->id);

	if (kill_take(kill, row, row ? find_view(many, row->server) : NULL) &&
	    !kill->target.connection)
		kill_has_statement(kill);
}

static int take_all(struct many *many)
{
	int r = dbps_rows_read(many->kernel, many->registry, 0,
			       many->request->audit ? DBPS_ROWS_TEXT : 0, &many->rows);

	if (r == 0)
		r = dbps_registry_list(many->registry, &many->views, &many->n_views);
	for (size_t i = 0; r == 0 && i < many->n; i++)
		take(many, &many->kills[i]);
	return r;
}

/* The kills that are not answered yet, as columns. */
struct columns {
	struct kill **kills;
	uint64_t *cookies;
	struct dbps_cancel *wanted;
	int *results;
};

static void columns_done(struct columns *c)
{
	free(c->kills);
	free(c->cookies);
	free(c->wanted);
	free(c->results);
}

static size_t fill_columns(const struct many *many, struct columns *c)
{
	size_t n = 0;

	for (size_t i = 0; i < many->n; i++) {
		struct kill *kill = &many->kills[i];

		if (kill->answered)
			continue;
		c->kills[n] = kill;
		c->cookies[n] = kill->target.session.cookie;
		c->wanted[n++] = (struct dbps_cancel){.sequence = kill->target.session.sequence,
						      .uid = many->request->caller->uid};
	}
	return n;
}

static int arm_all(struct many *many)
{
	_cleanup_(columns_done) struct columns c = {
		.kills = calloc(many->n, sizeof(*c.kills)),
		.cookies = calloc(many->n, sizeof(*c.cookies)),
		.wanted = calloc(many->n, sizeof(*c.wanted)),
		.results = calloc(many->n, sizeof(*c.results)),
	};
	uint32_t action = many->request->connection ? DBPS_CANCEL_CONNECTION : DBPS_CANCEL_QUERY;
	size_t n;
	int r;

	if (!c.kills || !c.cookies || !c.wanted || !c.results)
		return -ENOMEM;
	n = fill_columns(many, &c);
	r = n ? dbps_kernel_watch_arm_many(many->kernel, action, (__u64 *)c.cookies, c.wanted,
					   c.results, n)
	      : 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		c.kills[i]->armed = c.results[i] == 0;
		if (c.results[i] < 0)
			kill_answer_not_armed(c.kills[i], c.results[i]);
	}
	return r;
}

/* The session of a kill among rows that were read later; NULL: it has closed. */
static const struct dbps_session *find_session(const struct dbps_rows *rows,
					       const struct kill *kill)
{
	const struct dbps_row *row = dbps_rows_find(rows, kill->id);

	return row && row->session->cookie == kill->target.session.cookie ? row->session : NULL;
}

static int judge_all(struct many *many)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;
	int r = dbps_rows_read(many->kernel, many->registry, 0, 0, &rows);

	for (size_t i = 0; r == 0 && i < many->n; i++) {
		struct kill *kill = &many->kills[i];

		if (!kill->answered)
			kill_judge(kill, find_session(rows, kill));
	}
	return r;
}

/* --- acting and waiting --- */

static bool is_too_late(struct kill *kill)
{
	if (dbps_kill_ms_left(&kill->target))
		return false;
	kill_answer(kill, DBPS_KILL_MISSED,
		    "missed: not reached within the time for all; nothing was done to session %llu",
		    (unsigned long long)kill->id);
	return true;
}

static bool asks_query_id(const struct kill *kill, const struct dbps_server_view *server)
{
	return !kill->answered && !kill->target.connection && kill->target.server == server &&
	       !kill->target.query_id && kill->target.session.flags & DBPS_KNOWN_ID;
}

/*
 * MariaDB goes through all its connections to tell of one: it is asked for many at once. Returns
 * where the next question begins.
 */
static size_t read_query_ids(struct many *many, size_t from)
{
	const struct dbps_server_view *server = many->kills[from].target.server;
	uint64_t ids[DBPS_LINK_IDS_MAX], query_ids[DBPS_LINK_IDS_MAX];
	struct kill *asked[DBPS_LINK_IDS_MAX];
	struct dbps_link_error error;
	size_t n = 0, end = from;

	if (!server || server->engine != DBPS_ENGINE_MARIADB || server->link == DBPS_LINK_NONE)
		return from + 1;
	for (; end < many->n && n < DBPS_LINK_IDS_MAX; end++) {
		if (!asks_query_id(&many->kills[end], server))
			continue;
		asked[n] = &many->kills[end];
		ids[n++] = many->kills[end].target.session.id;
	}
	if (n < 2 || dbps_link_query_ids(many->registry, server->index, ids, n,
					 dbps_kill_ms_left(&many->kills[from].target), query_ids,
					 &error) < 0)
		return end;
	for (size_t i = 0; i < n; i++)
		asked[i]->target.query_id = query_ids[i];
	return end;
}

/* Those that `closer` can act on at once, with the places of their kills. Returns how many. */
static size_t targets_of(const struct many *many, const struct dbps_enactor *closer,
			 const struct dbps_kill_target **targets, size_t *places)
{
	size_t n = 0;

	for (size_t i = 0; i < many->n; i++) {
		struct kill *kill = &many->kills[i];

		if (kill->answered || kill_closer_of_many(kill) != closer || is_too_late(kill))
			continue;
		kill_close_begun(kill, &many->errors[i]);
		targets[n] = &kill->target;
		places[n++] = i;
	}
	return n;
}

static void close_at_once(struct many *many, const struct dbps_enactor *closer)
{
	_cleanup_free_ const struct dbps_kill_target **targets = calloc(many->n, sizeof(*targets));
	_cleanup_free_ size_t *places = calloc(many->n, sizeof(*places));
	_cleanup_free_ int *results = calloc(many->n, sizeof(*results));
	size_t n;

	if (!targets || !places || !results)
		return; /* one by one, then */
	n = targets_of(many, closer, targets, places);
	closer->act_many(targets, results, n);
	for (size_t i = 0; i < n; i++)
		kill_close_ended(&many->kills[places[i]], &many->errors[places[i]], closer,
				 results[i]);
}

/* Sockets first: no server can hold those up. */
static void close_all(struct many *many)
{
	for (size_t i = 0; many->n > 1 && i < dbps_n_closers; i++)
		if (dbps_closers[i]->act_many)
			close_at_once(many, dbps_closers[i]);
	for (size_t i = 0; i < many->n; i++) {
		struct kill *kill = &many->kills[i];

		if (!kill->answered && !kill->acted[0] && !is_too_late(kill))
			kill_act_socket(kill, &many->errors[i]);
	}
}

static void act_all(struct many *many)
{
	size_t asked = 0;

	close_all(many);
	for (size_t i = 0; i < many->n; i++) {
		struct kill *kill = &many->kills[i];

		if (kill->answered || (!kill->acted[0] && is_too_late(kill)))
			continue;
		if (i >= asked && asks_query_id(kill, kill->target.server))
			asked = read_query_ids(many, i);
		kill_act_server(kill, &many->errors[i]);
		if (!kill->answered)
			kill_reached(kill, &many->errors[i]);
	}
}

static bool is_open(const struct kill *kill)
{
	return !kill->answered && !kill->cancel.settled_ns;
}

/* @return How many are not settled when the slice is over. */
static size_t wait_slice(struct many *many, int slice_ms)
{
	uint64_t end_ns = dbps_clock_ns() + (uint64_t)slice_ms * 1000000u;
	size_t n_open = 0;

	for (size_t i = 0; i < many->n; i++) {
		uint64_t now_ns = dbps_clock_ns();
		int left_ms = now_ns < end_ns ? (int)((end_ns - now_ns) / 1000000) : 0;

		if (is_open(&many->kills[i]) && !kill_wait(&many->kills[i], left_ms))
			n_open++;
	}
	return n_open;
}

static void look_all(struct many *many)
{
	_cleanup_(free_rows) struct dbps_rows *rows = NULL;

	if (dbps_rows_read(many->kernel, many->registry, 0, 0, &rows) < 0)
		return;
	for (size_t i = 0; i < many->n; i++)
		if (is_open(&many->kills[i]))
			kill_look(&many->kills[i], &many->errors[i],
				  find_session(rows, &many->kills[i]));
}

static void await_all(struct many *many)
{
	bool interrupted;
	int left_ms;

	for (int slice_ms = SLICE_MIN_MS;; slice_ms = MIN(slice_ms * 2, SLICE_MAX_MS)) {
		left_ms = dbps_kill_ms_left(&many->kills[0].target);
		if (!wait_slice(many, MIN(slice_ms, left_ms)))
			return;
		interrupted = kill_interrupted(many->request);
		look_all(many);
		if (left_ms == 0 || interrupted)
			return;
	}
}

static void drain_all(struct many *many)
{
	_cleanup_free_ struct kill **open = calloc(many->n, sizeof(*open));
	size_t n = 0;

	if (!open) {
		refuse_all(many, -ENOMEM);
		return;
	}
	for (size_t i = 0; i < many->n; i++)
		if (!many->kills[i].answered)
			open[n++] = &many->kills[i];
	kill_drain(open, n);
}

static void carry_out(struct many *many)
{
	int r = take_all(many);

	if (r == 0 && kill_is_drain(many->request)) {
		drain_all(many);
		return;
	}
	if (r == 0)
		r = arm_all(many);
	if (r == 0)
		r = judge_all(many);
	if (r < 0) {
		refuse_all(many, r);
		return;
	}
	act_all(many);
	await_all(many);
	for (size_t i = 0; i < many->n; i++)
		if (!many->kills[i].answered)
			kill_conclude(&many->kills[i], &many->errors[i]);
}

static void answer_no_memory(struct dbps_kill_item *items, size_t n)
{
	for (size_t i = 0; i < n; i++)
		items[i].answer = (struct dbps_kill_answer){
			.outcome = DBPS_KILL_REFUSED,
			.error = ER_UNKNOWN,
			.sqlstate = "HY000",
			.text = "out of memory",
		};
}

void dbps_kill_many(struct dbps_kernel *kernel, struct dbps_registry *registry,
		    const struct dbps_kill_request *request, struct dbps_kill_item *items, size_t n)
{
	_cleanup_(many_done) struct many many = {
		.kernel = kernel,
		.registry = registry,
		.request = request,
		.n = n,
		.kills = calloc(n + 1, sizeof(*many.kills)),
		.errors = calloc(n + 1, sizeof(*many.errors)),
	};

	if (!many.kills || !many.errors) {
		answer_no_memory(items, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		kill_begin(&many.kills[i], kernel, registry, request, &items[i].answer);
		many.kills[i].id = items[i].id;
		many.kills[i].item = &items[i];
	}
	if (n)
		carry_out(&many);
	for (size_t i = 0; i < n; i++)
		kill_end(&many.kills[i]);
}
