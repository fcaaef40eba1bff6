/*
 * KILL of the sessions that a condition or a user's name chooses. They are chosen from one
 * snapshot, and each is judged again when its turn comes (kill/kill.c): one that has moved on is
 * left alone. Protected sessions are spared, and the answer says so.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "access/protect.h"
#include "cleanup.h"
#include "daemon/daemon.h"
#include "kill/audit.h"
#include "mysql/result.h"
#include "sql/kills.h"
#include "sql/query.h"
#include "sql/statements.h"

/* Columns that a dry run shows besides the reason: the first ones of the processlist, no state. */
static const size_t shown_columns[] = {0, 1, 2, 3, 4, 5, 7};

struct target {
	const struct dbps_row *row;
	const char *spared; /* why; NULL: it is killed */
};

struct choice {
	struct sql_sessions sessions; /* what the rows belong to */
	struct target *targets;	      /* in their order */
	size_t n, n_killed;
};

static void free_choice(struct choice *choice)
{
	free(choice->targets);
	sql_sessions_done(&choice->sessions);
}

/* ---------------------------------------------------------------- choosing ------------------ */

/* Whether a kill could end something there: a statement that may run, or the session itself. */
static bool is_candidate(const struct sql_connection *connection, const struct sql_kill *kill,
			 const struct dbps_row *row)
{
	const struct dbps_session *session = row->session;

	if (!dbps_caller_kills(&connection->caller, row))
		return false;
	return kill->request.connection || dbps_session_executes(session) ||
	       session->phase == DBPS_PHASE_UNKNOWN || dbps_session_is_dark(session);
}

static void add_target(const struct sql_connection *connection, const struct sql_kill *kill,
		       struct choice *choice, const struct dbps_row *row)
{
	const char *spared = dbps_protected(row);

	if (!is_candidate(connection, kill, row) || (!spared && choice->n_killed >= kill->limit))
		return;
	choice->targets[choice->n++] = (struct target){row, spared};
	choice->n_killed += !spared;
}

/* Room for every session. The snapshot is the choice's from now on. */
static int begin_choice(struct choice *choice, struct sql_sessions *sessions)
{
	choice->sessions = *sessions;
	*sessions = (struct sql_sessions){0};
	choice->targets = calloc(choice->sessions.n + 1, sizeof(*choice->targets));
	return choice->targets ? 0 : -ENOMEM;
}

/*
 * Rows of the query are indices into its sessions. 0 or a code of SQLite. A condition is 1 where it
 * holds: whoever writes KILL WHERE 41 means one session and not, as 41 is not 0, all.
 */
static int collect(struct sql_query *query, const char *sql, size_t *indices, size_t *ret_n)
{
	size_t n = 0;
	int r = sql_query_prepare(query, sql);

	if (r)
		return r;
	while ((r = sql_query_step(query)) == SQLITE_ROW && n < query->sessions.n) {
		if (sqlite3_column_type(query->statement, 1) != SQLITE_INTEGER ||
		    sqlite3_column_int64(query->statement, 1) != 1)
			return SQLITE_MISMATCH;
		indices[n++] = (size_t)sqlite3_column_int64(query->statement, 0);
	}
	if (r != SQLITE_DONE)
		return r;
	*ret_n = n;
	return SQLITE_OK;
}

/* 0; 1 when the error is answered already; negative errno. */
static int choose_where(struct sql_connection *connection, const struct sql_kill *kill,
			const char *sql, struct choice *choice)
{
	_cleanup_(sql_query_done) struct sql_query query = {0};
	_cleanup_free_ size_t *indices = NULL;
	size_t n = 0;
	int r = sql_query_open(connection, &query);

	if (r)
		return r;
	indices = calloc(query.sessions.n + 1, sizeof(*indices));
	if (!indices)
		return -ENOMEM;
	r = collect(&query, sql, indices, &n);
	if (r) {
		sql_query_refuse(&query, r);
		return 1;
	}
	r = begin_choice(choice, &query.sessions);
	for (size_t i = 0; !r && i < n; i++)
		add_target(connection, kill, choice, choice->sessions.row[indices[i]]);
	return r;
}

/* As MariaDB: exactly, without the port; a name that is cut may be another one. */
static bool is_of_user(const struct dbps_row *row, const struct sql_kill_user *user)
{
	const struct dbps_session *session = row->session;
	const struct dbps_name name = dbps_row_login(row).user;
	const char *port = session->family == DBPS_FAMILY_UNIX ? NULL : strrchr(row->host, ':');
	size_t host_len = port ? (size_t)(port - row->host) : strlen(row->host);
	bool any_host = !user->host || !strcmp(user->host, "%");

	if (dbps_row_logs_in(row) || !(session->flags & DBPS_KNOWN_LOGIN) ||
	    session->flags & DBPS_CUT_USER || strlen(user->name) != name.len ||
	    memcmp(user->name, name.start, name.len) != 0)
		return false;
	return any_host ||
	       (strlen(user->host) == host_len && !strncmp(user->host, row->host, host_len));
}

static void refuse_user(struct sql_connection *connection, const struct sql_kill *kill,
			const struct dbps_row *row, const struct sql_kill_user *user)
{
	char text[240];

	snprintf(text, sizeof(text), "Operation KILL USER failed for '%.80s'@'%.80s'", user->name,
		 user->host ? user->host : "%");
	dbps_audit_refused(kill->request.audit, &kill->request, row, ER_KILL_DENIED_ERROR, text);
	sql_error(connection, ER_KILL_DENIED_ERROR, "%s", text);
}

/* As choose_where(). Whoever sees a session that is not to be killed gets MariaDB's error. */
static int choose_user(struct sql_connection *connection, const struct sql_kill *kill,
		       const struct sql_kill_user *user, struct choice *choice)
{
	_cleanup_(sql_sessions_done) struct sql_sessions sessions = {0};
	int r = sql_sessions_read(connection, DBPS_ROWS_TEXT, &sessions);

	if (!r)
		r = begin_choice(choice, &sessions);
	for (size_t i = 0; !r && i < choice->sessions.n; i++) {
		const struct dbps_row *row = choice->sessions.row[i];

		if (!is_of_user(row, user))
			continue;
		if (!dbps_caller_kills(&connection->caller, row)) {
			refuse_user(connection, kill, row, user);
			return 1;
		}
		add_target(connection, kill, choice, row);
	}
	return r;
}

/* ---------------------------------------------------------------- a dry run ----------------- */

static int put_dry_run(struct wire_writer *out, const struct choice *choice)
{
	struct wire_column columns[ARRAY_SIZE(shown_columns) + 1] = {
		[ARRAY_SIZE(shown_columns)] = {"spared", WIRE_TYPE_VAR_STRING}};

	for (size_t i = 0; i < ARRAY_SIZE(shown_columns); i++) {
		const struct dbps_column *column = &dbps_columns[shown_columns[i]];

		columns[i] = (struct wire_column){column->name, sql_wire_type(column->type)};
	}
	wire_columns(out, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < choice->n; i++) {
		wire_begin(out);
		for (size_t c = 0; c < ARRAY_SIZE(shown_columns); c++) {
			struct dbps_value value = sql_sessions_value(
				&choice->sessions, shown_columns[c], choice->targets[i].row);

			sql_put_value(out, dbps_columns[shown_columns[c]].type, &value);
		}
		sql_put_string(out, choice->targets[i].spared);
		wire_end(out);
	}
	wire_eof(out, 0);
	return 0;
}

/* ---------------------------------------------------------------- the kill ------------------ */

static struct dbps_kill_item item_of(const struct dbps_row *row)
{
	return (struct dbps_kill_item){
		.id = row->id,
		.cookie = row->session->cookie,
		.sequence = row->session->sequence,
		.executes = dbps_session_executes(row->session),
	};
}

/* One item for each target that is killed, in their order. Owned by the caller. */
static int carry_out(struct sql_connection *connection, const struct sql_kill *kill,
		     const struct choice *choice, struct dbps_kill_item **ret_items)
{
	struct dbps_kill_item *items = calloc(choice->n_killed + 1, sizeof(*items));
	size_t n = 0;

	if (!items)
		return -ENOMEM;
	for (size_t i = 0; i < choice->n; i++)
		if (!choice->targets[i].spared)
			items[n++] = item_of(choice->targets[i].row);
	atomic_fetch_add(&connection->counters->kills, n);
	if (n)
		dbps_kill_many(connection->daemon->kernel, connection->daemon->registry,
			       &kill->request, items, n);
	*ret_items = items;
	return 0;
}

static const char *outcome_word(enum dbps_kill_outcome outcome)
{
	static const char *const words[] = {
		[DBPS_KILL_CONFIRMED] = "confirmed",
		[DBPS_KILL_MISSED] = "missed",
		[DBPS_KILL_PENDING] = "pending",
		[DBPS_KILL_REFUSED] = "refused",
	};

	return words[outcome];
}

/* What did not come about is a warning that names the session. */
static void warn(struct sql_connection *connection, uint64_t id,
		 const struct dbps_kill_answer *answer)
{
	char text[WIRE_MESSAGE_TEXT_MAX + 1];

	if (answer->outcome != DBPS_KILL_PENDING && answer->outcome != DBPS_KILL_REFUSED)
		return;
	snprintf(text, sizeof(text), "%llu: %s", (unsigned long long)id, answer->text);
	sql_warn(connection, answer->error ? answer->error : ER_UNKNOWN_ERROR, text);
}

static void put_outcome(struct wire_writer *out, uint64_t id, const struct dbps_kill_answer *answer,
			const char *spared)
{
	wire_begin(out);
	wire_put_integer(out, id);
	sql_put_string(out, answer ? outcome_word(answer->outcome) : "spared");
	if (answer)
		wire_put_real(out, (double)(uint64_t)(answer->elapsed_ms * 10 + 0.5) / 10);
	else
		wire_put_null(out);
	sql_put_string(out, answer ? answer->text : spared);
	wire_end(out);
}

/* A row for each session: what became of it. */
static void put_outcomes(struct sql_connection *connection, const struct choice *choice,
			 const struct dbps_kill_item *items)
{
	static const struct wire_column columns[] = {
		{"id", WIRE_TYPE_LONGLONG},
		{"outcome", WIRE_TYPE_VAR_STRING},
		{"ms", WIRE_TYPE_DOUBLE},
		{"text", WIRE_TYPE_VAR_STRING},
	};
	struct wire_writer *out = &connection->channel.out;

	wire_columns(out, columns, ARRAY_SIZE(columns));
	for (size_t i = 0; i < choice->n; i++) {
		const struct target *target = &choice->targets[i];
		uint64_t id = sql_scope_id(&choice->sessions.scope, target->row);

		put_outcome(out, id, target->spared ? NULL : &items->answer, target->spared);
		items += !target->spared;
	}
	wire_eof(out, sql_warning_count(connection));
}

static void warn_all(struct sql_connection *connection, const struct choice *choice,
		     const struct dbps_kill_item *items)
{
	for (size_t i = 0; i < choice->n; i++)
		if (!choice->targets[i].spared)
			warn(connection,
			     sql_scope_id(&choice->sessions.scope, choice->targets[i].row),
			     &(items++)->answer);
}

/*
 * "pending: 2 confirmed, 1 pending, 1 spared": the outcome that needs a look first, as with one
 * session.
 */
static void sum_up(const struct choice *choice, const struct dbps_kill_item *items, char *ret,
		   size_t size)
{
	static const enum dbps_kill_outcome order[] = {DBPS_KILL_CONFIRMED, DBPS_KILL_MISSED,
						       DBPS_KILL_PENDING, DBPS_KILL_REFUSED};
	size_t counts[ARRAY_SIZE(order)] = {0}, spared = choice->n - choice->n_killed, len;
	const char *between = "";
	const char *worst = outcome_word(choice->n ? DBPS_KILL_CONFIRMED : DBPS_KILL_MISSED);

	for (size_t i = 0; i < choice->n_killed; i++)
		counts[items[i].answer.outcome]++;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		if (counts[order[i]])
			worst = outcome_word(order[i]);
	len = (size_t)snprintf(ret, size, "%s: ", worst);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		if (!counts[order[i]])
			continue;
		len += (size_t)snprintf(ret + len, size - len, "%s%zu %s", between,
					counts[order[i]], outcome_word(order[i]));
		between = ", ";
	}
	if (spared)
		snprintf(ret + len, size - len, "%s%zu spared", between, spared);
	else if (!choice->n_killed)
		snprintf(ret + len, size - len, "no such session");
}

/* Sessions that the kill has reached: what MariaDB counts. */
static uint64_t count_killed(const struct choice *choice, const struct dbps_kill_item *items)
{
	uint64_t n = 0;

	for (size_t i = 0; i < choice->n_killed; i++)
		n += items[i].answer.outcome == DBPS_KILL_CONFIRMED ||
		     items[i].answer.outcome == DBPS_KILL_PENDING;
	return n;
}

static int kill_choice(struct sql_connection *connection, const struct sql_kill *kill,
		       const struct choice *choice, bool rows)
{
	_cleanup_free_ struct dbps_kill_item *items = NULL;
	char text[160];
	int r;

	if (kill->dry_run)
		return put_dry_run(&connection->channel.out, choice);
	r = carry_out(connection, kill, choice, &items);
	if (r)
		return r;
	for (size_t i = 0; i < choice->n_killed; i++)
		if (items[i].answer.interrupted)
			return sql_error_interrupted(connection);
	warn_all(connection, choice, items);
	if (rows) {
		put_outcomes(connection, choice, items);
		return 0;
	}
	sum_up(choice, items, text, sizeof(text));
	return sql_ok_affected(connection, count_killed(choice, items), text);
}

int sql_kill_chosen(struct sql_connection *connection, const struct sql_kill *kill, const char *sql)
{
	_cleanup_(free_choice) struct choice choice = {0};
	int r = choose_where(connection, kill, sql, &choice);

	if (r)
		return r == -ENOENT ? sql_unknown_server(connection) : r < 0 ? r : 0;
	return kill_choice(connection, kill, &choice, true);
}

int sql_kill_of_user(struct sql_connection *connection, const struct sql_kill *kill,
		     const struct sql_kill_user *user)
{
	_cleanup_(free_choice) struct choice choice = {0};
	int r = choose_user(connection, kill, user, &choice);

	if (r)
		return r == -ENOENT ? sql_unknown_server(connection) : r < 0 ? r : 0;
	return kill_choice(connection, kill, &choice, false);
}
