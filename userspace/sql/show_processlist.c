/*
 * SHOW PROCESSLIST, SHOW SESSIONS and SHOW ORPHANS: the session table's columns over the rows of
 * one snapshot, those that the caller may see.
 */
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "mysql/result.h"
#include "mysql/utf8.h"
#include "sql/sessions.h"
#include "sql/statements.h"

/* The order of the first eight columns is a promise of session/columns.h. */
#define COLUMN_INFO (DBPS_N_PROCESSLIST_COLUMNS - 1)

struct listing {
	const char *const *names; /* of `n_columns` columns; NULL: the first ones of the table */
	size_t n_columns;
	bool titles;				   /* head them as SHOW PROCESSLIST does */
	bool full;				   /* whole Info */
	bool (*wants)(const struct dbps_row *row); /* NULL: every one */
};

/* The place in the table of the n-th column that is listed. */
static size_t column_at(const struct listing *listing, size_t n)
{
	size_t at = 0;

	if (!listing->names)
		return n;
	while (strcmp(dbps_columns[at].name, listing->names[n]) != 0)
		at++;
	return at;
}

/* Whether a column is among them that tells of the statement's thread. */
static bool has_thread(const struct listing *listing)
{
	static const char *const names[] = {"wait", "wait_ms", "cpu_ms", "read_bytes",
					    "write_bytes"};

	for (size_t i = 0; i < listing->n_columns; i++)
		for (size_t k = 0; k < ARRAY_SIZE(names); k++)
			if (!strcmp(dbps_columns[column_at(listing, i)].name, names[k]))
				return true;
	return false;
}

static int put_columns(struct wire_writer *out, const struct listing *listing)
{
	_cleanup_free_ struct wire_column *columns = calloc(listing->n_columns, sizeof(*columns));

	if (!columns)
		return -ENOMEM;
	for (size_t i = 0; i < listing->n_columns; i++) {
		const struct dbps_column *column = &dbps_columns[column_at(listing, i)];

		columns[i].name = listing->titles && column->title ? column->title : column->name;
		columns[i].type = sql_wire_type(column->type);
	}
	wire_columns(out, columns, listing->n_columns);
	return 0;
}

static void put_row(struct wire_writer *out, const struct listing *listing,
		    const struct sql_sessions *sessions, const struct dbps_row *row)
{
	wire_begin(out);
	for (size_t i = 0; i < listing->n_columns; i++) {
		size_t at = column_at(listing, i);
		struct dbps_value value = sql_sessions_value(sessions, at, row);

		/* OceanBase shows all of it in either list (protocol.md 2.2). */
		if (at == COLUMN_INFO && !listing->full && !value.null &&
		    row->engine != DBPS_ENGINE_OCEANBASE)
			value.len = utf8_cut(value.text, value.len, DBPS_INFO_SHORT);
		sql_put_value(out, dbps_columns[at].type, &value);
	}
	wire_end(out);
}

static int list_sessions(struct sql_connection *connection, const struct listing *listing)
{
	_cleanup_(sql_sessions_done) struct sql_sessions sessions = {0};
	struct wire_writer *out = &connection->channel.out;
	int r = sql_sessions_read(connection,
				  DBPS_ROWS_TEXT | (has_thread(listing) ? DBPS_ROWS_THREADS : 0),
				  &sessions);

	if (r == -ENOENT)
		return sql_unknown_server(connection);
	if (!r)
		r = put_columns(out, listing);
	if (r)
		return r;
	for (size_t i = 0; i < sessions.n; i++)
		if (!listing->wants || listing->wants(sessions.row[i]))
			put_row(out, listing, &sessions, sessions.row[i]);
	wire_eof(out, 0);
	return 0;
}

/* Whether the chosen server is an OceanBase. */
static bool is_oceanbase(const struct sql_connection *connection)
{
	struct dbps_server_view server;

	return connection->server[0] &&
	       dbps_registry_by_name(connection->daemon->registry, connection->server, &server) ==
		       0 &&
	       server.engine == DBPS_ENGINE_OCEANBASE;
}

int sql_processlist(struct sql_connection *connection, bool full)
{
	/* protocol.md 2.2 */
	static const char *const oceanbase[] = {"id",	"user",	 "tenant", "host", "db",  "command",
						"time", "state", "info",   "ip",   "port"};
	struct listing listing = {
		.n_columns = DBPS_N_PROCESSLIST_COLUMNS, .titles = true, .full = full};

	if (full && is_oceanbase(connection)) {
		listing.names = oceanbase;
		listing.n_columns = ARRAY_SIZE(oceanbase);
	}
	return list_sessions(connection, &listing);
}

int sql_show_processlist(struct sql_connection *connection, struct sql_input *input,
			 unsigned int options)
{
	(void)input;
	return sql_processlist(connection, options != 0);
}

static const char *take_column(struct sql_input *input)
{
	for (size_t i = 0; i < dbps_n_columns; i++)
		if (sql_take_word(input, dbps_columns[i].name))
			return dbps_columns[i].name;
	return NULL;
}

/* "id, server, wait", at most as many as there are. How many; 0: it is not understood. */
static size_t take_columns(struct sql_input *input, const char **names)
{
	size_t n = 0;

	do {
		names[n] = take_column(input);
		if (!names[n])
			return 0;
	} while (++n < dbps_n_columns && sql_take_char(input, ','));
	return sql_at_end(input) ? n : 0;
}

int sql_show_sessions(struct sql_connection *connection, struct sql_input *input,
		      unsigned int options)
{
	_cleanup_free_ const char **names = calloc(dbps_n_columns, sizeof(const char *));
	struct listing listing = {.n_columns = dbps_n_columns, .full = options != 0};

	if (!names)
		return -ENOMEM;
	if (sql_at_end(input))
		return list_sessions(connection, &listing);
	listing.n_columns = take_columns(input, names);
	if (!listing.n_columns)
		return -EINVAL;
	listing.names = names;
	listing.titles = true;
	return list_sessions(connection, &listing);
}

static bool is_orphan(const struct dbps_row *row)
{
	return dbps_row_orphan(row);
}

/* FULL: every column, for programs. */
int sql_show_orphans(struct sql_connection *connection, struct sql_input *input,
		     unsigned int options)
{
	static const char *const names[] = {"id",   "user",   "host",	   "db",  "command",
					    "time", "orphan", "orphan_ms", "info"};
	struct listing listing = {
		.names = options ? NULL : names,
		.n_columns = options ? dbps_n_columns : ARRAY_SIZE(names),
		.titles = !options,
		.full = options != 0,
		.wants = is_orphan,
	};

	(void)input;
	return list_sessions(connection, &listing);
}
