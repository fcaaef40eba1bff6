/*
 * KILL of one session: the id that was shown, of the chosen server or of the whole host, is made
 * the one that is unique on the host; a query id of MariaDB is made the statement that has it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/param.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kill/audit.h"
#include "mysql/result.h"
#include "sql/kills.h"
#include "sql/statements.h"

#define ASK_MIN_MS 1000 /* for a server to answer, however short KILL waits */

/* ---------------------------------------------------------------- by its id ----------------- */

/* Before it could be tried: for the audit as for the caller. */
__attribute__((format(printf, 5, 6))) static int refuse(struct sql_connection *connection,
							const struct sql_kill *kill,
							const struct dbps_row *row,
							unsigned int code, const char *format, ...)
{
	char text[WIRE_MESSAGE_TEXT_MAX + 1];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	dbps_audit_refused(kill->request.audit, &kill->request, row, code, text);
	return sql_error(connection, code, "%s", text);
}

static int unknown_id(struct sql_connection *connection, uint64_t id)
{
	return sql_error(connection, ER_NO_SUCH_THREAD, "Unknown thread id: %" PRIu64, id);
}

/* Whether a session without a known id, named by its cookie, is one of this server. */
static int has_cookie(struct sql_connection *connection, const struct sql_scope *scope,
		      uint64_t cookie)
{
	_cleanup_(sql_free_rows) struct dbps_rows *rows = NULL;
	int r = dbps_rows_read(connection->daemon->kernel, connection->daemon->registry, cookie, 0,
			       &rows);

	if (r)
		return r;
	return rows->n && sql_scope_has(scope, &rows->row[0]) ? 0 : -ENOENT;
}

/* The id of the whole host for one that was shown in `scope`. -ENOENT: none can have this id there.
 */
static int host_id(struct sql_connection *connection, const struct sql_scope *scope, uint64_t id,
		   uint64_t *ret_id)
{
	const struct dbps_session named = {.flags = DBPS_KNOWN_ID, .id = id};
	int r = 0;

	if (scope->host)
		*ret_id = id;
	else if (id & DBPS_ID_UNKNOWN)
		r = has_cookie(connection, scope, id & ~DBPS_ID_UNKNOWN);
	else if (id > UINT32_MAX)
		r = -ENOENT;
	if (r)
		return r;
	if (!scope->host)
		*ret_id = id & DBPS_ID_UNKNOWN ? id : dbps_row_id(&named, scope->server);
	return 0;
}

static int answer_kill(struct sql_connection *connection, const struct dbps_kill_answer *answer)
{
	if (answer->interrupted)
		return sql_error_interrupted(connection);
	switch (answer->outcome) {
	case DBPS_KILL_CONFIRMED:
	case DBPS_KILL_MISSED:
		return sql_ok(connection, answer->text);
	case DBPS_KILL_PENDING:
		return sql_ok_warning(connection, ER_UNKNOWN_ERROR, answer->text);
	case DBPS_KILL_REFUSED:
		break;
	}
	return sql_error_state(connection, answer->error, answer->sqlstate, answer->text);
}

/* A server's own id was asked for: the two errors that name an id have to name that one. */
static bool names_another_id(const struct dbps_kill_answer *answer, uint64_t asked, uint64_t told)
{
	return asked != told && answer->outcome == DBPS_KILL_REFUSED &&
	       (answer->error == ER_NO_SUCH_THREAD || answer->error == ER_KILL_DENIED_ERROR);
}

void sql_act_kill(const struct dbps_daemon *daemon, const struct dbps_kill_request *request,
		  struct dbps_kill_answer *ret_answer)
{
	dbps_kill(daemon->kernel, daemon->registry, request, ret_answer);
}

int sql_act_on_one(struct sql_connection *connection, struct sql_kill *kill, uint64_t id,
		   sql_act *act)
{
	struct dbps_kill_answer answer;
	struct sql_scope scope;
	int r;

	atomic_fetch_add(&connection->counters->kills, 1);
	r = sql_scope(connection, &scope);
	if (!r)
		r = host_id(connection, &scope, id, &kill->request.id);
	if (r == -ENOENT && act != sql_act_kill)
		return unknown_id(connection, id);
	if (r == -ENOENT) {
		kill->request.id = id;
		return refuse(connection, kill, NULL, ER_NO_SUCH_THREAD,
			      "Unknown thread id: %" PRIu64, id);
	}
	if (r)
		return r;
	act(connection->daemon, &kill->request, &answer);
	if (!names_another_id(&answer, id, kill->request.id))
		return answer_kill(connection, &answer);
	if (answer.error == ER_NO_SUCH_THREAD)
		return unknown_id(connection, id);
	return sql_error(connection, ER_KILL_DENIED_ERROR, "You are not owner of thread %" PRIu64,
			 id);
}

/* ---------------------------------------------------------------- by a query id ------------- */

/*
 * The session that executes the statement, on one of the servers that can tell.
 * @return 0; -ENOENT: none does; -EEXIST: several do; -EAGAIN: not all could be asked, why in
 * ret_error.
 */
static int find_query(struct sql_connection *connection, const struct sql_scope *scope,
		      uint64_t query_id, uint64_t *ret_id, struct dbps_link_error *ret_error)
{
	struct dbps_registry *registry = connection->daemon->registry;
	int timeout_ms = MAX((int)connection->daemon->config.kill_wait_ms, ASK_MIN_MS);
	_cleanup_free_ struct dbps_server_view *views = NULL;
	size_t n, found = 0, silent = 0;
	int r = dbps_registry_list(registry, &views, &n);

	if (r)
		return r;
	for (size_t i = 0; i < n; i++) {
		struct dbps_session named = {.flags = DBPS_KNOWN_ID};
		struct dbps_link_error error = {0};
		uint64_t id = 0;

		if ((!scope->host && scope->server != views[i].index) ||
		    views[i].engine != DBPS_ENGINE_MARIADB)
			continue;
		r = dbps_link_find_query(registry, views[i].index, query_id, timeout_ms, &id,
					 &error);
		named.id = id;
		if (!r)
			*ret_id = dbps_row_id(&named, views[i].index);
		found += !r;
		if (!r || r == -ENOENT)
			continue;
		silent++;
		*ret_error = error;
	}
	return silent ? -EAGAIN : found > 1 ? -EEXIST : found ? 0 : -ENOENT;
}

static int refuse_query(struct sql_connection *connection, const struct sql_kill *kill, int error,
			uint64_t query_id, const struct dbps_link_error *link_error)
{
	if (error == -ENOENT)
		return refuse(connection, kill, NULL, ER_NO_SUCH_QUERY,
			      "Unknown query id: %" PRIu64, query_id);
	if (error == -EEXIST)
		return refuse(connection, kill, NULL, ER_UNKNOWN_ERROR,
			      "Several servers have a query %" PRIu64 ": choose one with USE",
			      query_id);
	if (error == -EAGAIN)
		return refuse(connection, kill, NULL, ER_UNKNOWN_ERROR,
			      "A server cannot be asked who executes query %" PRIu64 ": %.200s",
			      query_id, link_error->text);
	return error;
}

/*
 * 1. The sessions are read, 2. the server is asked who executes the query id, 3. that session is
 * judged again when it is killed: it has to execute the statement of 1. still. So that statement
 * was the one that had the query id in 2.
 */
int sql_kill_query(struct sql_connection *connection, struct sql_kill *kill, uint64_t query_id)
{
	_cleanup_(sql_sessions_done) struct sql_sessions sessions = {0};
	struct dbps_link_error link_error = {0};
	struct dbps_kill_item item = {.executes = true};
	const struct dbps_row *row = NULL;
	int r;

	atomic_fetch_add(&connection->counters->kills, 1);
	r = sql_sessions_read(connection, DBPS_ROWS_TEXT, &sessions);
	if (!r)
		r = find_query(connection, &sessions.scope, query_id, &item.id, &link_error);
	if (!r) {
		row = dbps_rows_find(sessions.rows, item.id);
		r = row && dbps_session_executes(row->session) ? 0 : -ENOENT;
	}
	if (r)
		return refuse_query(connection, kill, r, query_id, &link_error);
	if (!dbps_caller_kills(&connection->caller, row))
		return refuse(connection, kill, row, ER_KILL_QUERY_DENIED_ERROR,
			      "You are not owner of query %" PRIu64, query_id);
	item.cookie = row->session->cookie;
	item.sequence = row->session->sequence;
	dbps_kill_many(connection->daemon->kernel, connection->daemon->registry, &kill->request,
		       &item, 1);
	return answer_kill(connection, &item.answer);
}
