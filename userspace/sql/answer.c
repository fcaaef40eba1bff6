/*
 * How statements end: with OK, a warning or an error, each remembered for SHOW WARNINGS; and which
 * sessions they see, by the server that was chosen.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "daemon/daemon.h"
#include "mysql/result.h"
#include "server/own.h"
#include "sql/connection.h"

int sql_scope(const struct sql_connection *connection, struct sql_scope *ret_scope)
{
	struct dbps_server_view view;
	int r;

	if (!connection->server[0]) {
		*ret_scope = (struct sql_scope){.host = true};
		return 0;
	}
	r = dbps_registry_by_name(connection->daemon->registry, connection->server, &view);
	if (!r)
		*ret_scope = (struct sql_scope){.server = view.index};
	return r;
}

bool sql_scope_has(const struct sql_scope *scope, const struct dbps_row *row)
{
	/* The whole host's databases: the console's own sessions are none of theirs. */
	return scope->host ? row->server != DBPS_OWN_INDEX : row->server == scope->server;
}

uint64_t sql_scope_id(const struct sql_scope *scope, const struct dbps_row *row)
{
	if (scope->host || !(row->session->flags & DBPS_KNOWN_ID))
		return row->id;
	return row->session->id;
}

int sql_use(struct sql_connection *connection, struct wire_slice name)
{
	struct dbps_server_view view;
	char wanted[DBPS_SERVER_NAME_MAX];

	/* The cut name of one that is too long is shown, and is no server's: not even tried. */
	snprintf(wanted, sizeof(wanted), "%.*s", (int)(name.len < 256 ? name.len : 256), name.data);
	if (name.len >= sizeof(wanted) || strlen(wanted) != name.len ||
	    dbps_registry_by_name(connection->daemon->registry, wanted, &view)) {
		sql_error(connection, ER_BAD_DB_ERROR, "Unknown database '%s'", wanted);
		return -ENOENT;
	}
	memcpy(connection->server, wanted, sizeof(connection->server));
	return sql_ok(connection, "");
}

void sql_conditions_clear(struct sql_connection *connection)
{
	free(connection->conditions.kept);
	connection->conditions = (struct sql_conditions){0};
}

/* One that there is no memory for is counted all the same. */
static void remember(struct sql_connection *connection, unsigned int code, bool error,
		     const char *text)
{
	struct sql_conditions *conditions = &connection->conditions;
	struct sql_condition *kept = NULL;

	if (conditions->n_kept < SQL_CONDITIONS_MAX)
		kept = reallocarray(conditions->kept, conditions->n_kept + 1, sizeof(*kept));
	if (kept) {
		conditions->kept = kept;
		kept += conditions->n_kept++;
		kept->code = code;
		kept->error = error;
		snprintf(kept->text, sizeof(kept->text), "%s", text);
	}
	conditions->n++;
	conditions->n_errors += error;
}

void sql_warn(struct sql_connection *connection, unsigned int code, const char *text)
{
	remember(connection, code, false, text);
}

uint16_t sql_warning_count(const struct sql_connection *connection)
{
	return (uint16_t)MIN(connection->conditions.n, UINT16_MAX);
}

int sql_ok_affected(struct sql_connection *connection, uint64_t affected, const char *info)
{
	wire_ok_affected(&connection->channel.out, affected, sql_warning_count(connection), info);
	return 0;
}

int sql_ok(struct sql_connection *connection, const char *info)
{
	wire_ok(&connection->channel.out, 0, info);
	return 0;
}

int sql_ok_warning(struct sql_connection *connection, unsigned int code, const char *text)
{
	sql_warn(connection, code, text);
	wire_ok(&connection->channel.out, 1, text);
	return 0;
}

int sql_error_state(struct sql_connection *connection, unsigned int code, const char *sqlstate,
		    const char *text)
{
	remember(connection, code, true, text);
	wire_error(&connection->channel.out, code, sqlstate, text);
	return 0;
}

int sql_error(struct sql_connection *connection, unsigned int code, const char *format, ...)
{
	char text[WIRE_MESSAGE_TEXT_MAX + 1];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return sql_error_state(connection, code, wire_sqlstate(code), text);
}

int sql_unknown_server(struct sql_connection *connection)
{
	return sql_error(connection, ER_BAD_DB_ERROR, "Unknown database '%s'", connection->server);
}

void sql_put_string(struct wire_writer *writer, const char *text)
{
	if (text)
		wire_put_text(writer, text, strlen(text));
	else
		wire_put_null(writer);
}

enum wire_type sql_wire_type(enum dbps_type type)
{
	if (type == DBPS_TYPE_INTEGER)
		return WIRE_TYPE_LONGLONG;
	return type == DBPS_TYPE_REAL ? WIRE_TYPE_DOUBLE : WIRE_TYPE_VAR_STRING;
}

void sql_put_value(struct wire_writer *writer, enum dbps_type type, const struct dbps_value *value)
{
	if (value->null)
		wire_put_null(writer);
	else if (type == DBPS_TYPE_INTEGER)
		wire_put_integer(writer, value->integer);
	else if (type == DBPS_TYPE_REAL)
		wire_put_real(writer, value->real);
	else
		wire_put_text(writer, value->text, value->len);
}
