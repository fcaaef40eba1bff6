/*
 * KILL as it is written: [CONNECTION | QUERY] and an id, plain or quoted, of the chosen server or
 * of the whole host. What then happens, and what is allowed, is decided in kill/kill.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "kill/kill.h"
#include "mysql/protocol.h"
#include "sql/statements.h"

#define OPTION_QUERY (1u << 1)

static int unknown_id(struct sql_connection *connection, uint64_t id)
{
	return sql_error(connection, ER_NO_SUCH_THREAD, "Unknown thread id: %" PRIu64, id);
}

/* Whether a session without a known id, named by its cookie, is one of this server. */
static int has_cookie(struct sql_connection *connection, const struct sql_scope *scope,
		      uint64_t cookie)
{
	_cleanup_(sql_free_rows) struct dbps_rows *rows = NULL;
	int r = dbps_rows_read(connection->daemon->kernel, connection->daemon->registry, cookie,
			       false, &rows);

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

int sql_kill_id(struct sql_connection *connection, uint64_t id, bool connection_too)
{
	struct dbps_kill_request request = {
		.connection = connection_too,
		.timeout_ms = (int)connection->daemon->config.kill_wait_ms,
		.caller = &connection->caller,
		.audit = connection->daemon->audit,
	};
	struct dbps_kill_answer answer;
	struct sql_scope scope;
	int r;

	atomic_fetch_add(&connection->counters->kills, 1);
	r = sql_scope(connection, &scope);
	if (!r)
		r = host_id(connection, &scope, id, &request.id);
	if (r)
		return r == -ENOENT ? unknown_id(connection, id) : r;
	dbps_kill(connection->daemon->kernel, connection->daemon->registry, &request, &answer);
	if (!names_another_id(&answer, id, request.id))
		return answer_kill(connection, &answer);
	if (answer.error == ER_NO_SUCH_THREAD)
		return unknown_id(connection, id);
	return sql_error(connection, ER_KILL_DENIED_ERROR, "You are not owner of thread %" PRIu64,
			 id);
}

/* Digits of any length, blanks around them in a string allowed. */
static int read_digits(const char *text, uint64_t *ret_id)
{
	size_t digits;

	text += strspn(text, " \t\n");
	digits = strspn(text, "0123456789");
	if (!digits || text[digits + strspn(text + digits, " \t\n")])
		return -EINVAL;
	errno = 0;
	*ret_id = strtoull(text, NULL, 10);
	return errno ? -ERANGE : 0;
}

static int token_text(const struct dbps_token *token, char **ret_text)
{
	size_t len;

	if (token->type == DBPS_TOKEN_STRING)
		return sql_unquote(token, ret_text, &len);
	if (token->type != DBPS_TOKEN_WORD)
		return -EINVAL;
	*ret_text = strndup(token->start, token->len);
	return *ret_text ? 0 : -ENOMEM;
}

int sql_kill(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	_cleanup_free_ char *text = NULL;
	bool negative = sql_take_char(input, '-');
	uint64_t id = 0;
	int r;

	r = token_text(&input->token, &text);
	if (!r)
		r = read_digits(text, &id);
	if (r && r != -ERANGE)
		return r;
	sql_next(input);
	if (!sql_at_end(input))
		return -EINVAL;
	if (negative || r == -ERANGE)
		return sql_error(connection, ER_NO_SUCH_THREAD, "Unknown thread id: %s%s",
				 negative ? "-" : "", text);
	return sql_kill_id(connection, id, !(options & OPTION_QUERY));
}
