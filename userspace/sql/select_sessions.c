/*
 * SELECT … FROM processlist. The whole result is made before its first byte is sent: so an error
 * is an error and never a cut result, and the types of columns are those of what is in them.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "mysql/result.h"
#include "sql/query.h"
#include "sql/statements.h"
#include "sql/translate.h"

/* ---------------------------------------------------------------- the rows ------------------ */

/* A value as it waits to be sent; `len` bytes of text follow one of type SQLITE_TEXT. */
struct cell {
	int type; /* of SQLite */
	uint32_t len;
	union {
		sqlite3_int64 integer;
		double real;
	};
};

struct column {
	char *name;
	bool counts;			    /* a number of the table itself: never negative */
	bool integer, negative, real, text; /* what was seen in it */
};

struct result {
	struct column *columns;
	size_t n_columns, n_rows;
	char *cells;
	size_t len, cap;
};

static void free_result(struct result *result)
{
	for (size_t i = 0; i < result->n_columns; i++)
		free(result->columns[i].name);
	free(result->columns);
	sqlite3_free(result->cells);
}

/* It counts as the statement's memory, too. */
static void *add_bytes(struct result *result, size_t len)
{
	size_t need = result->len + len, cap = result->cap;
	char *cells;

	while (cap < need)
		cap = cap ? cap * 2 : 16384;
	cells = cap > result->cap ? sqlite3_realloc64(result->cells, cap) : result->cells;
	if (!cells)
		return NULL;
	result->cells = cells;
	result->cap = cap;
	result->len = need;
	return cells + need - len;
}

/* What no column type can say is NULL, as an overflow is in MySQL. */
static struct cell read_cell(sqlite3_stmt *statement, int i)
{
	struct cell cell = {.type = sqlite3_column_type(statement, i)};

	switch (cell.type) {
	case SQLITE_INTEGER:
		cell.integer = sqlite3_column_int64(statement, i);
		break;
	case SQLITE_FLOAT:
		cell.real = sqlite3_column_double(statement, i);
		if (!isfinite(cell.real))
			cell.type = SQLITE_NULL;
		break;
	case SQLITE_TEXT:
	case SQLITE_BLOB:
		cell.type = SQLITE_TEXT;
		cell.len = (uint32_t)sqlite3_column_bytes(statement, i);
		break;
	}
	return cell;
}

static void note_type(struct column *column, const struct cell *cell)
{
	column->integer |= cell->type == SQLITE_INTEGER;
	column->negative |= cell->type == SQLITE_INTEGER && cell->integer < 0;
	column->real |= cell->type == SQLITE_FLOAT;
	column->text |= cell->type == SQLITE_TEXT;
}

static int add_row(struct result *result, sqlite3_stmt *statement)
{
	for (size_t i = 0; i < result->n_columns; i++) {
		struct cell cell = read_cell(statement, (int)i);
		char *at = add_bytes(result, sizeof(cell) + cell.len);

		if (!at)
			return SQLITE_NOMEM;
		memcpy(at, &cell, sizeof(cell));
		if (cell.len)
			memcpy(at + sizeof(cell), sqlite3_column_blob(statement, (int)i), cell.len);
		note_type(&result->columns[i], &cell);
	}
	result->n_rows++;
	return SQLITE_OK;
}

/* ---------------------------------------------------------------- the columns --------------- */

/* As MySQL names them: an expression by its text, a column by its name without the table's. */
static char *name_of(sqlite3_stmt *statement, int i)
{
	const char *name = sqlite3_column_name(statement, i) ?: "";
	const char *dot = sqlite3_column_decltype(statement, i) ? strrchr(name, '.') : NULL;
	size_t len;

	if (dot)
		name = dot + 1 + strspn(dot + 1, " \t\n");
	len = strlen(name);
	if (len > 1 && *name == '`' && name[len - 1] == '`')
		return strndup(name + 1, len - 2);
	return strdup(name);
}

static int read_columns(struct result *result, sqlite3_stmt *statement)
{
	size_t n = (size_t)sqlite3_column_count(statement);

	result->columns = calloc(n, sizeof(*result->columns));
	if (!result->columns)
		return SQLITE_NOMEM;
	for (; result->n_columns < n; result->n_columns++) {
		struct column *column = &result->columns[result->n_columns];
		const char *type = sqlite3_column_decltype(statement, (int)result->n_columns) ?: "";

		column->name = name_of(statement, (int)result->n_columns);
		if (!column->name)
			return SQLITE_NOMEM;
		column->counts = column->integer = !strcmp(type, "INTEGER");
		column->real = !strcmp(type, "REAL");
		column->text = !strncmp(type, "TEXT", strlen("TEXT"));
	}
	return SQLITE_OK;
}

/* NULL alone has no type of its own: a text, as from the fixed answers. */
static enum wire_type type_of(const struct column *column)
{
	if (column->text || (!column->integer && !column->real))
		return WIRE_TYPE_VAR_STRING;
	if (column->real)
		return WIRE_TYPE_DOUBLE;
	return column->counts && !column->negative ? WIRE_TYPE_LONGLONG : WIRE_TYPE_SIGNED;
}

/* ---------------------------------------------------------------- the answer ---------------- */

static void put_cell(struct wire_writer *out, const struct cell *cell, const char *text)
{
	char digits[24];
	int len;

	switch (cell->type) {
	case SQLITE_INTEGER:
		len = snprintf(digits, sizeof(digits), "%lld", (long long)cell->integer);
		wire_put_lenenc_bytes(out, digits, (size_t)len);
		break;
	case SQLITE_FLOAT:
		wire_put_real(out, cell->real);
		break;
	case SQLITE_TEXT:
		wire_put_text(out, text, cell->len);
		break;
	default:
		wire_put_null(out);
	}
}

static void put_rows(struct wire_writer *out, const struct result *result)
{
	const char *at = result->cells;

	for (size_t row = 0; row < result->n_rows; row++) {
		wire_begin(out);
		for (size_t i = 0; i < result->n_columns; i++) {
			struct cell cell;

			memcpy(&cell, at, sizeof(cell));
			put_cell(out, &cell, at + sizeof(cell));
			at += sizeof(cell) + cell.len;
		}
		wire_end(out);
	}
}

static int put_result(struct wire_writer *out, const struct result *result)
{
	_cleanup_free_ struct wire_column *columns =
		calloc(result->n_columns + 1, sizeof(*columns));

	if (!columns)
		return -ENOMEM;
	for (size_t i = 0; i < result->n_columns; i++)
		columns[i] =
			(struct wire_column){result->columns[i].name, type_of(&result->columns[i])};
	wire_columns(out, columns, result->n_columns);
	put_rows(out, result);
	wire_eof(out, 0);
	return 0;
}

/* ---------------------------------------------------------------- the statement ------------- */

static int collect(struct sql_query *query, const char *sql, struct result *result)
{
	int r = sql_query_prepare(query, sql);

	if (!r)
		r = read_columns(result, query->statement);
	if (r)
		return r;
	while ((r = sql_query_step(query)) == SQLITE_ROW)
		if (add_row(result, query->statement))
			return SQLITE_NOMEM;
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int run(struct sql_connection *connection, const char *sql)
{
	_cleanup_(sql_query_done) struct sql_query query = {0};
	_cleanup_(free_result) struct result result = {0};
	int r = sql_query_open(connection, &query);

	if (r)
		return r == -ENOENT ? sql_unknown_server(connection) : r;
	r = collect(&query, sql, &result);
	return r ? sql_query_refuse(&query, r) : put_result(&connection->channel.out, &result);
}

/* What stands after the first word, which the table of statements has taken. */
static int select_from(struct sql_connection *connection, struct sql_input *input, const char *word)
{
	_cleanup_free_ char *sql = NULL;
	size_t len;
	FILE *out = open_memstream(&sql, &len);
	int r;

	if (!out)
		return -ENOMEM;
	sql_conditions_clear(connection);
	fprintf(out, "%s ", word);
	r = sql_translate(input, sql_statement_end(input), out);
	if (fclose(out) && !r)
		r = -ENOMEM;
	if (!r && !sql_at_end(input))
		r = -EINVAL;
	return r ? r : run(connection, sql);
}

int sql_select_sessions(struct sql_connection *connection, struct sql_input *input,
			unsigned int options)
{
	(void)options;
	return select_from(connection, input, "SELECT");
}

int sql_with(struct sql_connection *connection, struct sql_input *input, unsigned int options)
{
	(void)options;
	return select_from(connection, input, "WITH");
}
