/*
 * The snapshot of a statement, and that snapshot as a virtual table of SQLite. The table is
 * eponymous: it is there without being created, whatever schema it is asked for in.
 */
#include "sql/sessions.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cleanup.h"
#include "daemon/daemon.h"
#include "sql/statements.h"

#define COLUMN_ID 0 /* its place is a promise of session/columns.h */

/* ---------------------------------------------------------------- the snapshot -------------- */

void sql_sessions_done(struct sql_sessions *sessions)
{
	free(sessions->row);
	dbps_rows_free(sessions->rows);
	*sessions = (struct sql_sessions){0};
}

int sql_sessions_read(const struct sql_connection *connection, unsigned int want,
		      struct sql_sessions *ret_sessions)
{
	_cleanup_(sql_sessions_done) struct sql_sessions s = {0};
	_cleanup_free_ bool *seen = NULL;
	int r = sql_scope(connection, &s.scope);

	if (!r)
		r = dbps_rows_read(connection->daemon->kernel, connection->daemon->registry, 0,
				   want, &s.rows);
	if (r)
		return r;
	s.row = calloc(s.rows->n + 1, sizeof(const struct dbps_row *));
	seen = calloc(s.rows->n + 1, sizeof(*seen));
	if (!s.row || !seen)
		return -ENOMEM;
	r = dbps_caller_sees_each(&connection->caller, s.rows, seen);
	if (r)
		return r;
	for (size_t i = 0; i < s.rows->n; i++)
		if (seen[i] && sql_scope_has(&s.scope, &s.rows->row[i]))
			s.row[s.n++] = &s.rows->row[i];
	*ret_sessions = s;
	s.rows = NULL;
	s.row = NULL;
	return 0;
}

struct dbps_value sql_sessions_value(const struct sql_sessions *sessions, size_t column,
				     const struct dbps_row *row)
{
	struct dbps_value value = dbps_columns[column].get(row);

	if (column == COLUMN_ID)
		value.integer = sql_scope_id(&sessions->scope, row);
	return value;
}

/* ---------------------------------------------------------------- the table ----------------- */

struct table {
	sqlite3_vtab base; /* first: SQLite knows no more of it */
	const struct sql_sessions *sessions;
};

struct cursor {
	sqlite3_vtab_cursor base; /* first, too */
	size_t at, end;
};

static const struct sql_sessions *sessions_of(const sqlite3_vtab_cursor *cursor)
{
	return ((const struct table *)cursor->pVtab)->sessions;
}

/* Texts compare in any case, as in the servers' own information_schema. */
static int declare(sqlite3 *db)
{
	static const char *const types[] = {
		[DBPS_TYPE_INTEGER] = "INTEGER",
		[DBPS_TYPE_REAL] = "REAL",
		[DBPS_TYPE_TEXT] = "TEXT COLLATE NOCASE",
	};
	_cleanup_free_ char *sql = NULL;
	size_t len;
	FILE *out = open_memstream(&sql, &len);

	if (!out)
		return SQLITE_NOMEM;
	for (size_t i = 0; i < dbps_n_columns; i++)
		fprintf(out, "%s\"%s\" %s", i ? ", " : "CREATE TABLE x(", dbps_columns[i].name,
			types[dbps_columns[i].type]);
	fputc(')', out);
	if (fclose(out))
		return SQLITE_NOMEM;
	return sqlite3_declare_vtab(db, sql);
}

static int connect_table(sqlite3 *db, void *data, int argc, const char *const *argv,
			 sqlite3_vtab **ret_table, char **ret_error)
{
	struct table *table;
	int r = declare(db);

	(void)argc, (void)argv, (void)ret_error;
	if (r)
		return r;
	table = sqlite3_malloc(sizeof(*table));
	if (!table)
		return SQLITE_NOMEM;
	*table = (struct table){.sessions = data};
	*ret_table = &table->base;
	return SQLITE_OK;
}

static int disconnect_table(sqlite3_vtab *table)
{
	sqlite3_free(table);
	return SQLITE_OK;
}

/* A join by id need not look at every row for each: plan 1 finds the one. */
static int best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
	size_t n = ((struct table *)table)->sessions->n;

	info->estimatedCost = (double)n + 1;
	info->estimatedRows = (sqlite3_int64)n + 1;
	for (int i = 0; i < info->nConstraint; i++) {
		if (!info->aConstraint[i].usable || info->aConstraint[i].iColumn != COLUMN_ID ||
		    info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ)
			continue;
		info->aConstraintUsage[i].argvIndex = 1;
		info->idxNum = 1;
		info->estimatedCost = 1;
		info->estimatedRows = 1;
		break;
	}
	return SQLITE_OK;
}

static int open_cursor(sqlite3_vtab *table, sqlite3_vtab_cursor **ret_cursor)
{
	struct cursor *cursor = sqlite3_malloc(sizeof(*cursor));

	(void)table;
	if (!cursor)
		return SQLITE_NOMEM;
	*cursor = (struct cursor){0};
	*ret_cursor = &cursor->base;
	return SQLITE_OK;
}

static int close_cursor(sqlite3_vtab_cursor *cursor)
{
	sqlite3_free(cursor);
	return SQLITE_OK;
}

/* The first row whose id is not smaller. Ids of one scope are in the order of the rows. */
static size_t lower_bound(const struct sql_sessions *sessions, uint64_t id)
{
	size_t low = 0, high = sessions->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (sql_scope_id(&sessions->scope, sessions->row[middle]) < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* SQLite compares again: what is no integer may be left to it, with all rows. */
static int filter(sqlite3_vtab_cursor *base, int plan, const char *name, int argc,
		  sqlite3_value **argv)
{
	const struct sql_sessions *sessions = sessions_of(base);
	struct cursor *cursor = (struct cursor *)base;

	(void)name, (void)argc;
	cursor->at = 0;
	cursor->end = sessions->n;
	if (plan == 1 && sqlite3_value_type(argv[0]) == SQLITE_INTEGER) {
		uint64_t id = (uint64_t)sqlite3_value_int64(argv[0]);

		cursor->at = lower_bound(sessions, id);
		if (id < UINT64_MAX)
			cursor->end = lower_bound(sessions, id + 1);
	}
	return SQLITE_OK;
}

static int next(sqlite3_vtab_cursor *cursor)
{
	((struct cursor *)cursor)->at++;
	return SQLITE_OK;
}

static int at_end(sqlite3_vtab_cursor *base)
{
	const struct cursor *cursor = (const struct cursor *)base;

	return cursor->at >= cursor->end;
}

static int column(sqlite3_vtab_cursor *base, sqlite3_context *context, int n)
{
	const struct sql_sessions *sessions = sessions_of(base);
	const struct dbps_row *row = sessions->row[((struct cursor *)base)->at];
	struct dbps_value value = sql_sessions_value(sessions, (size_t)n, row);

	if (value.null)
		sqlite3_result_null(context);
	else if (dbps_columns[n].type == DBPS_TYPE_INTEGER)
		sqlite3_result_int64(context, (sqlite3_int64)value.integer);
	else if (dbps_columns[n].type == DBPS_TYPE_REAL)
		sqlite3_result_double(context, value.real);
	else
		sqlite3_result_text64(context, value.text, value.len, SQLITE_STATIC, SQLITE_UTF8);
	return SQLITE_OK;
}

static int rowid(sqlite3_vtab_cursor *cursor, sqlite3_int64 *ret_rowid)
{
	*ret_rowid = (sqlite3_int64)((struct cursor *)cursor)->at;
	return SQLITE_OK;
}

/* Neither xCreate nor xUpdate: it cannot be made anew, nor written. */
static const sqlite3_module module = {
	.xConnect = connect_table,
	.xBestIndex = best_index,
	.xDisconnect = disconnect_table,
	.xOpen = open_cursor,
	.xClose = close_cursor,
	.xFilter = filter,
	.xNext = next,
	.xEof = at_end,
	.xColumn = column,
	.xRowid = rowid,
};

int sql_sessions_register(sqlite3 *db, const struct sql_sessions *sessions)
{
	int r = sqlite3_create_module(db, SQL_SESSIONS_TABLE, &module, (void *)sessions);

	/* The first use declares it, which no authorizer of a reader allows. */
	return r ? r
		 : sqlite3_exec(db, "SELECT 1 FROM " SQL_SESSIONS_TABLE " LIMIT 0", NULL, NULL,
				NULL);
}
